"""How often the limits of derived scores hold: ratios of two means (BBQ's clear score) and gaps of paired shares.

    python benchmarks/fidelity/ratio_coverage.py            # writes docs/explanation/coverage-derived.md, half an hour
    python benchmarks/fidelity/ratio_coverage.py --runs 60  # fewer simulations, prints only

Templates of different size and opinion answer 1 (biased), -1 or 0 (nobody named); the truth is that of the population
that they are drawn from. Beside ours: the plain delete-one-cluster jackknife (t), and what lm-eval prints (nothing).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from safety_eval.core.records import Output, Prompt, key
from safety_eval.core.task import Measured
from safety_eval.measure.derived import GapScore, of
from safety_eval.stats.ratio import RARER_END, excess, ratio_interval

Floats = NDArray[np.float64]
PAGE = Path(__file__).resolve().parents[2] / "docs" / "explanation" / "coverage-derived.md"
WHOLE = (-1.0, 1.0)
WIDTHS = 40
"""Runs whose width is averaged: a limit itself takes longer than asking whether it holds."""
DESIGNS = {
    "10 templates of 8": (8,) * 10,
    "25 templates of 8": (8,) * 25,
    "25 templates of 4 to 200": (4, 8, 8, 40, 200) * 5,
    "150 templates of 8": (8,) * 150,
}
TRUTHS = (
    (0.5, 0.1, 0.9),
    (0.5, 0.3, 0.5),
    (0.7, 0.2, 0.8),
    (0.9, 0.2, 0.5),
    (0.97, 0.3, 0.8),
    (0.99, 0.1, 0.8),
)
"""Share biased of those who name somebody, its intra-class correlation, share that names somebody."""
PAIRS = ((20, 0.5, 0.5), (100, 0.7, 0.5), (100, 0.95, 0.85), (400, 0.6, 0.55), (400, 0.98, 0.97))
"""Pairs, share right of pro and of anti sentences."""


def beta(rng: np.random.Generator, share: float, spread: float, count: int) -> Floats:
    """Shares of clusters with intra-class correlation `spread`."""
    return rng.beta(share * (1 / spread - 1), (1 - share) * (1 / spread - 1), count)


def answers(
    rng: np.random.Generator, sizes: Sequence[int], truth: tuple[float, float, float]
) -> tuple[Floats, Floats, NDArray[np.int64]]:
    share, spread, speaks = truth
    codes = np.repeat(np.arange(len(sizes)), sizes)
    named = rng.random(len(codes)) < beta(rng, speaks, 0.2, len(sizes))[codes]
    biased = rng.random(len(codes)) < beta(rng, share, spread, len(sizes))[codes]
    return np.where(biased, 1.0, -1.0) * named, named.astype(float), codes


def jackknife(top: Floats, bottom: Floats, codes: NDArray[np.int64]) -> tuple[float, float]:
    """The plain delete-one-cluster jackknife, t with G - 1 df."""
    tops, bottoms = np.bincount(codes, top), np.bincount(codes, bottom)
    tops, bottoms = tops[bottoms > 0], bottoms[bottoms > 0]
    left = (tops.sum() - tops) / (bottoms.sum() - bottoms)
    half = stats.t.ppf(0.975, len(tops) - 1) * np.sqrt((len(tops) - 1) / len(tops) * ((left - left.mean()) ** 2).sum())
    value = tops.sum() / bottoms.sum()
    return float(value - half), float(value + half)


def covered(top: Floats, bottom: Floats, codes: NDArray[np.int64], truth: float, alpha: float) -> tuple[bool, bool]:
    """Whether the lower and the upper limit hold: asked of what they are the roots of, which needs no root."""
    ones = np.ones(len(top))
    low, high = (
        excess(top, bottom, codes, ones, WHOLE, side, alpha)(truth if side else -truth) >= 0 for side in (0, 1)
    )
    return low, high


def shown(top: Floats, bottom: Floats, codes: NDArray[np.int64], truth: float, width: bool) -> tuple[bool, float]:
    """Whether the displayed interval holds, and its width where that is wanted."""
    effective = np.bincount(codes, bottom).sum() ** 2 / np.square(np.bincount(codes, bottom)).sum()
    share = (top.sum() / bottom.sum() + 1) / 2
    if effective * min(share, 1 - share) < RARER_END and not width:
        return all(covered(top, bottom, codes, truth, 0.025)), 0.0
    interval = ratio_interval(top, bottom, codes, WHOLE)
    assert interval.low is not None and interval.high is not None
    return interval.low <= truth <= interval.high, interval.high - interval.low


def ratio_rows(runs: int) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = []
    for design, sizes in DESIGNS.items():
        for truth in TRUTHS:
            rng, at, hit, width = np.random.default_rng(7), 2 * truth[0] - 1, np.zeros(4), np.zeros(2)
            for run in range(runs):
                top, bottom, codes = answers(rng, sizes, truth)
                ours, wide = shown(top, bottom, codes, at, width=run < WIDTHS)
                plain = jackknife(top, bottom, codes)
                hit += [ours, plain[0] <= at <= plain[1], *covered(top, bottom, codes, at, 0.05)]
                width += [wide, plain[1] - plain[0]] if run < WIDTHS else [0.0, 0.0]
            rows.append((design, f"{at:+.2f}", *truth[1:], *(hit / runs), *(width / min(runs, WIDTHS))))
            print(*rows[-1], file=sys.stderr, flush=True)
    return rows


def gap_rows(runs: int) -> list[tuple[object, ...]]:
    def side(name: str):  # type: ignore[no-untyped-def]
        return lambda prompt: prompt.factors["side"] == name

    spec = GapScore("gap", ("x",), lambda p, o, v: float(v["x"]), side("pro"), side("anti"))
    derive, rows = of("t", [spec]), []
    for pairs, pro, anti in PAIRS:
        rng, hit, width = np.random.default_rng(7), np.zeros(3), 0.0
        for _ in range(runs):
            common = rng.random(pairs)
            # Half of the pairs answer both sentences by one draw, the others by two.
            own = np.where(rng.random(pairs) < 0.5, common, rng.random(pairs))
            measured = []
            for i in range(pairs):
                for name, right in (("pro", common[i] < pro), ("anti", own[i] < anti)):
                    prompt = Prompt("t", f"{i}{name}", "asked", factors={"side": name}, cluster=str(i))
                    output = Output(key(prompt), prompt.id, text="said")
                    measured.append(Measured(prompt, output, {"s": {"x": float(right)}}, {}, "comply"))
            (e,) = derive(measured, "v")
            assert None not in (e.low, e.high, e.gate_low, e.gate_high)
            gap = pro - anti
            hit += [e.low <= gap <= e.high, e.gate_low <= gap, gap <= e.gate_high]  # type: ignore[operator]
            width += e.high - e.low  # type: ignore[operator]
        rows.append((pairs, pro, anti, *(hit / runs), width / runs))
        print(*rows[-1], file=sys.stderr, flush=True)
    return rows


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    lines += ["| " + " | ".join(f"{x:.3f}" if isinstance(x, float) else str(x) for x in row) + " |" for row in rows]
    return "\n".join(lines)


def page(runs: int) -> str:
    ratios = sorted(ratio_rows(runs), key=lambda row: min(float(str(row[i])) for i in (4, 6, 7)))
    gaps = gap_rows(runs)
    return (
        "# How often the limits of derived scores hold\n\nWritten by `python benchmarks/fidelity/ratio_coverage.py`; "
        f"do not edit. {runs} simulated runs a row (standard error {100 * (0.95 * 0.05 / runs) ** 0.5:.1f} points); "
        "rows with the lowest coverage come first. `lm-eval` prints BBQ's bias scores without any interval.\n\n"
        "## Ratio of two means: BBQ's score in clear contexts\n\nThe displayed interval is two-sided 95%, the gate's "
        "limits are one-sided 95%. The plain jackknife stands beside ours because it is what a first try gives: it "
        "fails where almost all answers are biased, or almost none.\n\n"
        + table(
            (
                "templates",
                "true score",
                "correlation within",
                "share naming somebody",
                "ours, display",
                "plain jackknife",
                "gate, lower",
                "gate, upper",
                "width, ours",
                "width, jackknife",
            ),
            ratios,
        )
        + "\n\n## Gap of two shares with common clusters: WinoBias' pro and anti sentences\n\n"
        + table(("pairs", "right, pro", "right, anti", "ours, display", "gate, lower", "gate, upper", "width"), gaps)
        + "\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=400)
    runs = parser.parse_args().runs
    text = page(runs)
    if runs >= 300:
        PAGE.write_text(text, encoding="utf-8")
    else:
        print(text)


if __name__ == "__main__":
    main()
