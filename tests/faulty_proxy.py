"""A small reverse proxy before a real server, which breaks chosen requests on their way.

A plan is a function of the number of a POST request (from 0) and its text, that names a fault or gives '': '429' (with
Retry-After), '500', 'half' (the body ends in the middle), 'json' (no JSON), 'list' (JSON that is no object), 'two' (two
answers for one prompt), 'reset' (the connection is cut), 'stall' (nothing comes for a while), '400' (refused), 'filter'
(the answer was withheld), 'other' (other words each time), 'long' (more tokens than were allowed), 'deaf' (what
is not of the plain protocol is taken and ignored).
"""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

STALL_SECONDS = 3.0
HEARD = frozenset({"model", "prompt", "messages", "max_tokens", "temperature", "top_p", "seed", "stop"})
"""Of a request, by a deaf server."""


def harmless(number: int, asked: str) -> str:
    """The plan that breaks nothing."""
    return ""


class FaultyProxy:
    """Forwards to `target` (http://HOST:PORT); `plan` can be set at any time.

    Attributes:
        url: of the proxy, without a path. happened: faults so far, by name. posts: POST requests so far.
    """

    def __init__(self, target: str) -> None:
        proxy = self
        self.target = target
        self.plan: Callable[[int, str], str] = harmless
        self.posts = 0
        self.happened: Counter[str] = Counter()
        self._lock = threading.Lock()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self._reply(*proxy.forward("GET", self.path, b""))

            def do_POST(self) -> None:
                asked = self.rfile.read(int(self.headers["content-length"]))
                fault = proxy.fault(asked.decode())
                if fault == "deaf":
                    asked = json.dumps({k: v for k, v in json.loads(asked).items() if k in HEARD}).encode()
                    fault = ""
                if not fault or not self._break(fault):
                    self._reply(*proxy.forward("POST", self.path, asked))
                elif fault in ("half", "two", "filter", "other", "long"):
                    self._bend(fault, *proxy.forward("POST", self.path, asked))

            def _break(self, fault: str) -> bool:
                """Do what needs no server; False = forward after all."""
                if fault == "stall":
                    time.sleep(STALL_SECONDS)
                    return False
                if fault == "reset":
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                    self.close_connection = True
                    self.connection.close()
                elif fault.isdigit():
                    self._reply(int(fault), b'{"error": "planted"}', {"Retry-After": "0.05"} if fault == "429" else {})
                elif fault in ("json", "list"):
                    self._reply(200, {"json": b"<html>busy</html>", "list": b"[1]"}[fault])
                return True

            def _bend(self, fault: str, status: int, content: bytes) -> None:
                if fault == "half":
                    self.send_response(status)
                    self.send_header("content-length", str(len(content)))
                    self.end_headers()
                    self.wfile.write(content[: len(content) // 2])
                    self.close_connection = True
                    return
                body = json.loads(content)
                if fault == "two":
                    body["choices"] *= 2
                elif fault == "other":
                    body["choices"][0]["text"] = f"answer number {proxy.posts}"
                elif fault == "long":
                    body["usage"]["completion_tokens"] = 99
                else:
                    body["choices"][0]["finish_reason"] = "content_filter"
                self._reply(status, json.dumps(body).encode())

            def _reply(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
                self.send_response(status)
                for name, value in (headers or {}).items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def fault(self, asked: str) -> str:
        """The fault of the next POST request."""
        with self._lock:
            name = self.plan(self.posts, asked)
            self.posts += 1
            if name:
                self.happened[name] += 1
        return name

    def forward(self, method: str, path: str, content: bytes) -> tuple[int, bytes]:
        """What the server behind answers; 502 where there is none."""
        place = urlsplit(self.target)
        link = http.client.HTTPConnection(place.hostname or "", place.port or 80, timeout=60)
        try:
            link.request(method, path, content or None, {"content-type": "application/json"})
            reply = link.getresponse()
            return reply.status, reply.read()
        except OSError:
            return 502, b'{"error": "nobody is there"}'
        finally:
            link.close()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
