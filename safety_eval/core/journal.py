"""RUN/journal.jsonl: what happened to a run, in order, each entry holding the hash of the one before.

An entry cannot be changed, left out, put in or moved without breaking the chain behind it. Its head stands
in the signed manifest of the evidence.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from safety_eval.core.errors import EvidenceError
from safety_eval.core.records import digest
from safety_eval.core.store import Appender, read_lines

NAME = "journal.jsonl"
START = "0" * 64


def note(folder: Path, event: str, **facts: Any) -> str:
    """Append one event; returns its hash.

    Args:
        facts: JSON values.

    Raises:
        EvidenceError: the journal so far is broken.
    """
    path = folder / NAME
    entries = check(path)
    entry = {
        "number": len(entries),
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "event": event,
        "facts": facts,
        "previous": entries[-1]["hash"] if entries else START,
    }
    entry["hash"] = digest(entry)
    with Appender(path) as file:
        file.append(entry)
    return str(entry["hash"])


def note_files(folder: Path, event: str, paths: Iterable[Path]) -> None:
    """Append an event for every file that is not as the journal saw it last: its name, digest and size."""
    known = last_files(check(folder / NAME))
    for path in paths:
        content = path.read_bytes()
        name, found = path.relative_to(folder).as_posix(), hashlib.sha256(content).hexdigest()
        if known.get(name) != found:
            note(folder, event, file=name, sha256=found, size=len(content))


def check(path: Path) -> list[dict[str, Any]]:
    """The entries of a journal whose chain holds; no file, no entries.

    Raises:
        EvidenceError: names the line at which the chain breaks.
    """
    entries: list[dict[str, Any]] = []
    previous = START
    for number, entry in enumerate(read_lines(path)):
        bare = {k: v for k, v in entry.items() if k != "hash"}
        right = entry.get("number") == number and entry.get("previous") == previous
        if not right or entry.get("hash") != digest(bare):
            raise EvidenceError(
                f"{path}, line {number + 1}: the chain is broken (an entry was changed, moved or taken out)",
                "The journal shows no longer what happened; run again in another folder.",
            )
        previous = entry["hash"]
        entries.append(entry)
    return entries


def head(entries: list[dict[str, Any]]) -> str:
    """Hash of the last entry."""
    return str(entries[-1]["hash"]) if entries else START


def last_files(entries: list[dict[str, Any]]) -> dict[str, str]:
    """Digest of each file as the journal saw it last."""
    return {
        e["facts"]["file"]: e["facts"]["sha256"] for e in entries if {"file", "sha256"} <= set(e["facts"])
    }
