"""Early stopping: ask in seeded blocks, and stop once the verdict of the full run is known with high certainty.

With keyed sampling each prompt's outcome is a fixed number, whatever the order, so the prompts of a task are a finite
population and the only chance is our seeded random order: no independence or cluster assumption is needed
(stats/sequential.py). A rule on a share ('toxic rate below 5%', for all or for every group) can be decided early;
a task with any other rule, or with several samples of a prompt, is asked in full. A stopped run has the verdict of
the full run, all three ways: approved, rejected, cannot decide.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Protocol

from safety_eval.core import sampling
from safety_eval.core.records import Estimate, Prompt, Reason, Standing
from safety_eval.core.task import Task
from safety_eval.policy import About, Policy, Rule
from safety_eval.stats.plan import critical_count
from safety_eval.stats.sequential import Boundaries, boundaries


class Weighed(Protocol):
    """A number that knows its effective answers, prompts and clusters: an estimate or a difference."""

    @property
    def answers(self) -> float: ...
    @property
    def effective_prompts(self) -> float: ...
    @property
    def effective_clusters(self) -> float: ...


PASS, NOT_PASS = "pass", "not pass"
NOT_ASKED = Reason.NOT_ASKED


def order(prompts: Iterable[Prompt], seed: int, task: str) -> list[int]:
    """The seeded random order in which a task's prompts are asked, by their numbers; the same for everybody who holds
    the run."""
    named = sorted((sampling.draw_key(seed, f"order of {task}", p.id, 0), p.id, i) for i, p in enumerate(prompts))
    return [i for _, _, i in named]


def next_look(policy: Policy, task: Task, waiting: Sequence[Prompt], found: Sequence[Estimate]) -> int:
    """How many of the waiting prompts to ask before the verdict is looked at again.

    Up to the first moment at which every rule could be met, should no further answer be bad, so that a pass is seen as
    soon as it is there and no look is wasted; at most `stop.block`, so that a model that fails is stopped soon.
    """
    most = min(policy.stop.block if policy.stop else len(waiting), len(waiting))
    look = 1
    for rule in (r for r in policy.rules if r.task == task.name):
        for e in (e for e in found if _about(rule, e)):
            here = _so_far(rule, e, policy)
            needed = here[0].until_pass(*here[1:]) if here else 0
            if needed:
                look = max(look, _position(task, e, waiting, needed, most))
    return min(look, most)


def _position(task: Task, e: Estimate, waiting: Sequence[Prompt], needed: int, most: int) -> int:
    """How many waiting prompts hold `needed` of this estimate's; `most` where so many do not hold them."""
    where = next((m.where for m in task.metrics if m.name == e.metric), None)
    held = 0
    for i, prompt in enumerate(waiting[:most]):
        member = e.axis == "total" or e.group in prompt.groups.get(e.axis, ())
        held += member and (where is None or where(prompt))
        if held == needed:
            return i + 1
    return most


def state(policy: Policy, task: str, found: Sequence[Estimate]) -> str:
    """'pass' when every rule of the task is decided to pass; 'not pass' when the full run's verdict is known to be
    rejected (a rule is surely broken) or open (one is surely not met, and surely none is broken); else ''.

    `stop.delta` is for the task as a whole: what speaks against approval may come from any group, and shares it.
    """
    if policy.stop is None or not early(policy, task):
        return ""
    claims = [(rule, e) for rule in policy.rules if rule.task == task for e in found if _about(rule, e)]
    if not claims or any(not [e for r, e in claims if r is rule] for rule in policy.rules if rule.task == task):
        return ""
    if not any(e.missing.get(NOT_ASKED) for _, e in claims):
        return ""
    decided = [decide(rule, e, policy, len(claims)) for rule, e in claims]
    if all(d == PASS for d in decided):
        return PASS
    share = policy.stop.delta / len(claims)
    if any(breaks(rule, e, policy, share) for rule, e in claims):
        return NOT_PASS
    safe = all(_unbroken(rule, e, policy, share) for rule, e in claims)
    return NOT_PASS if NOT_PASS in decided and safe else ""


