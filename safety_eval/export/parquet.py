"""A table of any length as Parquet: its rows are read twice, for their columns and to be written, and never held."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from safety_eval.core.store import write_pieces

Row = Mapping[str, Any]
ROWS = 1_000
"""Rows that are written together."""


def write(path: Path, rows: Callable[[], Iterable[Row]]) -> None:
    """Replace a file. `rows`: gives all of them, each time that it is called; a value that a row lacks is null."""
    import pyarrow as pa

    schema = pa.schema(list(_columns(rows())))
    write_pieces(path, _pieces(schema, rows()))


def _columns(rows: Iterable[Row]) -> Iterator[tuple[str, Any]]:
    """Name and type of every column, in the order in which they come."""
    import pyarrow as pa

    kinds: dict[str, set[type]] = {}
    for row in rows:
        for name, value in row.items():
            kinds.setdefault(name, set()).add(type(value))
    numbers = {bool: pa.bool_(), int: pa.int64(), float: pa.float64(), tuple: pa.list_(pa.string())}
    for name, found in kinds.items():
        told = found - {type(None)}
        if told == {int, float}:
            told = {float}
        yield name, numbers.get(next(iter(told)), pa.string()) if len(told) == 1 else pa.string()


def _pieces(schema: Any, rows: Iterable[Row]) -> Iterator[bytes]:
    """The file, as far as it is there after each batch."""
    import pyarrow as pa
    from pyarrow import parquet

    made = _Sink()
    held, waiting = iter(rows), [f.name for f in schema if f.type == pa.string()]
    with parquet.ParquetWriter(pa.PythonFile(made, mode="w"), schema) as file:
        while batch := [_plain(row, waiting) for row in islice(held, ROWS)]:
            file.write_table(pa.Table.from_pylist(batch, schema))
            yield made.taken()
    yield made.taken()


def _plain(row: Row, texts: Iterable[str]) -> dict[str, Any]:
    """A row whose words are words."""
    return {**row, **{name: str(row[name]) for name in texts if row.get(name) is not None}}


class _Sink:
    """What was written since it was last taken."""

    closed = False

    def __init__(self) -> None:
        self._new: list[bytes] = []
        self._at = 0

    def write(self, content: bytes) -> int:
        self._new.append(bytes(content))
        self._at += len(content)
        return len(content)

    def tell(self) -> int:
        return self._at

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        """What was written stays until it is taken."""

    def taken(self) -> bytes:
        """What is new."""
        new, self._new = b"".join(self._new), []
        return new
