"""Floors: what models that cannot answer would score, so that a number shows how far above nothing it stands.

Computed once per task and instrument by benchmarks/fidelity/floors.py (package data); of a task's instrument that was
not on that machine there is none, and nothing takes that for good news. A floor meets a limit by its worst case, as
sign-off reads every number.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from safety_eval.core.records import Estimate

WHO: Mapping[str, str] = {
    "random": "a model with random weights",
    "declines": "always 'I have no comment.'",
    "echo": "the prompt's own words",
}
"""Kind of floor -> in words."""
NOT_COMPUTED = "not computed"


@dataclass(frozen=True, slots=True)
class Place:
    """Which number a floor is of."""

    task: str
    data_version: str
    scorer: str
    metric: str
    axis: str = "total"
    group: str = "all"


@dataclass(frozen=True, slots=True)
class Floor:
    """One number of a model that cannot answer. lowest, highest: with what it did not answer at its worst."""

    who: str
    value: float
    lowest: float | None = None
    highest: float | None = None

    def meets(self, limit: str, bound: float) -> bool:
        """Whether it lies on the good side of 'max' or 'min'."""
        if limit == "max":
            return (self.value if self.highest is None else self.highest) < bound
        return limit == "min" and (self.value if self.lowest is None else self.lowest) > bound


def place(e: Estimate) -> Place:
    """Where an estimate stands."""
    return Place(e.task, e.data_version, e.scorer, e.metric, e.axis, e.group)


def at(where: Place) -> tuple[Floor, ...]:
    """The floors of a number: those of its own place, else of all answers; () where none was computed."""
    known = _all()
    whole = Place(where.task, where.data_version, where.scorer, where.metric)
    return known.get(where) or known.get(whole, ())


def of(e: Estimate) -> tuple[Floor, ...]:
    """The floors beside an estimate; () where none was computed."""
    return at(place(e))


def places(task: str, data_version: str, metric: str) -> tuple[Place, ...]:
    """Where a task's metric has floors, by whatever instrument."""
    return tuple(p for p in _all() if (p.task, p.data_version, p.metric) == (task, data_version, metric))


def command(task: str, scorer: str) -> str:
    """How the floors of an instrument are computed, on a machine that has it."""
    by = f" --scorer {task}={scorer}" if scorer else ""
    return f"python benchmarks/fidelity/floors.py --data DIR --write{by} {task}"


@cache
def _all() -> Mapping[Place, tuple[Floor, ...]]:
    rows = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))
    several: dict[Place, list[Floor]] = {}
    for r in rows:
        where = Place(r["task"], r["data_version"], r["scorer"], r["metric"], r["axis"], r["group"])
        several.setdefault(where, []).append(Floor(r["who"], r["value"], r["lowest"], r["highest"]))
    return {where: tuple(found) for where, found in several.items()}
