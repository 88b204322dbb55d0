"""`plan`: how many prompts a policy needs to be decidable, and how likely it is to be met, before GPU hours
go.

Rates are planned exactly (binomial, stats/plan.py) at the value that the rule expects; 'every group'
multiplies the groups. With the prompts at hand the effective number of each group is taken, for what
the rule is about (stats/gate.py).
What the plan assumes is said in each row.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from safety_eval.core import plugins
from safety_eval.core.records import Prompt
from safety_eval.core.task import Metric, Task
from safety_eval.measure.listed import LEAST
from safety_eval.measure.metrics import headline_weights
from safety_eval.policy import About, Policy, Rule, check, objections
from safety_eval.policy.fit import OF_ANSWERS
from safety_eval.runs import resolve
from safety_eval.runs.config import run_config
from safety_eval.stats.gate import Shared, effective_answers
from safety_eval.stats.labelled import SHARE
from safety_eval.stats.plan import all_pass_probability, paired_prompts_needed, prompts_needed

Floats = NDArray[np.float64]
DISCORDANCE = 0.1
"""Share of answers on which two releases differ, where the rule does not say what to expect."""
HOPELESS = 0.5
EXAMPLE_ICC = 0.1
"""Correlation within clusters at which a plan shows 'prompts like these', where the policy takes none for granted."""


@dataclass(frozen=True, slots=True)
class Prospect:
    """What one rule could show of the prompts at hand, if its claim were `about` this.

    Attributes:
        have: smallest effective number of prompts among its groups. chance: that the rule is met, at the expected
            value; None = its spread is only known from a run.
    """

    about: About
    have: float
    chance: float | None


@dataclass(frozen=True, slots=True)
class Need:
    """What one rule needs.

    Attributes:
        rule, task: of the policy. groups: numbers that have to meet it.
        needed: prompts for each of them at the policy's power; None = no number would do, or it cannot be
            planned.
        have: smallest effective number of prompts among the groups; None = the prompts were not looked at.
        chance: that the rule is met with the prompts at hand, at the expected value; None = unknown.
        words: what was assumed.
        about: what the rule claims. prospects: this claim and the others that it could make; none without prompts.
    """

    rule: str
    task: str
    groups: int
    needed: int | None
    have: float | None
    chance: float | None
    words: str
    about: About = About("list", 0.0)
    prospects: tuple[Prospect, ...] = ()

    @property
    def short(self) -> bool:
        """The prompts at hand are too few for the policy's power."""
        return self.needed is not None and self.have is not None and self.have < self.needed


@dataclass(frozen=True, slots=True)
class Plan:
    """All rules of a policy. `chance`: that every planned rule is met, if they are independent; None =
    unknown. `objections`: why a rule would block approval as it stands, whatever the run."""

    policy: str
    power: float
    needs: tuple[Need, ...]
    chance: float | None
    objections: tuple[str, ...] = ()

    @property
    def hopeless(self) -> bool:
        """More likely than not this run ends without approval, even if the model is as good as expected."""
        return self.chance is not None and self.chance < HOPELESS


def plan(policy: Policy, prompts: Mapping[str, Sequence[Prompt]] | None = None) -> Plan:
    """What a policy needs.

    Args:
        prompts: of each task, as they would be asked; {} or None plans without them.
    """
    tasks = [plugins.find("tasks", task) for task in dict.fromkeys(rule.task for rule in policy.rules)]
    for task in tasks:
        check(policy, task)
    needs = tuple(_need(rule, policy, (prompts or {}).get(rule.task)) for rule in policy.rules)
    known = [n.chance for n in needs if n.chance is not None]
    told = (told for task in tasks for told in objections(policy, task))
    return Plan(policy.name, policy.power, needs, math.prod(known) if known else None, tuple(told))


def load_prompts(policy: Policy, data: Path | None = None, limit: int | None = None) -> dict[str, Sequence[Prompt]]:
    """The prompts that a run for this policy would ask, by task.

    Raises:
        UserError: an unknown task or data version, or data that cannot be had.
    """
    tasks = tuple(dict.fromkeys(rule.task for rule in policy.rules))
    versions = {task: version for task, version in policy.data.items() if task in tasks}
    asked = {"model": "none", "engine": "echo", "tasks": tasks, "data": data, "data_version": versions}
    config = run_config(asked)
    return {p.task.name: resolve.load(p, limit).prompts for p in resolve.resolve(config)}


