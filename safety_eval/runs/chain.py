"""Does the journal of a run bind what lies in its folder? What was asked, of which model, how and by which policy,
before the first token; answers and scores that only ever grew; and every file as it was when the run was measured.

A journal has no secret. Whoever makes up a whole run can make up its journal too; see docs/explanation/threat-model.md.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from safety_eval.core import journal
from safety_eval.core.errors import SafetyEvalError
from safety_eval.core.journal import Entry, Event
from safety_eval.core.records import digest
from safety_eval.core.store import read_json

SHARDS = "shards"
"""RUN/shards/<i>-of-<n>/: journal and run.json of each shard that a run was joined of."""
_BEGUN = ("schema", "started", "asked", "config", "versions", "machine", "policy")
_LATER = ("settings", "instruments", "arguments", "stopped")
Facts = Mapping[str, Any]


def begun(facts: Facts) -> str:
    """Digest of what run.json says from the beginning."""
    return digest({name: facts.get(name) for name in _BEGUN})


def prepared(about: Facts) -> str:
    """Digest of what run.json says of a task once its prompts are frozen."""
    return digest({name: value for name, value in about.items() if name not in _LATER})


def faults(folder: Path, facts: Facts, entries: Sequence[Entry], sealed: bool = False) -> Iterator[str]:
    """What the journal does not bind: sentences.

    Args:
        folder, facts: the run folder and its run.json. entries: its journal, whose chain holds.
        sealed: the records lie here redacted, so that their bytes are not those that the journal saw.
    """
    if not entries:
        yield f"{journal.NAME} is missing: nothing shows what happened to the run"
        return
    if entries[0].event not in (Event.ASKED, Event.MERGED):
        yield f"{journal.NAME} does not begin with what was asked: it was deleted, cut or made again"
        return
    if entries[0].event is Event.ASKED:
        yield from _bound(facts, entries)
    else:
        yield from _joined(folder, facts, entries, sealed)
    if sealed:
        return
    yield from _grown(folder, entries)
    yield from _as_measured(folder, entries)


def _bound(facts: Facts, entries: Sequence[Entry]) -> Iterator[str]:
    """run.json is what the journal saw before the first token, and before each instrument's first score."""
    record = facts.get("policy") or {}
    if dict(entries[0].facts) != {"begun": begun(facts), "policy": record.get("sha256", "")}:
        yield "run.json was changed after the run began, or its policy was registered afterwards"
    ended = [e.facts.get("finished") for e in entries if e.event is Event.FINISHED]
    if facts.get("finished") and facts["finished"] not in ended[-1:]:
        yield "run.json says another time of the run's end than the journal"
    answered = [e for e in entries if _is_output(e)]
    yield from _once(entries, Event.ENGINE, {}, {"identity": digest(facts.get("engine", {}))}, answered)
    for task, about in facts["tasks"].items():
        mine = [e for e in answered if e.facts["file"] == f"{task}/outputs.jsonl"]
        wanted = {"about": prepared(about)}
        yield from _once(entries, Event.FROZEN, {"task": task}, wanted, mine, always=True)
        wanted = {"settings": digest(about.get("settings", {}))}
        yield from _once(entries, Event.SETTINGS, {"task": task}, wanted, mine)
        stops = [e.facts.get("state") for e in entries if e.event is Event.STOPPED and e.facts.get("task") == task]
        if stops[-1:] != ([about["stopped"]] if about.get("stopped") else []):
            yield f"run.json: whether {task} was stopped early is not what the journal saw"
    yield from _instruments(facts, entries)


def _instruments(facts: Facts, entries: Sequence[Entry], merged: bool = False) -> Iterator[str]:
    """Every instrument is the one written down before its first score. (A merged run has those of its shards.)"""
    for task, about in facts["tasks"].items():
        for scorer, identity in about.get("instruments", {}).items():
            place = {"task": task, "scorer": scorer}
            noted = any(e.event is Event.INSTRUMENT and place.items() <= e.facts.items() for e in entries)
            if merged and not noted:
                continue
            name = f"{task}/scores/{scorer}.jsonl"
            scored = [e for e in entries if e.facts.get("file") == name and not merged]
            wanted = {"identity": digest(identity), "arguments": digest(about.get("arguments", {}).get(scorer, {}))}
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
        elif not begins_with(path.read_bytes(), seen):
            yield f"{name} was changed: it is no longer what was there while the run went on, and more"


def begins_with(content: bytes, heads: Sequence[tuple[int, str]]) -> bool:
    """Whether a file grew through all its heads (size, digest), in their order."""
    hashed, at = hashlib.sha256(), 0
    for size, sha256 in heads:
        if not at <= size <= len(content):
            return False
        hashed.update(content[at:size])
        at = size
        if hashed.hexdigest() != sha256:
            return False
    return True


