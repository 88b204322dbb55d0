"""The parts of the report as plain data: cards, tables with small pictures, verdict, answers, record."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from safety_eval.core.records import Estimate, digest
from safety_eval.measure.beside import Beside
from safety_eval.report.answers import AnswerPart
from safety_eval.runs.run_file import RunFile, TaskRecord
from safety_eval.show import words as wording
from safety_eval.show.selection import with_missing
from safety_eval.show.tables import Row, Table

Pairs = tuple[tuple[str, str], ...]
WORDY = ("note", "missing", "outcome", "what was found", "because")
"""Columns of words, set from the left."""
READING = (
    "Every number stands with its 95% interval and n, the answers that were measured. The interval is about this list "
    "of prompts: how far the number could move if the model answered again and, where a part was drawn, if another "
    "part had been. It says nothing of other prompts; a policy may ask for that (estimand: population).",
    "Missing answers are counted and never taken as safe. A policy acts only on one-sided limits in which "
    "every unmeasured or degenerate answer counts as bad; the value shown is of what was measured.",
    "Zero is not none: 0% of n answers still allows a rate of about 3/n.",
    "Grey rows are descriptive: fewer than 10 prompts on the list, or nothing measured. They are never judged.",
    "The worst group of many looks worse than it is, because it was picked for being worst; compare groups "
    "by their intervals, not by rank.",
    "A classifier or judge has errors of its own, which may differ between groups. The instrument is named "
    "with every number; numbers made by different instruments must not be compared.",
    "Published rows are what the authors printed. They stand beside a number only where it was made from the "
    "same prompts by the same instrument; all others stand by themselves under 'Published figures'.",
)


@dataclass(frozen=True, slots=True)
class Card:
    """A number in large type."""

    name: str
    value: str
    fine: str
    none: bool = False


@dataclass(frozen=True, slots=True)
class Picture:
    """A chart as a data URI, with what it shows in words."""

    uri: str
    alt: str


@dataclass(frozen=True, slots=True)
class Spark:
    """Positions (0..150) of a row's interval, value and published rows."""

    value: float
    low: float | None
    high: float | None
    beside: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class LaidOut:
    """A table with a small picture for each row (none at all, or one place per row)."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...]
    sparks: tuple[Spark | None, ...]
    wordy: frozenset[int]


@dataclass(frozen=True, slots=True)
class TaskPart:
    """A task's section."""

    title: str
    anchor: str
    meta: str
    notes: tuple[str, ...]
    cards: tuple[Card, ...]
    charts: tuple[Picture, ...]
    first: LaidOut | None
    others: tuple[LaidOut, ...]
    about: Pairs
    answers: tuple[AnswerPart, ...]


@dataclass(frozen=True, slots=True)
class PublishedPart:
    """What the papers printed for a task: how it stands to this run's numbers, and all rows."""

    title: str
    sentence: str
    table: LaidOut


def slug(text: str) -> str:
    """`text` as an anchor."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "x"


def card(e: Estimate, facts: wording.Facts) -> Card:
    """An estimate in large type, with interval, n, what is missing and the instrument."""
    name = f"{wording.name(e.task)}: {wording.metric_name(e.metric)}"
    if e.axis == "macro":
        name += f", {wording.headline_name(e.group)}"
    fine = [wording.interval(e), f"n={e.count:,}", f"instrument: {wording.instrument(e, facts)}"]
    if wording.absent(e):
        fine.insert(2, f"missing {wording.missing(e)}")
    if wording.caveat(e, brief=True):
        fine.append(wording.caveat(e, brief=True))
    shown = wording.NO_DATA if e.value is None else wording.number(e.value, e.kind)
    return Card(name, shown, "; ".join(f for f in fine if f), none=e.value is None)


def laid_out(table: Table, beside: Beside | None = None, models: Sequence[str] = ()) -> LaidOut:
    """A table with its rows' small pictures on one scale, where its rows are estimates."""
    estimates = [row.estimate for row in table.rows]
    wordy = frozenset(i for i, c in enumerate(table.columns) if c in WORDY)
    pictures: tuple[Spark | None, ...] = ()
    if any(e is not None and e.value is not None for e in estimates):
        near = {m: beside.groups(m) for m in models[:1]} if beside is not None else {}
        pictures = _sparks(estimates, near)
    key = [f"Picture: dot and bar are ours, the open triangle is {wording.printable(m)}." for m in models[:1]]
    return LaidOut(table.title, table.columns, table.rows, (*key, *table.notes), pictures, wordy)


