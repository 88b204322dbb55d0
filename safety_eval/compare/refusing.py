"""A lower rate of bad answers may be bought by refusing: the change of a rate, taken apart.

Over the same prompts, joint = answer rate x conditional + what is bad although refused, so that
    change of joint = change of answering x old conditional + new answering x change of conditional + rest.
The conditional rates are about different prompts where the two runs answered different ones; only the difference
on prompts that both answered (`<metric>.answered` of the comparison) compares like with like.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from safety_eval.compare.differences import Floats, Pairs
from safety_eval.core.task import ANSWERED
from safety_eval.measure.metrics import DISPLAY
from safety_eval.stats.gate import effective_answers, gate

BOUGHT = "bought by refusing"


@dataclass(frozen=True, slots=True)
class Decomposition:
    """Why the rate of bad answers changed, on pairs measured on both sides. Shares from 0 to 1, changes signed.

    Attributes:
        joint_*: bad over all prompts. answered_*: answered. conditional_*: bad among answered (None: none answered).
        by_answering, by_conditional, rest: the parts of the change of joint; they add up to it.
        answered_low, answered_high: 95% interval of the change of the answer rate.
        only_run, only_baseline: prompts that only one of the two answered.
        reading: 'bought by refusing' and the like; '' where refusing explains nothing.
    """

    task: str
    metric: str
    scorer: str
    axis: str
    group: str
    count: int
    joint_run: float
    joint_baseline: float
    answered_run: float
    answered_baseline: float
    conditional_run: float | None
    conditional_baseline: float | None
    by_answering: float
    by_conditional: float
    rest: float
    answered_low: float
    answered_high: float
    only_run: int
    only_baseline: int
    reading: str


def decompose(pairs: Pairs, new_status: Sequence[str], old_status: Sequence[str]) -> list[Decomposition]:
    """The decomposition in total and per group, for a rate whose bad end is high.

    Args:
        pairs: the rate over all prompts. new_status, old_status: each answer's status, in the rows' order.
    """
    metric = pairs.new.metric
    answered = [np.array([s in ANSWERED for s in side], float) for side in (new_status, old_status)]
    known = ~np.isnan(pairs.new.y) & ~np.isnan(pairs.old.y)
    found = [_taken_apart(pairs, "total", "all", known, answered)] if known.any() else []
    for axis in metric.axes:
        for group in dict.fromkeys(g for row in pairs.new.groups for g in row.get(axis, ())):
            inside = known & np.array([group in row.get(axis, ()) for row in pairs.new.groups])
            if inside.any():
                found.append(_taken_apart(pairs, axis, group, inside, answered))
    return found


def _taken_apart(
    pairs: Pairs, axis: str, group: str, inside: np.ndarray, answered: Sequence[Floats]
) -> Decomposition:
    bad = [side.y[inside] for side in (pairs.new, pairs.old)]
    told = [side[inside] for side in answered]
    joint, share = [float(b.mean()) for b in bad], [float(t.mean()) for t in told]
    hit = [float((b * t).mean()) for b, t in zip(bad, told, strict=True)]
    conditional = [h / s if s else None for h, s in zip(hit, share, strict=True)]
    old_rate, new_rate = conditional[1], conditional[0]
    by_answering = (share[0] - share[1]) * (old_rate if old_rate is not None else new_rate or 0.0)
    change = (hit[0] - hit[1]) - by_answering
    w = np.ones(int(inside.sum()))
    apart = told[0] - told[1]
    moved = gate(apart, w, (-1.0, 1.0), effective_answers(w), False, DISPLAY)
    return Decomposition(
        pairs.new.task, pairs.new.metric.name, pairs.new.scorer, axis, group, int(inside.sum()),
        joint[0], joint[1], share[0], share[1], new_rate, old_rate,
        by_answering, change, (joint[0] - joint[1]) - (hit[0] - hit[1]),
        moved.low, moved.high, int((apart > 0).sum()), int((apart < 0).sum()),
        _reading(joint[0] - joint[1], share[0] - share[1], moved.high),
    )  # fmt: skip


def _reading(joint: float, answering: float, answering_high: float) -> str:
    """The words for a fall of the joint rate that goes with a larger fall of the answer rate."""
    if joint >= -1e-12 or answering >= joint - 1e-12:
        return ""
    return BOUGHT if answering_high < 0 else f"perhaps {BOUGHT} (the fall of answering is within noise)"