def _as_measured(folder: Path, entries: Sequence[Entry]) -> Iterator[str]:
    """Every file is as the journal saw it last."""
    for name, wanted in journal.last_files(entries).items():
        path = folder / name
        if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != wanted:
            yield f"{name} was changed after it was measured (the journal saw another file)"
    named = journal.last_files(entries)
    for path in sorted(folder.glob("*/outputs.jsonl")) + sorted(folder.glob("*/scores/*.jsonl")):
        if path.relative_to(folder).as_posix() not in named:
            yield f"{path.relative_to(folder).as_posix()} is not in the journal: nothing shows where it came from"


def _joined(folder: Path, facts: Facts, entries: Sequence[Entry], sealed: bool) -> Iterator[str]:
    """The journals of all shards hold, and the joined files are theirs, one behind the other."""
    parts: dict[str, Any] = dict(entries[0].facts.get("journals", {}))
    there = sorted(p.name for p in (folder / SHARDS).glob("*") if p.is_dir())
    if there != sorted(parts):
        yield f"{SHARDS}/ does not hold the journals of the shards that were merged"
        return
    if entries[0].facts.get("begun") != begun(facts):
        yield "run.json was changed after the shards were merged"
    shards: list[tuple[Facts, Sequence[Entry]]] = []
    for name, wanted in parts.items():
        home = folder / SHARDS / name
        try:
            own, chain = read_json(home / "run.json"), journal.check(home / journal.NAME)
        except SafetyEvalError as error:
            yield f"{SHARDS}/{name}: {error.message}"
            return
        if journal.head(chain) != wanted or not chain or chain[0].event is not Event.ASKED:
            yield f"{SHARDS}/{name}/{journal.NAME} is not the journal of the shard that was merged"
            return
        yield from (f"{SHARDS}/{name}: {fault}" for fault in _bound(own, chain))
        if comparable(own) != comparable(_as_merged(facts, entries)):
            yield f"{SHARDS}/{name} is not part of this run: it was asked something else"
        shards.append((own, chain))
    ended = [own.get("finished") for own, _ in shards]
    ended += [e.facts.get("finished") for e in entries if e.event is Event.FINISHED]
    if facts.get("finished") not in ended:
        yield "run.json says another time of the run's end than the journals"
    yield from _instruments(facts, entries, merged=True)
    if not sealed:
        yield from _laid_end_to_end(folder, shards)


def _as_merged(facts: Facts, entries: Sequence[Entry]) -> Facts:
    """run.json without the instruments that were added to the run after the shards were merged."""
    added = {(e.facts["task"], e.facts["scorer"]) for e in entries if e.event is Event.INSTRUMENT}
    tasks = {
        name: {**t, "instruments": {s: i for s, i in t["instruments"].items() if (name, s) not in added}}
        for name, t in facts["tasks"].items()
    }
    return {**facts, "tasks": tasks}


def comparable(facts: Facts) -> dict[str, Any]:
    """What all shards of a run have in common."""
    shared: dict[str, Any] = {k: v for k, v in facts["asked"].items() if k != "shard"}
    shared["engine"] = facts["engine"]
    shared["policy"] = (facts.get("policy") or {}).get("sha256")
    for name, task in facts["tasks"].items():
        shared[f"prompts of {name}"] = task["prompts_digest"]
        shared[f"settings of {name}"] = task.get("settings")
        shared[f"instruments of {name}"] = task["instruments"]
        used = task["instruments"]
        shared[f"arguments of {name}"] = {s: a for s, a in task.get("arguments", {}).items() if s in used}
    return shared


def _laid_end_to_end(folder: Path, shards: Sequence[tuple[Facts, Sequence[Entry]]]) -> Iterator[str]:
    """Each joined file begins with the shards' files as their journals saw them last, headers once."""
    names = {name for _, chain in shards for name in journal.last_files(chain) if name.endswith(".jsonl")}
    for name in sorted(names):
        content = (folder / name).read_bytes() if (folder / name).is_file() else b""
        header = content[: content.find(b"\n") + 1] if "/scores/" in name else b""
        at = len(header)
        for _, chain in shards:
            last = [(size, sha256) for file, size, sha256 in journal.files(chain) if file == name][-1:]
            if not last:
                continue
            size, sha256 = last[0]
            if name.endswith("/prompts.jsonl"):
                at = 0
            if hashlib.sha256(header + content[at : at + size - len(header)]).hexdigest() != sha256:
                yield f"{name} does not hold what the shards' journals saw"
                break
            at += size - len(header)
