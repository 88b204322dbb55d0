"""What the engine keeps in the user's cache: converted GGUF files and digests of large files."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path

from safety_eval.core.fetch import cache_folder


def file_digest(path: Path) -> str:
    """SHA-256 of a file, remembered by path, size and modification time so that a big file is read once."""
    path = path.resolve()
    state = path.stat()
    name = hashlib.sha256(str(path).encode("utf-8", "surrogateescape")).hexdigest()[:32]
    note = cache_folder() / "digests" / f"{name}.json"
    stamp = [str(path), state.st_size, state.st_mtime_ns]
    try:
        known = json.loads(note.read_text())
        if known["of"] == stamp:
            return str(known["sha256"])
    except (OSError, ValueError, KeyError):
        pass
    with path.open("rb") as file:
        value = hashlib.file_digest(file, "sha256").hexdigest()
    _remember(note, {"of": stamp, "sha256": value})
    return value


def _remember(note: Path, content: dict[str, object]) -> None:
    # A cache that cannot be written (read-only home, full disk) costs time, never the run.
    try:
        note.parent.mkdir(parents=True, exist_ok=True)
        draft = note.with_suffix(f".{os.getpid()}.tmp")
        draft.write_text(json.dumps(content))
        draft.replace(note)
    except OSError:
        return


def files_digest(paths: Iterable[Path]) -> str:
    """SHA-256 of one file, or of the lines '<sha256>  <name>' (sha256sum's form) of several, by name."""
    ordered = sorted(paths, key=lambda p: p.name)
    if len(ordered) == 1:
        return file_digest(ordered[0])
    lines = "".join(f"{file_digest(p)}  {p.name}\n" for p in ordered)
    return hashlib.sha256(lines.encode()).hexdigest()


def text_digest(text: str) -> str:
    """SHA-256 of a text in UTF-8."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
