"""What a policy asks of the run as a whole: registered, fresh, of the right data and instruments, and
measured.

What the kinds of a blocker mean stands in verdict.py.
"""

from __future__ import annotations

import datetime

from safety_eval.core.errors import EvidenceError
from safety_eval.core.records import Estimate, Standing
from safety_eval.measure import floors
from safety_eval.policy import About, Policy, Rule, floor, registration
from safety_eval.policy.stopping import NOT_ASKED
from safety_eval.show.words import name
from safety_eval.signoff import asked, instruments, rules
from safety_eval.signoff.basis import Case
from safety_eval.signoff.verdict import Blocker

_SLACK = datetime.timedelta(minutes=5)
"""Clocks of two machines may differ by so much."""


def blockers(case: Case, policy: Policy, moment: datetime.datetime) -> list[Blocker]:
    """What the policy asks of the run as a whole."""
    found = [*_registration(case, policy), *_age(case, policy, moment), *_identities(case, policy)]
    found += asked.blockers(case.asked, policy)
    found += [b for rule in policy.rules for b in _floor(case, rule)]
    looked_at = dict.fromkeys((r.task, r.metric, r.scorer) for r in policy.rules)
    for task, metric, scorer in looked_at:
        found += _unscored(case, policy, (task, metric, scorer))
    for task in dict.fromkeys(r.task for r in policy.rules):
        found += _degenerate(case, policy, task)
    return found


def _floor(case: Case, rule: Rule) -> list[Blocker]:
    """A rule that a model meets which cannot answer says nothing of this one, unless the policy says why it stands."""
    seen = (
        floors.place(e, case.instruments.get(e.scorer))
        for e in case.estimates
        if (e.task, e.metric) == (rule.task, rule.metric)
        and rule.of.holds(e.axis, e.group)
        and rule.scorer in (None, e.scorer)
    )
    told = floor.objection(rule, seen)
    return [Blocker("missing", told)] if told else []


def _registration(case: Case, policy: Policy) -> list[Blocker]:
    wanted = registration(policy).sha256
    if case.registered and case.registered != wanted:
        return [Blocker("conditions", "this is not the policy that the run recorded before its first token")]
    if policy.registered and not case.registered:
        return [Blocker("conditions", "the policy must be recorded before the first token (run --policy); it was not")]
    return []


def unregistered(case: Case) -> list[str]:
    return [] if case.registered else ["the policy was not recorded before the run: nothing shows that it came first"]


def _age(case: Case, policy: Policy, moment: datetime.datetime) -> list[Blocker]:
    """A run is as old as its beginning: nothing that is done to it later makes it young."""
    if case.history.ended and _moment(case.history.ended) > moment + _SLACK:
        return [Blocker("evidence", f"the journal speaks of the future: {case.history.ended}")]
    if policy.max_age_days is None:
        return []
    if not case.history.begun:
        return [Blocker("conditions", "the run does not say when it was begun, and the policy limits its age")]
    age = moment - _moment(case.history.begun)
    if age > datetime.timedelta(days=policy.max_age_days):
        told = f"stale: the run was begun {age.days} days ago, {policy.max_age_days} are allowed"
        return [Blocker("conditions", told)]
    return []


def _moment(at: str) -> datetime.datetime:
    try:
        return datetime.datetime.fromisoformat(at.replace("Z", "+00:00")).astimezone(datetime.UTC)
    except ValueError as error:
        raise EvidenceError(f"the journal names no such time: {at!r}") from error


def _identities(case: Case, policy: Policy) -> list[Blocker]:
    """Data versions and instruments that the policy pins."""
    found = []
    for task, wanted in policy.data.items():
        asked = case.data.get(task, "none")
        if asked != wanted:
            found.append(Blocker("conditions", f"other data: {task} must be version {wanted}, the run asked {asked}"))
    for scorer, pins in policy.instruments.items():
        identity = case.instruments.get(scorer)
        if identity is None:
            found.append(Blocker("conditions", f"the instrument {scorer} did not score this run"))
            continue
        for field, pin in pins.items():
            if field in ("identity", "arguments", *instruments.ASKED):
                continue
            if (have := identity.get(field)) != pin:
                told = f"other instrument: {scorer} {field} must be {pin!r}, the run used {have!r}"
                found.append(Blocker("conditions", told))
    return found


def stopped(case: Case, policy: Policy) -> frozenset[str]:
    """Tasks that were ended early by the rule that this policy had registered before the first token."""
    if policy.stop is None or case.registered != registration(policy).sha256:
        return frozenset()
    return frozenset(case.stopped)


def _unscored(case: Case, policy: Policy, what: tuple[str, str, str | None]) -> list[Blocker]:
    task, metric, scorer = what
    found = []
    for e in case.estimates:
        if (e.task, e.metric, e.axis) != (task, metric, "total") or scorer not in (None, e.scorer):
            continue
        waiting = e.missing.get(NOT_ASKED, 0)
        if waiting and task not in stopped(case, policy):
            told = f"{task}: {waiting} prompts were not asked, and no registered stopping rule says why"
            found.append(Blocker("missing", told))
        owed = e.expected - waiting
        share = 1 - e.count / owed if owed else 0.0
        if share > policy.ceilings.unscored + 1e-12:
            reasons = ((r, n) for r, n in sorted(e.missing.items()) if r != NOT_ASKED)
            why = ", ".join(f"{count} {name(reason)}" for reason, count in reasons)
            told = f"{task} {name(metric)}: {100 * share:.1f}% of {owed} answers have no value ({why}); "
            found.append(Blocker("missing", f"{told}{100 * policy.ceilings.unscored:g}% are allowed"))
    return found


def _degenerate(case: Case, policy: Policy, task: str) -> list[Blocker]:
    """A broken model looks safest: the share of answers that are none must be shown to be small."""
    ceiling = policy.ceilings.degenerate
    for e in case.estimates:
        if (e.task, e.metric, e.axis) != (task, "degenerate_rate", "total") or ceiling == 1:
            continue
        high = _degenerate_limit(e, policy, task in stopped(case, policy))
        if high > ceiling:
            told = f"{task}: {e.events or 0} of {e.count} answers are empty, looping or otherwise none; "
            told += f"their share may be {100 * high:.1f}% ({100 * policy.level:.10g}%), {100 * ceiling:g}% are allowed"
            return [Blocker("missing", told)]
    return []


def _degenerate_limit(e: Estimate, policy: Policy, early: bool) -> float:
    if early and e.missing.get(NOT_ASKED) and e.count:
        return (e.events or 0) / e.count  # as seen: few answers, and each counts as bad in what stopped the run
    this = rules.seen(e, About("list", 0.0))
    return 1.0 if this is None else this.upper(policy.level)


def descriptive(case: Case, policy: Policy) -> list[str]:
    """Groups that 'every group' leaves out, by name."""
    notes = []
    for rule in policy.rules:
        if rule.of.every:
            groups = sorted(e.group for e in case.estimates if _left_out(rule, e))
            if groups:
                told = f"{rule.id}: descriptive only (fewer than 10 prompts on the list), not required: "
                notes.append(told + ", ".join(groups))
    return notes


def _left_out(rule: Rule, e: Estimate) -> bool:
    same = (e.task, e.metric, e.axis) == (rule.task, rule.metric, rule.of.axis)
    return same and rule.scorer in (None, e.scorer) and e.standing is Standing.FEW
