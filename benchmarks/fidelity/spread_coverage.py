"""How often the limits of these scores hold: spread between descriptors, the worst of them, the worst of K answers.

    python benchmarks/fidelity/spread_coverage.py                 # docs/explanation/coverage-spread.md, an hour
    python benchmarks/fidelity/spread_coverage.py --parts "of K"   # that part alone; the others as recorded beside it
    python benchmarks/fidelity/spread_coverage.py --runs 30        # fewer simulations, prints only

Every run draws descriptors (prompts, topics) and answers from a population whose truth is known, and asks the product's
own functions for their limits. Exit 1 when a limit that gates covers less than it says, beyond three standard errors.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from safety_eval.stats.gate import Gate, Shared, effective_answers, gate
from safety_eval.stats.proportion import clustered, clustered_interval
from safety_eval.stats.spread import Values, shrunk_means, spread, spread_limits, worst_range

Floats = NDArray[np.float64]
Row = Sequence[Any]
RECORD = Path(__file__).with_suffix(".json")
PAGE = Path(__file__).resolve().parents[2] / "docs" / "explanation" / "coverage-spread.md"
UNIT, SIGNED = (0.0, 1.0), (-1.0, 1.0)
LEVEL, HALF = 0.95, 0.025
SIZES = ((10, 20), (25, 20), (60, 5), (150, 20))
"""Descriptors, sentences of each: HolisticBias' axes have 22 to 152 descriptors with at most 20 sentences."""


def coin(rng: np.random.Generator, means: Floats, size: int) -> Floats:
    return (rng.random((len(means), size)) < means[:, None]).astype(float)


def tone(rng: np.random.Generator, means: Floats, size: int) -> Floats:
    """Sentiment: three in ten answers are neutral, the others lie around twice the mean and more."""
    centre = np.where(rng.random((len(means), size)) < 0.3, 0.0, means[:, None] / 0.7)
    return np.clip(centre + (centre != 0) * rng.uniform(-0.3, 0.3, centre.shape), -1, 1)


def fixed(value: float) -> Callable[[np.random.Generator, int], Floats]:
    return lambda rng, count: np.full(count, value)


def two(low: float, high: float, share: float) -> Callable[[np.random.Generator, int], Floats]:
    return lambda rng, count: np.where(rng.random(count) < share, high, low)


POPULATIONS = (
    ("rate, all 2%", fixed(0.02), coin, UNIT, 0.0),
    ("rate, all 30%", fixed(0.3), coin, UNIT, 0.0),
    ("rate, half 20% half 40%", two(0.2, 0.4, 0.5), coin, UNIT, 0.1),
    ("rate, one in 20 at 90%, else 5%", two(0.05, 0.9, 0.05), coin, UNIT, 0.85 * (0.05 * 0.95) ** 0.5),
    ("rate, one in 50 at 60%, else 1%", two(0.01, 0.6, 0.02), coin, UNIT, 0.59 * (0.02 * 0.98) ** 0.5),
    ("sentiment, all 0.2", fixed(0.2), tone, SIGNED, 0.0),
    ("sentiment, half 0 half 0.4", two(0.0, 0.4, 0.5), tone, SIGNED, 0.2),
    ("sentiment, one in 20 at -0.5, else 0.3", two(0.3, -0.5, 0.05), tone, SIGNED, 0.8 * (0.05 * 0.95) ** 0.5),
)
"""Name, true means of the descriptors, answers, range, true spread."""


def spreads(runs: int, rng: np.random.Generator) -> Iterator[tuple[str, Row]]:
    """Per design: coverage of the gates' lower and upper limit, of the displayed interval, and mean limits."""
    for name, population, answer, bounds, truth in POPULATIONS:
        for count, size in SIZES:
            hits, ends = np.zeros(3), np.zeros(3)
            for _ in range(runs):
                groups = [Values(row) for row in answer(rng, population(rng, count), size)]
                act, shown = spread_limits(groups, bounds), spread_limits(groups, bounds, HALF)
                assert act is not None and shown is not None
                held = shown.low <= truth + 1e-9 and shown.high >= truth - 1e-9
                hits += act.low <= truth + 1e-9, act.high >= truth - 1e-9, held
                ends += act.low, spread(groups) or 0.0, act.high
            yield f"spread: {name}, {count} x {size}", (name, f"{count} x {size}", truth, *hits / runs, *ends / runs)


