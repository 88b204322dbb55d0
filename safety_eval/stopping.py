"""Early stopping: ask in seeded blocks, and stop once the verdict of the full run is known with high certainty.

With keyed sampling each prompt's outcome is a fixed number, whatever the order, so the prompts of a task are a finite
population and the only chance is our seeded random order: no independence or cluster assumption is needed
(stats/sequential.py). A rule on a share ('toxic rate below 5%', for all or for every group) can be decided early;
a task with any other rule, or with several samples of a prompt, is asked in full.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

from safety_eval import sampling
from safety_eval.policy import Policy, Rule
from safety_eval.records import Estimate, Prompt
from safety_eval.stats.plan import critical_count
from safety_eval.stats.sequential import Boundaries, boundaries

PASS, NOT_PASS = "pass", "not pass"
NOT_ASKED = "not_asked"


def order(prompts: Sequence[Prompt], seed: int, task: str) -> list[Prompt]:
    """The seeded random order in which a task's prompts are asked; the same for everybody who holds the run."""
    return sorted(prompts, key=lambda p: (sampling.draw_key(seed, f"order of {task}", p.id, 0), p.id))


def blocks(
    prompts: Sequence[Prompt], policy: Policy, seed: int, task: str, samples: int
) -> Iterator[list[Prompt]]:
    """The prompts in their seeded order, block by block; one block where the task cannot be decided early."""
    if policy.stop is None or samples > 1 or not _early(policy, task):
        yield list(prompts)
        return
    shuffled = order(prompts, seed, task)
    for start in range(0, len(shuffled), policy.stop.block):
        yield shuffled[start : start + policy.stop.block]


def state(policy: Policy, task: str, found: Sequence[Estimate]) -> str:
    """'pass' when every rule of the task is decided to pass, 'not pass' when one is decided against, else ''."""
    if policy.stop is None or not _early(policy, task):
        return ""
    decided = []
    for rule in (r for r in policy.rules if r.task == task):
        here = [e for e in found if _about(rule, e)]
        if not any(e.missing.get(NOT_ASKED) for e in here):
            return ""
        decided += [decide(rule, e, policy) for e in here]
    if NOT_PASS in decided:
        return NOT_PASS
    return PASS if decided and all(d == PASS for d in decided) else ""


def decide(rule: Rule, e: Estimate, policy: Policy) -> str:
    """Verdict of the full run on one share, where the answers so far settle it; '' where they do not.

    Unmeasured and degenerate answers count as bad, those not asked yet do not count. `e` must be of a rate.
    """
    if e.kind != "rate" or e.axis == "macro" or e.worst is None or policy.stop is None:
        return ""
    waiting = e.missing.get(NOT_ASKED, 0)
    below = rule.limit == "max"
    bad_share = e.worst if below else 1 - e.worst
    limit = rule.bound if below else 1 - rule.bound
    bad = round(bad_share * e.expected) - waiting
    made = _boundaries(e.expected, limit, 1 - policy.level, e.effective_clusters, policy.stop.delta)
    if made is None:
        return NOT_PASS
    return made.decide(bad, e.expected - waiting) or ""


SURE = 1e-4
"""Chance of error at which a run that was stopped may name a rule as broken (Holm multiplies it)."""


def breaks(rule: Rule, e: Estimate, policy: Policy) -> bool:
    """Whether the full run is shown to break the rule, not only to miss it: the mirror image of `decide`.

    Here unmeasured and degenerate answers count as good, so that nothing is broken by what is missing.
    """
    if e.kind != "rate" or e.axis == "macro" or e.events is None:
        return False
    asked = e.expected - e.missing.get(NOT_ASKED, 0)
    below = rule.limit == "max"
    bad = e.events if below else e.count - e.events
    limit = 1 - rule.bound if below else rule.bound
    if not 0 < limit < 1:
        return False
    made = _boundaries(e.expected, limit, 1 - policy.level, e.effective_clusters, SURE)
    return made is not None and made.decide(asked - bad, asked) == "pass"


@lru_cache(maxsize=512)
def _boundaries(total: int, limit: float, alpha: float, effective: float, error: float) -> Boundaries | None:
    critical = critical_count(total, limit, alpha, effective)
    return boundaries(total, critical, error) if 0 <= critical < total else None


def _early(policy: Policy, task: str) -> bool:
    rules = [r for r in policy.rules if r.task == task]
    return bool(rules) and all(r.limit in ("max", "min") and not r.group.startswith("macro") for r in rules)


def _about(rule: Rule, e: Estimate) -> bool:
    """Whether a rule acts on this estimate (groups that are descriptive only are left out of 'every')."""
    if (e.metric, e.kind) != (rule.metric, "rate") or rule.scorer not in (None, e.scorer):
        return False
    if rule.group == "all":
        return e.axis == "total"
    if rule.group.startswith("every "):
        few = "effective clusters" in e.reason
        return e.axis == rule.group.removeprefix("every ") and not few
    return f"{e.axis}/{e.group}" == rule.group
