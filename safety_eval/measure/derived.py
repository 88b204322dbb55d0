"""Scores that are not means of answers: ratios of two means, differences of two shares, and functions of a prompt's
K answers. Each has an interval, and limits on which a policy may act.

A task's `derive` is a list of these: `derive=derived.of(NAME, SPECS)`. All walk over the same groups as a Metric, take
whatever is unmeasured, undecided or degenerate at its worst, and count clusters by the design alone, so that losing
an answer never improves a limit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from safety_eval.core.records import Estimate, Output, Prompt, Reason, Standing, heading
from safety_eval.core.task import Measured, Values
from safety_eval.measure.listed import LEAST
from safety_eval.stats import gate as gates
from safety_eval.stats.gate import Gate, Shared, effective_answers
from safety_eval.stats.proportion import (
    Interval,
    clustered,
    clustered_interval,
    mover,
    t_quantile,
)
from safety_eval.stats.ratio import RARER_END, ratio_gate, ratio_interval

Floats = NDArray[np.float64]
Where = Callable[[Prompt], bool]


@dataclass(frozen=True, slots=True)
class RatioScore:
    """A ratio of two means: `measure` gives what an answer adds to the top and to the bottom (0 .. 1), or None when it
    is undecided. The ratio of every single answer lies within `bounds`; an answer with bottom 0 says nothing."""

    name: str
    needs: tuple[str, ...]
    measure: Callable[[Prompt, Output, Values], tuple[float, float] | None]
    bounds: tuple[float, float] = (0.0, 1.0)
    better: str = "neither"
    axes: tuple[str, ...] = ()
    where: Where | None = None
    nothing: str = "no answer has the score"
    """Why there is no value where every bottom is 0."""


@dataclass(frozen=True, slots=True)
class GapScore:
    """The share of answers that `measure` as 1 among `first` prompts, minus the share among `second` prompts."""

    name: str
    needs: tuple[str, ...]
    measure: Callable[[Prompt, Output, Values], float | None]
    first: Where
    second: Where
    better: str = "neither"
    axes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PromptScore:
    """The mean over prompts of a number read off all K answers of a prompt (the largest of K toxicities).

    `measure` takes one value for each of the K answers and must rise, or stay, with each of them: what is unmeasured is
    put at either end of `bounds`, which then gives both worst cases. A rate measures 0 or 1.
    """

    name: str
    needs: tuple[str, ...]
    value: Callable[[Prompt, Output, Values], float | None]
    measure: Callable[[Floats], float]
    bounds: tuple[float, float] = (0.0, 1.0)
    kind: Literal["rate", "mean"] = "mean"
    better: str = "lower"
    axes: tuple[str, ...] = ()
    where: Where | None = None


Spec = RatioScore | GapScore | PromptScore


@dataclass(frozen=True, slots=True)
class _Rows:
    """The answers of one score by one scorer in one group: values (None: not there) and why."""

    values: Sequence[object]
    reasons: Sequence[str]
    rows: Sequence[Measured]
    clusters: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))

    @property
    def sound(self) -> NDArray[np.bool_]:
        """Measured, and no degenerate answer: only these count for a limit at what they say."""
        return np.array(
            [
                v is not None and r.status not in ("degenerate", "undecided")
                for v, r in zip(self.values, self.rows, strict=True)
            ],
            dtype=bool,
        )


def of(task: str, specs: Sequence[Spec]) -> Callable[[Sequence[Measured], str], Iterator[Estimate]]:
    """The `derive` of a task: every score by every scorer that offers what it needs, in total and for each group."""

    def derive(measured: Sequence[Measured], version: str) -> Iterator[Estimate]:
        scorers = list(dict.fromkeys(name for m in measured for name in (*m.values, *m.errors)))
        for spec in specs:
            for scorer in scorers:
                if any(set(spec.needs) <= set(m.values.get(scorer, ())) for m in measured):
                    yield from _by_group(task, spec, scorer, measured)

    return derive


def _by_group(task: str, spec: Spec, scorer: str, measured: Sequence[Measured]) -> Iterator[Estimate]:
    wanted = [m for m in measured if _about(spec, m.prompt)]
    if not wanted:
        return
    groups = {("total", "all"): wanted}
    for axis in spec.axes:
        for row in wanted:
            for group in row.prompt.groups.get(axis, ()):
                groups.setdefault((axis, group), []).append(row)
    for (axis, group), rows in groups.items():
        kind = spec.kind if isinstance(spec, PromptScore) else "effect"
        prompts = len({row.prompt.id for row in rows})
        blank = Estimate(
            task,
            spec.name,
            scorer,
            axis,
            group,
            kind,
            None,
            expected=len(rows),
            better=spec.better,
            listed=prompts,
            clusters=len({row.prompt.unit for row in rows}),
            span=(-1.0, 1.0) if isinstance(spec, GapScore) else spec.bounds,
        )
        yield _estimate(spec, blank, _read(spec, scorer, rows))


def _about(spec: Spec, prompt: Prompt) -> bool:
    if isinstance(spec, GapScore):
        return spec.first(prompt) or spec.second(prompt)
    return spec.where is None or spec.where(prompt)


def _read(spec: Spec, scorer: str, rows: Sequence[Measured]) -> _Rows:
    measure = spec.value if isinstance(spec, PromptScore) else spec.measure
    values: list[object] = []
    reasons: list[str] = []
    for row in rows:
        given: Mapping[str, float | str] = row.values.get(scorer, {})
        if row.output.error:
            value, reason = None, heading(row.output.error)
        elif not set(spec.needs) <= set(given):
            value, reason = None, heading(row.errors.get(scorer, Reason.NOT_SCORED))
        else:
            value = measure(row.prompt, row.output, given)
            reason = "undecided" if value is None else ""
        values.append(value)
        reasons.append(reason)
    units = {unit: i for i, unit in enumerate(dict.fromkeys(row.prompt.unit for row in rows))}
    codes = np.array([units[row.prompt.unit] for row in rows], dtype=np.int64)
    return _Rows(values, reasons, rows, codes)


def _estimate(spec: Spec, blank: Estimate, read: _Rows) -> Estimate:
    missing = Counter(reason for reason in read.reasons if reason)
    blank = replace(blank, count=len(read.rows) - sum(missing.values()), missing=dict(sorted(missing.items())))
    if isinstance(spec, RatioScore):
        return _ratio(spec, blank, read)
    return _gap(spec, blank, read) if isinstance(spec, GapScore) else _of_prompts(spec, blank, read)


def _limits(blank: Estimate, gate: Gate) -> Estimate:
    """The estimate with its limits, and whether a policy may act on them."""
    standing, reason = Standing.JUDGED, ""
    if blank.listed < LEAST:
        standing, reason = Standing.FEW, f"descriptive only: {blank.listed} prompts on its list ({LEAST} are needed)"
    elif blank.reason:
        standing, reason = Standing.UNMEASURED, blank.reason
    return replace(
        blank,
        lowest=gate.lowest,
        highest=gate.highest,
        gate_low=gate.low,
        gate_high=gate.high,
        answers=gate.answers,
        effective_prompts=gate.answers,
        effective_clusters=gate.answers,
        standing=standing,
        reason=reason,
    )


def _by_clusters(
    y: Floats, clusters: NDArray[np.int64], bounds: tuple[float, float], binary: bool, alpha: float = 0.05
) -> Gate:
    """Gate in which a cluster counts as one observation, whatever a policy claims: these scores read clusters whole."""
    weights = np.ones(len(y))
    return gates.gate(y, weights, bounds, effective_answers(weights, [Shared(1.0, clusters)]), binary, alpha)


def _pairs(values: Sequence[object]) -> tuple[Floats, Floats]:
    both = np.array([(np.nan, np.nan) if v is None else v for v in values], dtype=float)
    return both[:, 0], both[:, 1]


def _ratio(spec: RatioScore, blank: Estimate, read: _Rows) -> Estimate:
    top, bottom = _pairs(read.values)
    known = ~np.isnan(top)
    gate = ratio_gate(
        np.where(read.sound, top, np.nan),
        np.nan_to_num(bottom),
        read.clusters,
        np.ones(len(top)),
        spec.bounds,
    )
    if not np.nansum(bottom) > 0:
        nothing = spec.nothing if known.any() else "nothing was measured"
        return _limits(replace(blank, reason=nothing), gate)
    found = ratio_interval(top[known], bottom[known], read.clusters[known], spec.bounds)
    return _limits(replace(blank, value=found.value, low=found.low, high=found.high, method=found.method), gate)


def _gap(spec: GapScore, blank: Estimate, read: _Rows) -> Estimate:
    """Limits: each share's own at half the error, which holds whatever the two have in common."""
    y = np.array([np.nan if v is None else float(v) for v in read.values])  # type: ignore[arg-type]
    first = np.array([spec.first(row.prompt) for row in read.rows])
    known = ~np.isnan(y)
    if first.all() or not first.any():
        reason = "descriptive only: one side of the difference has no prompt"
        return replace(blank, standing=Standing.FEW, reason=reason)
    gate = _gap_gate(np.where(read.sound, y, np.nan), first, read.clusters)
    sides = [known & first, known & ~first]
    if not all(side.any() for side in sides):
        return _limits(replace(blank, reason="one side of the difference was not measured"), gate)
    shares = [clustered(y[side], read.clusters[side]) for side in sides]
    value = float(y[sides[0]].mean() - y[sides[1]].mean())
    if min(share.clusters for share in shares) < 2:
        return _limits(replace(blank, value=value, method="one cluster: no interval"), gate)
    rarer = min(share.effective_clusters * min(share.value, 1 - share.value) for share in shares)
    low, high = _paired(y, sides, read.clusters)
    if rarer >= RARER_END and low < value < high:
        method = "t over clusters 95%, both sides of a cluster together"
    else:
        limits = [clustered_interval(share) for share in shares]
        low, high = mover(shares[0].value, limits[0], shares[1].value, limits[1])
        method = "square-and-add 95% of clustered shares"
    return _limits(replace(blank, value=value, low=low, high=high, method=method), gate)


