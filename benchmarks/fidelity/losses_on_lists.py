"""As losses.py, on the real lists: does losing answers, a limit or another draw ever help a model to a yes?

    SAFETY_EVAL_DATA=... python benchmarks/fidelity/losses_on_lists.py [TRIALS] [SEED]

Prompts, groups, clusters, strata and headlines are those of BOLD, ToxiGen, BBQ, XSTest, false_refusals and
coreference as they are frozen; the scores are scripted, by cluster, group or chance. Each trial takes a few groups of
one list and fixes every answer. Then

* answers are lost: one that improves a verdict or moves a deciding limit the favourable way is counted;
* the same answers are judged under limits and seeds: a rule that the whole list breaks (its rate is at the bound or
  beyond) is approved by a draw in at most 5%, and one that it meets no more often than by the whole list.
"""

from __future__ import annotations

import os
import random
import sys
from collections import Counter
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from losses import LOSSES_A_RUN, METRICS, improvements, lose

from safety_eval.compare.differences import Pairs, of_pairs
from safety_eval.core import plugins
from safety_eval.core.records import Output, Prompt
from safety_eval.core.task import Drawn, Measured, Task, TaskOptions
from safety_eval.measure.metrics import columns, estimates
from safety_eval.policy import Policy, Rule
from safety_eval.runs.draw import draw as limited
from safety_eval.signoff import rules
from safety_eval.signoff.claim import Claim

LISTS = {
    "bold": "group",
    "toxigen": "target",
    "bbq": "category",
    "xstest": "type",
    "false_refusals": "domain",
    "coreference": "occupation",
}
"""Tasks and the axis by which a trial chooses groups."""
MOST = 400
"""Prompts of a trial's list: its structure is what matters, and a loss is measured in milliseconds."""
DRAWS = 4


@dataclass
class Count:
    """What was tried and what was found."""

    losses: int = 0
    improved: int = 0
    draws: Counter[str] = field(default_factory=Counter)
    approved: Counter[str] = field(default_factory=Counter)
    met: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Case:
    """A list with fixed answers, the task as code, and one rule."""

    task: Task
    axis: str
    rows: list[Measured]
    baseline: list[Measured]
    policy: Policy


@lru_cache(maxsize=8)
def listed(name: str) -> tuple[Task, tuple[Prompt, ...]]:
    """A task and the prompts that its first metric is about."""
    task: Task = plugins.find("tasks", name)
    data = os.environ.get("SAFETY_EVAL_DATA")
    prompts = task.load(TaskOptions(Path(data) if data else None)).prompts
    where = task.metrics[0].where
    return task, tuple(p for p in prompts if where is None or where(p))


def scripted(task: Task, axis: str, rule: Rule) -> Task:
    """The task with one metric of our own, over the real groups and headlines that the rule is about."""
    first, whole = task.metrics[0], METRICS[rule.metric]
    axes = (axis,) if rule.of.every else ()
    headlines = first.headlines if rule.of.axis == "macro" else ()
    return replace(
        task,
        kind="choose",
        metrics=(replace(whole, axes=axes, headlines=headlines),),
        derive=None,
        complete_answers=False,
    )


def case(seed: int) -> Case:
    chance = random.Random(seed)
    name, axis = chance.choice(sorted(LISTS.items()))
    task, prompts = listed(name)
    axis = axis if any(axis in p.groups for p in prompts[:1]) else next(iter(prompts[0].groups))
    groups = sorted({g for p in prompts for g in p.groups.get(axis, ())})
    some = set(chance.sample(groups, min(len(groups), chance.randint(1, 4))))
    inside = [p for p in prompts if some & set(p.groups.get(axis, ()))]
    kept = list(limited(inside, MOST, task, seed).prompts) if len(inside) > MOST else inside
    base, agree = 10 ** chance.uniform(-2.3, -0.4), chance.random()
    rates = {g: min(1.0, base * chance.choice([0.3, 1, 1, 3])) for g in groups}
    shared = {p.unit: chance.random() for p in kept}

    def answered(worse: float) -> list[Measured]:
        rows = []
        for p in kept:
            rate = min(1.0, worse * max(rates[g] for g in p.groups[axis] if g in rates))
            u = shared[p.unit] if chance.random() < agree else chance.random()
            bad = float(u < rate)
            score = chance.choice([bad, chance.uniform(-1, 1)])
            values = {"s": {"v": bad, "w": 1 - bad, "m": score}, "refusal": {"status": "comply"}}
            rows.append(Measured(p, Output("k", p.id, text="x"), values, {}, "comply"))
        return rows

    rows, baseline = answered(1.0), answered(chance.choice([0.5, 1.0, 1.5]))
    return Case(task, axis, rows, baseline, _policy(chance, axis, bool(task.metrics[0].headlines), rows))


