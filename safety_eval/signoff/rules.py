"""One rule of a policy at the numbers of a run: what it saw, whether it holds, how far it is from being
broken.

'Every group is below the limit' is an intersection-union test (Berger 1982): each group's one-sided limit
at the policy's level decides alone, no correction. That a limit is broken names a culprit, so those
p-values are adjusted over the family (Holm) by signoff.py. Limits take whatever is unmeasured at its worst,
for either claim.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from safety_eval.audit.labels import Labelled
from safety_eval.compare.differences import Difference
from safety_eval.core.errors import UserError
from safety_eval.core.records import Estimate, Standing
from safety_eval.policy import About, Policy, Rule, stopping
from safety_eval.show.words import name, number
from safety_eval.signoff import paired
from safety_eval.signoff.claim import (
    Asked,
    Claim,
    Interval,
    absent,
    further,
    held,
    limit_words,
    of_what,
    several,
    sides,
    where,
)
from safety_eval.signoff.labelled import claim as by_labels
from safety_eval.stats.gaps import gap_limits, p_gap
from safety_eval.stats.limits import Seen, SeenMean, SeenShare, gap_upper, settle


def claims(
    rule: Rule,
    found: Sequence[Estimate],
    compared: Sequence[Difference] | None,
    policy: Policy,
    stopped: Collection[str] = (),
    labelled: Sequence[Labelled] = (),
) -> list[Claim]:
    """What a rule sees. An empty result never happens: what is not there is a claim with a fault.

    `stopped`: tasks that were ended early by the policy's own, registered stopping rule. `labelled`: people's labels.
    """
    level, about = policy.level, policy.claim(rule)
    early = policy if rule.task in stopped and policy.stop is not None else None
    if rule.limit in ("non_inferior", "equivalent"):
        return paired.claims(rule, compared, (level, about))
    chosen = _instrument(rule, [e for e in found if (e.task, e.metric) == (rule.task, rule.metric)])
    if isinstance(chosen, str):
        return [absent(rule, chosen)]
    here = [e for e in chosen if rule.of.holds(e.axis, e.group)]
    if not here:
        return [absent(rule, _unmeasured_group(rule, chosen))]
    if not rule.of.every:
        if len(here) > 1:
            return [absent(rule, several(here))]
        return [_one(rule, here[0], (level, about), early, labelled)]
    return _every(rule, here, (level, about), early, labelled)


def seen(estimate: Estimate, about: About) -> Seen | None:
    """The two worst cases of an estimate, for what a claim is about; None where it has no gate limits."""
    e = estimate
    if e.gate_low is None or e.gate_high is None or e.lowest is None or e.highest is None:
        return None
    size = stopping.effective(e, about)
    if e.kind == "effect" or (e.kind != "rate" and about.estimand == "list"):
        return SeenMean(e.lowest, e.highest, e.gate_low, e.gate_high, size)
    return SeenShare(e.lowest, e.highest, size, e.span)


def _instrument(rule: Rule, found: list[Estimate]) -> list[Estimate] | str:
    """The estimates by the rule's instrument, or why there is no choosing."""
    there = sorted({e.scorer for e in found})
    if not found:
        return f"nothing was measured: the run has no {rule.task} {rule.metric}"
    if rule.scorer is not None:
        chosen = [e for e in found if e.scorer == rule.scorer]
        return chosen or f"other instrument: the rule wants {rule.scorer}, the run used {', '.join(there)}"
    if len(there) > 1:
        return f"measured by several instruments ({', '.join(there)}): the rule must name one"
    return found


def _unmeasured_group(rule: Rule, found: Sequence[Estimate]) -> str:
    same = [e for e in found if e.axis == rule.of.axis] or found
    near = sorted({f"{e.axis}/{e.group}" if e.axis != "total" else "all" for e in same})
    return f"nothing was measured for '{rule.group}' (measured: {', '.join(near[:8])})"


def _one(rule: Rule, e: Estimate, level: Asked, early: Policy | None, labelled: Sequence[Labelled]) -> Claim:
    if rule.corrected:
        return by_labels(rule, e, labelled, level)
    if early is not None and e.missing.get(stopping.NOT_ASKED) and e.kind == "rate":
        return _early(rule, e, early)
    return _absolute(rule, e, level)


def _early(rule: Rule, e: Estimate, policy: Policy) -> Claim:
    """max or min on a share whose task was stopped early: what the full run would have said."""
    state = stopping.decide(rule, e, policy)
    delta = policy.stop.delta if policy.stop else 0.0
    met, broken = state == stopping.PASS, stopping.breaks(rule, e, policy, delta)
    asked = e.expected - e.missing.get(stopping.NOT_ASKED, 0)
    sure = f"certain to {100 * (1 - delta):g}%"
    full = {
        stopping.PASS: f"the full run would be shown to meet this ({sure})",
        stopping.NOT_PASS: f"the full run would not be shown to meet this ({sure})",
    }.get(state, "whether the full run would be shown to meet this is not settled")
    full = f"the full run would be shown to break this ({sure})" if broken else full
    words = f"{where(e.cell)}: {number(e.value, e.kind)} of {asked} answers when the run "
    words += f"was stopped early (of {e.expected} in full); must be {'below' if rule.limit == 'max' else 'above'} "
    words += f"{limit_words(rule.bound, e.kind)}; {full}"
    p = stopping.SURE if broken else 1.0
    seen_there = Interval(e.value)
    return Claim(rule, e.cell, seen_there, e.count, e.expected, met=met, p_broken=lambda: p, words=words, stopped=True)