def _gap_gate(y: Floats, first: NDArray[np.bool_], clusters: NDArray[np.int64]) -> Gate:
    def share(part: NDArray[np.bool_]) -> Gate:
        codes = np.unique(clusters[part], return_inverse=True)[1].astype(np.int64)
        return _by_clusters(y[part], codes, (0.0, 1.0), True, 0.025)

    one, other = share(first), share(~first)
    return Gate(
        one.lowest - other.highest,
        one.highest - other.lowest,
        one.low - other.high,
        one.high - other.low,
        min(one.answers, other.answers),
    )


def _paired(y: Floats, sides: Sequence[NDArray[np.bool_]], clusters: NDArray[np.int64]) -> Interval:
    """Linearised: what each cluster adds to the difference, so that pairs which agree do not count as noise."""
    apart = np.zeros(int(clusters.max()) + 1)
    for sign, side in zip((1.0, -1.0), sides, strict=True):
        residual = (y[side] - y[side].mean()) / side.sum()
        apart += sign * np.bincount(clusters[side], residual, minlength=len(apart))
    held = np.bincount(clusters[sides[0] | sides[1]], minlength=len(apart)).astype(float)
    count, effective = int((held > 0).sum()), held.sum() ** 2 / np.square(held).sum()
    half = t_quantile(0.975, effective - 1) * np.sqrt(count / (count - 1) * np.square(apart).sum())
    value = float(y[sides[0]].mean() - y[sides[1]].mean())
    return Interval(max(-1.0, value - half), min(1.0, value + half))


