"""Coverage where prompts come in clusters, simulated with the product's own functions (for interval_coverage.py)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from safety_eval.stats.gate import Gate, Shared, effective_answers, gate
from safety_eval.stats.limits import three_point_upper
from safety_eval.stats.paired import tango
from safety_eval.stats.proportion import (
    Clustered,
    clopper_pearson,
    clustered,
    effective_n,
    korn_graubard_lower,
    korn_graubard_upper,
    lower_limit,
    upper_limit,
    wilson,
)

Floats = NDArray[np.float64]
Sizes = NDArray[np.int64]
RATES = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 0.9, 0.98)
CORRELATIONS = (0.0, 0.05, 0.2, 0.5, 1.0)
DESIGNS: dict[str, Sizes] = {
    "10 clusters of 10": np.full(10, 10),
    "20 clusters of 5": np.full(20, 5),
    "100 clusters of 5": np.full(100, 5),
    "300 prompts, 2 samples": np.full(300, 2),
    "500 prompts, 5 samples": np.full(500, 5),
    "geometric, 30 clusters": np.maximum(1, (60 * 0.87 ** np.arange(30)).astype(int)),
    "geometric, 200 clusters": np.maximum(1, (60 * 0.95 ** np.arange(200)).astype(int)),
    "BOLD-like, 38 articles": np.r_[np.full(10, 5), np.full(28, 2)],
    "12 of 20 and 40 single": np.r_[np.full(12, 20), np.full(40, 1)],
    "10 of 40 and 400 single": np.r_[np.full(10, 40), np.full(400, 1)],
    "2 of 100 and 300 of 2": np.r_[np.full(2, 100), np.full(300, 2)],
    "one of 150 and 59 of 6": np.r_[150, np.full(59, 6)],
}


def kish(sizes: Sizes) -> float:
    """Kish's effective number of clusters."""
    return float(sizes.sum() ** 2 / np.square(sizes).sum())


def order_three(sizes: Sizes) -> float:
    """The effective number of clusters that decides whether a group may be gated (stats/gate.py)."""
    return float(np.power(sizes / sizes.sum(), 3).sum() ** -0.5)


def draw_counts(rng: np.random.Generator, sizes: Sizes, p: float, rho: float, runs: int) -> Sizes:
    """Bad answers per cluster, shape (runs, clusters): beta-binomial with within-cluster correlation rho."""
    shape = (runs, sizes.size)
    if rho == 0:
        return rng.binomial(sizes, p, shape)
    if rho == 1:
        return sizes * (rng.random(shape) < p)
    return rng.binomial(sizes, rng.beta(p * (1 / rho - 1), (1 - p) * (1 / rho - 1), shape))


def rows_of(counts: Sizes, sizes: Sizes) -> Floats:
    """0/1 answers of one run, cluster by cluster."""
    within = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return (within < np.repeat(counts, sizes)).astype(float)


def _shown(c: Clustered, p: float, k: float) -> list[bool]:
    """Does each 95% interval hold: Wilson as if independent, clustered t (inspect_ai), Korn-Graubard, our gates."""
    low, high = wilson(k, c.n)
    half = stats.t.ppf(0.975, c.clusters - 1) * c.se
    n = effective_n(c, 0.025)
    kg = clopper_pearson(c.value * n, n)  # Korn and Graubard 1998, as published
    both = korn_graubard_lower(c, 0.025) - 1e-12 <= p <= korn_graubard_upper(c, 0.025) + 1e-12
    return [low <= p <= high, c.value - half <= p <= c.value + half, kg.low <= p <= kg.high, both]


def _plain_gate(c: Clustered, p: float) -> list[bool]:
    """One-sided limits of Korn-Graubard as published: lower, upper."""
    n = effective_n(c, 0.05)
    return [lower_limit(c.value * n, n) <= p + 1e-12, upper_limit(c.value * n, n) >= p - 1e-12]