def decide(rule: Rule, e: Estimate, policy: Policy, claims: int = 1) -> str:
    """Whether the full run meets a rule on one share, where the answers so far settle it; '' where they do not.

    Unmeasured and degenerate answers count as bad, those not asked yet do not count. `e` must be of a rate.
    `claims`: over how many the error of 'not pass' is shared; that of 'pass' is not, since all have to pass.
    """
    here = _so_far(rule, e, policy)
    if here is None:
        return NOT_PASS if _measurable(e) and policy.stop is not None else ""
    made, bad, asked = here
    if made.decide(bad, asked) == PASS:
        return PASS
    strict = _so_far(rule, e, policy, claims)
    return NOT_PASS if strict is not None and strict[0].decide(bad, asked) == NOT_PASS else ""


def _measurable(e: Estimate) -> bool:
    """A rate of answers that all weigh the same: only of these a count decides."""
    equal = abs(e.answers - e.expected) < 1e-6 or e.answers == 0
    return e.kind == "rate" and e.axis != "macro" and None not in (e.highest, e.lowest) and equal


def _so_far(rule: Rule, e: Estimate, policy: Policy, claims: int = 1) -> tuple[Boundaries, int, int] | None:
    """Boundaries of one share, its bad answers and those asked; None where no count of answers could meet the rule."""
    if policy.stop is None or not _measurable(e) or e.highest is None or e.lowest is None:
        return None
    waiting = e.missing.get(NOT_ASKED, 0)
    below = rule.limit == "max"
    share = e.highest if below else 1 - e.lowest
    limit = rule.bound if below else 1 - rule.bound
    error = policy.stop.delta / claims
    made = _boundaries(e.expected, limit, 1 - policy.level, effective(e, policy.claim(rule)), error)
    return None if made is None else (made, round(share * e.expected) - waiting, e.expected - waiting)


SURE = 1e-4
"""p-value that the full run has to have for a stopped run to name a rule as broken: Holm over up to 500 claims."""


def breaks(rule: Rule, e: Estimate, policy: Policy, error: float) -> bool:
    """Whether the full run is shown to break the rule, not only to miss it: the mirror image of `decide`.

    Here unmeasured and degenerate answers count as good, so that nothing is broken by what is missing.
    """
    return _mirrored(rule, e, policy, (SURE, error)) == PASS


def _unbroken(rule: Rule, e: Estimate, policy: Policy, error: float) -> bool:
    """Whether the full run surely does not show the rule to be broken, not even without Holm."""
    return _mirrored(rule, e, policy, (1 - policy.level, error)) in (NOT_PASS, "never")


def _mirrored(rule: Rule, e: Estimate, policy: Policy, errors: tuple[float, float]) -> str:
    """`decide` for 'the share of good answers is below 1 - limit'. `errors`: of the claim, of stopping."""
    if not _measurable(e) or e.events is None:
        return ""
    asked = e.expected - e.missing.get(NOT_ASKED, 0)
    below = rule.limit == "max"
    bad = e.events if below else e.count - e.events
    limit = 1 - rule.bound if below else rule.bound
    if not 0 < limit < 1:
        return ""
    made = _boundaries(e.expected, limit, errors[0], effective(e, policy.claim(rule)), errors[1])
    return "never" if made is None else made.decide(asked - bad, asked) or ""


def effective(e: Weighed, about: About) -> float:
    """Answers that a claim may count on: by the weights of answers, prompts and clusters alone (stats/gate.py)."""
    if about.estimand == "list":
        return e.answers
    return 1 / (about.icc / max(e.effective_clusters, 1.0) + (1 - about.icc) / max(e.effective_prompts, 1.0))


@lru_cache(maxsize=512)
def _boundaries(total: int, limit: float, alpha: float, effective: float, error: float) -> Boundaries | None:
    critical = critical_count(total, limit, alpha, effective)
    return boundaries(total, critical, error) if 0 <= critical < total else None


def early(policy: Policy, task: str) -> bool:
    """Whether every rule on a task is on a share, so that it can be decided before all is asked."""
    rules = [r for r in policy.rules if r.task == task]
    return bool(rules) and all(r.limit in ("max", "min") and r.of.axis != "macro" for r in rules)


def _about(rule: Rule, e: Estimate) -> bool:
    """Whether a rule acts on this estimate (groups too small to be gated are left out of 'every')."""
    if (e.metric, e.kind) != (rule.metric, "rate") or rule.scorer not in (None, e.scorer):
        return False
    if rule.of.every and e.standing is Standing.FEW:
        return False
    return rule.of.holds(e.axis, e.group)
