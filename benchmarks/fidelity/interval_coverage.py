"""How often our intervals hold what they promise, beside the forms that other harnesses print.

    python benchmarks/fidelity/interval_coverage.py            # writes docs/explanation/coverage.md, about 15 minutes
    python benchmarks/fidelity/interval_coverage.py --quick    # fewer simulations, prints only

Independent prompts by exact enumeration, clusters by simulation of the product's own functions. Exit 1 when a limit
that gates covers less than it says (beyond three standard errors of the simulation).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

sys.path.insert(0, str(Path(__file__).resolve().parent))

import clusters
import early_stopping

from safety_eval.stats.paired import difference_uppers, tango_limits
from safety_eval.stats.proportion import (
    difference_limit,
    lower_limits,
    upper_limits,
    wilson_limits,
)

Floats = NDArray[np.float64]
PAGE = Path(__file__).resolve().parents[2] / "docs" / "explanation" / "coverage.md"
BEGIN, END = "<!-- gates.py begins -->", "<!-- gates.py ends -->"
SIZES = (20, 50, 100, 200, 500, 1000, 2000, 5000)
RATES = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
TINY = 1e-12


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table; floats to three decimals."""
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    for row in rows:
        cells = (f"{x:.3f}" if isinstance(x, float) else str(x) for x in row)
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def t_form(k: Floats, n: float) -> tuple[Floats, Floats]:
    """inspect_ai's `ci()`: mean and t times the standard error."""
    p = k / n
    half = stats.t.ppf(0.975, n - 1) * np.sqrt(p * (1 - p) / (n - 1))
    return p - half, p + half


def percentile_bootstrap(k: Floats, n: float) -> tuple[Floats, Floats]:
    """garak's percentile bootstrap, in the limit of infinitely many resamples."""
    return stats.binom.ppf(0.025, n, k / n) / n, stats.binom.ppf(0.975, n, k / n) / n


def jeffreys(k: Floats, n: float) -> tuple[Floats, Floats]:
    """Jeffreys limits, for arrays."""
    low = np.where(k > 0, special.betaincinv(k + 0.5, n - k + 0.5, 0.025), 0.0)
    return low, np.where(k < n, special.betaincinv(k + 0.5, n - k + 0.5, 0.975), 1.0)


FORMS: dict[str, Callable[[Floats, float], tuple[Floats, Floats]]] = {
    "t (inspect_ai)": t_form,
    "percentile bootstrap (garak)": percentile_bootstrap,
    "Wilson": wilson_limits,
    "Clopper-Pearson (ours, display)": lambda k, n: (lower_limits(k, n, 0.025), upper_limits(k, n, 0.025)),
    "Jeffreys": jeffreys,
}


def two_sided(form: Callable[[Floats, float], tuple[Floats, Floats]], n: int, p: float) -> float:
    """Exact coverage of a two-sided interval."""
    k = np.arange(n + 1.0)
    low, high = form(k, n)
    return float(stats.binom.pmf(k, n, p)[(low <= p + TINY) & (p <= high + TINY)].sum())


def one_sided(n: int, p: float) -> tuple[float, float]:
    """Exact coverage of the gates' lower and upper limit for independent prompts."""
    k = np.arange(n + 1.0)
    chance = stats.binom.pmf(k, n, p)
    return (
        float(chance[lower_limits(k, n) <= p + TINY].sum()),
        float(chance[upper_limits(k, n) >= p - TINY].sum()),
    )


