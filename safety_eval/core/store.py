"""Append-only record files that survive a kill, and replaced files that are never half written.

A record is one line of canonical JSON ending in a newline. A line without its newline is a torn last line: it is
dropped and asked again. A damaged line anywhere else is damage, and is named with its number.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import IO, Any, Generic, TypeVar

from safety_eval.core import limits
from safety_eval.core.errors import EvidenceError, UserError
from safety_eval.core.records import canonical, from_plain

Record = TypeVar("Record")
_SYNC_SECONDS = 1.0


def parsed(content: bytes, lenient: bool = False) -> Any:
    """The JSON value of some bytes that anybody may have written. `lenient`: NaN and infinity are read as null, as
    other programs write them where there is no value.

    Raises:
        ValueError: not JSON, not UTF-8, NaN or infinity, or nested deeper than Python reads.
    """
    limits.refuse_many(content)
    try:
        value = (_LENIENT if lenient else _DECODER).decode(content.decode())
    except RecursionError:
        value = _TOO_DEEP
    if value is _TOO_DEEP or (content.count(b"[") + content.count(b"{") > DEEPEST and _deep(value)):
        raise ValueError(f"it is nested more than {DEEPEST} deep")
    return value


def _deep(value: Any) -> bool:
    """Whether a value is nested deeper than any record of ours."""
    level = [value]
    for _ in range(DEEPEST):
        inside = [one.values() if isinstance(one, dict) else one for one in level if isinstance(one, dict | list)]
        level = [value for values in inside for value in values]
        if not level:
            return False
    return True


def _no_number(word: str) -> Any:
    raise ValueError(f"{word} is not a number")


DEEPEST = 60
_TOO_DEEP = object()
_DECODER = json.JSONDecoder(parse_constant=_no_number)
_LENIENT = json.JSONDecoder(parse_constant=lambda word: None)


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Every complete line of a record file as a mapping; a torn last line is left out; no file, no lines.

    Raises:
        EvidenceError: a complete line that is not a JSON object.
    """
    return (row for _, _, row in _lines(path))


def _lines(path: Path) -> Iterator[tuple[int, bytes, dict[str, Any]]]:
    """Every complete line of a record file: where it begins, its bytes and its mapping."""
    if not path.exists():
        return
    if not path.is_file():
        raise EvidenceError(f"{path} is not a plain file", "Restore the file.")
    with path.open("rb") as file:
        lines, at = iter(lambda: file.readline(limits.LINE_BYTES + 1), b""), 0
        for number, line in enumerate(lines, 1):
            if len(line) > limits.LINE_BYTES:
                raise EvidenceError(
                    f"{path}, line {number} is longer than {limits.LINE_BYTES >> 20} MB", "No record of ours is."
                )
            if not line.endswith(b"\n"):
                return
            try:
                row = parsed(line)
            except ValueError:
                row = None
            if not isinstance(row, dict):
                raise EvidenceError(
                    f"{path}, line {number} is damaged: not a JSON object",
                    "Restore the file, or delete it (and what was made from it) and run the same command again.",
                )
            yield at, line, row
            at += len(line)


def read_records(path: Path, kind: type[Record], skip: int = 0) -> Iterator[Record]:
    """The records of a file, in order; `skip` leading lines are headers.

    Raises:
        EvidenceError: a line that is not such a record.
    """
    return (record for _, record in located(path, kind, skip))


def located(path: Path, kind: type[Record], skip: int = 0) -> Iterator[tuple[int, Record]]:
    """`read_records`, each with the byte at which its line begins: what `RecordFile.at` reads it again by."""
    for number, (at, line, row) in enumerate(_lines(path), 1):
        if number <= skip:
            continue
        try:
            yield at, typed(kind, row, line)
        except ValueError as error:
            raise EvidenceError(f"{path}, line {number} is no {kind.__name__}: {error}") from error


class RecordFile(Generic[Record]):
    """A record file whose records are read one by one, by the byte at which each begins."""

    def __init__(self, path: Path, kind: type[Record]) -> None:
        self._path, self._kind = path, kind
        self._file: IO[bytes] = path.open("rb")

    def at(self, place: int) -> Record:
        """The record that begins at a byte.

        Raises:
            EvidenceError: none does any more.
        """
        self._file.seek(place)
        line = self._file.readline(limits.LINE_BYTES + 1)
        try:
            return typed(self._kind, parsed(line), line)
        except ValueError as error:
            raise EvidenceError(
                f"{self._path} was changed while it was read: no {self._kind.__name__} at byte {place}",
                "Nothing may write there meanwhile; give the same command again.",
            ) from error

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> RecordFile[Record]:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def typed(kind: type[Record], row: Any, line: bytes = b"") -> Record:
    """`from_plain`, with every field of the type that the record says. Nothing is converted: keys stay as they were.

    Args:
        line: JSON text that `row` was parsed from; b"" = none is at hand.

    Raises:
        ValueError: it is not such a record; names the field.
    """
    from pydantic import ValidationError

    try:
        _adapter(kind).validate_json(line or json.dumps(row), strict=True)  # type: ignore[arg-type]
        return from_plain(kind, row)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        raise ValueError(f"{'.'.join(map(str, fault['loc']))} {fault['msg'].removeprefix('Input ')}") from error
    except (TypeError, AttributeError) as error:
        raise ValueError(str(error)) from error


