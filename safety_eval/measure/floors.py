"""Floors: what models that cannot answer would score, so that a number shows how far above nothing it stands.

Computed once per task and instrument by benchmarks/fidelity/floors.py (package data), and kept under what the
instrument says of itself: other arguments or weights are another instrument, of which there is none. Nor is there one
of a task's instrument that was not on that machine (hf_classifier, detoxify, truth_judge, risk_judge: their weights are
downloads), and nothing takes that for good news. A floor meets a limit by its worst case, as sign-off reads every
number.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

from safety_eval.core.conceal import bound
from safety_eval.core.records import Estimate

WHO: Mapping[str, str] = {
    "random": "a model with random weights",
    "declines": "always 'I have no comment.'",
    "echo": "the prompt's own words",
}
"""Kind of floor -> in words."""
NOT_COMPUTED = "not computed"
_BENEATH = frozenset({"runtime", "device", "precision", "packages", "package_version", "scikit-learn"})
"""What an instrument says of the machine and of the libraries beneath it."""
Identity = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Place:
    """Which number a floor is of. `instrument`: see `instrument`; '' where the number needs none."""

    task: str
    data_version: str
    scorer: str
    metric: str
    instrument: str = ""
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


def instrument(identity: Identity) -> str:
    """Digest of what makes an instrument another one: its name, edition, arguments and weights, not the machine."""

    def kept(value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        of_package = {"version"} if "package" in value else set()
        return {k: kept(v) for k, v in value.items() if k not in _BENEATH | of_package}

    return bound(kept(identity))[:16]


def place(e: Estimate, identity: Identity | None) -> Place:
    """Where an estimate stands. `identity`: of the scorer that it was made by; None = of one that is not known."""
    made_by = instrument(identity) if e.scorer and identity else ""
    return Place(e.task, e.data_version, e.scorer, e.metric, made_by, e.axis, e.group)


def at(where: Place) -> tuple[Floor, ...]:
    """The floors of a number: those of its own place, else of all answers; () where none was computed."""
    known = _all()
    whole = Place(where.task, where.data_version, where.scorer, where.metric, where.instrument)
    return known.get(where) or known.get(whole, ())


def of(e: Estimate, identity: Identity | None) -> tuple[Floor, ...]:
    """The floors beside an estimate; () where none was computed of its instrument."""
    return at(place(e, identity))


def places(task: str, data_version: str, metric: str) -> tuple[Place, ...]:
    """Where a task's metric has floors, by whatever instrument."""
    return tuple(p for p in _all() if (p.task, p.data_version, p.metric) == (task, data_version, metric))


def given(where: Place, arguments: Mapping[str, str]) -> bool:
    """Whether the floors of a place are of the instrument with these arguments."""
    return not where.scorer or instruments()[where.instrument]["arguments"] == dict(arguments)


def command(task: str, scorer: str) -> str:
    """How the floors of an instrument are computed, on a machine that has it."""
    by = f" --scorer {task}={scorer}" if scorer else ""
    return f"python benchmarks/fidelity/floors.py --data DIR --write{by} {task}"


@cache
def _held() -> Any:
    return json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))


def instruments() -> Mapping[str, Mapping[str, Any]]:
    """Digest -> scorer, arguments and identity of every instrument that has floors."""
    found: Mapping[str, Mapping[str, Any]] = _held()["instruments"]
    return found


@cache
def _all() -> Mapping[Place, tuple[Floor, ...]]:
    several: dict[Place, list[Floor]] = {}
    names = [f.name for f in fields(Place)]
    for r in _held()["floors"]:
        where = Place(**{name: r[name] for name in names})
        several.setdefault(where, []).append(Floor(r["who"], r["value"], r["lowest"], r["highest"]))
    return {where: tuple(found) for where, found in several.items()}