def text(made: Plan) -> str:
    """The plan as a table for a terminal of 80 columns, what was assumed, and a warning where it is hopeless."""
    rows = [("rule", "numbers", "needed", *_heads(made))]
    rows += [
        (n.rule, str(n.groups), "-" if n.needed is None else f"{n.needed:,}", *(_cell(n, p) for p in n.prospects))
        for n in made.needs
    ]
    widths = [max(len(row[i]) for row in rows if i < len(row)) for i in range(len(rows[0]))]
    lines = ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=False)).rstrip() for row in rows]
    notes = [f"needed: effective prompts for each number, for a chance of {100 * made.power:g}% that the rule is met."]
    if any(n.prospects for n in made.needs):
        notes.append(_LEGEND)
    if made.chance is not None:
        notes.append(f"With the prompts at hand all planned rules are met with a chance of {100 * made.chance:.0f}%.")
    if made.hopeless:
        notes.append(
            "WARNING: more likely than not this run cannot be approved, however good the model: ask more prompts, "
            "or state limits that they can show."
        )
    for told in made.objections:
        lines += textwrap.wrap(f"WARNING: {told}; it blocks approval.", WIDTH)
    wrapped = [line for note in notes for line in textwrap.wrap(note, WIDTH)]
    assumed = [line for n in made.needs for line in textwrap.wrap(f"{n.rule}: {n.words}", WIDTH, **_INDENT)]
    return "\n".join([*lines, "", *wrapped, "", "Assumed:", *assumed]) + "\n"


WIDTH = 80
_INDENT: dict[str, Any] = {"initial_indent": "  ", "subsequent_indent": "    "}
_LEGEND = (
    "Behind it, what each estimand could show of the prompts at hand: their effective number (the smallest of the "
    "groups) and the chance that the rule is met at the expected value. * what the policy claims; ! too few. 'list': "
    "this list of prompts. 'icc x': also prompts like these, if answers of a cluster (an article, a template) correlate"
    " by x at most; 1 takes nothing for granted, a cluster is one observation."
)


def _heads(made: Plan) -> list[str]:
    """The estimands that the rules could have, as heads of columns."""
    first = next((n.prospects for n in made.needs if n.prospects), ())
    return ["list" if p.about.estimand == "list" else f"icc {p.about.icc:g}" for p in first]


def _cell(need: Need, p: Prospect) -> str:
    short = need.needed is not None and p.have < need.needed
    chance = "" if p.chance is None else f" {100 * p.chance:.0f}%"
    return f"{p.have:,.0f}{'!' * short}{chance}{' *' * (p.about == need.about)}"


def _need(rule: Rule, policy: Policy, prompts: Sequence[Prompt] | None) -> Need:
    about = policy.claim(rule)
    sizes = None if prompts is None else _sizes(rule, prompts, about)
    groups = len(sizes) if sizes else (rule.min_groups if rule.of.every else 1)
    have = min(sizes) if sizes else (0.0 if sizes == [] else None)
    made = _planned(rule, policy, (groups, sizes, have))
    prospects = () if prompts is None else tuple(_prospect(rule, policy, prompts, a) for a in _claims(rule, policy))
    own = rule.icc not in (None, policy.icc)
    words = f"{made.words}; of prompts like these at icc {rule.icc:g}" if own else made.words
    return replace(made, words=words, about=about, prospects=prospects)


def _claims(rule: Rule, policy: Policy) -> tuple[About, About, About]:
    """The list, prompts like these with the correlation that the rule or policy takes for granted, and with none."""
    taken = policy.icc if rule.icc is None else rule.icc
    return About("list", 0.0), About("population", EXAMPLE_ICC if taken == 1 else taken), About("population", 1.0)


def _prospect(rule: Rule, policy: Policy, prompts: Sequence[Prompt], about: About) -> Prospect:
    sizes = _sizes(rule, prompts, about)
    have = min(sizes, default=0.0)
    return Prospect(about, have, _planned(rule, policy, (len(sizes) or 1, sizes, have)).chance)


def _planned(rule: Rule, policy: Policy, there: tuple[int, list[float] | None, float | None]) -> Need:
    groups, sizes, have = there
    metric = _metric(rule)
    if metric is None and _derived(rule):
        words = "a derived score: its spread is only known from a run"
        return Need(rule.id, rule.task, groups, None, have, None, words)
    if rule.corrected:
        return Need(rule.id, rule.task, groups, None, have, None, _labels_needed(rule, policy))
    if rule.limit in ("max", "min") and (metric is None or metric.kind == "rate"):
        return _rate(rule, policy, groups, sizes, have)
    if rule.limit in ("non_inferior", "equivalent") and (metric is None or metric.kind == "rate"):
        power = policy.power ** (1 / groups)
        differ = DISCORDANCE if rule.expect is None else rule.expect
        needed = paired_prompts_needed(differ, rule.bound, 0.0, power, 1 - policy.level)
        words = f"no true change, {100 * differ:g}% of answers differ, margin {rule.bound:g}"
        return Need(rule.id, rule.task, groups, needed, have, None, words)
    if rule.limit == "max_gap":
        return _gap(rule, policy, groups, have)
    return Need(rule.id, rule.task, groups, None, have, None, "a mean: its spread is only known from a run")


