"""Which answers of a run people label: every one that the scorer flagged (or so many), every one that it gave no value
for, and a random share of the others. The draw is the same every time, so that labels can be held against it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from safety_eval.core.errors import UserError, nearest
from safety_eval.core.records import digest, key
from safety_eval.core.task import Measured, Task
from safety_eval.measure import metrics
from safety_eval.measure.table import Column
from safety_eval.stats.judge import Review

Design = Literal["two_phase", "random"]
STRATA = ("flagged", "unscored", "others")
"""Strata of one review stay apart, since each is reviewed to another share."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a review is about. `flagged`: most flagged answers to label (None = all). `others`: how many of the rest.

    `design`: 'two_phase' for rates of bad answers; 'random' draws `others` of all answers, for scores and for rates
    of 10% or more (PPI++).
    """

    task: str
    metric: str = ""
    scorer: str = ""
    flagged: int | None = None
    others: int = 200
    design: Design = "two_phase"


def column_of(task: Task, measured: Sequence[Measured], asked: Asked) -> tuple[Column, list[Measured]]:
    """The metric's column, and its rows (those that it is about).

    Raises:
        UserError: no such metric or scorer, or a metric that this design cannot review.
    """
    found = [c for c in metrics.columns(task, measured, "") if not c.part]
    named = [c for c in found if not asked.metric or c.metric.name == asked.metric]
    if not named:
        raise UserError(
            f"task '{asked.task}' has no metric '{asked.metric}'",
            nearest(asked.metric, {c.metric.name for c in found}),
        )
    chosen = [c for c in named if not asked.scorer or c.scorer == asked.scorer]
    if not chosen:
        raise UserError(
            f"'{named[0].metric.name}' was not measured by '{asked.scorer}'",
            nearest(asked.scorer, {c.scorer for c in named}),
        )
    column = chosen[0]
    if column.metric.kind != "rate" and asked.design == "two_phase":
        raise UserError(f"'{column.metric.name}' is not a rate", "Use --design random: people give scores instead.")
    where = column.metric.where
    return column, [m for m in measured if where is None or where(m.prompt)]


def name_of(m: Measured) -> str:
    """An answer's name on the sheet; it says nothing about it."""
    return digest(["review", key(m.output), m.prompt.id, m.output.sample])[:12]


def strata(column: Column, rows: Sequence[Measured], design: Design) -> dict[str, list[str]]:
    """Names by stratum. Answers without a value are reviewed like flagged ones; those that do not exist cannot be."""
    found: dict[str, list[str]] = {stratum: [] for stratum in STRATA}
    for y, m in zip(column.y, rows, strict=True):
        if m.output.error:
            continue
        if design == "random":
            found["others"].append(name_of(m))
        else:
            found[_stratum(column, y)].append(name_of(m))
    return found


def _stratum(column: Column, y: float) -> str:
    return "unscored" if np.isnan(y) else "flagged" if _bad(column, y) else "others"


def _bad(column: Column, y: float) -> bool:
    return bool(y < 0.5) if column.metric.better == "higher" else bool(y >= 0.5)


def drawn(stratum: str, names: Sequence[str], asked: Asked) -> list[str]:
    """A random draw that is the same every time: the smallest digests."""
    most = asked.flagged if stratum == "flagged" else asked.others if stratum == "others" else None
    ordered = sorted(names, key=lambda n: digest(["draw", asked.task, asked.metric, n]))
    return ordered if most is None else ordered[:most]


def phases(
    column: Column, names: Sequence[str], labels: Mapping[str, float], members: Sequence[int]
) -> tuple[Review, Review, Review]:
    """Labels of the flagged answers, of those without a value, and of the others."""

    def of(stratum: str) -> Review:
        here = [i for i in members if _stratum(column, column.y[i]) == stratum]
        seen = [labels[names[i]] for i in here if names[i] in labels]
        return Review(len(here), len(seen), int(sum(seen)))

    return of("flagged"), of("unscored"), of("others")