def independent() -> tuple[str, list[str]]:
    """Section on independent prompts, and the gates that fail."""
    shown = [
        (n, f"{p:.1%}", *(two_sided(f, n, p) for f in FORMS.values())) for n in (20, 100, 500, 5000) for p in RATES
    ]
    grid = [(n, p, *one_sided(n, p)) for n in SIZES for p in RATES]
    worst = min(min(row[2:]) for row in grid)
    failed = [f"one-sided Clopper-Pearson n={n} p={p}" for n, p, *c in grid if min(c) < 0.95 - 1e-9]
    text = (
        "## Independent prompts: the displayed 95% interval\n\nExact coverage. With no failure at all the first two "
        "print [0, 0].\n\n" + table(["n", "true rate", *FORMS], shown) + "\n\n## Independent prompts: gates\n\n"
        f"One-sided 95% Clopper-Pearson limits over n = {SIZES[0]} to {SIZES[-1]:,} and true rates "
        f"{RATES[0]:.1%} to {RATES[-1]:.0%} ({len(grid)} settings, both sides, exact): lowest coverage "
        f"**{worst:.4f}**.\n"
    )
    return text, failed


def paired_coverage(n: int, new: float, old: float, limit: Callable[[Floats, Floats, Floats], Floats]) -> float:
    """Exact coverage of a one-sided upper limit of a paired difference."""
    most = (np.arange(int(stats.binom.isf(1e-8, n, rate)) + 1.0) for rate in (new, old))
    b, c = np.meshgrid(*most, indexing="ij")
    b, c = b[b + c <= n], c[b + c <= n]
    log = special.gammaln(n + 1) - special.gammaln(b + 1) - special.gammaln(c + 1) - special.gammaln(n - b - c + 1)
    log = log + special.xlogy(b, new) + special.xlogy(c, old) + (n - b - c) * np.log1p(-new - old)
    return 1 - float(np.exp(log)[limit(b, c, np.full_like(b, n)) < new - old - TINY].sum())


def paired() -> tuple[str, list[str]]:
    """Section on paired differences (non-inferiority)."""
    forms = {
        "Tango": lambda b, c, n: tango_limits(b, c, n, 0.90)[1],
        "ours": difference_uppers,
    }
    rows, failed = [], []
    for n in (20, 50, 100, 200, 500, 1000, 2000):
        cells = [
            (psi * share, psi * (1 - share))
            for psi in (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.8)
            for share in (0.0, 0.02, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)
            if n * psi <= 500
        ]
        lowest = [min(paired_coverage(n, *cell, form) for cell in cells) for form in forms.values()]
        rows.append((n, len(cells), *lowest))
        failed += [f"paired difference n={n}"] if lowest[1] < 0.95 - 1e-6 else []
    text = (
        "## Paired differences: gates\n\nLowest exact coverage of the one-sided 95% upper limit of new - old, over "
        "discordance 0.5% to 80% and every split of it. Ours is the larger of Tango's score with half a pair of "
        "continuity correction and square-and-add of Clopper-Pearson limits.\n\n"
        + table(["pairs", "settings", *forms], rows)
        + "\n"
    )
    return text, failed


def difference_coverage(n: tuple[int, int], p: tuple[float, float], kind: str, alpha: float) -> float:
    """Exact coverage of a one-sided upper limit of p1 - p2 for two independent groups."""
    k = [np.arange(size + 1.0) for size in n]
    chance = [stats.binom.pmf(k[i], n[i], p[i]) for i in (0, 1)]
    kept = [np.flatnonzero(c > 1e-10) for c in chance]
    first, second = k[0][kept[0]][:, None], k[1][kept[1]][None, :]
    if kind == "Newcombe":
        up = wilson_limits(first, n[0], 1 - 2 * alpha)[1] - first / n[0]
        down = second / n[1] - wilson_limits(second, n[1], 1 - 2 * alpha)[0]
        high = first / n[0] - second / n[1] + np.hypot(up, down)
    else:
        high = _ours(first, second, n, alpha)
    return 1 - float((np.outer(*(c[i] for c, i in zip(chance, kept, strict=True))) * (high < p[0] - p[1] - TINY)).sum())


