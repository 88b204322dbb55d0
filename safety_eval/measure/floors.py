"""Floors: what models that cannot answer would score, so that a number shows how far above nothing it stands.

Computed once per task and instrument by benchmarks/fidelity/floors.py (package data); where a task's instrument was not
on that machine there is none. A floor meets a limit by its worst case, as sign-off reads every number.
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
Place = tuple[str, str, str, str, str, str]
"""(task, data version, scorer, metric, axis, group)."""


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


def of(e: Estimate) -> tuple[Floor, ...]:
    """The floors beside an estimate: those of its own place, else of all answers; () where there is none."""
    here = (e.task, e.data_version, e.scorer, e.metric)
    known = _all()
    return known.get((*here, e.axis, e.group)) or known.get((*here, "total", "all"), ())


@cache
def _all() -> Mapping[Place, tuple[Floor, ...]]:
    rows = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))
    found: dict[Place, list[Floor]] = {}
    for r in rows:
        place = (r["task"], r["data_version"], r["scorer"], r["metric"], r["axis"], r["group"])
        found.setdefault(place, []).append(Floor(r["who"], r["value"], r["lowest"], r["highest"]))
    return {place: tuple(several) for place, several in found.items()}