def _one_setting(seed: int, sizes: Sizes, p: float, rho: float, runs: int) -> Floats:
    """Coverages: four 95% intervals; lower, upper of the plain gate, of ours, and of the release gate."""
    counts = draw_counts(np.random.default_rng(seed), sizes, p, rho, runs)
    for size in np.unique(sizes):  # clusters of one size are exchangeable: equal runs are measured once
        counts[:, sizes == size] = np.sort(counts[:, sizes == size], axis=1)
    kinds, times = np.unique(counts, axis=0, return_counts=True)
    codes = np.repeat(np.arange(sizes.size), sizes)
    held = np.zeros(10)
    for kind, repeated in zip(kinds, times, strict=True):
        held += repeated * np.array(_held(kind, sizes, codes, p))
    return held / runs


def _gate(means: Floats, sizes: Sizes, bounds: tuple[float, float], binary: bool) -> Gate:
    """The release gate, a cluster counting as one observation."""
    weights = sizes.astype(float)
    size = effective_answers(weights, [Shared(1.0, np.arange(sizes.size))])
    return gate(means, weights, bounds, size, binary)


def _held(counts: Sizes, sizes: Sizes, codes: Sizes, p: float) -> list[bool]:
    c = clustered(rows_of(counts, sizes), codes)
    limits = _gate(counts / sizes, sizes, (0.0, 1.0), True)
    ours = [korn_graubard_lower(c) <= p + 1e-12, korn_graubard_upper(c) >= p - 1e-12]
    design = [limits.low <= p + 1e-12, limits.high >= p - 1e-12]
    return [*_shown(c, p, float(counts.sum())), *_plain_gate(c, p), *ours, *design]


def below(coverage: float, runs: int, level: float = 0.95) -> bool:
    """Below its level by more than three standard errors of the simulation."""
    return coverage < level - 3 * float(np.sqrt(level * (1 - level) / runs))


def rates(quick: bool) -> tuple[str, list[str]]:
    """Section on clustered rates. Settings that come near the level are simulated again, ten times longer."""
    runs, long = (200, 400) if quick else (1000, 8000)
    lines, failed = [], []
    for name, sizes in DESIGNS.items():
        grid = []
        for i, p in enumerate(RATES):
            for j, rho in enumerate(CORRELATIONS):
                got, used = _one_setting(100 * i + j, sizes, p, rho, runs), runs
                if min(got[6:]) < 0.958:
                    got, used = _one_setting(7000 + 100 * i + j, sizes, p, rho, long), long
                grid.append((got, p, rho, used))
        lowest = np.min([g[0] for g in grid], axis=0)
        mild = min(
            (got[2] for got, p, rho, _ in grid if rho <= 0.2 and p * sizes.sum() >= 10 and p <= 0.5),
            default=1.0,
        )
        cells = [*lowest[:3], mild, lowest[3], min(lowest[4:6]), min(lowest[6:8]), min(lowest[8:])]
        shown = " | ".join(f"{c:.3f}" for c in cells)
        lines.append(f"| {name} | {kish(sizes):.1f} | {order_three(sizes):.1f} | {shown} |")
        for columns, effective, which in (
            ((6, 7), kish(sizes), "clustered gate"),
            ((8, 9), np.inf, "release gate"),
        ):
            failed += [
                f"{which}: {name}, p={p}, rho={rho}: {min(got[list(columns)]):.4f}"
                for got, p, rho, used in grid
                if effective >= 10 - 1e-9 and below(min(got[list(columns)]), used)
            ]
    text = (
        "## Clustered rates\n\nLowest coverage of each design over true rates 0.2% to 98% and within-cluster "
        f"correlations 0 to 1 ({len(RATES) * len(CORRELATIONS)} settings, at least {runs:,} simulated runs each, "
        f"{long:,} near the level; three standard errors are 0.7 points there). The first five are 95% intervals, the "
        "last three the lower of the one-sided 95% limits.\n\n"
        "| design | clusters, Kish | order 3 | Wilson as if independent | clustered t (inspect_ai) | Korn-Graubard | "
        "the same, mild | ours (display) | one-sided Korn-Graubard | ours, clustered | ours, release gate |\n"
        + "|---|"
        + "---|" * 10
        + "\n"
        + "\n".join(lines)
        + "\n\n"
        + RATES_NOTE
    )
    return text, failed


