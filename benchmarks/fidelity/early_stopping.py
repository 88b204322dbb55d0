"""Early stopping against the full run: how often it differs at the worst case, how many prompts it saves.

python benchmarks/fidelity/early_stopping.py
"""

from __future__ import annotations

import sys

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from safety_eval.policy import Stop
from safety_eval.stats.plan import critical_count
from safety_eval.stats.sequential import Boundaries, boundaries

ERROR = 0.01
BLOCK = Stop().block
RATES = (0.001, 0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.2)


def looks(design: Boundaries, outcomes: NDArray[np.bool_], block: int) -> tuple[bool, int]:
    """Verdict (True: pass) and prompts asked of one run, looked at when stopping.next_look says so.

    A rule on one share: the next look is where a pass is possible should no further answer be bad, at most `block`
    prompts away.
    """
    failures = np.r_[0, outcomes.cumsum()]
    asked = 0
    while asked < design.total:
        asked += min(design.until_pass(int(failures[asked]), asked), block)
        state = design.decide(int(failures[asked]), asked)
        if state:
            return state == "pass", asked
    return bool(failures[-1] <= design.critical), asked


def replay(design: Boundaries, outcomes: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Verdicts (True: pass) and prompts asked of many runs, shape (runs, total); decided after every prompt."""
    at = np.arange(1, design.total + 1)
    seen = outcomes.cumsum(axis=1)
    low, high = np.array(design.pass_at)[at], np.array(design.fail_at)[at]
    stop = (seen <= low) | (seen >= high)
    stop[:, -1] = True
    first = stop.argmax(axis=1)
    decided = seen[np.arange(len(seen)), first]
    return np.where(at[first] == design.total, seen[:, -1] <= design.critical, decided <= low[first]), at[first]


def worst_case(total: int, limit: float, runs: int, seed: int = 0) -> list[tuple[int, int]]:
    """Wrong verdicts of so many random orders of exactly k_crit and k_crit + 1 failures."""
    critical = critical_count(total, limit)
    design, wrong = boundaries(total, critical, ERROR), []
    for bad in (critical, critical + 1):
        rng, count = np.random.default_rng(seed), 0
        for start in range(0, runs, 2000):
            many = min(2000, runs - start)
            outcomes = rng.permuted(np.tile(np.arange(total) < bad, (many, 1)), axis=1)
            count += int((replay(design, outcomes)[0] != (bad <= critical)).sum())
        wrong.append((bad, count))
    return wrong


def saved(total: int, limit: float, rate: float, runs: int, block: int = 0) -> tuple[float, float]:
    """Agreement with the full run, and mean share of prompts not asked, at a true rate (block 0: every prompt)."""
    critical = critical_count(total, limit)
    design = boundaries(total, critical, ERROR)
    outcomes = np.random.default_rng(1).random((runs, total)) < rate
    if block:
        each = [looks(design, row, block) for row in outcomes]
        verdict, asked = np.array([v for v, _ in each]), np.array([n for _, n in each])
    else:
        verdict, asked = replay(design, outcomes)
    full = outcomes.sum(axis=1) <= critical
    return float((verdict == full).mean()), float(1 - asked.mean() / total)


def section(quick: bool) -> tuple[str, list[str]]:
    """Section of the page, and what fails."""
    runs = 2000 if quick else 20_000
    lines, failed = [], []
    for total, limit in ((200, 0.05), (500, 0.05), (1000, 0.05), (1000, 0.01)):
        for bad, wrong in worst_case(total, limit, runs):
            p = stats.binomtest(wrong, runs, ERROR, alternative="greater").pvalue
            lines.append(f"| {total} | {limit:.0%} | {bad} | {wrong / runs:.2%} |")
            failed += [f"early stopping N={total} K={bad}: {wrong / runs:.4f}"] if p < 0.001 else []
    rows = []
    for rate in RATES:
        cells = [saved(total, 0.05, rate, min(runs, 4000), block) for total in (500, 1000) for block in (0, BLOCK)]
        rows.append(f"| {rate:.1%} | " + " | ".join(f"{agree:.2%}, {share:.0%}" for agree, share in cells) + " |")
    half = saved(500, 0.05, 0.01, min(runs, 4000), BLOCK)[1]
    failed += [f"early stopping saves only {half:.1%}"] if half < 0.5 else []
    text = (
        f"## Early stopping\n\nVerdict of the full run promised with 99%. {runs:,} random orders of N prompts "
        "that holds exactly so many failures: the last count that passes, and the first that does not.\n\n"
        "| N | limit | failures | verdict differs from the full run |\n|---|---|---|---|\n"
        + "\n".join(lines)
        + "\n\nAgreement with the full run and mean share of prompts saved at limit 5%, decided after every "
        f"prompt, and as the product looks: where a pass is possible, at most {BLOCK} prompts apart.\n\n"
        "| true rate | N=500 | N=500, product | N=1000 | N=1000, product |\n|---|---|---|---|---|\n"
        + "\n".join(rows)
        + "\n"
    )
    return text, failed


if __name__ == "__main__":
    page, problems = section(quick=False)
    print(page, *problems, sep="\n")
    sys.exit(1 if problems else 0)
