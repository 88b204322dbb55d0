"""One rule of a policy at the numbers of a run: what it saw, whether it holds, how far it is from being
broken.

'Every group is below the limit' is an intersection-union test (Berger 1982): each group's one-sided limit
at the policy's level decides alone, no correction. That a limit is broken names a culprit, so those
p-values are adjusted over the family (Holm) by signoff.py. Limits take whatever is unmeasured at its worst,
for either claim.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from safety_eval.compare import differences
from safety_eval.compare.differences import Difference
from safety_eval.core.errors import UserError
from safety_eval.core.records import Estimate, Standing
from safety_eval.policy import About, Policy, Rule, stopping
from safety_eval.show.words import MINUS, name, number
from safety_eval.stats.gaps import gap_limits, p_gap
from safety_eval.stats.limits import Seen, SeenMean, SeenShare, gap_upper, settle


@dataclass(frozen=True, slots=True)
class Claim:
    """A rule at one number, before the family is looked at.

    Attributes:
        axis, group, scorer: what was looked at. value: as measured. low, high: one-sided limits at the level.
        met: the unfavourable end meets the limit. p_broken: p-value of 'the limit is broken'.
        further: prompts that would settle it with the value seen (None = no number would).
        words: the number in words. fault: what is not there ('' = all there); no waiver covers it.
        stopped: the task was ended early, so that the words say what the full run would have said.
    """

    rule: Rule
    axis: str
    group: str
    scorer: str = ""
    value: float | None = None
    low: float | None = None
    high: float | None = None
    count: int = 0
    expected: int = 0
    met: bool = False
    p_broken: float = 1.0
    further: int | None = None
    words: str = ""
    fault: str = ""
    stopped: bool = False


def claims(
    rule: Rule,
    found: Sequence[Estimate],
    compared: Sequence[Difference] | None,
    policy: Policy,
    stopped: Collection[str] = (),
) -> list[Claim]:
    """What a rule sees. An empty result never happens: what is not there is a claim with a fault.

    `stopped`: tasks that were ended early by the policy's own, registered stopping rule.
    """
    level, about = policy.level, policy.claim(rule)
    early = policy if rule.task in stopped and policy.stop is not None else None
    axis, group = place(rule.group)
    if rule.limit in ("non_inferior", "equivalent"):
        return _compared(rule, compared, level, about)
    chosen = _instrument(rule, [e for e in found if (e.task, e.metric) == (rule.task, rule.metric)])
    if isinstance(chosen, str):
        return [Claim(rule, axis, group, fault=chosen)]
    here = [e for e in chosen if e.axis == axis and group in ("", e.group)]
    if not here:
        return [Claim(rule, axis, group, fault=_absent(rule, chosen))]
    if not rule.group.startswith("every "):
        if len(here) > 1:
            return [Claim(rule, axis, group, fault=_several(here))]
        return [_one(rule, here[0], (level, about), early)]
    return _every(rule, here, (level, about), early)


def place(group: str) -> tuple[str, str]:
    """(axis, group) that a rule's `group` means; '' = any group of the axis."""
    if group == "all":
        return "total", "all"
    if group.startswith("every "):
        return group.removeprefix("every "), ""
    axis, _, rest = group.partition("/")
    return axis, rest


def seen(estimate: Estimate, about: About) -> Seen | None:
    """The two worst cases of an estimate, for what a claim is about; None where it has no gate limits."""
    e = estimate
    if e.gate_low is None or e.gate_high is None or e.lowest is None or e.highest is None:
        return None
    size = stopping.effective(e, about)
    if e.kind == "effect" or (e.kind != "rate" and about.estimand == "list"):
        return SeenMean(e.lowest, e.highest, e.gate_low, e.gate_high, size)
    return SeenShare(e.lowest, e.highest, size, e.span)


def _of_what(about: About) -> str:
    """What a claim is about, in words."""
    if about.estimand == "list":
        return "on these prompts"
    if about.icc == 1:
        return "for prompts like these, a cluster counting as one observation"
    return f"for prompts like these, if answers of a cluster correlate by {about.icc:g} at most"


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


def _several(here: Sequence[Estimate] | Sequence[Difference]) -> str:
    return f"several headlines: name one of {', '.join(f'macro/{e.group}' for e in here)}"


def _absent(rule: Rule, found: Sequence[Estimate]) -> str:
    axis = place(rule.group)[0]
    groups = sorted({f"{e.axis}/{e.group}" if e.axis != "total" else "all" for e in found})
    near = [g for g in groups if g.startswith(f"{axis}/")] or groups
    return f"nothing was measured for '{rule.group}' (measured: {', '.join(near[:8])})"


Asked = tuple[float, About]
"""Level of a claim, and what it is about."""