def _rate(rule: Rule, policy: Policy, groups: int, sizes: Sequence[float] | None, have: float | None) -> Need:
    below = rule.limit == "max"
    limit = rule.bound if below else 1 - rule.bound
    expected = _expected(rule)
    bad = expected if below else 1 - expected
    alpha = 1 - policy.level
    words = f"true value {100 * expected:.3g}%, limit {100 * rule.bound:g}%"
    words += "" if rule.expect is not None else " (no `expect` in the rule: a fifth of the room is assumed)"
    if not 0 < limit < 1:
        return Need(rule.id, rule.task, groups, None, have, None, f"{words}: no limit that can be shown")
    needed = prompts_needed(limit, bad, policy.power, groups, alpha)
    chance = None
    if sizes is not None:
        whole = [max(1, math.floor(n)) for n in sizes]
        chance = all_pass_probability(whole, limit, bad, alpha) if whole else 0.0
    return Need(rule.id, rule.task, groups, needed, have, chance, words)


def _labels_needed(rule: Rule, policy: Policy) -> str:
    """Fewest labels that can show the limit: all that the scorer lets pass turn out well, and it flags nothing."""
    limit = rule.bound if rule.limit == "max" else 1 - rule.bound
    if not 0 < limit < 1:
        return "by people's labels: no limit that can be shown"
    least = math.ceil(math.log(SHARE * (1 - policy.level)) / math.log1p(-limit))
    return (
        f"by people's labels: at least {max(least, rule.min_count):,} of the answers that the scorer lets pass, for "
        "each number (more where it flags some, or where one of them is bad)"
    )


def _gap(rule: Rule, policy: Policy, groups: int, have: float | None) -> Need:
    """Normal approximation for the widest pair: equal rates, each pair with its share of the lost power."""
    share = rule.expect if rule.expect is not None else 0.05
    pairs = max(1, groups * (groups - 1))
    z = float(ndtri(policy.level) + ndtri(1 - (1 - policy.power) / pairs))
    needed = math.ceil(2 * share * (1 - share) * (z / rule.bound) ** 2)
    words = f"the same rate, {100 * share:.3g}%, in every group; approximate"
    return Need(rule.id, rule.task, groups, needed, have, None, words)


def _expected(rule: Rule) -> float:
    if rule.expect is not None:
        return rule.expect
    return 0.2 * rule.bound if rule.limit == "max" else 1 - 0.2 * (1 - rule.bound)


def _metric(rule: Rule) -> Metric | None:
    task: Task = plugins.find("tasks", rule.task)
    return next((m for m in task.metrics if m.name == rule.metric), None)


def _derived(rule: Rule) -> bool:
    """Whether the rule is about a score of the task's `derive`: no share, though it may lie between 0 and 1."""
    task: Task = plugins.find("tasks", rule.task)
    return task.derive is not None and rule.metric not in OF_ANSWERS


def _sizes(rule: Rule, prompts: Sequence[Prompt], about: About) -> list[float]:
    """Effective number of prompts behind each number of the rule; groups too small to be gated are left out."""
    metric = _metric(rule)
    asked = [p for p in prompts if metric is None or metric.where is None or metric.where(p)]
    axis, group = rule.of.axis, rule.of.group
    if axis == "total":
        return [_effective(asked, about)] if asked else []
    if axis == "macro":
        chosen = [h for h in (metric.headlines if metric else ()) if group in ("", h.name)]
        return [_effective(asked, about, headline_weights(h, [p.groups for p in asked])) for h in chosen if asked]
    members: dict[str, list[Prompt]] = {}
    for prompt in asked:
        for one in prompt.groups.get(axis, ()):
            members.setdefault(one, []).append(prompt)
    if group:
        return [_effective(members[group], about)] if group in members else []
    return [_effective(rows, about) for rows in members.values() if len(rows) >= LEAST]


def _effective(prompts: Sequence[Prompt], about: About, weights: Floats | None = None) -> float:
    w = np.ones(len(prompts)) if weights is None else weights
    units = {unit: i for i, unit in enumerate(dict.fromkeys(p.unit for p in prompts))}
    codes = np.array([units[p.unit] for p in prompts], dtype=np.int64)
    return effective_answers(w, [Shared(about.icc, codes)])
