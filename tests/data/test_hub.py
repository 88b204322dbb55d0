"""The Hub's own client against a small server that answers as the Hub does: a public and a gated data set."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

REVISION = "f" * 40
ASK = """
from safety_eval.tasks._sources import loading as data
from safety_eval.tasks._sources import sources
from safety_eval.core.records import digest
home = data.Home("hub", "some/one", "f" * 40, ("x.json",))
small = data.Source("a small set", (home,), sources._first_json, 1, digest([{"a": 1}]), "MIT")
try:
    print(data.load(small, None).manifest["source"])
except data.UserError as error:
    print("UserError", error)
"""


class Hub(BaseHTTPRequestHandler):
    """Knows one data set with one file, some/one; `server.gated` keeps the file from everyone."""

    def do_GET(self) -> None:
        if self.server.gated and "/resolve/" in self.path:  # type: ignore[attr-defined]
            self.send_response(401)
            self.send_header("X-Error-Code", "GatedRepo")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        about = {"id": "some/one", "sha": REVISION, "siblings": [{"rfilename": "x.json"}], "tags": []}
        body = json.dumps(about).encode() if self.path.startswith("/api/") else b'[{"a": 1}]'
        self.send_response(200)
        for name, value in (("X-Repo-Commit", REVISION), ("ETag", '"e"'), ("Content-Length", str(len(body)))):
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    do_HEAD = do_GET

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def hub() -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.gated = False  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def ask(hub: ThreadingHTTPServer, home: Path, **environment: str) -> str:
    address = f"http://127.0.0.1:{hub.server_port}"
    env = {**os.environ, "HF_ENDPOINT": address, "HF_HOME": str(home), "HF_HUB_OFFLINE": "0", **environment}
    found = subprocess.run([sys.executable, "-c", ASK], env=env, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    return found.stdout


def test_a_file_of_the_hub_is_fetched_and_checked(hub: ThreadingHTTPServer, tmp_path: Path) -> None:
    assert ask(hub, tmp_path) == "hub:some/one\n"


def test_a_gated_data_set_says_which_terms_and_token_are_needed(hub: ThreadingHTTPServer, tmp_path: Path) -> None:
    hub.gated = True  # type: ignore[attr-defined]
    said = ask(hub, tmp_path, HF_TOKEN="hf_secret")
    assert "UserError a small set: cannot fetch x.json of hub:some/one" in said
    assert "huggingface.co/datasets/some/one" in said and "HF_TOKEN" in said and "hub/some/one/x.json" in said
    assert "hf_secret" not in said
    assert not any(b"hf_secret" in f.read_bytes() for f in tmp_path.rglob("*") if f.is_file())


def test_without_the_hub_the_folder_that_would_do_is_named(hub: ThreadingHTTPServer, tmp_path: Path) -> None:
    said = ask(hub, tmp_path, HF_HUB_OFFLINE="1")
    assert "cannot fetch x.json" in said and "HF_HUB_OFFLINE" in said and "hub/some/one/x.json" in said


def test_without_a_network_the_folder_that_would_do_is_named(hub: ThreadingHTTPServer, tmp_path: Path) -> None:
    said = ask(hub, tmp_path, HF_ENDPOINT="http://127.0.0.1:9")
    assert "UserError a small set: cannot fetch x.json" in said and "hub/some/one/x.json" in said
