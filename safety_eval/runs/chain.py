"""Does the journal of a run bind what lies in its folder? What was asked, of which model, how and by which policy,
before the first token; answers and scores that only ever grew; and every file as it was when the run was measured.

A journal has no secret. Whoever makes up a whole run can make up its journal too; see docs/explanation/threat-model.md.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from safety_eval.core import journal
from safety_eval.core.conceal import bound
from safety_eval.core.errors import SafetyEvalError
from safety_eval.core.journal import Entry, Event
from safety_eval.core.store import file_digest
from safety_eval.runs import run_file
from safety_eval.runs.run_file import RunFile, TaskRecord

SHARDS = "shards"
"""RUN/shards/<i>-of-<n>/: journal and run.json of each shard that a run was joined of."""
_BEGUN = ("schema", "started", "asked", "config", "versions", "machine", "policy")
_LATER = {"settings", "instruments", "arguments", "stopped"}
Facts = Mapping[str, Any]


def begun(file: RunFile) -> str:
    """Digest of what run.json says from the beginning."""
    content = file.to_json()
    return bound({name: content.get(name) for name in _BEGUN})


def prepared(record: TaskRecord) -> str:
    """Digest of what run.json says of a task once its prompts are frozen."""
    return bound(record.model_dump(mode="json", exclude=_LATER))


def faults(folder: Path, file: RunFile, entries: Sequence[Entry], sealed: bool = False) -> Iterator[str]:
    """What the journal does not bind: sentences.

    Args:
        folder, file: the run folder and its run.json. entries: its journal, whose chain holds.
        sealed: the records lie here redacted, so that their bytes are not those that the journal saw.
    """
    if not entries:
        yield f"{journal.NAME} is missing: nothing shows what happened to the run"
        return
    if entries[0].event not in (Event.ASKED, Event.MERGED):
        yield f"{journal.NAME} does not begin with what was asked: it was deleted, cut or made again"
        return
    if entries[0].event is Event.ASKED:
        yield from _bound(file, entries)
    else:
        yield from _joined(folder, file, entries, sealed)
    if sealed:
        return
    yield from _grown(folder, entries)
    yield from _as_measured(folder, entries)


def _bound(file: RunFile, entries: Sequence[Entry]) -> Iterator[str]:
    """run.json is what the journal saw before the first token, and before each instrument's first score."""
    if dict(entries[0].facts) != {"begun": begun(file), "policy": file.policy.sha256 if file.policy else ""}:
        yield "run.json was changed after the run began, or its policy was registered afterwards"
    ended = [e.facts.get("finished") for e in entries if e.event is Event.FINISHED]
    if file.finished and file.finished not in ended[-1:]:
        yield "run.json says another time of the run's end than the journal"
    answered = [e for e in entries if _is_output(e)]
    yield from _once(entries, Event.ENGINE, {}, {"identity": bound(file.engine)}, answered)
    for task, record in file.tasks.items():
        mine = [e for e in answered if e.facts["file"] == f"{task}/outputs.jsonl"]
        wanted = {"about": prepared(record)}
        yield from _once(entries, Event.FROZEN, {"task": task}, wanted, mine, always=True)
        wanted = {"settings": bound(record.settings)}
        yield from _once(entries, Event.SETTINGS, {"task": task}, wanted, mine)
        stops = [e.facts.get("state") for e in entries if e.event is Event.STOPPED and e.facts.get("task") == task]
        if stops[-1:] != ([record.stopped] if record.stopped else []):
            yield f"run.json: whether {task} was stopped early is not what the journal saw"
    yield from _instruments(file, entries)


def _instruments(file: RunFile, entries: Sequence[Entry], merged: bool = False) -> Iterator[str]:
    """Every instrument is the one written down before its first score. (A merged run has those of its shards.)"""
    for task, record in file.tasks.items():
        for scorer, identity in record.instruments.items():
            place = {"task": task, "scorer": scorer}
            noted = any(e.event is Event.INSTRUMENT and place.items() <= e.facts.items() for e in entries)
            if merged and not noted:
                continue
            name = f"{task}/scores/{scorer}.jsonl"
            scored = [e for e in entries if e.facts.get("file") == name and not merged]
            wanted = {"identity": bound(identity), "arguments": bound(record.arguments.get(scorer, {}))}
            yield from _once(entries, Event.INSTRUMENT, place, wanted, scored)


def _once(
    entries: Sequence[Entry], event: Event, place: Facts, wanted: Facts, before: Sequence[Entry], always: bool = False
) -> Iterator[str]:
    """One entry of this kind, as wanted, before all those that build on it; none is needed where nothing does."""
    seen = [e for e in entries if e.event is event and "file" not in e.facts and place.items() <= e.facts.items()]
    where = f" of {' by '.join(place.values())}" if place else ""
    if not seen and (before or always):
        yield f"the journal does not say the {event}{where} before the first record: it was cut or made again"
    elif seen and (len(seen) > 1 or dict(seen[0].facts) != {**place, **wanted}):
        yield f"run.json: the {event}{where} was changed after the run began"
    elif seen and before and seen[0].number > before[0].number:
        yield f"the {event}{where} was written into the journal only after the first record"


def _is_output(entry: Entry) -> bool:
    return entry.event is Event.GREW and str(entry.facts.get("file", "")).endswith("/outputs.jsonl")


def _grown(folder: Path, entries: Sequence[Entry]) -> Iterator[str]:
    """What each record file was at every head is still its beginning."""
    heads: dict[str, list[tuple[int, str]]] = {}
    for name, size, sha256 in journal.files(entries):
        if name.endswith(".jsonl"):
            heads.setdefault(name, []).append((size, sha256))
    for name, seen in heads.items():
        path = folder / name
        if not path.is_file():
            yield f"{name} is gone: the journal saw it"
        elif not begins_with(path, seen):
            yield f"{name} was changed: it is no longer what was there while the run went on, and more"


