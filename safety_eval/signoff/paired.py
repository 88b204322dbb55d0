"""A rule that compares with a baseline, at the paired differences: non-inferior, or equivalent."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from safety_eval.compare import differences
from safety_eval.compare.differences import Difference
from safety_eval.core.errors import UserError
from safety_eval.core.records import Cell
from safety_eval.policy import Rule, stopping
from safety_eval.show.words import MINUS, number
from safety_eval.signoff.claim import (
    Asked,
    Claim,
    Interval,
    absent,
    further,
    limit_words,
    of_what,
    several,
    sides,
    where,
)
from safety_eval.stats.limits import Seen


def claims(rule: Rule, compared: Sequence[Difference] | None, asked: Asked) -> list[Claim]:
    """non_inferior or equivalent: one claim for each group."""
    if compared is None:
        return [absent(rule, "no baseline was given: sign off with --baseline RUN")]
    here = [d for d in compared if (d.task, d.metric) == (rule.task, rule.metric)]
    here = [d for d in here if rule.of.holds(d.axis, d.group) and rule.scorer in (None, d.scorer)]
    there = sorted({d.scorer for d in here})
    if len(there) > 1:
        return [absent(rule, f"compared by several instruments ({', '.join(there)}): name one")]
    if not here:
        fault = f"nothing was compared for '{rule.group}' of {rule.task} {rule.metric}"
        return [absent(rule, fault)]
    if not rule.of.every:
        if len(here) > 1:
            return [absent(rule, several(here))]
        return [_difference(rule, here[0], asked)]
    kept = [d for d in here if d.gateable]
    lost = [d for d in here if d.enough and not d.gateable]
    out = [_difference(rule, d, asked) for d in (*kept, *lost)]
    if len(kept) < rule.min_groups:
        fault = f"only {len(kept)} groups can be compared, {rule.min_groups} are required"
        out.append(absent(rule, fault, "every"))
    return out


def _difference(rule: Rule, d: Difference, asked: Asked) -> Claim:
    level, about = asked
    cell = Cell(d.task, d.metric, d.scorer, d.axis, d.group)
    better = (rule.non_inferior.direction if rule.non_inferior else None) or d.better
    this = differences.seen(d, stopping.effective(d, about), about.estimand == "population")
    if d.value is None or this is None:
        return Claim(rule, cell, fault=d.reason or "no paired answers")
    if not d.gateable:
        return Claim(rule, cell, Interval(d.value), fault=d.reason or "descriptive only")
    if d.count < rule.min_count:
        fault = f"{d.count} paired answers, {rule.min_count} are required"
        return Claim(rule, cell, Interval(d.value), d.count, fault=fault)
    if rule.limit == "non_inferior" and better not in ("lower", "higher"):
        raise UserError(
            f"rule '{rule.id}': no end of {rule.metric} is better in itself",
            "Give non_inferior a direction: lower or higher.",
        )
    low, high, margin = this.lower(level), this.upper(level), rule.bound
    no_rise, no_fall = high < margin, low > -margin
    met = no_rise and no_fall
    if rule.limit == "non_inferior":
        met = no_rise if better == "lower" else no_fall
    words = f"{where(cell)}: {_signed(d.value, d.kind)} against the baseline over "
    ends = _signed(low, d.kind), _signed(high, d.kind)
    if met and rule.limit == "non_inferior":
        ends = ("", ends[1]) if better == "lower" else (ends[0], "")
    words += f"{d.count} paired answers; {sides(*ends, level)} {of_what(about)}; must be "
    edge = limit_words(margin, d.kind)
    if rule.limit == "equivalent":
        words += f"within {edge} either way"
    else:
        words += f"below +{edge}" if better == "lower" else f"above {MINUS}{edge}"
    return Claim(
        rule,
        cell,
        Interval(d.value, low, high),
        d.count,
        d.count,
        met=met,
        p_broken=partial(_p_broken, this, rule, better),
        further=partial(_further, this, rule, better, level, d.count),
        words=words,
    )


def _p_broken(this: Seen, rule: Rule, better: str) -> float:
    if rule.limit == "equivalent":
        return min(1.0, 2 * min(this.p_exceeds(rule.bound), this.p_below(-rule.bound)))
    return this.p_exceeds(rule.bound) if better == "lower" else this.p_below(-rule.bound)


def _further(this: Seen, rule: Rule, better: str, level: float, asked: int) -> int | None:
    both = rule.limit == "equivalent"
    needs = []
    if both or better == "lower":
        needs.append(further(this, rule.bound, level, True, asked))
    if both or better == "higher":
        needs.append(further(this, -rule.bound, level, False, asked))
    return None if None in needs else max(n for n in needs if n is not None)


def _signed(value: float, kind: str) -> str:
    return ("+" if value > 0 else "") + number(value, kind)
