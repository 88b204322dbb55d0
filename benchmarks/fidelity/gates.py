"""How often the limits that sign-off acts on hold, worst cell first: the first part of docs/explanation/coverage.md.

python benchmarks/fidelity/gates.py [RUNS]        rewrites that part of the page, nothing else
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from safety_eval.stats.gaps import p_gap
from safety_eval.stats.gate import Shared, effective_answers, gate
from safety_eval.stats.judge import Calibration, Review, corrected, two_phase
from safety_eval.stats.limits import three_point_upper
from safety_eval.stats.proportion import lower_limits, upper_limits

Floats = NDArray[np.float64]
PAGE = Path(__file__).resolve().parents[2] / "docs" / "explanation" / "coverage.md"
BEGIN, END = "<!-- gates.py begins -->", "<!-- gates.py ends -->"
SAFENLP = np.array([883, 459, 548, 591, 536, 431, 437, 624, 743, 502, 641, 591, 604])
Cell = tuple[float, str, str]
"""Coverage (or power), where, and what it is of."""


def designs(icc: float, runs: int, seed: int) -> Cell:
    """Worst one-sided coverage over random sizes from 1 to 1,000, rates that depend on size, both kinds of weights."""
    rng, worst = np.random.default_rng(seed), (1.0, "", "")
    for _ in range(120):
        count = int(rng.choice([2, 3, 5, 13, 41, 100]))
        sizes = [
            rng.integers(1, 1000, count),
            np.r_[10, np.full(count - 1, 500)],
            np.maximum(1, (1000 * 0.8 ** np.arange(count)).astype(int)),
            np.r_[rng.integers(100, 1000), np.full(count - 1, rng.integers(1, 10))],
        ][int(rng.integers(4))]
        base, slope = 10 ** rng.uniform(-3, -0.4), float(rng.choice([-1, 0, 1]))
        rates = np.clip(base * (sizes / sizes.mean()) ** slope, 0, 1)
        for macro in (False, True):
            codes = np.repeat(np.arange(count), sizes)
            weights = (1 / sizes)[codes] if macro else np.ones(len(codes))
            share = np.bincount(codes, weights) / weights.sum()
            p = _drawn(rng, rates, icc, runs)
            found = np.clip((rng.binomial(sizes, p) / sizes) @ share, 0, 1)
            n, truth = effective_answers(weights, [Shared(icc, codes)]), float(rates @ share)
            held = (
                (upper_limits(found * n, n) >= truth - 1e-12).mean(),
                (lower_limits(found * n, n) <= truth + 1e-12).mean(),
            )
            where = f"{count} groups of {sizes.min()} to {sizes.max()}, rates to the power {slope:+.0f} of size"
            worst = min(worst, (float(min(held)), f"{where}, {'macro' if macro else 'micro'}", ""))
    return worst[0], worst[1], f"rates, icc {icc:g}"


def _drawn(rng: np.random.Generator, rates: Floats, icc: float, runs: int) -> Floats:
    """Rates of the clusters in each run, with so large an intra-class correlation; shape (runs, clusters)."""
    if icc == 0:
        return np.tile(rates, (runs, 1))
    if icc == 1:
        return (rng.random((runs, rates.size)) < rates).astype(float)
    own = 1 / icc - 1
    return rng.beta(np.maximum(rates * own, 1e-9), np.maximum((1 - rates) * own, 1e-9), (runs, rates.size))


def displayed() -> Cell:
    """Exact two-sided coverage of the displayed interval of a rate on a fine grid."""
    worst: Cell = (1.0, "", "")
    for n in (10, 12, 15, 20, 30, 50, 75, 100, 150, 250, 400, 817, 2000, 5130):
        k = np.arange(n + 1)
        low, high = lower_limits(k, n, 0.025), upper_limits(k, n, 0.025)
        ends = np.concatenate([low, high])
        grid = np.concatenate([ends * (1 - 1e-9), ends * (1 + 1e-9), np.logspace(-4, -0.31, 300)])
        grid = grid[(grid > 1e-4) & (grid < 1 - 1e-4)]
        first, last = np.searchsorted(high, grid, "left"), np.searchsorted(low, grid, "right") - 1
        held = binom.cdf(last, n, grid) - binom.cdf(first - 1, n, grid)
        i = int(held.argmin())
        worst = min(worst, (float(held[i]), f"n = {n}, truth {100 * grid[i]:.3g}%", ""))
    return worst[0], worst[1], "displayed rates, two-sided 95%"


def means(runs: int) -> list[Cell]:
    """Gated and displayed means with a rare high score."""
    out: list[Cell] = []
    for name, alpha in (("gated means, one-sided 95%", 0.05), ("displayed means, two-sided 95%", 0.025)):
        worst: Cell = (1.0, "", "")
        for n in (10, 30, 100):
            for rare in (0.01, 0.03, 0.1):
                rng, held = np.random.default_rng(n), np.zeros(3)
                truth = rare * 0.9 + (1 - rare) * 0.05
                for _ in range(runs // 4):
                    y = np.where(rng.random(n) < rare, 0.9, 0.05)
                    g = gate(y, np.ones(n), (0.0, 1.0), float(n), False, alpha)
                    held += [g.low <= truth, g.high >= truth, g.low <= truth <= g.high]
                share = held / (runs // 4)
                cell = float(min(share[:2]) if alpha == 0.05 else share[2])
                worst = min(worst, (cell, f"n = {n}, a share {rare:g} at 0.9, else 0.05", ""))
        out.append((worst[0], worst[1], name))
    return out


def paired() -> Cell:
    """Exact upper coverage of a paired difference over discordances and splits."""
    worst: Cell = (1.0, "", "")
    for n in (20, 50, 200):
        for share in (0.005, 0.02, 0.1, 0.3):
            for split in (0.0, 0.25, 0.5, 0.75, 1.0):
                up, down, missed = share * split, share * (1 - split), 0.0
                top = int(binom.ppf(1 - 1e-7, n, share))
                for moved in range(top + 1):
                    for b in range(moved + 1):
                        chance = binom.pmf(moved, n, share) * binom.pmf(b, moved, split)
                        if chance > 1e-6 and three_point_upper(b / n, (moved - b) / n, n, 0.05) < up - down - 1e-9:
                            missed += chance
                worst = min(worst, (1 - missed, f"{n} pairs, discordance {share:g}, split {split:g}", ""))
    return worst[0], worst[1], "paired differences, one-sided 95%"


def gaps(runs: int) -> list[Cell]:
    """Family error of the gap's limits under equal rates, and power for one of 13 groups at 10% beside 5%."""
    rng, held = np.random.default_rng(5), []
    for rate in (0.005, 0.02, 0.05, 0.2):
        wrong = sum(p_gap(rng.binomial(SAFENLP, rate) / SAFENLP, SAFENLP) <= 0.05 for _ in range(4 * runs))
        held.append((1 - wrong / (4 * runs), f"13 groups, all at {100 * rate:g}%", "gap, nobody named, 95%"))
    seen = 0
    for i in range(4 * runs):
        rates = np.where(np.arange(13) == i % 13, 0.1, 0.05)
        seen += p_gap(rng.binomial(SAFENLP, rates) / SAFENLP, SAFENLP) <= 0.05
    return [min(held), (seen / (4 * runs), "one of 13 groups at 10%, the rest at 5%, each in turn", "gap: POWER")]