def worst(runs: int, rng: np.random.Generator) -> Iterator[tuple[str, Row]]:
    """The truly worst of these descriptors, and the one that is named for its shrunk estimate."""
    for name, population, answer, bounds, _ in POPULATIONS:
        for count, size in ((10, 20), (60, 20)):
            hits, ends = np.zeros(4), np.zeros(2)
            for _ in range(runs):
                means = population(rng, count)
                groups = [Values(row) for row in answer(rng, means, size)]
                act, shown = worst_range(groups, bounds), worst_range(groups, bounds, HALF)
                drawn = [m if m is not None else -np.inf for m in shrunk_means(groups)]
                named = int(np.argmax(drawn))
                own = worst_range([groups[named]], bounds, HALF / count)
                assert act is not None and shown is not None and own is not None
                top = means.max()
                hits += (
                    act.low <= top + 1e-9,
                    act.high >= top - 1e-9,
                    shown.low <= top + 1e-9 <= shown.high + 2e-9,
                    own.low <= means[named] + 1e-9 <= own.high + 2e-9,
                )
                ends += act.low, act.high
            yield f"worst: {name}, {count} x {size}", (name, f"{count} x {size}", *hits / runs, *ends / runs)


PROMPTS = (
    ("mild: Beta(0.1, 4)", 0.1, 4.0),
    ("half: Beta(0.3, 1)", 0.3, 1.0),
    ("rare: Beta(0.02, 3)", 0.02, 3.0),
)
"""Toxicity of a prompt's answers: Beta around the prompt's own level, which is drawn from this Beta."""


def tops(rng: np.random.Generator, a: float, b: float, count: int, k: int) -> Floats:
    """Largest of K toxicities for each of `count` prompts."""
    level = np.clip(rng.beta(a, b, count), 1e-4, 1 - 1e-4)
    return np.asarray(rng.beta(6 * level[:, None], 6 * (1 - level[:, None]), (count, k)).max(axis=1))


def limits(y: Floats, units: NDArray[np.int64], alpha: float = 1 - LEVEL, binary: bool = False) -> Gate:
    """One-sided limits in which a unit (prompt, topic) counts as one observation."""
    ones = np.ones(len(y))
    return gate(y, ones, UNIT, effective_answers(ones, [Shared(1.0, units)]), binary, alpha)


def of_k(runs: int, rng: np.random.Generator) -> Iterator[tuple[str, Row]]:
    """Expected maximum of K and share of prompts with one from 0.5: gates (worse side) and displayed intervals."""
    for name, a, b in PROMPTS:
        for k in (5, 25):
            many = tops(rng, a, b, 400_000, k)
            truths = float(many.mean()), float((many >= 0.5).mean())
            for count in (20, 100, 500):
                hits = np.zeros(6)
                for _ in range(runs):
                    y = tops(rng, a, b, count, k)
                    every, reached = np.arange(count), (y >= 0.5).astype(float)
                    mean, rate = limits(y, every), limits(reached, every, binary=True)
                    shown, share = limits(y, every, HALF), limits(reached, every, HALF, binary=True)
                    hits += (
                        mean.low <= truths[0],
                        mean.high >= truths[0],
                        shown.low <= truths[0] <= shown.high,
                        rate.low <= truths[1],
                        rate.high >= truths[1],
                        share.low <= truths[1] <= share.high,
                    )
                part = hits / runs
                row = (name, k, count, truths[0], min(part[:2]), part[2], truths[1], min(part[3:5]), part[5])
                yield f"of K: {name}, K {k}, {count} prompts", row


def agreement(runs: int, rng: np.random.Generator) -> Iterator[tuple[str, Row]]:
    """Agreement index of one group: 16 topics of 3 wordings by 5 answers, under one system prompt."""
    codes = np.repeat(np.arange(16), 15)
    for share in (0.01, 0.05, 0.3, 0.7):
        for icc in (0.05, 0.3, 0.9):
            hits = np.zeros(3)
            for _ in range(runs):
                topics = rng.beta(share * (1 / icc - 1), (1 - share) * (1 / icc - 1), 16)
                y = (rng.random(240) < topics[codes]).astype(float)
                act, shown = limits(y, codes, binary=True), clustered_interval(clustered(y, codes))
                hits += act.low <= share, act.high >= share, shown.low <= share <= shown.high
            part = hits / runs
            yield f"agreement: {share:.0%}, icc {icc}", (f"{share:.0%}", icc, *part)


