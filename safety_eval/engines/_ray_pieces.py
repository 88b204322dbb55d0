"""Prompts in pieces: what waits for a replica, and what is asked again when one has died."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from safety_eval.core.records import Prompt, key

AHEAD = 2
"""Pieces that a replica has: one that it answers, one that waits."""
MOST, _FULL, _LEAST = 1024, 64, 16
"""Prompts of a piece: as many as sort and batch well; fewer towards the end, so that no replica is idle. Below `_FULL`
a step is spent on reading the weights: a piece is smaller only where not every replica would get one."""
_SMALLER = 8
"""By which a lost piece is divided."""
_ALONE = 3
"""Replicas that may die of one prompt alone."""


@dataclass(slots=True, eq=False)
class Piece:
    """Prompts that go out together.

    Attributes:
        left: those without an output, by key. deaths: replicas that died while it was one prompt alone.
        stream: of its outputs, while a replica has it.
    """

    left: dict[str, Prompt]
    deaths: int = 0
    stream: Any = None


class Queue:
    """Prompts that wait for a replica: those of lost pieces first. No more of the stream is held than goes out soon."""

    def __init__(self, prompts: Iterable[Prompt], replicas: int) -> None:
        self._stream, self._replicas = iter(prompts), replicas
        self._held: deque[Prompt] = deque()
        self._lost: deque[Piece] = deque()

    def waits(self) -> bool:
        """Whether anything is left to be asked."""
        self._held.extend(islice(self._stream, AHEAD * self._replicas * MOST - len(self._held)))
        return bool(self._lost or self._held)

    def take(self) -> Piece | None:
        """The next piece; None = nothing waits."""
        if not self.waits() or self._lost:
            return self._lost.popleft() if self._lost else None
        here, replicas = len(self._held), self._replicas
        most = min(MOST, max(_LEAST, here // (AHEAD * replicas), min(_FULL, -(-here // replicas))))
        piece = Piece({})
        while self._held and len(piece.left) < most and (name := key(self._held[0])) not in piece.left:
            piece.left[name] = self._held.popleft()
        return piece

    def again(self, piece: Piece) -> None:
        """Ask what is left of a piece that no replica had begun."""
        if piece.left:
            self._lost.append(replace(piece, stream=None))

    def suspect(self, piece: Piece) -> list[Prompt]:
        """Ask what is left of a piece with which a replica died, in smaller pieces; the prompts that are given up."""
        prompts = list(piece.left.values())
        if len(prompts) == 1 and piece.deaths + 1 == _ALONE:
            return prompts
        size = max(1, len(prompts) // _SMALLER)
        deaths = piece.deaths + 1 if len(prompts) == 1 else 0
        for at in range(0, len(prompts), size):
            self._lost.append(Piece({key(p): p for p in prompts[at : at + size]}, deaths))
        return []