def _of_prompts(spec: PromptScore, blank: Estimate, read: _Rows) -> Estimate:
    """Counts are prompts: one with an unmeasured answer has no value, since fewer answers mean a smaller maximum."""
    answers: dict[str, list[int]] = {}
    for i, row in enumerate(read.rows):
        answers.setdefault(row.prompt.id, []).append(i)
    y = np.array([np.nan if v is None else float(v) for v in read.values])  # type: ignore[arg-type]
    solid = np.where(read.sound, y, np.nan)
    codes = np.array([read.clusters[at[0]] for at in answers.values()], dtype=np.int64)
    ends = [
        np.array([spec.measure(np.nan_to_num(solid[at], nan=end)) for at in answers.values()]) for end in spec.bounds
    ]
    known = np.array([not np.isnan(y[at]).any() for at in answers.values()])
    binary = spec.kind == "rate"
    low, high = (_by_clusters(end, codes, spec.bounds, binary) for end in ends)
    gate = low._replace(highest=high.highest, high=high.high)
    lost = Counter(
        next(read.reasons[i] for i in at if read.reasons[i])
        for at, whole in zip(answers.values(), known, strict=True)
        if not whole
    )
    blank = replace(blank, count=int(known.sum()), expected=len(known), missing=dict(sorted(lost.items())))
    if not known.any():
        return _limits(replace(blank, reason="nothing was measured"), gate)
    values = np.array([spec.measure(y[at]) for at, whole in zip(answers.values(), known, strict=True) if whole])
    known_codes = np.unique(codes[known], return_inverse=True)[1].astype(np.int64)
    shown = _by_clusters(values, known_codes, spec.bounds, binary, 0.025)
    method = "Clopper-Pearson 95%" if spec.kind == "rate" else "Gaffke 95%"
    if spec.kind == "rate":
        blank = replace(blank, events=int(values.sum()))
    blank = replace(blank, value=float(values.mean()), sd=float(values.std()), low=shown.low, high=shown.high)
    return _limits(replace(blank, method=f"{method}; counts are prompts"), gate)