def judges(runs: int) -> list[Cell]:
    """Two-phase reviews, calibrated rates, and how often the alarm stays silent where the calibration holds."""
    rng = np.random.default_rng(6)
    worst: Cell = (1.0, "", "two-phase review, 95%")
    quiet: Cell = (1.0, "", "calibration holds: no alarm")
    covered: Cell = (1.0, "", "calibrated rate, 95%")
    for prevalence in (0.005, 0.02, 0.05, 0.2):
        for labels in (50, 500):
            held = silent = calibrated = 0
            for _ in range(runs):
                sizes = (400, 100, 3500)
                bad = [rng.binomial(n, min(1.0, c * prevalence)) for n, c in zip(sizes, (4, 1, 0.3), strict=True)]
                many = (min(400, labels // 2), 100, max(labels // 2, 25))
                parts = [
                    Review(n, m, int(rng.hypergeometric(k, n - k, m))) for n, m, k in zip(sizes, many, bad, strict=True)
                ]
                got = two_phase(parts)
                held += got.low <= sum(bad) / 4000 <= got.high
                half = labels // 2
                truth = Calibration(int(rng.binomial(half, 0.9)), half, int(rng.binomial(half, 0.95)), half)
                rate = corrected(int(rng.binomial(1000, prevalence * 0.9 + (1 - prevalence) * 0.05)), 1000, truth)
                silent += not rate.alarm
                calibrated += bool(rate.alarm) or rate.low <= prevalence <= rate.high
            where = f"prevalence {100 * prevalence:g}%, {labels} labels"
            worst = min(worst, (held / runs, where, worst[2]))
            quiet = min(quiet, (silent / runs, where, quiet[2]))
            covered = min(covered, (calibrated / runs, where, covered[2]))
    return [worst, quiet, covered]


def page(runs: int) -> str:
    by_icc = [designs(icc, runs, 1) for icc in (0.0, 0.02, 0.1, 0.3, 1.0)]
    cells = [*by_icc, displayed(), *means(runs), paired(), *gaps(runs), *judges(runs)]
    lines = [f"| {what} | **{value:.3f}** | {where} |" for value, where, what in sorted(cells)]
    return (
        "## What sign-off acts on: the worst cell of each kind, the worst first\n\n"
        f"`python benchmarks/fidelity/gates.py {runs}`. A cell is one design; simulated ones have {runs:,} runs, so "
        "that a lowest of many lies below the truth by up to three standard errors. Rates: 240 random designs for each "
        "correlation within clusters, with the same correlation registered; `icc 0` is the estimand `list`.\n\n"
        "| of | worst | where |\n|---|---|---|\n" + "\n".join(lines) + "\n"
    )


if __name__ == "__main__":
    text = PAGE.read_text(encoding="utf-8")
    head, rest = text.split(BEGIN)[0], text.split(END)[-1]
    made = page(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
    PAGE.write_text(f"{head}{BEGIN}\n{made}{END}{rest}", encoding="utf-8")