def _every(
    rule: Rule, here: Sequence[Estimate], level: Asked, early: Policy | None, labelled: Sequence[Labelled]
) -> list[Claim]:
    """Every group whose list is large enough: one of which nothing was drawn or measured is a fault."""
    kept = [e for e in here if e.gateable]
    lost = [e for e in here if e.standing is not Standing.FEW and not e.gateable]
    out = [Claim(rule, e.cell, expected=e.expected, fault=_unmeasured(e)) for e in lost]
    if len(kept) < rule.min_groups:
        fault = f"only {len(kept)} groups can be gated (10 prompts on the list), {rule.min_groups} are required"
        out.append(absent(rule, fault, "every", here[0].scorer))
    if rule.limit == "max_gap":
        return out or [_gap(rule, kept, level)]
    return [*(_one(rule, e, level, early, labelled) for e in kept), *out]


def _unmeasured(e: Estimate) -> str:
    if not e.expected or e.value is not None:
        return e.reason
    why = ", ".join(f"{count} {reason}" for reason, count in sorted(e.missing.items()))
    return f"nothing was measured of {e.expected} answers ({why or e.reason})"


def _fault(rule: Rule, e: Estimate) -> str:
    if e.value is None:
        return _unmeasured(e)
    if not e.gateable:
        return e.reason or "descriptive only: it cannot be gated"
    if e.count < rule.min_count:
        return f"{e.count} measured answers, {rule.min_count} are required"
    return ""


def _absolute(rule: Rule, e: Estimate, asked: Asked) -> Claim:
    """max or min on one estimate."""
    bound, (level, about) = rule.bound, asked
    if e.kind == "rate" and not 0 <= bound <= 1:
        raise UserError(
            f"rule '{rule.id}': {rule.limit} {bound:g} on {e.metric}, which is a share from 0 to 1",
            f"Write 5% as 0.05 (did you mean {bound / 100:g}?).",
        )
    fault = _fault(rule, e)
    this = seen(e, about)
    if this is None or fault:
        fault = fault or "the estimate has no limits to act on"
        return Claim(rule, e.cell, Interval(e.value), e.count, e.expected, fault=fault)
    words = f"{where(e.cell)}: {number(e.value, e.kind)} of {e.count} answers"
    absent = e.expected - e.count
    words += f" ({absent} more unmeasured, taken at their worst)" if absent > 0 else ""
    claim = held(rule, e, this, asked, words)
    return replace(claim, further=partial(further, this, bound, level, rule.limit == "max", e.expected))


def _gap(rule: Rule, kept: Sequence[Estimate], asked: Asked) -> Claim:
    """The largest difference between two groups of an axis, over all ordered pairs."""
    level, about = asked
    first = kept[0] if kept else None
    if first is None or len(kept) < 2:
        return absent(rule, "a gap needs two groups that can be gated", "every")
    known = [(e, s) for e in kept if (s := seen(e, about)) is not None]
    fault = next((f"{e.group}: {f}" for e in kept if (f := _fault(rule, e))), "")
    if fault or len(known) < len(kept):
        return absent(rule, fault or "a group has no limits to act on", "every", first.scorer)
    bound, groups = rule.bound, [s for _, s in known]
    high = gap_upper(groups, level)
    ordered = sorted(kept, key=lambda e: e.value or 0.0)
    value = (ordered[-1].value or 0.0) - (ordered[0].value or 0.0)
    low, p_broken = _gap_shown(known, about, bound, level)
    met = high < bound
    count, expected = sum(e.count for e in kept), sum(e.expected for e in kept)
    words = f"{rule.task} {name(rule.metric)}, largest gap between {len(kept)} groups of {name(first.axis)}: "
    words += f"{number(value, first.kind)} ({name(ordered[-1].group)} against {name(ordered[0].group)}); "
    words += sides("" if met else number(max(low, 0.0), first.kind), number(high, first.kind), level)
    words += f" {of_what(about)}; must be below {limit_words(bound, first.kind)}"
    return Claim(
        rule,
        replace(first.cell, group="every"),
        Interval(value, low, high),
        count,
        expected,
        met=met,
        p_broken=p_broken,
        further=partial(_further_gap, groups, bound, level, expected),
        words=words,
    )


def _gap_shown(
    known: Sequence[tuple[Estimate, Seen]], about: About, bound: float, level: float
) -> tuple[float, Callable[[], float]]:
    """Lower limit of the largest gap, over all differences at once (max-T), and p-value of 'the gap is too large'.

    What is unmeasured is taken at the end that makes the gap smaller: each group drawn towards the mean of all.
    """
    sizes = [stopping.effective(e, about) for e, _ in known]
    span = known[0][0].span
    low, high = (
        np.array([(v - span[0]) / (span[1] - span[0]) for v in values])
        for values in ([s.low_value for _, s in known], [s.high_value for _, s in known])
    )
    centre = float(np.average((low + high) / 2, weights=sizes))
    nearest = np.clip(centre, low, high)
    scale = span[1] - span[0]
    limits = gap_limits(nearest, sizes, 1 - level)
    return limits.largest * scale, partial(p_gap, nearest, sizes, bound / scale)


def _further_gap(groups: Sequence[Seen], bound: float, level: float, asked: int) -> int | None:
    grow = settle(lambda factor: gap_upper([s.grown(factor) for s in groups], level), bound, True)
    return None if grow is None else max(1, math.ceil((grow - 1) * asked))
