"""What of its task's list a run has asked, and the weights by which a drawn part speaks for the list."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from safety_eval.core.records import Estimate, Standing
from safety_eval.core.task import Drawn, Measured, Metric, Task, asked_with
from safety_eval.measure.coded import Coded, Groups, coded, name_of, numbered, rows_of
from safety_eval.stats.gate import Codes

Floats = NDArray[np.float64]
LEAST = 10
"""Prompts on the list from which a group can be gated; below, it is descriptive only, and no policy requires it."""


def chances(groups: Groups, drawn: Drawn | None, units: Codes | None) -> Floats:
    """Share of its stratum that was asked, for each prompt by its groups; 1 where the whole list was. Weights are
    1 / chance.

    Args:
        units: number of what each was drawn whole with (by the smallest group of any member), see `Task.whole`; None =
            each was drawn alone.
    """
    if drawn is None:
        return np.broadcast_to(1.0, len(groups))
    held = groups if isinstance(groups, Coded) else coded(groups, name_of)
    rank = {s.name: i for i, s in enumerate(drawn.strata)}
    last = len(drawn.strata)
    by_groups = [min((rank.get(g, last) for g in row.get(drawn.axis, ()) or ("",)), default=last) for row in held.table]
    homes = np.array(by_groups, np.int64)[held.codes]
    if units is not None and len(units):
        first = np.full(int(units.max()) + 1, last)
        np.minimum.at(first, units, homes)
        homes = first[units]
    shares = np.array([s.asked / s.listed for s in drawn.strata] + [1.0])
    return np.asarray(shares[homes], float)


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
    groups = coded((m.prompt.groups for m in measured), name_of)
    units = numbered(np.fromiter((hash(asked_with(m.prompt, task.whole)) for m in measured), np.int64))
    uneven = _uneven(groups, chances(groups, drawn, units if task.whole else None))
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


def _uneven(groups: Coded[Mapping[str, tuple[str, ...]]], shares: Floats) -> set[str]:
    """Groups ('axis/group') whose prompts were drawn in unequal shares; '' stands for all prompts together."""

    def places(row: Mapping[str, tuple[str, ...]]) -> list[str]:
        return ["", *(f"{axis}/{group}" for axis, names in row.items() for group in names)]

    return {place for place, rows in rows_of(groups, places).items() if np.ptp(shares[rows]) > 0}


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
