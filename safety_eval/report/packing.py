"""Long JSON, packed piece by piece: what a page carries is never held as a whole."""

from __future__ import annotations

import base64
import json
import tempfile
import weakref
import zlib
from collections.abc import Iterable, Iterator
from typing import Any

_IN_MEMORY = 1 << 20
_LEVEL = 6


def written(value: Any) -> str:
    """A value as the page's JSON."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def packed(value: Any) -> str:
    """A value as JSON, deflated, in base64."""
    return base64.b64encode(zlib.compress(written(value).encode("ascii"), _LEVEL)).decode("ascii")


def packed_pieces(pieces: Iterable[str]) -> Iterator[str]:
    """JSON text that comes in pieces, deflated as one, in base64, in pieces."""
    deflate, left = zlib.compressobj(_LEVEL), b""
    for piece in pieces:
        left += deflate.compress(piece.encode("ascii"))
        whole = len(left) // 3 * 3
        if whole:
            yield base64.b64encode(left[:whole]).decode("ascii")
            left = left[whole:]
    yield base64.b64encode(left + deflate.flush()).decode("ascii")


class Texts:
    """Texts that are added one by one and read as often as they are asked for; many lie in a temporary file."""

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115
        self._ends: list[int] = []
        weakref.finalize(self, self._file.close)

    def __len__(self) -> int:
        return len(self._ends)

    def add(self, text: str) -> None:
        """Add a text of ASCII."""
        self._file.seek(0, 2)
        self._file.write(text.encode("ascii"))
        self._ends.append(self._file.tell())

    def __iter__(self) -> Iterator[str]:
        start = 0
        for end in self._ends:
            self._file.seek(start)
            yield self._file.read(end - start).decode("ascii")
            start = end


class Column:
    """A JSON list whose values are added one by one; many lie in a temporary file."""

    def __init__(self) -> None:
        self._texts, self._new, self._length = Texts(), [], 0  # type: ignore[var-annotated]

    def __len__(self) -> int:
        return self._length

    def add(self, value: Any) -> None:
        """Add a value."""
        self._new.append(written(value))
        self._length += 1
        if len(self._new) >= 4096:
            self._flush()

    def fill(self, length: int) -> None:
        """Add null as often as it takes to hold so many values."""
        while self._length < length:
            self.add(None)

    def _flush(self) -> None:
        if self._new:
            self._texts.add(("," if len(self._texts) else "") + ",".join(self._new))
            self._new.clear()

    def json(self) -> Iterator[str]:
        """The list as JSON, in pieces."""
        self._flush()
        yield "["
        yield from self._texts
        yield "]"