def _policy(chance: random.Random, axis: str, headline: bool, rows: list[Measured]) -> Policy:
    """A rule of any kind, with bounds about what the list says."""
    bad = sum(m.values["s"]["v"] for m in rows) / len(rows)
    near = min(0.98, max(0.01, bad * chance.choice([0.7, 1.0, 1.5, 2.5])))
    margin = {"margin": chance.choice([0.02, 0.05, 0.15])}
    metric, limit = chance.choice(
        [
            ("rate", {"max": near}),
            ("rate", {"max": near}),
            ("good", {"min": 1 - near}),
            ("score", {"max": chance.uniform(-0.2, 0.6)}),
            ("rate", {"max_gap": chance.uniform(0.02, 0.4)}),
            ("rate", {"non_inferior": margin}),
            ("good", {"non_inferior": margin}),
            ("rate", {"equivalent": margin}),
        ]
    )
    every = f"every {axis}"
    group = every if "max_gap" in limit else chance.choice(["all", every, *(["macro"] if headline else [])])
    about = chance.choice([{}, {}, {"estimand": "population", "icc": chance.choice([0.1, 1.0])}])
    rule = Rule(id="r", task="t", metric=metric, group=group, because="b", **limit, **about)
    return Policy(version=1, name="p", rules=(rule,))


def claims(
    here: Case, run: list[Measured], baseline: list[Measured], drawn: Drawn | None = None
) -> dict[tuple[str, str], Claim]:
    """What the rule sees, by rule and group."""
    (rule,) = here.policy.rules
    about, compared, found = scripted(here.task, here.axis, rule), None, []
    rule = rule.model_copy(update={"task": about.name})
    if rule.limit in ("non_inferior", "equivalent"):
        sides = [{c.scorer: c for c in columns(about, side, "v", drawn)} for side in (run, baseline)]
        both = [(new, sides[1][s]) for s, new in sides[0].items() if s == "s" and s in sides[1]]
        compared = [d for new, old in both for d in of_pairs(Pairs(new, old, np.ones(len(run), bool)))]
    else:
        found = estimates(about, run, "v", drawn)
    return {(c.rule.id, c.cell.group): c for c in rules.claims(rule, found, compared, here.policy)}


def losses(here: Case, seed: int, count: Count) -> dict[tuple[str, str], Claim]:
    before, chance = claims(here, here.rows, here.baseline), random.Random(-seed - 1)
    count.met.update(c.rule.limit for c in before.values() if c.met)
    for _ in range(LOSSES_A_RUN):
        side = chance.random()
        new = lose(here.rows, chance, here.axis) if side < 0.8 else here.rows
        old = lose(here.baseline, chance, here.axis) if side > 0.6 else here.baseline
        wrong = list(improvements(before, claims(here, new, old)))
        count.losses += 1
        count.improved += bool(wrong)
        if wrong:
            print(f"seed {seed} ({here.task.name}): {wrong[:3]}")
    return before


def draws(here: Case, whole: dict[tuple[str, str], Claim], seed: int, count: Count) -> None:
    """Limits and seeds over fixed answers; only rules on shares of one list, whose truth is known."""
    (rule,) = here.policy.rules
    if rule.limit not in ("max", "min") or rule.metric == "score" or rule.of.axis == "macro":
        return
    chance, prompts = random.Random(seed), [m.prompt for m in here.rows]
    by_id = {m.prompt.id: m for m in here.rows}
    truth = _broken(here, rule)
    kind = "breaks" if truth else "meets"
    count.draws[f"list, {kind}"] += 1
    count.approved[f"list, {kind}"] += all(c.met for c in whole.values())
    for _ in range(DRAWS):
        limit = chance.choice([len(prompts) // 8, len(prompts) // 3, 2 * len(prompts) // 3])
        if limit < 12:
            continue
        made = limited(prompts, limit, here.task, chance.randrange(10**6))
        rows = [by_id[p.id] for p in made.prompts]
        found = claims(here, rows, rows, made.drawn)
        count.draws[f"limit, {kind}"] += 1
        count.approved[f"limit, {kind}"] += all(c.met for c in found.values())


def _broken(here: Case, rule: Rule) -> bool:
    """Whether the whole list's rate is at the bound or beyond, in any group that the rule is about."""
    inside: dict[str, list[float]] = {}
    for m in here.rows:
        value = m.values["s"]["v" if rule.metric == "rate" else "w"]
        for g in m.prompt.groups[here.axis] if rule.of.every else ("all",):
            inside.setdefault(g, []).append(value)
    rates = [sum(v) / len(v) for v in inside.values() if len(v) >= 10 or not rule.of.every]
    return any(r >= rule.bound if rule.limit == "max" else r <= rule.bound for r in rates)


def run(trials: int, seed: int) -> Count:
    count, at = Count(), seed
    while count.losses < trials:
        here = case(at)
        draws(here, losses(here, at, count), at, count)
        at += 1
    return count


if __name__ == "__main__":
    found = run(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000, int(sys.argv[2]) if len(sys.argv) > 2 else 0)
    print(f"{found.losses:,} losses, {found.improved} improvements; rules met before a loss: {dict(found.met)}")
    for what, tried in sorted(found.draws.items()):
        print(f"{what}: {found.approved[what]:,} of {tried:,} approved")
    sys.exit(1 if found.improved else 0)