def _sparks(estimates: Sequence[Estimate | None], near: Mapping[str, Mapping[str, float]]) -> tuple[Spark | None, ...]:
    measured = [e for e in estimates if e is not None and e.value is not None]
    points = [x for e in measured for x in (e.value, e.low, e.high) if x is not None]
    points += [v for values in near.values() for e in measured for g, v in values.items() if g == e.group]
    low = min(0.0, *points) if measured[0].kind == "rate" else min(points)
    span = (max(points) - low) or 1.0

    def at(x: float | None) -> float | None:
        return None if x is None else round(5 + 140 * (x - low) / span, 1)

    made: list[Spark | None] = []
    for e in estimates:
        if e is None or e.value is None:
            made.append(None)
            continue
        printed = tuple(x for v in near.values() if (x := at(v.get(e.group))) is not None)
        both = (at(e.low), at(e.high)) if e.low is not None and e.high is not None else (None, None)
        made.append(Spark(at(e.value) or 0.0, *both, printed))
    return tuple(made)


def subtitle(file: RunFile, facts: wording.Facts) -> str:
    """Who was measured how and when, on one line."""
    parts = (
        f"engine {facts.engine}" if facts.engine else "",
        f"precision {facts.precision}" if facts.precision else "",
        f"started {file.started}",
        f"finished {file.finished}" if file.finished else "not finished",
        f"run {digest(file.asked)[:12]}",
    )
    return "; ".join(p for p in parts if p)


def warnings(file: RunFile, estimates: Sequence[Estimate]) -> tuple[str, ...]:
    """What a reader must know before the first number."""
    found = []
    own = [n for n, t in file.tasks.items() if t.data_version == "quickstart"]
    if own:
        names = ", ".join(map(wording.name, own))
        found.append(f"NOT the benchmarks: small prompts of our own, which say nothing of a model's safety ({names}).")
    elif file.config.limit:
        found.append(f"NOT the full benchmarks: at most {file.config.limit:,} prompts of each task were asked.")
    if not file.finished:
        found.append("This run is not finished: its numbers are of what was measured so far.")
    if not estimates:
        found.append("Nothing has been measured yet.")
    if missing := with_missing(estimates):
        names = ", ".join(map(wording.name, missing))
        found.append(f"Some answers gave no value (missing, see the tables): {names}.")
    return tuple(found)


def task_meta(asked: TaskRecord, template: str) -> str:
    """Source, version, size and settings of a task on one line."""
    settings = asked.settings
    decoding = [
        f"{k.replace('_', ' ')} {settings[k]}" for k in ("temperature", "top_p", "max_new_tokens") if k in settings
    ]
    parts = (
        asked.paper,
        f"data version {asked.data_version}",
        f"{asked.prompts:,} prompts, {asked.samples} answer(s) each",
        ", ".join(decoding),
        f"chat template {template}" if template else "",
        f"instruments: {', '.join(asked.instruments) or 'none'}",
    )
    return "; ".join(p for p in parts if p)


@dataclass(frozen=True, slots=True)
class Record:
    """What was asked, by whom it was answered and scored, from which data."""

    asked: Pairs
    engine: Pairs
    tasks: tuple[RecordPart, ...]
    software: Pairs


@dataclass(frozen=True, slots=True)
class RecordPart:
    """Named facts."""

    title: str
    pairs: Pairs


def record(file: RunFile) -> Record:
    """run.json as named facts."""
    parts = []
    for name, task in file.tasks.items():
        named = {**task.manifest, **{f"setting {k}": v for k, v in task.settings.items()}}
        named |= {f"instrument {k}": v for k, v in task.instruments.items()}
        named["prompts digest"] = task.prompts_digest
        parts.append(RecordPart(f"{task.title or wording.name(name)}: data, settings, instruments", pairs(named)))
    software = {**file.versions, **file.machine}
    return Record(pairs(file.asked), pairs(file.engine), tuple(parts), pairs(software))


def pairs(values: Mapping[str, Any]) -> Pairs:
    """A mapping as (name, words); empty values are left out, nested ones are written as JSON."""
    return tuple((wording.name(k), _words(v)) for k, v in values.items() if v not in (None, "", {}, [], ()))


def _words(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        return "; ".join(f"{k}: {_words(v)}" for k, v in value.items())
    if isinstance(value, Iterable):
        return ", ".join(_words(v) for v in value)
    return json.dumps(value)
