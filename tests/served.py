"""Real servers on loopback: transformers' own (`transformers serve`), or vLLM's out of an environment of its own."""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

_PATIENCE_SECONDS = 180
"""Only so that a server that never comes ends the test."""


_TRANSFORMERS = (str(Path(sys.executable).parent / "transformers"), "serve")


class Served:
    """`transformers serve FOLDER`, or another command. Attributes: url, of the server without a path; folder, the
    model's name there."""

    def __init__(
        self, folder: Path, log: Path, command: Sequence[str] = (), environment: Mapping[str, str] | None = None
    ) -> None:
        self.folder, self._log = folder, log
        self._command = command or [*_TRANSFORMERS, str(folder), "--dtype", "float32", "--device", "cpu"]
        self._environment = environment or {}
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        """Start it at its port and wait until it is healthy."""
        command = [*self._command, "--host", "127.0.0.1", "--port", str(self.port)]
        with self._log.open("ab") as log:
            offline = {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
            environment = {**os.environ, **offline, **self._environment}
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
        """SIGKILL, to it and to the processes that it has started."""
        for process in [*psutil.Process(self._process.pid).children(recursive=True), self._process]:
            process.kill()
        self._process.wait()


def vllm(folder: Path, log: Path, python: str) -> Served:
    """vLLM's server by the Python of its own environment; on a processor it is ready in about a minute."""
    command = [python, "-m", "vllm.entrypoints.openai.api_server", "--model", str(folder), "--dtype", "float32"]
    command += ["--max-model-len", "1024", "--enforce-eager", "--max-num-seqs", "8"]
    apart = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind", "PYTHONPATH": ""}
    return Served(folder, log, command, apart)
