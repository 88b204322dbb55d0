"""A lower rate of bad answers may be bought by refusing: the change of a rate, taken apart.

Over the same prompts, joint = answer rate x conditional + what is bad although refused, so that
    change of joint = change of answering x old conditional + new answering x change of conditional + rest.
The conditional rates are about different prompts where the two runs answered different ones; only the difference
on prompts that both answered (`<metric>.answered` of the comparison) compares like with like.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from safety_eval.compare.differences import Floats, Pairs
from safety_eval.core.records import Cell
from safety_eval.core.task import ANSWERED
from safety_eval.measure.coded import members
from safety_eval.measure.metrics import DISPLAY
from safety_eval.stats.gate import Codes, effective_answers, gate


class Reading(StrEnum):
    """What a fall of the rate of bad answers was bought with."""

    UNEXPLAINED = ""
    BOUGHT = "bought by refusing"
    PERHAPS = "perhaps bought by refusing (the fall of answering is within noise)"


@dataclass(frozen=True, slots=True)
class Sides:
    """The same number in the run and in the baseline."""

    run: float
    baseline: float

    @property
    def change(self) -> float:
        """Run minus baseline."""
        return self.run - self.baseline


@dataclass(frozen=True, slots=True)
class Parts:
    """What the change of the joint rate is made of; the three add up to it."""

    by_answering: float
    by_conditional: float
    rest: float


@dataclass(frozen=True, slots=True)
class Decomposition:
    """Why the rate of bad answers changed, on pairs measured on both sides. Shares from 0 to 1, changes signed.

    Attributes:
        cell: the rate that was taken apart.
        count: pairs of answers.
        joint: bad over all prompts. answered: answered.
        conditional: bad among the answered, (run, baseline); None where nothing was answered.
        parts: of the change of joint.
        answering: 95% interval of the change of the answer rate, (low, high).
        alone: prompts that only the run, only the baseline answered.
        reading: what the change was bought with.
    """

    cell: Cell
    count: int
    joint: Sides
    answered: Sides
    conditional: tuple[float | None, float | None]
    parts: Parts
    answering: tuple[float, float]
    alone: tuple[int, int]
    reading: Reading


def decompose(pairs: Pairs) -> list[Decomposition]:
    """The decomposition in total and per group, for a rate over all prompts whose bad end is high."""
    metric = pairs.new.metric
    answered = [side.status.within(ANSWERED).astype(float) for side in (pairs.new, pairs.old)]
    known = ~np.isnan(pairs.new.y) & ~np.isnan(pairs.old.y)
    found = [_taken_apart(pairs, "total", "all", np.flatnonzero(known), answered)] if known.any() else []
    for axis in metric.axes:
        for group, rows in members(pairs.new.groups, axis).items():
            if known[rows].any():
                found.append(_taken_apart(pairs, axis, group, rows[known[rows]], answered))
    return found


def _taken_apart(pairs: Pairs, axis: str, group: str, inside: Codes, answered: Sequence[Floats]) -> Decomposition:
    bad = [side.y[inside] for side in (pairs.new, pairs.old)]
    told = [side[inside] for side in answered]
    joint, share = [float(b.mean()) for b in bad], [float(t.mean()) for t in told]
    hit = [float((b * t).mean()) for b, t in zip(bad, told, strict=True)]
    conditional = [h / s if s else None for h, s in zip(hit, share, strict=True)]
    old_rate, new_rate = conditional[1], conditional[0]
    by_answering = (share[0] - share[1]) * (old_rate if old_rate is not None else new_rate or 0.0)
    by_conditional = (hit[0] - hit[1]) - by_answering
    w, apart = np.ones(len(inside)), told[0] - told[1]
    moved = gate(apart, w, (-1.0, 1.0), effective_answers(w), False, DISPLAY)
    return Decomposition(
        cell=Cell(pairs.new.task, pairs.new.metric.name, pairs.new.scorer, axis, group),
        count=len(inside),
        joint=Sides(*joint),
        answered=Sides(*share),
        conditional=(new_rate, old_rate),
        parts=Parts(by_answering, by_conditional, (joint[0] - joint[1]) - (hit[0] - hit[1])),
        answering=(moved.low, moved.high),
        alone=(int((apart > 0).sum()), int((apart < 0).sum())),
        reading=_reading(joint[0] - joint[1], share[0] - share[1], moved.high),
    )


def _reading(joint: float, answering: float, answering_high: float) -> Reading:
    """What explains a fall of the joint rate that goes with a larger fall of the answer rate."""
    if joint >= -1e-12 or answering >= joint - 1e-12:
        return Reading.UNEXPLAINED
    return Reading.BOUGHT if answering_high < 0 else Reading.PERHAPS
