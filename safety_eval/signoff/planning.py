"""`plan`: how many prompts a policy needs to be decidable, and how likely it is to be met, before GPU hours
go.

Rates are planned exactly (binomial, stats/plan.py) at the value that the rule expects; 'every group'
multiplies the groups. With the prompts at hand the effective number of each group is taken, for what
the rule is about (stats/gate.py).
What the plan assumes is said in each row.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

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
from safety_eval.stats.plan import all_pass_probability, paired_prompts_needed, prompts_needed

Floats = NDArray[np.float64]
DISCORDANCE = 0.1
"""Share of answers on which two releases differ, where the rule does not say what to expect."""
HOPELESS = 0.5


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
    """

    rule: str
    task: str
    groups: int
    needed: int | None
    have: float | None
    chance: float | None
    words: str

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
    """The plan as a table for the terminal, with a warning where it is hopeless."""
    rows = [("rule", "numbers", "needed each", "have", "chance", "assumed")]
    for n in made.needs:
        rows.append(
            (
                n.rule,
                str(n.groups),
                "-" if n.needed is None else f"{n.needed:,}",
                "-" if n.have is None else f"{n.have:,.0f}{' SHORT' if n.short else ''}",
                "-" if n.chance is None else f"{100 * n.chance:.0f}%",
                n.words,
            )
        )
    widths = [max(len(row[i]) for row in rows) for i in range(5)]
    lines = ["  ".join([*(c.ljust(w) for c, w in zip(row, widths, strict=False)), row[5]]) for row in rows]
    lines.append("")
    lines.append(f"'needed each' gives every rule a chance of {100 * made.power:g}% to be met at the expected value.")
    if made.chance is not None:
        lines.append(f"With the prompts at hand all planned rules are met with a chance of {100 * made.chance:.0f}%.")
    if made.hopeless:
        lines.append(
            "WARNING: more likely than not this run cannot be approved, however good the model: ask more prompts, "
            "or state limits that they can show."
        )
    lines += [f"WARNING: {told}; it blocks approval." for told in made.objections]
    return "\n".join(lines) + "\n"


def _need(rule: Rule, policy: Policy, prompts: Sequence[Prompt] | None) -> Need:
    sizes = None if prompts is None else _sizes(rule, prompts, policy.claim(rule))
    groups = len(sizes) if sizes else (rule.min_groups if rule.of.every else 1)
    have = min(sizes) if sizes else (0.0 if sizes == [] else None)
    made = _planned(rule, policy, (groups, sizes, have))
    return replace(made, words=made.words + _otherwise(rule, policy, prompts))


def _otherwise(rule: Rule, policy: Policy, prompts: Sequence[Prompt] | None) -> str:
    """What the other estimand would have to go by, in words."""
    if prompts is None:
        return ""
    about = policy.claim(rule)
    other = About("population", policy.icc) if about.estimand == "list" else About("list", 0.0)
    sizes = _sizes(rule, prompts, other)
    where = "on these prompts"
    if other.estimand == "population":
        where = "for prompts like these" + (f" at icc {other.icc:g}" if other.icc < 1 else ", a cluster as one")
    return f"; {min(sizes):,.0f} {where}" if sizes else ""


def _planned(rule: Rule, policy: Policy, there: tuple[int, list[float] | None, float | None]) -> Need:
    groups, sizes, have = there
    metric = _metric(rule)
    if metric is None and _derived(rule):
        words = "a derived score: its spread is only known from a run"
        return Need(rule.id, rule.task, groups, None, have, None, words)
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