@lru_cache(maxsize=32)
def _adapter(kind: type) -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(kind)


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes, read in blocks; '' where there is no plain file."""
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_json(path: Path) -> Any:
    """A JSON file.

    Raises:
        UserError: there is none. EvidenceError: it is damaged.
    """
    try:
        return parsed(limits.content(path, limits.JSON_BYTES))
    except FileNotFoundError as error:
        raise UserError(f"no such file: {path}", "Is this a run folder of safety-eval?") from error
    except ValueError as error:
        raise EvidenceError(f"{path} is damaged: {error}") from error


class Appender:
    """The one writer of a record file. Every line reaches the kernel before `append` returns, so that a killed
    process loses nothing, and the disk within a second or so, so that a power cut loses little.

    `header` is the file's first line; a file that begins with another header is refused.
    """

    def __init__(self, path: Path, header: Mapping[str, Any] | None = None) -> None:
        self.path = path
        with _told(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            _drop_torn_line(path)
            self._file: IO[bytes] = path.open("ab", buffering=0)
        self._synced = time.monotonic()
        if header is not None and self._file.tell() == 0:
            self.append(header)
        elif header is not None and (found := next(read_lines(path), {})) != json.loads(canonical(header)):
            self._file.close()
            raise UserError(
                f"{path} was made by another instrument: {_difference(found, header)}",
                "A run keeps one set of scores of an instrument: ask for the other one in another run folder.",
            )

    def append(self, record: Any) -> int:
        """Write one record, and say at which byte it begins; on a full disk nothing of it stays in the file."""
        line = canonical(record).encode() + b"\n"
        start = self._file.tell()
        with _told(self.path, undo=lambda: self._cut(start)):
            done = 0
            while done < len(line):
                done += self._file.write(line[done:])
        if time.monotonic() - self._synced > _SYNC_SECONDS:
            self.sync()
        return start

    def sync(self) -> None:
        with _told(self.path):
            os.fsync(self._file.fileno())
        self._synced = time.monotonic()

    def close(self) -> None:
        if not self._file.closed:
            self.sync()
            self._file.close()

    def _cut(self, length: int) -> None:
        os.ftruncate(self._file.fileno(), length)
        self._file.seek(length)

    def __enter__(self) -> Appender:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def write_atomic(path: Path, content: str | bytes, private: bool = False) -> None:
    """Replace a file as a whole: a reader sees the old or the new one, never a part, whenever we are killed.

    `private`: nobody but its owner may read it.
    """
    write_pieces(path, [content.encode() if isinstance(content, str) else content], private)


def write_pieces(path: Path, pieces: Iterable[bytes], private: bool = False) -> None:
    """`write_atomic` of a content that comes in pieces, which need not be held at once."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with _told(path), _removed(beside):
        path.parent.mkdir(parents=True, exist_ok=True)
        with beside.open("wb") as file:
            if private:
                beside.chmod(0o600)
            for piece in pieces:
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)


@contextmanager
def _removed(beside: Path) -> Iterator[None]:
    """Take a file away that was not ended."""
    try:
        yield
    except BaseException:
        with suppress(OSError):
            beside.unlink(missing_ok=True)
        raise


def copy(source: Path, target: Path) -> None:
    """A copy of a file as it is, written as a whole."""
    with source.open("rb") as file:
        write_pieces(target, iter(lambda: file.read(1 << 20), b""))


def write_json(path: Path, value: Any) -> None:
    """A JSON file for people and scripts: indented, its keys in the order given, replaced as a whole."""
    write_atomic(path, json.dumps(value, indent=1, ensure_ascii=True, allow_nan=False) + "\n")


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Hold a run folder for writing: one writer at a time; the lock ends with the process, however it ends."""
    from filelock import FileLock, Timeout

    with _told(folder):
        # Prompts and answers may be harmful or confidential: a new folder is its owner's.
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            raise UserError(
                f"another process is writing {folder}", "Wait for it, or choose another --output-path."
            ) from error
    try:
        yield
    finally:
        lock.release()


def _drop_torn_line(path: Path) -> None:
    if not path.exists():
        return
    with path.open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        keep = size
        while keep and (file.seek(keep - 1), file.read(1))[1] != b"\n":
            block = max(0, keep - 65536)
            file.seek(block)
            keep = block + file.read(keep - block).rfind(b"\n") + 1
        if keep != size:
            file.truncate(keep)


def _difference(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    old, new = found.get("identity", found), wanted.get("identity", wanted)
    names = [n for n in sorted({*old, *new}) if old.get(n) != new.get(n)]
    return "; ".join(f"{n} was {old.get(n)!r}, is {new.get(n)!r}" for n in names[:4])


@contextmanager
def _told(path: Path, undo: Callable[[], object] | None = None) -> Iterator[None]:
    """Turn what the file system refuses into a message that says what to do."""
    try:
        yield
    except OSError as error:
        if undo is not None:
            with suppress(OSError):
                undo()
        advice = {
            errno.ENOSPC: (
                "no space left for",
                "Free some space and run the same command again: it continues.",
            ),
            errno.EFBIG: (
                "a limit on the size of files was met by",
                "Raise it (ulimit -f) and run the same command again.",
            ),
            errno.EDQUOT: ("disk quota used up for", "Free some space and run the same command again."),
            errno.EACCES: (
                "no permission to write",
                "Choose another --output-path, or change the permissions.",
            ),
            errno.EPERM: (
                "no permission to write",
                "Choose another --output-path, or change the permissions.",
            ),
            errno.EROFS: ("read-only file system:", "Choose another --output-path."),
            errno.ENOTDIR: ("a part of this path is a file, not a folder:", "Choose another --output-path."),
            errno.EEXIST: ("a part of this path is a file, not a folder:", "Choose another --output-path."),
            errno.ENAMETOOLONG: ("name too long:", "Choose a shorter --output-path."),
        }
        if error.errno not in advice:
            raise
        what, hint = advice[error.errno]
        raise UserError(f"{what} {path}", hint) from error