def table(header: Sequence[str], rows: Sequence[Row]) -> str:
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    for row in rows:
        lines.append("| " + " | ".join(f"{x:.3f}" if isinstance(x, float) else str(x) for x in row) + " |")
    return "\n".join(lines)


HEADS: dict[str, tuple[str, str, tuple[str, ...], slice]] = {
    "spread": (
        "Spread between descriptors",
        "`METRIC_spread` of HolisticBias: standard deviation of the descriptors' true means.",
        (
            "population",
            "descriptors x sentences",
            "true spread",
            "lower limit",
            "upper limit",
            "displayed 95%",
            "mean lower limit",
            "mean estimate",
            "mean upper limit",
        ),
        slice(3, 5),
    ),
    "worst": (
        "The worst descriptor",
        "`METRIC_worst`: true mean of the truly worst of these descriptors; 'named' is how often the limits of the one "
        "that is named for its shrunk estimate hold its own true mean.",
        (
            "population",
            "descriptors x sentences",
            "lower limit",
            "upper limit",
            "displayed 95%",
            "named",
            "mean lower limit",
            "mean upper limit",
        ),
        slice(2, 4),
    ),
    "of K": (
        "The worst of K answers",
        "`expected_max_toxicity_of_K` and `any_toxic_of_K` of RealToxicityPrompts; gates: the lower of both sides.",
        (
            "population",
            "K",
            "prompts",
            "true expected maximum",
            "gate",
            "displayed 95%",
            "true share",
            "gate",
            "displayed 95%",
        ),
        slice(4, 5),
    ),
    "agreement": (
        "Agreement index of a group",
        "One group under one system prompt: 16 topics of 15 answers, which agree with each other by this correlation.",
        ("true index", "intra-class correlation", "lower limit", "upper limit", "displayed 95%"),
        slice(2, 4),
    ),
}


def page(found: dict[str, list[Row]], runs: dict[str, int]) -> str:
    lowest = {kind: min(min(row[HEADS[kind][3]]) for row in rows) for kind, rows in found.items()}
    text = (
        "# How often the limits of spread, worst and worst-of-K hold\n\nWritten by `python "
        "benchmarks/fidelity/spread_coverage.py`; do not edit. One-sided limits decide a release and say 95%; so do "
        "displayed intervals.\n\nLowest simulated coverage of a limit that gates: "
        + ", ".join(f"{HEADS[kind][0].lower()} **{value:.3f}**" for kind, value in lowest.items())
        + ".\n"
    )
    for kind, rows in found.items():
        title, about, header, _ = HEADS[kind]
        error = 3 * (LEVEL * (1 - LEVEL) / runs[kind]) ** 0.5
        about += f" {runs[kind]:,} simulated runs a row; three standard errors at 95% are {error:.3f}."
        text += f"\n## {title}\n\n{about}\n\n{table(header, rows)}\n"
    return text


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=0)
    parser.add_argument("--parts", default=",".join(PARTS), help="parts to simulate again; the others stay as recorded")
    asked = parser.parse_args()
    kept = json.loads(RECORD.read_text()) if RECORD.is_file() else {"rows": {}, "runs": {}}
    failed = []
    for part in asked.parts.split(","):
        make, share = PARTS[part]
        runs = asked.runs or share
        rows = []
        for name, row in make(runs, np.random.default_rng(20261126)):
            rows.append(row)
            if min(row[HEADS[part][3]]) < LEVEL - 3 * (LEVEL * (1 - LEVEL) / runs) ** 0.5:  # type: ignore[type-var]
                failed.append(name)
            print(name, *(f"{x:.3f}" for x in row if isinstance(x, float)), flush=True)
        kept["rows"][part], kept["runs"][part] = rows, runs
    if not asked.runs:
        RECORD.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
        PAGE.write_text(page(kept["rows"], kept["runs"]), encoding="utf-8")
    for name in failed:
        print(f"covers less than it says: {name}", file=sys.stderr)
    return 1 if failed else 0


PARTS: dict[str, tuple[Callable[[int, np.random.Generator], Iterator[tuple[str, Row]]], int]] = {
    "of K": (of_k, 2000),
    "agreement": (agreement, 2000),
    "worst": (worst, 100),
    "spread": (spreads, 100),
}
"""Part -> its simulation, and how many runs of each design."""

if __name__ == "__main__":
    sys.exit(main())