def begins_with(path: Path, heads: Sequence[tuple[int, str]]) -> bool:
    """Whether a file grew through all its heads (size, digest), in their order."""
    hashed, at = hashlib.sha256(), 0
    with path.open("rb") as content:
        for size, sha256 in heads:
            if not at <= size or _hash_on(hashed, content, size - at) != size - at or hashed.hexdigest() != sha256:
                return False
            at = size
    return True


def _hash_on(hashed: hashlib._Hash, content: IO[bytes], size: int) -> int:
    """Hash the next `size` bytes of a file; how many there were."""
    left = size
    while left and (block := content.read(min(left, 1 << 20))):
        hashed.update(block)
        left -= len(block)
    return size - left


def _as_measured(folder: Path, entries: Sequence[Entry]) -> Iterator[str]:
    """Every file is as the journal saw it last."""
    for name, wanted in journal.last_files(entries).items():
        path = folder / name
        if file_digest(path) != wanted:
            yield f"{name} was changed after it was measured (the journal saw another file)"
    named = journal.last_files(entries)
    kinds = ("*/outputs.jsonl", "*/scores/*.jsonl", "review/*.labels.json")
    for path in (path for kind in kinds for path in sorted(folder.glob(kind))):
        if path.relative_to(folder).as_posix() not in named:
            yield f"{path.relative_to(folder).as_posix()} is not in the journal: nothing shows where it came from"


def _joined(folder: Path, file: RunFile, entries: Sequence[Entry], sealed: bool) -> Iterator[str]:
    """The journals of all shards hold, and the joined files are theirs, one behind the other."""
    parts: dict[str, Any] = dict(entries[0].facts.get("journals", {}))
    there = sorted(p.name for p in (folder / SHARDS).glob("*") if p.is_dir())
    if there != sorted(parts):
        yield f"{SHARDS}/ does not hold the journals of the shards that were merged"
        return
    if entries[0].facts.get("begun") != begun(file):
        yield "run.json was changed after the shards were merged"
    shards: list[tuple[RunFile, Sequence[Entry]]] = []
    for name, wanted in parts.items():
        home = folder / SHARDS / name
        try:
            own, chain = run_file.read(home), journal.check(home / journal.NAME)
        except SafetyEvalError as error:
            yield f"{SHARDS}/{name}: {error.message}"
            return
        if journal.head(chain) != wanted or not chain or chain[0].event is not Event.ASKED:
            yield f"{SHARDS}/{name}/{journal.NAME} is not the journal of the shard that was merged"
            return
        yield from (f"{SHARDS}/{name}: {fault}" for fault in _bound(own, chain))
        if comparable(own) != comparable(_as_merged(file, entries)):
            yield f"{SHARDS}/{name} is not part of this run: it was asked something else"
        shards.append((own, chain))
    ended: list[Any] = [own.finished for own, _ in shards]
    ended += [e.facts.get("finished") for e in entries if e.event is Event.FINISHED]
    if file.finished not in ended:
        yield "run.json says another time of the run's end than the journals"
    yield from _instruments(file, entries, merged=True)
    if not sealed:
        yield from _laid_end_to_end(folder, shards)


def _as_merged(file: RunFile, entries: Sequence[Entry]) -> RunFile:
    """run.json without the instruments that were added to the run after the shards were merged."""
    added = {(e.facts.get("task"), e.facts.get("scorer")) for e in entries if e.event is Event.INSTRUMENT}
    for name, record in file.tasks.items():
        first = {s: identity for s, identity in record.instruments.items() if (name, s) not in added}
        file = file.changed_task(name, instruments=first)
    return file


def comparable(file: RunFile) -> dict[str, Any]:
    """What all shards of a run have in common."""
    shared: dict[str, Any] = {k: v for k, v in file.asked.items() if k != "shard"}
    shared["engine"] = file.engine
    shared["policy"] = file.policy.sha256 if file.policy else ""
    for name, record in file.tasks.items():
        used = record.instruments
        shared[f"prompts of {name}"] = record.prompts_digest
        shared[f"settings of {name}"] = record.settings
        shared[f"instruments of {name}"] = used
        shared[f"arguments of {name}"] = {s: a for s, a in record.arguments.items() if s in used}
    return shared


def _laid_end_to_end(folder: Path, shards: Sequence[tuple[RunFile, Sequence[Entry]]]) -> Iterator[str]:
    """Each joined file begins with the shards' files as their journals saw them last, headers once."""
    names = {name for _, chain in shards for name in journal.last_files(chain) if name.endswith(".jsonl")}
    for name in sorted(names):
        if not _are_in(folder / name, [chain for _, chain in shards], name):
            yield f"{name} does not hold what the shards' journals saw"


def _are_in(path: Path, shards: Sequence[Sequence[Entry]], name: str) -> bool:
    """Whether a joined file begins with what the journals of the shards saw last."""
    if not path.is_file():
        return not any(file == name for chain in shards for file, _, _ in journal.files(chain))
    with path.open("rb") as content:
        header = content.readline() if "/scores/" in name else b""
        for chain in shards:
            last = [(size, sha256) for file, size, sha256 in journal.files(chain) if file == name][-1:]
            if not last:
                continue
            size, sha256 = last[0]
            if name.endswith("/prompts.jsonl"):
                content.seek(0)
            hashed = hashlib.sha256(header)
            _hash_on(hashed, content, max(0, size - len(header)))
            if hashed.hexdigest() != sha256:
                return False
    return True