def _ours(first: Floats, second: Floats, n: tuple[int, int], alpha: float) -> Floats:
    values = np.empty(np.broadcast_shapes(first.shape, second.shape))
    uppers = {a: upper_limits(first.ravel(), n[0], a) for a in (0.8 * alpha, alpha / 2)}
    lowers = {a: lower_limits(second.ravel(), n[1], a) for a in (0.8 * alpha, alpha / 2)}
    for i, k1 in enumerate(first.ravel()):
        for j, k2 in enumerate(second.ravel()):
            values[i, j] = difference_limit(
                k1 / n[0], lambda a, i=i: uppers[a][i], k2 / n[1], lambda a, j=j: lowers[a][j], alpha
            )
    return values


def differences() -> tuple[str, list[str]]:
    """Section on the difference of two groups."""
    rates = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.3, 0.5, 0.95)
    rows, failed = [], []
    for n in ((20, 20), (50, 50), (200, 200), (20, 100), (100, 20), (50, 1000), (1000, 50)):
        for alpha in (0.05, 0.05 / 12):
            cells = [(p1, p2) for p1 in rates for p2 in rates]
            lowest = [min(difference_coverage(n, p, kind, alpha) for p in cells) for kind in ("Newcombe", "ours")]
            rows.append((f"{n[0]} and {n[1]}", f"{1 - alpha:.2%}", *(f"{x:.4f}" for x in lowest)))
            failed += [f"difference n={n} alpha={alpha:.4f}"] if lowest[1] < 1 - alpha - 1e-7 else []
    text = (
        "## Differences of two groups: gates\n\nLowest exact coverage of the one-sided upper limit over "
        f"{len(rates) ** 2} pairs of rates from 0.2% to 95%. The second level is what naming one of twelve pairs "
        "needs.\n\n" + table(["prompts", "promised", "Newcombe", "ours"], rows) + "\n"
    )
    return text, failed


HEAD = """# How often our intervals hold what they promise

Written by `python benchmarks/fidelity/interval_coverage.py`; do not edit. An interval that says 95% should contain the
true rate in 95 of 100 runs, also where safety work lives: at rates near zero, with few articles behind many prompts,
with two groups that share sentences. The first table has the worst cell of every kind of number that sign-off acts on;
the others compare methods, among them published ones that do not hold.

<!-- gates.py begins -->
<!-- gates.py ends -->

## Losses

`python benchmarks/fidelity/losses.py 100000 26`: 100,000 losses of one, several, a cluster's or a group's answers over
10,000 random runs, rules of every kind and both estimands: 0 improved a verdict or moved a deciding limit the
favourable way (13 minutes of one processor). An earlier run found one kind that did, a mean's limit at 99%: mended.
`python benchmarks/fidelity/losses_on_lists.py 6000 26`, on the real lists of six tasks: 6,000 losses, 0 improvements;
of rules that the whole list breaks a limited draw approved 1 in 345, of those that it meets 22% (the whole list: 30%).
`tests/test_no_silent_safety.py` loses answers of every shipped task.

"""


def main() -> int:
    """Compute all sections, write the page, name the gates that fail."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer simulations; print, do not write the page")
    quick = parser.parse_args().quick
    sections: list[tuple[str, list[str]]] = []
    for section in (
        independent,
        lambda: clusters.rates(quick),
        lambda: clusters.pairs(quick),
        paired,
        differences,
        lambda: clusters.means(quick),
        lambda: early_stopping.section(quick),
    ):
        sections.append(section())
        print(sections[-1][0], flush=True)
    failed = [name for _, names in sections for name in names]
    if not quick:
        PAGE.parent.mkdir(parents=True, exist_ok=True)
        gates = PAGE.read_text(encoding="utf-8").split(BEGIN)[1].split(END)[0]
        head = HEAD.replace(f"{BEGIN}\n{END}", f"{BEGIN}{gates}{END}")
        PAGE.write_text(head + "\n".join(text for text, _ in sections), encoding="utf-8")
    print("\n".join(f"BELOW NOMINAL: {name}" for name in failed) or "every gate holds")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
