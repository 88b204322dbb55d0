"""How many requests are under way at once: one more after a round that went well, half when the server is full."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

START = 4
_SLOWER = 2.0
"""Times the fastest pace so far: beyond it the server queues what it is given."""
_WEIGHT = 0.2
"""Of a new time in the smoothed one."""


class Crowd:
    """Additive increase, multiplicative decrease, between 1 and `most`."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.limit = float(min(START, most))
        self._inside = 0
        self._turn = threading.Condition()
        self._smoothed = self._fastest = 0.0
        self._since = 0

    @contextmanager
    def place(self) -> Iterator[None]:
        """Wait for a place; `told` says how the request went."""
        with self._turn:
            self._turn.wait_for(lambda: self._inside < int(self.limit))
            self._inside += 1
        try:
            yield
        finally:
            with self._turn:
                self._inside -= 1
                self._turn.notify_all()

    def told(self, throttled: bool, seconds_a_token: float) -> None:
        """A request has ended: whether the server said that it is full, and the pace of its answer."""
        with self._turn:
            self._since += 1
            old = self._smoothed or seconds_a_token
            self._smoothed = (1 - _WEIGHT) * old + _WEIGHT * seconds_a_token
            self._fastest = min(self._fastest or self._smoothed, self._smoothed)
            slower = self._smoothed > _SLOWER * self._fastest and self._since > 2 * self.limit
            if throttled or slower:
                self.limit = max(self.limit / 2, 1.0)
                self._fastest, self._since = self._smoothed, 0
            else:
                self.limit = min(self.limit + 1 / self.limit, float(self._most))
            self._turn.notify_all()
