"""What a rule sees at one number, and the words for it. Which numbers, and whether they hold: rules.py, paired.py."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from safety_eval.compare.differences import Difference
from safety_eval.core.records import Cell, Estimate
from safety_eval.policy import About, Rule
from safety_eval.show.words import MINUS, name, number
from safety_eval.stats.limits import Seen, settle

Asked = tuple[float, About]
"""Level of a claim, and what it is about."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A value as measured, with its one-sided limits at the policy's level; None = not known."""

    value: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Claim:
    """A rule at one number, before the family is looked at.

    Attributes:
        cell: what was looked at. interval: what was seen there. count, expected: measured and owed answers.
        met: the unfavourable end meets the limit. p_broken: gives the p-value of 'the limit is broken'.
        further: gives the prompts that would settle it with the value seen (None = no number would). Both take a search
            each, and not every claim needs them.
        words: the number in words. fault: what is not there ('' = all there); no waiver covers it.
        stopped: the task was ended early, so that the words say what the full run would have said.
        labelled: people's labels decide it, so that more of them would settle it.
    """

    rule: Rule
    cell: Cell
    interval: Interval = Interval()
    count: int = 0
    expected: int = 0
    met: bool = False
    p_broken: Callable[[], float] = lambda: 1.0
    further: Callable[[], int | None] = lambda: None
    words: str = ""
    fault: str = ""
    stopped: bool = False
    labelled: bool = False


def held(rule: Rule, e: Estimate, seen: Seen, asked: Asked, said: str) -> Claim:
    """A rule's max or min held against what was seen of an estimate; `said`: the number in words."""
    (level, about), bound, below = asked, rule.bound, rule.limit == "max"
    low, high = seen.lower(level), seen.upper(level)
    met = high < bound if below else low > bound
    deciding = sides(
        "" if met and below else number(low, e.kind), "" if met and not below else number(high, e.kind), level
    )
    return Claim(
        rule,
        e.cell,
        Interval(e.value, low, high),
        e.count,
        e.expected,
        met=met,
        p_broken=partial(seen.p_exceeds if below else seen.p_below, bound),
        words=f"{said}; {deciding} {of_what(about)}; must be {'below' if below else 'above'} "
        f"{limit_words(bound, e.kind)}",
    )


def absent(rule: Rule, fault: str, group: str = "", scorer: str = "") -> Claim:
    """A rule that finds nothing to look at, and why. `group`: in place of the rule's own."""
    cell = Cell(rule.task, rule.metric, scorer, rule.of.axis, group or rule.of.group)
    return Claim(rule, cell, fault=fault)


def several(here: Sequence[Estimate] | Sequence[Difference]) -> str:
    return f"several headlines: name one of {', '.join(f'macro/{e.group}' for e in here)}"


def of_what(about: About) -> str:
    """What a claim is about, in words. What they mean: `meaning`."""
    if about.estimand == "list":
        return "on this list of prompts"
    if about.icc == 1:
        return "for prompts like these, a cluster counting as one observation"
    return f"for prompts like these, if answers of a cluster correlate by {about.icc:g} at most"


def meaning(about: About) -> str:
    """What `of_what` claims and what it does not, for somebody who reads a verdict and no manual."""
    if about.estimand == "list":
        return (
            "'on this list of prompts': what this model says to the prompts of the task's list, with these settings, "
            "whichever of them were drawn; nothing is claimed of other prompts"
        )
    taken = (
        f"it holds if answers to prompts of one cluster (an article, a template) correlate by {about.icc:g} at most, "
        "which the policy takes for granted"
        if about.icc < 1
        else "prompts of one cluster (an article, a template) count as one observation, so that nothing is taken for "
        "granted of them"
    )
    return f"'for prompts like these': also prompts that are not on the list but were written as these were; {taken}"


def sides(low: str, high: str, level: float) -> str:
    """One-sided limits in words ('' = not shown), each with its own level: both together are no interval at it."""
    sure = f"({100 * level:.10g}%)"
    return " and ".join(f"{word} {end} {sure}" for word, end in (("at least", low), ("at most", high)) if end)


def where(cell: Cell) -> str:
    here = "" if cell.axis == "total" else f", {name(cell.axis)} {name(cell.group)}"
    return f"{cell.task} {name(cell.metric)}{here}"


def limit_words(bound: float, kind: str) -> str:
    """A limit as it was written, not rounded."""
    return (f"{100 * bound:.10g}%" if kind == "rate" else f"{bound:.10g}").replace("-", MINUS)


def further(this: Seen, bound: float, level: float, below: bool, asked: int) -> int | None:
    """Further prompts until one of the two limits passes the bound, the values staying."""
    if this.high_value < bound:
        grow = settle(lambda f: this.grown(f).upper(level), bound, True)
    elif this.low_value > bound:
        grow = settle(lambda f: this.grown(f).lower(level), bound, False)
    else:
        return None
    return None if grow is None else max(1, math.ceil((grow - 1) * asked))
