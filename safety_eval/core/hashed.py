"""A large set of names of which only hashes are held: eight bytes each, whatever the names are."""

from __future__ import annotations

from array import array
from collections.abc import Hashable

import numpy as np
from numpy.typing import NDArray


class Hashed:
    """A set of names by their 64-bit hash, which is keyed anew in every process, so that nobody can prepare two names
    of the same one; two of a million names share it once in forty million runs."""

    def __init__(self) -> None:
        self._new: array[int] = array("q")
        self._sorted: NDArray[np.int64] = np.empty(0, np.int64)

    def add(self, name: Hashable) -> None:
        """Add a name."""
        self._new.append(hash(name))

    def __contains__(self, name: Hashable) -> bool:
        there, wanted = self._all(), hash(name)
        at = int(there.searchsorted(wanted))
        return at < len(there) and int(there[at]) == wanted

    def twice(self) -> Twice:
        """The names that were added more than once."""
        there = self._all()
        return Twice(frozenset(there[1:][there[1:] == there[:-1]].tolist()))

    def _all(self) -> NDArray[np.int64]:
        if self._new:
            self._sorted = np.sort(np.concatenate([self._sorted, np.frombuffer(self._new, np.int64)]))
            self._new = array("q")
        return self._sorted


class Twice:
    """Names that a set was given more than once, by their hash."""

    def __init__(self, hashes: frozenset[int]) -> None:
        self._hashes = hashes

    def __bool__(self) -> bool:
        return bool(self._hashes)

    def __contains__(self, name: Hashable) -> bool:
        return hash(name) in self._hashes
