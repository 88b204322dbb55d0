"""A real server on loopback: transformers' own (`transformers serve`), with a folder of the test's."""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

_PATIENCE_SECONDS = 180
"""Only so that a server that never comes ends the test."""


class Served:
    """`transformers serve FOLDER`. Attributes: url, of the server without a path; folder, the model's name there."""

    def __init__(self, folder: Path, log: Path) -> None:
        self.folder, self._log = folder, log
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        """Start it at its port and wait until it is healthy."""
        command = [str(Path(sys.executable).parent / "transformers"), "serve", str(self.folder)]
        command += ["--host", "127.0.0.1", "--port", str(self.port), "--dtype", "float32", "--device", "cpu"]
        with self._log.open("ab") as log:
            environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
            self._process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while not self._healthy():
            assert self._process.poll() is None and time.monotonic() < deadline, self._log.read_text()[-3000:]
            time.sleep(0.2)

    def _healthy(self) -> bool:
        link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            link.request("GET", "/health")
            return link.getresponse().status == 200
        except OSError:
            return False
        finally:
            link.close()

    def kill(self) -> None:
        """SIGKILL."""
        self._process.kill()
        self._process.wait()