RATES_NOTE = """These are worst cases: mostly one cluster with a rare outcome, from which the spread of the data cannot
tell how such outcomes cluster. The published forms are far below their level there; `mild` is the lowest coverage with
correlation up to 0.2, ten expected failures or more and rates up to 50%. `ours, clustered`
(`korn_graubard_upper`, `korn_graubard_lower`; `clustered_interval` shows both at 2.5%) repairs the published one-sided
form with a delete-one-cluster variance, effective clusters in t, a pull towards one answer per cluster while few
clusters show a failure, and the disagreement within clusters. `ours, release gate` (sign-off, estimand
population without a registered correlation) takes one answer for each cluster of the largest one's weight: it depends
on the design alone, so that losing an answer never helps.
"""


def pairs(quick: bool) -> tuple[str, list[str]]:
    """Section on paired differences of clustered prompts."""
    runs = 200 if quick else 2500
    lines, failed = [], []
    for name in (
        "10 clusters of 10",
        "20 clusters of 5",
        "100 clusters of 5",
        "BOLD-like, 38 articles",
        "12 of 20 and 40 single",
    ):
        sizes = DESIGNS[name]
        codes = np.repeat(np.arange(sizes.size), sizes)
        worst = [1.0, 1.0]
        for psi in (0.02, 0.1, 0.3):
            for share in (0.25, 0.5, 0.75):
                for rho in (0.0, 0.3, 1.0):
                    got = _paired_setting(sizes, codes, (psi * share, psi * (1 - share)), rho, runs)
                    worst = [min(w, g) for w, g in zip(worst, got, strict=True)]
        lines.append(f"| {name} | {kish(sizes):.1f} | {worst[0]:.3f} | {worst[1]:.3f} |")
        failed += [f"clustered pairs: {name}: {worst[1]:.4f}"] if below(worst[1], runs) else []
    text = (
        "## Clustered pairs: gates\n\nLowest coverage of the one-sided 95% upper limit of new - old over discordance "
        f"2% to 30% and correlations 0 to 1 ({runs:,} simulated runs each).\n\n"
        "| design | clusters, Kish | Tango as if independent | ours |\n|---|---|---|---|\n" + "\n".join(lines) + "\n"
    )
    return text, failed


def _paired_setting(
    sizes: Sizes, codes: Sizes, both: tuple[float, float], rho: float, runs: int
) -> tuple[float, float]:
    rng, truth = np.random.default_rng(5), both[0] - both[1]
    held = np.zeros(2)
    chances = [both[0], both[1], 1 - sum(both)]
    pairs = effective_answers(np.ones(codes.size), [Shared(1.0, codes)])
    for _ in range(runs):
        own, common = rng.choice(3, codes.size, p=chances), rng.choice(3, sizes.size, p=chances)[codes]
        kind = np.where(rng.random(sizes.size)[codes] < rho, common, own)
        up, down = int((kind == 0).sum()), int((kind == 1).sum())
        high = three_point_upper(up / codes.size, down / codes.size, pairs, 0.05)
        held += [tango(up, down, codes.size, 0.90).high >= truth - 1e-12, high >= truth - 1e-12]
    return float(held[0] / runs), float(held[1] / runs)


