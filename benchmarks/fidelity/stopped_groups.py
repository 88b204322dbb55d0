"""Early stopping of a task with 40 groups: is the verdict that of the full run, all three ways?

    python benchmarks/fidelity/stopped_groups.py [RUNS]

Every answer is fixed before the run; the seeded order of the prompts is the only chance. A run is stopped by the
product's own rule (`stopping.state`, looked at after every block) and judged by sign-off; so is the full run. The worst
cases for a stop are groups exactly at the last count that passes (any one of 40 may look worse on the way) and a group
exactly at the first that does not.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from signoff_releases import AT, case

from safety_eval.core.records import Estimate, Reason, Standing
from safety_eval.policy import Policy, parse, registration, stopping
from safety_eval.signoff.decision import judge
from safety_eval.stats.plan import critical_count

GROUPS, EACH, LIMIT, BLOCK = 40, 100, 0.1, 200
POLICY = f"""
version: 1
name: forty
rules:
  - {{id: groups, task: toxigen, metric: toxic_rate, scorer: s, group: every target, max: {LIMIT}, min_groups: {GROUPS},
     because: r, floor_met_because: planted}}
ceilings: {{unscored: 1.0, degenerate: 1.0}}
stop: {{block: {BLOCK}, delta: 0.01}}
"""


@dataclass(frozen=True)
class Told:
    """Verdicts of the stopped and of the full run, and the share of prompts that were asked."""

    stopped: str
    full: str
    asked: float


def estimates(asked: NDArray[np.int64], bad: NDArray[np.int64]) -> list[Estimate]:
    """One for each group and the total, as `measure` makes them of a run in which so many were asked."""
    rows = [("target", f"g{i:02d}", EACH, int(n), int(k)) for i, (n, k) in enumerate(zip(asked, bad, strict=True))]
    rows.append(("total", "all", EACH * len(asked), int(asked.sum()), int(bad.sum())))
    return [_estimate(*row) for row in rows]


def _estimate(axis: str, group: str, listed: int, asked: int, bad: int) -> Estimate:
    waiting = listed - asked
    size = float(listed)
    return Estimate(
        task="toxigen",
        metric="toxic_rate",
        scorer="s",
        axis=axis,
        group=group,
        kind="rate",
        value=bad / asked if asked else None,
        count=asked,
        events=bad,
        expected=listed,
        missing={Reason.NOT_ASKED: waiting} if waiting else {},
        listed=listed,
        clusters=listed,
        answers=size,
        effective_prompts=size,
        effective_clusters=size,
        lowest=bad / size,
        highest=(bad + waiting) / size,
        gate_low=0.0,
        gate_high=1.0,
        better="lower",
        standing=Standing.JUDGED if asked else Standing.UNMEASURED,
    )


def verdict(found: Sequence[Estimate], policy: Policy, early: bool) -> str:
    here = case(found, registered=registration(policy).sha256, stopped=frozenset({"toxigen"} if early else ()))
    return judge(here, policy, AT).decision


def one(totals: NDArray[np.int64], policy: Policy, seed: int) -> Told:
    """One run whose groups hold exactly so many bad answers, in a random order."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(GROUPS * EACH)
    group, is_bad = order // EACH, (order % EACH) < totals[order // EACH]
    full = verdict(estimates(np.full(GROUPS, EACH), totals), policy, early=False)
    for many in range(BLOCK, GROUPS * EACH, BLOCK):
        asked = np.bincount(group[:many], minlength=GROUPS)
        bad = np.bincount(group[:many], is_bad[:many], minlength=GROUPS).astype(np.int64)
        found = estimates(asked, bad)
        if stopping.state(policy, "toxigen", found):
            return Told(verdict(found, policy, early=True), full, many / (GROUPS * EACH))
    return Told(full, full, 1.0)


def cases(rng: np.random.Generator) -> dict[str, NDArray[np.int64]]:
    """Bad answers of each group."""
    last = critical_count(EACH, LIMIT)
    return {
        "all at the last count that passes": np.full(GROUPS, last),
        "one at the first that does not": np.r_[last + 1, np.full(GROUPS - 1, 1)],
        "one far above its limit": np.r_[35, np.full(GROUPS - 1, 1)],
        "all good": np.full(GROUPS, 0),
        "any rates from 0 to 15%": rng.binomial(EACH, rng.uniform(0, 0.15, GROUPS)),
    }


def table(runs: int) -> list[tuple[str, float, float, int]]:
    """Agreement with the full run and share asked, the worst first."""
    policy, rng, told = parse(POLICY), np.random.default_rng(1), {}
    for i in range(runs):
        for name, totals in cases(rng).items():
            told.setdefault(name, []).append(one(totals, policy, 1000 + i))
    rows = [
        (name, float(np.mean([t.stopped == t.full for t in all_])), float(np.mean([t.asked for t in all_])), len(all_))
        for name, all_ in told.items()
    ]
    return sorted(rows, key=lambda r: r[1])


if __name__ == "__main__":
    for name, agree, asked, runs in table(int(sys.argv[1]) if len(sys.argv) > 1 else 200):
        print(f"| {name} | {agree:.4f} | {asked:.0%} | {runs:,} |")
