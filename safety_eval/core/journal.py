"""RUN/journal.jsonl: what happened to a run, in order, each entry holding the hash of the one before.

An entry cannot be changed, left out, put in or moved without breaking the chain behind it. The first entries name what
was asked, before the first token. While a run goes on, entries carry the size and digest of its record files: what was
there then must still be the beginning of what is there now. The head stands in the signed manifest of the evidence.
"""

from __future__ import annotations

import enum
import hashlib
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safety_eval.core.errors import EvidenceError
from safety_eval.core.records import digest
from safety_eval.core.store import Appender, read_lines

NAME = "journal.jsonl"
START = "0" * 64
EVERY = 10.0
"""Seconds between two heads of a record file that grows."""


class Event(enum.StrEnum):
    """What an entry tells."""

    ASKED = "asked"  # first entry of a run: digest of what run.json says from the beginning, and the policy
    MERGED = "merged"  # first entry of a run that was joined of shards: their parts and the heads of their journals
    FROZEN = "frozen"  # a task's prompts, before the first token
    ENGINE = "engine"  # identity of the model's engine, before the first token
    SETTINGS = "settings"  # how a task is asked, before its first token
    INSTRUMENT = "instrument"  # identity of a task's instrument, before its first score
    ADOPTED = "adopted"  # answers made elsewhere, matched with a task's prompts before the first is taken over
    GREW = "grew"  # a record file so far
    RESUMED = "resumed"  # the run's own command found something owed and went on
    RESCORED = "rescored"  # `score` began to score
    STOPPED = "stopped"  # a task was ended early by its registered rule
    MEASURED = "measured"  # a file as it was when the run was measured
    FINISHED = "finished"
    DRAWN = "drawn"  # answers were drawn for people to label: nothing of the run changed
    REVIEWED = "reviewed"  # people's labels, as they were read back
    SIGNED_OFF = "signed off"  # a verdict was given


_WORDS = ("begun", "decision", "file", "policy", "scorer", "sha256", "state", "task", "finished")
"""Facts that are texts."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a journal. `at` is UTC, ISO 8601; `facts` are JSON values; `hash` is the chain so far."""

    number: int
    at: str
    event: Event
    facts: Mapping[str, Any]
    previous: str
    hash: str


class Journal:
    """One writer's hold of a run's journal: read and checked once, then only appended to.

    Args:
        folder: of the run.

    Raises:
        EvidenceError: the chain is broken.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.entries = check(folder / NAME)

    def note(self, event: Event, **facts: Any) -> None:
        """Append an entry. `facts`: JSON values."""
        line = {
            "number": len(self.entries),
            "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "event": str(event),
            "facts": facts,
            "previous": head(self.entries),
        }
        with Appender(self.folder / NAME) as file:
            file.append({**line, "hash": digest(line)})
        self.entries.append(_entry({**line, "hash": digest(line)}))

    def note_files(self, event: Event, paths: Iterable[Path]) -> None:
        """Append an entry for every file that is not as the journal saw it last: its name, digest and size."""
        known = last_files(self.entries)
        for path in paths:
            name = path.relative_to(self.folder).as_posix()
            with path.open("rb") as content:
                now = hashlib.file_digest(content, "sha256").hexdigest()
                size = content.tell()
            if known.get(name) != now:
                self.note(event, file=name, sha256=now, size=size)

    def once(self, event: Event, **facts: Any) -> None:
        """Append an entry unless the very same one is there."""
        if not any(e.event is event and dict(e.facts) == facts for e in self.entries):
            self.note(event, **facts)

    @contextmanager
    def watching(self, file: Appender) -> Iterator[Watch]:
        """While a record file is appended to, write its head down now and then, and at the end."""
        watch = Watch(self, file)
        try:
            yield watch
        finally:
            watch.look(at_once=True)


class Watch:
    """Heads of one record file that grows. Reads what was appended since the last head, once."""

    def __init__(self, journal: Journal, file: Appender) -> None:
        self._journal, self._file = journal, file
        self._hash, self._size = hashlib.sha256(), 0
        self._looked = time.monotonic()

    def look(self, at_once: bool = False) -> None:
        """Write a head down when it is time."""
        if not at_once and time.monotonic() - self._looked < EVERY:
            return
        self._looked = time.monotonic()
        self._file.sync()
        before = self._size
        with self._file.path.open("rb") as content:
            content.seek(before)
            while block := content.read(1 << 20):
                self._hash.update(block)
                self._size += len(block)
        name = self._file.path.relative_to(self._journal.folder).as_posix()
        now = self._hash.hexdigest()
        if last_files(self._journal.entries).get(name) != now:
            self._journal.note(Event.GREW, file=name, sha256=now, size=self._size)


def check(path: Path) -> list[Entry]:
    """The entries of a journal whose chain holds; no file, no entries.

    Raises:
        EvidenceError: names the line at which the chain breaks.
    """
    entries: list[Entry] = []
    for number, line in enumerate(read_lines(path)):
        bare = {k: v for k, v in line.items() if k != "hash"}
        right = line.get("number") == number and line.get("previous") == head(entries)
        if not right or line.get("hash") != digest(bare):
            raise EvidenceError(
                f"{path}, line {number + 1}: the chain is broken (an entry was changed, moved or taken out)",
                "The journal no longer shows what happened; run again in another folder.",
            )
        try:
            entries.append(_entry(line))
        except (KeyError, TypeError, ValueError) as error:
            raise EvidenceError(f"{path}, line {number + 1} is damaged: {error!r}") from error
    return entries


def _entry(line: Mapping[str, Any]) -> Entry:
    if set(line) != set(Entry.__slots__) or not isinstance(line["facts"], dict):
        raise ValueError("it has other fields than a journal's entry")
    size, words = line["facts"].get("size", 0), [line["at"], *(line["facts"].get(name, "") for name in _WORDS)]
    if not all(isinstance(word, str) for word in words) or not isinstance(size, int) or size < 0:
        raise ValueError("a fact is of another type than we write")
    return Entry(**{**line, "event": Event(line["event"])})


def head(entries: Sequence[Entry]) -> str:
    """Hash of the last entry."""
    return entries[-1].hash if entries else START


def files(entries: Sequence[Entry]) -> Iterator[tuple[str, int, str]]:
    """(name, size, digest) of every file that an entry names, in order."""
    for e in entries:
        if {"file", "sha256", "size"} <= set(e.facts):
            yield str(e.facts["file"]), int(e.facts["size"]), str(e.facts["sha256"])


def last_files(entries: Sequence[Entry]) -> dict[str, str]:
    """Digest of each file as the journal saw it last."""
    return {name: sha256 for name, _, sha256 in files(entries)}