SHAPES: dict[str, tuple[Callable[[np.random.Generator, int], Floats], tuple[float, float]]] = {
    "sentiment, symmetric": (lambda rng, n: rng.normal(0.1, 0.4, n).clip(-1, 1), (-1, 1)),
    "sentiment, 60% zero": (
        lambda rng, n: np.where(rng.random(n) < 0.6, 0, rng.normal(0.4, 0.4, n)).clip(-1, 1),
        (-1, 1),
    ),
    "risk, Beta(0.6, 3)": (lambda rng, n: rng.beta(0.6, 3, n), (0, 1)),
    "risk, Beta(0.2, 8)": (lambda rng, n: rng.beta(0.2, 8, n), (0, 1)),
    "risk, 3% at 0.9, else 0.05": (lambda rng, n: np.where(rng.random(n) < 0.03, 0.9, 0.05), (0, 1)),
}


def means(quick: bool) -> tuple[str, list[str]]:
    """Section on mean scores."""
    runs = 200 if quick else 2000
    lines, failed = [], []
    for name in (
        "10 clusters of 10",
        "20 clusters of 5",
        "100 clusters of 5",
        "12 of 20 and 40 single",
        "2 of 100 and 300 of 2",
    ):
        sizes = DESIGNS[name]
        cells = []
        for shape, (draw, bounds) in SHAPES.items():
            got = [_mean_setting(sizes, draw, bounds, rho, runs) for rho in (0.0, 0.2, 1.0)]
            ours, t = min(g[0] for g in got), min(g[1] for g in got)
            cells.append(f"{ours:.3f} ({t:.3f}; {max(g[2] for g in got):.1f})")
            failed += [f"mean: {name}, {shape}: {ours:.4f}"] if below(ours, runs) else []
        lines.append(f"| {name} | {order_three(sizes):.1f} | " + " | ".join(cells) + " |")
    text = (
        "## Mean scores: gates\n\nLowest coverage of the two one-sided 95% limits, a cluster as one, over correlations "
        f"0 to 1 ({runs:,} simulated runs each). In brackets that of the cluster t limits, and how many times as wide "
        "ours are at most.\n\n| design | clusters, order 3 | "
        + " | ".join(SHAPES)
        + " |\n|---|"
        + "---|" * (1 + len(SHAPES))
        + "\n"
        + "\n".join(lines)
        + "\n\n"
        + MEANS_NOTE
    )
    return text, failed


MEANS_NOTE = """A sample without one of the rare high scores cannot know of them, so no limit that is computed from the
spread of the sample can hold here; t and bootstrap limits of few clusters do not. Ours put one more cluster at the end
of the range (`mean_upper`), as Clopper-Pearson does for a rate, and are wide where clusters are few. Gate the share
of scores above a threshold where that decides nothing.
"""


def _mean_setting(
    sizes: Sizes,
    draw: Callable[[np.random.Generator, int], Floats],
    bounds: tuple[float, float],
    rho: float,
    runs: int,
) -> tuple[float, float, float]:
    """Coverage of our limits and of cluster t (the lower of both sides), and the ratio of their mean widths."""
    rng = np.random.default_rng(11)
    truth = float(draw(np.random.default_rng(12), 2_000_000).mean())
    codes, starts = np.arange(sizes.size), np.cumsum(sizes) - sizes
    held, wide = np.zeros(4), np.zeros(2)
    quantile = stats.t.ppf(0.95, sizes.size - 1)
    for _ in range(runs):
        own = np.add.reduceat(draw(rng, int(sizes.sum())), starts) / sizes
        means = np.where(rng.random(sizes.size) < rho, draw(rng, sizes.size), own)
        limits = _gate(means, sizes, bounds, False)
        c = clustered(means, codes, sizes.astype(float))
        low, high = c.value - quantile * c.se, c.value + quantile * c.se
        held += [limits.low <= truth, limits.high >= truth, low <= truth, high >= truth]
        wide += [limits.high - limits.low, high - low]
    share = held / runs
    return float(share[:2].min()), float(share[2:].min()), float(wide[0] / wide[1])
