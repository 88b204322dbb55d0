"""What of its task's list a run has asked, and the weights by which a drawn part speaks for the list."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from safety_eval.core.records import Prompt
from safety_eval.core.task import Drawn, Metric

Floats = NDArray[np.float64]
LEAST = 10
"""Prompts on the list from which a group can be gated; below, it is descriptive only, and no policy requires it."""


def chances(prompts: Sequence[Prompt], drawn: Drawn | None, whole: bool) -> Floats:
    """Share of its stratum that was asked, for each prompt; 1 where the whole list was. Weights are 1 / chance.

    Args:
        whole: clusters were drawn whole (by the smallest group of any member).
    """
    if drawn is None:
        return np.ones(len(prompts))
    rank = {s.name: i for i, s in enumerate(drawn.strata)}
    last = len(drawn.strata)
    homes = [
        min((rank.get(g, last) for g in p.groups.get(drawn.axis, ()) or ("",)), default=last) for p in prompts
    ]
    if whole:
        first: dict[str, int] = {}
        for prompt, home in zip(prompts, homes, strict=True):
            first[prompt.unit] = min(home, first.get(prompt.unit, last))
        homes = [first[p.unit] for p in prompts]
    shares = np.array([s.asked / s.listed for s in drawn.strata] + [1.0])
    return shares[np.array(homes, dtype=np.int64)]


def unasked(drawn: Drawn | None) -> int:
    """Strata of the list of which nothing was asked: a total or a headline cannot speak for them."""
    return 0 if drawn is None else sum(s.asked == 0 for s in drawn.strata)


def sizes(drawn: Drawn | None, metric: Metric) -> Mapping[str, int]:
    """Prompts of each group ('axis/group') on the list, for a metric; empty where the whole list was asked."""
    if drawn is None:
        return {}
    return drawn.listed.get(metric.name if metric.where is not None else "", {})
