"""Policy + run (+ baseline) -> verdict. Approved only when the unfavourable end of every interval meets its
rule, rejected when a favourable end breaks one, otherwise 'cannot decide', with what would settle it.

Approval needs every rule, an intersection-union test: its error is at most 1 - level whatever the number of
rules.
A rejection names rules, so their p-values are Holm-adjusted over the family. Missing is never met.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from safety_eval.compare.differences import Difference
from safety_eval.core.errors import EvidenceError
from safety_eval.core.journal import Event, Journal
from safety_eval.core.records import Estimate, digest
from safety_eval.core.store import write_atomic, write_json
from safety_eval.policy import Policy, Rule, Waiver, concealed, registration
from safety_eval.show.words import name
from safety_eval.signoff import conditions, instruments, rules
from safety_eval.signoff.asked import AskedTask, deviations, own_instrument
from safety_eval.signoff.basis import Case, collect
from safety_eval.signoff.claim import Claim, meaning
from safety_eval.signoff.verdict import (
    Blocker,
    Circumstances,
    Decision,
    Finding,
    Outcome,
    Verdict,
    junit,
    to_json,
)
from safety_eval.stats.groups import holm


def decide(
    run: Path,
    policy: Policy,
    baseline: Path | None = None,
    at: datetime.datetime | None = None,
    until: str = "",
) -> Verdict:
    """The verdict on a run folder. Never raises for what a run lacks: that is 'cannot decide', with the
    reason.

    Args:
        run, baseline: run folders. at: moment of the decision (UTC, now when None); waivers are judged at it.
        until: hash of the journal's entry up to which to look.

    Raises:
        UserError: the policy asks for something that cannot be (exit 2).
    """
    return judge(collect(run, policy, baseline, until=until), policy, at)


def judge(case: Case, policy: Policy, at: datetime.datetime | None = None) -> Verdict:
    """The verdict on collected numbers; pure."""
    policy = concealed(policy)
    moment = (at or datetime.datetime.now(datetime.UTC)).astimezone(datetime.UTC).replace(microsecond=0)
    stopped = conditions.stopped(case, policy)
    seen = [c for r in policy.rules for c in rules.claims(r, *_looked_at(r, case), policy, stopped, case.labelled)]
    adjusted = _family(seen, policy)
    findings, notes = _waive([_finding(c, p, policy) for c, p in zip(seen, adjusted, strict=True)], policy, moment)
    blockers = (
        *case.faults,
        *conditions.blockers(case, policy, moment),
        *instruments.blockers(case.cards, case.asked, policy, findings),
        *_unnamed(case, policy),
    )
    record = registration(policy)
    claimed = [meaning(about) for about in dict.fromkeys(policy.claim(rule) for rule in policy.rules)]
    said = (*instruments.lines(case.cards, case.asked, findings), *conditions.descriptive(case, policy))
    return Verdict(
        decision=_decide(findings, blockers),
        policy=policy.name,
        policy_sha256=record.sha256,
        registered=case.registered == record.sha256,
        decided_at=moment.strftime("%Y-%m-%dT%H:%M:%SZ"),
        subject=dict(case.subject),
        level=policy.level,
        family=policy.family,
        findings=tuple(findings),
        blockers=blockers,
        notes=(*claimed, *case.notes, *said, *notes, *conditions.unregistered(case)),
        run_sha256=case.run_sha256,
        results_sha256=case.results_sha256,
        baseline=case.baseline,
        asked=_circumstances(case, policy),
        history=case.history.sentences,
        journal=case.journal,
    )


def _circumstances(case: Case, policy: Policy) -> Circumstances:
    """How the model was asked and scored, for the verdict."""
    used = list(dict.fromkeys(rule.task for rule in policy.rules))
    named = {rule.task: rule.scorer for rule in policy.rules if rule.scorer}
    tasks = {name: case.asked.tasks[name] for name in used if name in case.asked.tasks}
    return Circumstances(
        weights=case.asked.weights,
        data={name: _size(t) for name, t in tasks.items()},
        instruments={f"{n} by {s}": digest(dict(i)) for n, t in tasks.items() for s, i in t.instruments.items()},
        deviations=tuple(deviations(case.asked, used, named)),
        signers=policy.signers,
    )


def _size(task: AskedTask) -> str:
    each = "one answer" if task.samples == 1 else f"{task.samples} answers"
    return f"{task.version}, {task.prompts:,} prompts, {each} each"


def write(folder: Path, verdict: Verdict) -> None:
    """RUN/signoff.json and RUN/signoff.junit.xml."""
    write_json(folder / "signoff.json", to_json(verdict))
    write_atomic(folder / "signoff.junit.xml", junit(verdict))


def note(folder: Path, verdict: Verdict) -> None:
    """Tell the journal of a verdict, so that the next one says that there was this one."""
    with suppress(EvidenceError):
        Journal(folder).note(
            Event.SIGNED_OFF,
            decision=verdict.decision,
            policy=verdict.policy,
            policy_sha256=verdict.policy_sha256,
            verdict=digest(to_json(verdict)),
        )


def _decide(findings: Sequence[Finding], blockers: Sequence[Blocker]) -> Decision:
    if any(b.kind in ("evidence", "conditions") for b in blockers):
        return "cannot decide"
    outcomes = {f.outcome for f in findings}
    if "broken" in outcomes:
        return "rejected"
    if blockers or "undecided" in outcomes:
        return "cannot decide"
    return "approved with waivers" if "waived" in outcomes else "approved"


def _looked_at(rule: Rule, case: Case) -> tuple[list[Estimate], list[Difference] | None]:
    """Estimates and differences that a rule may look at: without a scorer, those by the task's own instruments only."""

    def may(this: Estimate | Difference) -> bool:
        return rule.scorer is not None or own_instrument(case.asked, this.task, this.scorer)

    compared = None if case.differences is None else [d for d in case.differences if may(d)]
    return [e for e in case.estimates if may(e)], compared