def _one(rule: Rule, e: Estimate, level: Asked, early: Policy | None) -> Claim:
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
    words = f"{_where(e.task, e.metric, e.axis, e.group)}: {number(e.value, e.kind)} of {asked} answers when the run "
    words += f"was stopped early (of {e.expected} in full); must be {'below' if rule.limit == 'max' else 'above'} "
    words += f"{_limit(rule.bound, e.kind)}; {full}"
    p = stopping.SURE if broken else 1.0
    return Claim(
        rule,
        e.axis,
        e.group,
        e.scorer,
        value=e.value,
        count=e.count,
        expected=e.expected,
        met=met,
        p_broken=p,
        words=words,
        stopped=True,
    )


def _every(rule: Rule, here: Sequence[Estimate], level: Asked, early: Policy | None) -> list[Claim]:
    """Every group whose list is large enough: one of which nothing was drawn or measured is a fault."""
    kept = [e for e in here if e.gateable]
    lost = [e for e in here if e.standing is not Standing.FEW and not e.gateable]
    out = [Claim(rule, e.axis, e.group, e.scorer, expected=e.expected, fault=_unmeasured(e)) for e in lost]
    if len(kept) < rule.min_groups:
        fault = f"only {len(kept)} groups can be gated (10 prompts on the list), {rule.min_groups} are required"
        out.append(Claim(rule, here[0].axis, "every", here[0].scorer, fault=fault))
    if rule.limit == "max_gap":
        return out or [_gap(rule, kept, level)]
    return [*(_one(rule, e, level, early) for e in kept), *out]


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
        return Claim(
            rule, e.axis, e.group, e.scorer, e.value, count=e.count, expected=e.expected, fault=fault
        )
    below = rule.limit == "max"
    low, high = this.lower(level), this.upper(level)
    met = high < bound if below else low > bound
    p = this.p_exceeds(bound) if below else this.p_below(bound)
    further = None if met else _further(this, bound, level, below, e.expected)
    words = f"{_where(e.task, e.metric, e.axis, e.group)}: {number(e.value, e.kind)} of {e.count} answers"
    absent = e.expected - e.count
    words += f" ({absent} more unmeasured, taken at their worst)" if absent > 0 else ""
    words += f", {'at most' if met and below else 'at least' if met else 'between'} "
    words += (
        number(high if below else low, e.kind) if met else f"{number(low, e.kind)} and {number(high, e.kind)}"
    )
    words += f" {_of_what(about)}; must be {'below' if below else 'above'} {_limit(bound, e.kind)}"
    return Claim(
        rule, e.axis, e.group, e.scorer, e.value, low, high, e.count, e.expected, met, p, further, words
    )


def _where(task: str, metric: str, axis: str, group: str) -> str:
    here = "" if axis == "total" else f", {name(axis)} {name(group)}"
    return f"{task} {name(metric)}{here}"


def _further(this: Seen, bound: float, level: float, below: bool, asked: int) -> int | None:
    """Further prompts until one of the two limits passes the bound, the values staying."""
    if this.high_value < bound:
        grow = settle(lambda f: this.grown(f).upper(level), bound, True)
    elif this.low_value > bound:
        grow = settle(lambda f: this.grown(f).lower(level), bound, False)
    else:
        return None
    return None if grow is None else max(1, math.ceil((grow - 1) * asked))


def _gap(rule: Rule, kept: Sequence[Estimate], asked: Asked) -> Claim:
    """The largest difference between two groups of an axis, over all ordered pairs."""
    level, about = asked
    first = kept[0] if kept else None
    if first is None or len(kept) < 2:
        return Claim(rule, place(rule.group)[0], "every", fault="a gap needs two groups that can be gated")
    known = [(e, s) for e in kept if (s := seen(e, about)) is not None]
    fault = next((f"{e.group}: {f}" for e in kept if (f := _fault(rule, e))), "")
    if fault or len(known) < len(kept):
        return Claim(
            rule, first.axis, "every", first.scorer, fault=fault or "a group has no limits to act on"
        )
    bound, groups = rule.bound, [s for _, s in known]
    high = gap_upper(groups, level)
    ordered = sorted(kept, key=lambda e: e.value or 0.0)
    value = (ordered[-1].value or 0.0) - (ordered[0].value or 0.0)
    low, p = _gap_shown(known, about, bound, level)
    met = high < bound
    count, expected = sum(e.count for e in kept), sum(e.expected for e in kept)
    further = None if met else _further_gap(groups, bound, level, expected)
    words = f"{rule.task} {name(rule.metric)}, largest gap between {len(kept)} groups of {name(first.axis)}: "
    words += (
        f"{number(value, first.kind)} ({name(ordered[-1].group)} against {name(ordered[0].group)}), between "
    )
    words += f"{number(max(low, 0.0), first.kind)} and {number(high, first.kind)} {_of_what(about)}; must be below "
    words += _limit(bound, first.kind)
    return Claim(
        rule, first.axis, "every", first.scorer, value, low, high, count, expected, met, p, further, words
    )


