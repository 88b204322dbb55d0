"""Requests to one server: tried again while that can help, given up at a deadline, and told apart when refused."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

import httpx2

from safety_eval.core.store import parsed

MOST_BYTES = 1 << 26
"""Of a reply: 64 MiB hold the log-probabilities of any context."""
_AGAIN = frozenset({408, 409, 425, 429})
"""Statuses that may pass, beside 5xx: too slow, in conflict, too early, too many."""
_TOO_MANY = 429
_CONNECT_SECONDS = 10.0
_LONGEST_PAUSE = 30.0
_SHOWN = 300


class RefusedError(Exception):
    """The server understood a request and will not do it: asking again gives the same.

    Attributes:
        status: of HTTP. text: the beginning of what it said.
    """

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"status {status}: {text}")
        self.status, self.text = status, text


class LostError(Exception):
    """No whole reply came before the deadline; says how often it was tried and what went wrong last."""


class _PassingError(Exception):
    """Something that may be gone at the next try.

    Attributes:
        pause: seconds that the server asked for; None = it did not say. throttled: it has too much to do, and said so
            itself; anything else may be another server's first word.
    """

    def __init__(self, why: str, pause: float | None = None, throttled: bool = False) -> None:
        super().__init__(why)
        self.pause, self.throttled = pause, throttled


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back.

    Attributes:
        body: a JSON object. seconds: of the try that brought it. throttled: the server said at an earlier one that it
            has too much to do. broken: an earlier one ended otherwise, so that the server may have been replaced.
    """

    body: Mapping[str, Any]
    seconds: float
    throttled: bool
    broken: bool


class Wire:
    """A server at `base_url`, used by many threads at once."""

    def __init__(self, base_url: str, key: str, most: int) -> None:
        """`base_url`: ends in /v1. `key`: sent as a bearer token, '' = none. `most`: connections."""
        headers = {"authorization": f"Bearer {key}"} if key else {}
        limits = httpx2.Limits(max_connections=most, max_keepalive_connections=most)
        self.origin = str(httpx2.URL(base_url).join("/")).rstrip("/")
        self._client = httpx2.Client(base_url=base_url, headers=headers, limits=limits)

    def get(self, path: str, seconds: float) -> Reply:
        """The object at a path.

        Raises:
            RefusedError, LostError: see there.
        """
        return self._asked("GET", path, None, seconds)

    def post(self, path: str, body: Mapping[str, Any], seconds: float) -> Reply:
        """What the server gives for `body`, within `seconds` for all tries together.

        Raises:
            RefusedError, LostError: see there.
        """
        return self._asked("POST", path, body, seconds)

    def _asked(self, method: str, path: str, body: Mapping[str, Any] | None, seconds: float) -> Reply:
        end, tries, throttled, broken = time.monotonic() + seconds, 0, False, False
        while True:
            begun, tries = time.monotonic(), tries + 1
            try:
                found = self._once(method, path, body, end)
                return Reply(found, time.monotonic() - begun, throttled, broken)
            except _PassingError as error:
                throttled, broken = throttled or error.throttled, broken or not error.throttled
                pause = _backoff(tries) if error.pause is None else error.pause
                if time.monotonic() + pause >= end:
                    raise LostError(f"no answer in {seconds:g} seconds and {tries} tries; last: {error}") from error
            time.sleep(pause)

    def _once(self, method: str, path: str, body: Mapping[str, Any] | None, end: float) -> Mapping[str, Any]:
        left = max(end - time.monotonic(), 0.01)
        timeout = httpx2.Timeout(left, connect=min(_CONNECT_SECONDS, left))
        try:
            with self._client.stream(method, path, json=body, timeout=timeout) as reply:
                content = _content(reply, end)
        except (httpx2.TransportError, httpx2.DecodingError) as error:
            raise _PassingError(f"{type(error).__name__}: {error}") from error
        status, text = reply.status_code, content[:_SHOWN].decode("utf-8", "replace")
        if status in _AGAIN or status >= 500:
            pause = _asked_pause(reply.headers.get("retry-after", ""))
            raise _PassingError(f"status {status}: {text}", pause, status == _TOO_MANY)
        if status != 200:
            raise RefusedError(status, text)
        try:
            found = parsed(content)
        except ValueError as error:
            raise _PassingError(f"the body is no JSON: {error}") from error
        if not isinstance(found, dict):
            raise _PassingError("the body is no JSON object")
        return found

    def close(self) -> None:
        """Close every connection."""
        self._client.close()


def _content(reply: httpx2.Response, end: float) -> bytes:
    """The whole body, held to the deadline and to MOST_BYTES."""
    content = bytearray()
    for piece in reply.iter_bytes():
        content += piece
        if time.monotonic() > end:
            raise _PassingError("the body did not end in time")
        if len(content) > MOST_BYTES:
            raise _PassingError(f"the body has more than {MOST_BYTES:,} bytes")
    return bytes(content)


def _backoff(tries: int) -> float:
    """Seconds before the next try: doubling, with jitter so that many threads do not come back together."""
    return random.uniform(0.5, 1.0) * min(0.1 * 2.0**tries, _LONGEST_PAUSE)


def _asked_pause(header: str) -> float | None:
    """Retry-After: seconds, or a date; None where it says nothing that can be read."""
    if not header:
        return None
    try:
        return max(float(header), 0.0)
    except ValueError:
        pass
    try:
        return max(parsedate_to_datetime(header).timestamp() - time.time(), 0.0)
    except (TypeError, ValueError):
        return None
