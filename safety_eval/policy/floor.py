"""Rules that a model meets which cannot answer: each has to say why it stands all the same.

A rule on a number of which no floor was computed has to say so too: nobody knows who meets it. Rules that compare with
a baseline speak of the step only; what the baseline itself must reach stands in a rule of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from safety_eval.core.task import ScorerChoice, Task
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


def objections(policy: Policy, task: Task, version: str | None = None, by: Sequence[ScorerChoice] = ()) -> list[str]:
    """What sign-off will say of a policy's rules on a task, before anything was measured.

    Args:
        version: of the data that will be asked; None = what the policy pins, else the task's first.
        by: the scorers that will be asked; none = the task's own, with the arguments that the policy pins.
    """
    of = version or policy.data.get(task.name) or task.versions[0]
    own = by or task.scorers
    pinned = {name: pins["arguments"] for name, pins in policy.instruments.items() if "arguments" in pins and not by}
    arguments = {choice.name: choice.args for choice in own} | pinned
    mine = (rule for rule in policy.rules if rule.task == task.name)
    found = (objection(r, _planned(r, _measures(r, own), of, arguments)) for r in mine)
    return [told for told in found if told]


def _measures(rule: Rule, own: Sequence[ScorerChoice]) -> frozenset[str]:
    """Names of the scorers that may make the number of a rule, '' among them where it may need none."""
    if rule.scorer is not None:
        return frozenset({rule.scorer})
    if rule.metric in OF_ANSWERS:
        return frozenset({OF_ANSWERS[rule.metric], ""})
    return frozenset({"", *(choice.name for choice in own)})


def _planned(rule: Rule, by: frozenset[str], version: str, arguments: Mapping[str, Mapping[str, str]]) -> list[Place]:
    """Places of the number that a rule will be about, as far as it is known before the run: of all answers."""
    known = floors.places(rule.task, version, rule.metric)
    mine = [p for p in known if p.scorer in by and floors.given(p, arguments.get(p.scorer, {}))]
    return mine or [Place(rule.task, version, rule.scorer or "", rule.metric)]