def _unnamed(case: Case, policy: Policy) -> list[Blocker]:
    """Rules without a scorer on a task that only instruments of somebody's choice have scored."""
    out = []
    for rule in policy.rules:
        same = [e.scorer for e in case.estimates if (e.task, e.metric) == (rule.task, rule.metric)]
        if rule.scorer is None and same and not any(own_instrument(case.asked, rule.task, s) for s in same):
            told = f"{rule.id}: {rule.task} was scored by {', '.join(sorted(set(same)))}, not by its own instrument; "
            out.append(Blocker("missing", f"{told}a rule that accepts another one names it (scorer)"))
    return out


def _family(seen: Sequence[Claim], policy: Policy) -> list[float]:
    """Holm-adjusted p-values of 'broken', over all rules or task by task."""
    families: dict[str, list[int]] = {}
    for i, claim in enumerate(seen):
        if not claim.fault:
            families.setdefault(claim.rule.task if policy.family == "task" else "", []).append(i)
    adjusted = [1.0] * len(seen)
    for members in families.values():
        for i, p in zip(members, holm([seen[i].p_broken() for i in members]), strict=True):
            adjusted[i] = float(p)
    return adjusted


def _finding(claim: Claim, p_broken: float, policy: Policy) -> Finding:
    rule = claim.rule
    outcome: Outcome = "undecided"
    if claim.met:
        outcome = "met"
    elif not claim.fault and p_broken <= 1 - policy.level:
        outcome = "broken"
    further = claim.further() if outcome == "undecided" else None
    return Finding(
        rule=rule.id,
        task=rule.task,
        metric=rule.metric,
        scorer=claim.cell.scorer,
        axis=claim.cell.axis,
        group=claim.cell.group,
        limit=rule.limit,
        bound=rule.bound,
        outcome=outcome,
        sentence=_sentence(claim, outcome, further),
        because=rule.because,
        value=claim.interval.value,
        low=claim.interval.low,
        high=claim.interval.high,
        count=claim.count,
        expected=claim.expected,
        p_broken=p_broken,
        missing=bool(claim.fault),
        further=further,
    )


def _sentence(claim: Claim, outcome: Outcome, further: int | None) -> str:
    if claim.fault:
        cell = claim.cell
        here = f", {name(cell.axis)} {name(cell.group)}" if cell.group else f", every {name(cell.axis)}"
        here = "" if cell.axis == "total" else here
        return f"{cell.task} {name(cell.metric)}{here}: {claim.fault}."
    if outcome == "met" or (claim.stopped and outcome == "undecided"):
        return f"{claim.words}."
    if outcome == "broken":
        return f"{claim.words}: broken, beyond what chance explains."
    if claim.labelled:
        return f"{claim.words}: not shown; label more answers (`safety-eval review --others`) or ask more prompts."
    if further is None:
        return f"{claim.words}: not shown, and no number of further prompts would settle it at this value."
    return f"{claim.words}: not shown; about {further:,} further prompts would settle it at this value."


def _waive(findings: list[Finding], policy: Policy, moment: datetime.datetime) -> tuple[list[Finding], list[str]]:
    """Findings with waivers applied, and what to say of each waiver."""
    notes, out = [], list(findings)
    for waiver in policy.waivers:
        open_ = [i for i, f in enumerate(out) if f.rule == waiver.rule and f.outcome in ("broken", "undecided")]
        able = [i for i in open_ if not out[i].missing]
        if moment.date() > waiver.expires:
            notes.append(f"the waiver of '{waiver.rule}' by {waiver.owner} ended on {waiver.expires}: not applied")
            continue
        if not open_:
            notes.append(f"the waiver of '{waiver.rule}' by {waiver.owner} was not needed")
        if len(able) < len(open_):
            notes.append(f"the waiver of '{waiver.rule}' does not cover what is missing")
        for i in able:
            out[i] = replace(out[i], outcome="waived", was=out[i].outcome, waiver=_waiver(waiver))
    return out, notes


def _waiver(waiver: Waiver) -> str:
    return f"waived by {waiver.owner} until {waiver.expires}: {waiver.reason}"
