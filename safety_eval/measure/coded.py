"""What many answers have in common, held as a small number for each answer and one table: groups, reasons, clusters."""

from __future__ import annotations

import tempfile
import weakref
from array import array
from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Generic, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from safety_eval.stats.gate import Codes

Kind = TypeVar("Kind")
Name = TypeVar("Name", bound=Hashable)
Groups = Sequence[Mapping[str, tuple[str, ...]]]
_BUFFER = 8192
_IN_MEMORY = 1 << 18


class Coded(Sequence[Kind]):
    """A sequence of few different values: `codes[i]` is the place of value i in `table`."""

    def __init__(self, codes: Codes, table: Sequence[Kind]) -> None:
        self.codes, self.table = codes, table

    def __len__(self) -> int:
        return len(self.codes)

    def __iter__(self) -> Iterator[Kind]:
        return (self.table[code] for code in self.codes.tolist())

    @overload
    def __getitem__(self, at: int) -> Kind: ...
    @overload
    def __getitem__(self, at: slice) -> Coded[Kind]: ...
    def __getitem__(self, at: int | slice) -> Kind | Coded[Kind]:
        return self.of(at) if isinstance(at, slice) else self.table[int(self.codes[at])]

    def of(self, rows: Any) -> Coded[Kind]:
        """The values of some rows: numbers, a mask or a slice."""
        return Coded(self.codes[rows], self.table)

    def within(self, many: Collection[Kind]) -> NDArray[np.bool_]:
        """Which values are among some."""
        return np.array([one in many for one in self.table], bool)[self.codes]

    def counts(self) -> Counter[Kind]:
        """How often each value is there; one that is not there is left out."""
        often = np.bincount(self.codes, minlength=len(self.table))
        counted: Counter[Kind] = Counter()
        for code in np.flatnonzero(often).tolist():
            counted[self.table[code]] += int(often[code])
        return counted


class Coder(Generic[Kind]):
    """Gives values their codes, one by one: the first is 0, the next that differs 1."""

    def __init__(self) -> None:
        self.table: list[Kind] = []
        self._codes: dict[Hashable, int] = {}

    def code(self, name: Hashable, one: Kind) -> int:
        """The code of a value. `name`: what tells it from others."""
        code = self._codes.setdefault(name, len(self._codes))
        if code == len(self.table):
            self.table.append(one)
        return code


def coded(many: Iterable[Kind], name: Callable[[Any], Hashable] = str) -> Coded[Kind]:
    """Many values by their codes. `name`: what tells one from others."""
    coder: Coder[Kind] = Coder()
    codes = np.fromiter((coder.code(name(one), one) for one in many), np.int32)
    return Coded(codes, coder.table)


def name_of(groups: Mapping[str, Sequence[str]]) -> Hashable:
    """What tells the groups of one prompt from those of another."""
    return tuple((axis, tuple(names)) for axis, names in groups.items())


def members(groups: Groups, axis: str) -> dict[str, Codes]:
    """The rows of each group of an axis, ascending; groups in the order of their first row."""
    return rows_of(groups, lambda row: dict.fromkeys(row.get(axis, ())))


def rows_of(groups: Groups, names: Callable[[Mapping[str, tuple[str, ...]]], Iterable[Name]]) -> dict[Name, Codes]:
    """The rows of everything that `names` gives for their groups, ascending; in the order of their first row."""
    held = groups if isinstance(groups, Coded) else coded(groups, name_of)
    order = np.argsort(held.codes, kind="stable").astype(np.int32)
    there, starts = np.unique(held.codes[order], return_index=True)
    spans = dict(zip(there.tolist(), np.split(order, starts[1:]), strict=True)) if len(there) else {}
    found: dict[Name, list[Codes]] = {}
    for code in sorted(spans, key=lambda code: int(spans[code][0])):
        for name in names(held.table[code]):
            found.setdefault(name, []).append(spans[code])
    return {name: parts[0] if len(parts) == 1 else np.sort(np.concatenate(parts)) for name, parts in found.items()}


def numbered(names: Codes) -> Codes:
    """Every name's number; names are numbered by the order in which they first come."""
    _, first, inverse = np.unique(names, return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int32)
    rank[np.argsort(first)] = np.arange(len(first), dtype=np.int32)
    return rank[inverse]


class Spooled:
    """Numbers that are appended one by one and read as an array once all are there; many of them lie in a temporary
    file, so that a table of many columns takes the memory of the one that is read.

    Args:
        typecode: as of `array.array`.
    """

    def __init__(self, typecode: str) -> None:
        self._new: array[Any] = array(typecode)
        self._file = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115
        self._length = 0
        weakref.finalize(self, self._file.close)

    def __len__(self) -> int:
        return self._length

    def append(self, value: float) -> None:
        """Add a number."""
        self._new.append(value)
        self._length += 1
        if len(self._new) >= _BUFFER:
            self._flush()

    def fill(self, length: int, value: float) -> None:
        """Add a number as often as it takes to hold so many."""
        while self._length < length:
            self.append(value)

    def _flush(self) -> None:
        self._file.seek(0, 2)
        self._file.write(self._new.tobytes())
        del self._new[:]

    def read(self) -> NDArray[Any]:
        """All numbers."""
        self._flush()
        self._file.seek(0)
        content = self._file.read()
        return np.frombuffer(content, self._new.typecode) if content else np.empty(0, self._new.typecode)
