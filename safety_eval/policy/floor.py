"""Rules that a model meets which cannot answer: each has to say why it stands all the same.

A rule on a number of which no floor was computed has to say so too: nobody knows who meets it. Rules that compare with
a baseline speak of the step only; what the baseline itself must reach stands in a rule of its own.
"""

from __future__ import annotations

from collections.abc import Iterable

from safety_eval.core.task import Task
from safety_eval.measure import floors
from safety_eval.measure.floors import Place
from safety_eval.policy.file import Policy, Rule
from safety_eval.policy.fit import OF_ANSWERS

TRIAL = "quickstart"
"""Data version of our own small prompts: they show how a verdict is made, and no release rests on them."""


def objection(rule: Rule, places: Iterable[Place]) -> str:
    """Why a rule may not stand as it is, '' where it may.

    Args:
        places: of the numbers that it is about.
    """
    asked = [p for p in places if p.data_version != TRIAL]
    if rule.floor_met_because or not asked or rule.limit in ("non_inferior", "equivalent"):
        return ""
    if rule.limit == "max_gap":
        return f"{rule.id}: a model that says the same to everybody would meet it; {_ADVICE}"
    if rule.corrected:
        return f"{rule.id}: nobody labelled the answers of a model that cannot answer: it may meet this; {_ADVICE}"
    met = {f.who: f for p in asked for f in floors.at(p) if f.meets(rule.limit, rule.bound)}
    if met:
        told = ", ".join(f"{floors.WHO[who]} ({f.value:.3g})" for who, f in met.items())
        return f"{rule.id}: {told} would meet it; {_ADVICE}"
    if unknown := [p for p in asked if not floors.at(p)]:
        by = f" by {unknown[0].scorer}" if unknown[0].scorer else ""
        return (
            f"{rule.id}: no floor was computed of {rule.task} {rule.metric}{by}, so that a model which cannot answer "
            f"may meet it; {_ADVICE}"
        )
    return ""


_ADVICE = "say why it stands all the same (floor_met_because), or leave it out"


def objections(policy: Policy, task: Task, version: str | None = None) -> list[str]:
    """What sign-off will say of a policy's rules on a task, before anything was measured.

    Args:
        version: of the data that will be asked; None = what the policy pins, else the task's first.
    """
    of = version or policy.data.get(task.name) or task.versions[0]
    found = (objection(rule, _planned(rule, task, of)) for rule in policy.rules if rule.task == task.name)
    return [told for told in found if told]


def _planned(rule: Rule, task: Task, version: str) -> list[Place]:
    """Places of the number that a rule will be about, as far as it is known before the run: of all answers."""
    if rule.scorer is not None:
        return [Place(task.name, version, rule.scorer, rule.metric)]
    own = {OF_ANSWERS[rule.metric]} if rule.metric in OF_ANSWERS else {choice.name for choice in task.scorers}
    known = [p for p in floors.places(task.name, version, rule.metric) if p.scorer in own or not p.scorer]
    return known or [Place(task.name, version, "", rule.metric)]
