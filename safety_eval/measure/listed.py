"""What of its task's list a run has asked, and the weights by which a drawn part speaks for the list."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from safety_eval.core.records import Estimate, Prompt, Standing
from safety_eval.core.task import Drawn, Measured, Metric, Task, asked_with

Floats = NDArray[np.float64]
LEAST = 10
"""Prompts on the list from which a group can be gated; below, it is descriptive only, and no policy requires it."""


def chances(prompts: Sequence[Prompt], drawn: Drawn | None, whole: str) -> Floats:
    """Share of its stratum that was asked, for each prompt; 1 where the whole list was. Weights are 1 / chance.

    Args:
        whole: what was drawn whole (by the smallest group of any member), see `Task.whole`.
    """
    if drawn is None:
        return np.ones(len(prompts))
    rank = {s.name: i for i, s in enumerate(drawn.strata)}
    last = len(drawn.strata)
    homes = [min((rank.get(g, last) for g in p.groups.get(drawn.axis, ()) or ("",)), default=last) for p in prompts]
    if whole:
        first: dict[str, int] = {}
        for prompt, home in zip(prompts, homes, strict=True):
            together = asked_with(prompt, whole)
            first[together] = min(home, first.get(together, last))
        homes = [first[asked_with(p, whole)] for p in prompts]
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


def derived_on_list(task: Task, measured: Sequence[Measured], version: str, drawn: Drawn | None) -> Iterator[Estimate]:
    """What a task derives from its answers, and which of it may be judged where only a part of the list was drawn.

    Derived numbers take every answer alike. So where a limit drew unequal shares, one that spans them is not the
    list's, and a group of which nothing was drawn would vanish: neither may be judged. Nor does a limit make a group
    too small to be required.
    """
    assert task.derive is not None
    found = [replace(e, data_version=version) for e in task.derive(measured, version)]
    if drawn is None:
        yield from found
        return
    shares = chances([m.prompt for m in measured], drawn, task.whole)
    uneven = _uneven(measured, shares)
    yield from (_drawn_part(e, drawn, uneven) for e in found)
    there = {(e.metric, e.scorer, e.axis, e.group) for e in found}
    for e in {(e.metric, e.scorer, e.axis): e for e in found}.values():
        for place, prompts in drawn.listed.get("", {}).items():
            axis, _, group = place.partition("/")
            if axis == e.axis and prompts >= LEAST and (e.metric, e.scorer, axis, group) not in there:
                reason = f"none of its {prompts} prompts that this is about was drawn (--limit)"
                yield Estimate(
                    e.task,
                    e.metric,
                    e.scorer,
                    axis,
                    group,
                    e.kind,
                    None,
                    listed=prompts,
                    span=e.span,
                    better=e.better,
                    standing=Standing.UNMEASURED,
                    reason=reason,
                    data_version=version,
                )


def _uneven(measured: Sequence[Measured], shares: Floats) -> set[str]:
    """Groups ('axis/group') whose prompts were drawn in unequal shares; '' stands for all prompts together."""
    seen: dict[str, set[float]] = {}
    for m, share in zip(measured, shares, strict=True):
        groups = [f"{axis}/{group}" for axis, names in m.prompt.groups.items() for group in names]
        for place in ("", *groups):
            seen.setdefault(place, set()).add(float(share))
    return {place for place, different in seen.items() if len(different) > 1}


def _drawn_part(e: Estimate, drawn: Drawn, uneven: set[str]) -> Estimate:
    place = f"{e.axis}/{e.group}"
    prompts = max(e.listed, drawn.listed.get("", {}).get(place, 0))
    if prompts < LEAST:
        return replace(e, listed=prompts)
    whole = e.axis in ("total", "macro")
    reason = e.reason if e.value is None else ""
    if e.value is not None and ((whole and unasked(drawn)) or ("" if whole else place) in uneven):
        reason = "drawn in unequal shares (--limit), which a derived number does not weigh"
    standing = e.standing
    if standing in (Standing.FEW, Standing.JUDGED):
        standing = Standing.UNMEASURED if reason or e.value is None else Standing.JUDGED
    return replace(e, listed=prompts, standing=standing, reason=e.reason if standing is Standing.SHOWN else reason)