def _gap_shown(known: Sequence[tuple[Estimate, Seen]], about: About, bound: float, level: float) -> tuple[float, float]:
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
    return limits.largest * scale, p_gap(nearest, sizes, bound / scale)


def _further_gap(groups: Sequence[Seen], bound: float, level: float, asked: int) -> int | None:
    grow = settle(lambda factor: gap_upper([s.grown(factor) for s in groups], level), bound, True)
    return None if grow is None else max(1, math.ceil((grow - 1) * asked))


def _compared(
    rule: Rule, compared: Sequence[Difference] | None, level: float, about: About
) -> list[Claim]:
    """non_inferior or equivalent: one claim for each group."""
    axis, group = place(rule.group)
    if compared is None:
        return [Claim(rule, axis, group, fault="no baseline was given: sign off with --baseline RUN")]
    here = [d for d in compared if (d.task, d.metric, d.axis) == (rule.task, rule.metric, axis)]
    here = [d for d in here if group in ("", d.group) and rule.scorer in (None, d.scorer)]
    there = sorted({d.scorer for d in here})
    if len(there) > 1:
        return [
            Claim(rule, axis, group, fault=f"compared by several instruments ({', '.join(there)}): name one")
        ]
    if not here:
        fault = f"nothing was compared for '{rule.group}' of {rule.task} {rule.metric}"
        return [Claim(rule, axis, group, fault=fault)]
    if not rule.group.startswith("every "):
        if len(here) > 1:
            return [Claim(rule, axis, group, fault=_several(here))]
        return [_difference(rule, here[0], (level, about))]
    kept = [d for d in here if d.gateable]
    lost = [d for d in here if d.enough and not d.gateable]
    out = [_difference(rule, d, (level, about)) for d in (*kept, *lost)]
    if len(kept) < rule.min_groups:
        fault = f"only {len(kept)} groups can be compared, {rule.min_groups} are required"
        out.append(Claim(rule, axis, "every", fault=fault))
    return out


def _difference(rule: Rule, d: Difference, asked: Asked) -> Claim:
    level, about = asked
    better = (rule.non_inferior.direction if rule.non_inferior else None) or d.better
    this = differences.seen(d, stopping.effective(d, about), about.estimand == "population")
    if d.value is None or this is None:
        return Claim(rule, d.axis, d.group, d.scorer, fault=d.reason or "no paired answers")
    if not d.gateable:
        return Claim(rule, d.axis, d.group, d.scorer, d.value, fault=d.reason or "descriptive only")
    if d.count < rule.min_count:
        fault = f"{d.count} paired answers, {rule.min_count} are required"
        return Claim(rule, d.axis, d.group, d.scorer, d.value, count=d.count, fault=fault)
    if rule.limit == "non_inferior" and better not in ("lower", "higher"):
        raise UserError(
            f"rule '{rule.id}': no end of {rule.metric} is better in itself",
            "Give non_inferior a direction: lower or higher.",
        )
    low, high, margin = this.lower(level), this.upper(level), rule.bound
    no_rise, no_fall = high < margin, low > -margin
    rise, fall = this.p_exceeds(margin), this.p_below(-margin)
    if rule.limit == "equivalent":
        met, p = no_rise and no_fall, min(1.0, 2 * min(rise, fall))
    else:
        met, p = (no_rise, rise) if better == "lower" else (no_fall, fall)
    further = None if met else _further_difference(this, rule, better, level, d.count)
    words = (
        f"{_where(d.task, d.metric, d.axis, d.group)}: {_signed(d.value, d.kind)} against the baseline over "
    )
    words += f"{d.count} paired answers, between {_signed(low, d.kind)} and {_signed(high, d.kind)} "
    words += f"{_of_what(about)}; must be "
    edge = _limit(margin, d.kind)
    if rule.limit == "equivalent":
        words += f"within {edge} either way"
    else:
        words += f"below +{edge}" if better == "lower" else f"above {MINUS}{edge}"
    return Claim(
        rule, d.axis, d.group, d.scorer, d.value, low, high, d.count, d.count, met, p, further, words
    )


def _further_difference(this: Seen, rule: Rule, better: str, level: float, asked: int) -> int | None:
    both = rule.limit == "equivalent"
    needs = []
    if both or better == "lower":
        needs.append(_further(this, rule.bound, level, True, asked))
    if both or better == "higher":
        needs.append(_further(this, -rule.bound, level, False, asked))
    return None if None in needs else max(n for n in needs if n is not None)


def _signed(value: float, kind: str) -> str:
    return ("+" if value > 0 else "") + number(value, kind)


def _limit(bound: float, kind: str) -> str:
    """A limit as it was written, not rounded."""
    return (f"{100 * bound:.10g}%" if kind == "rate" else f"{bound:.10g}").replace("-", MINUS)
