"""How often the limits that sign-off acts on hold, worst cell first: the first part of docs/explanation/coverage.md.

python benchmarks/fidelity/gates.py [RUNS]        rewrites that part of the page, nothing else
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import stopped_groups
from numpy.typing import NDArray
from scipy.stats import binom

from safety_eval.stats.gaps import p_gap
from safety_eval.stats.gate import Shared, effective_answers, gate
from safety_eval.stats.judge import Calibration, Review, corrected, p_sensitive, two_phase
from safety_eval.stats.labelled import SeenLabels
from safety_eval.stats.limits import three_point_upper
from safety_eval.stats.paired import paired_rate
from safety_eval.stats.plan import critical_count
from safety_eval.stats.proportion import lower_limits, upper_limits

Floats = NDArray[np.float64]
PAGE = Path(__file__).resolve().parents[2] / "docs" / "explanation" / "coverage.md"
BEGIN, END = "<!-- gates.py begins -->", "<!-- gates.py ends -->"
BOLD = np.array(
    [59, 62, 82, 88, 90, 91, 91, 94, 99, 103, 107, 108, 113, 115, 130, 134, 137, 158, 171, 209, 245, 259, 293, 342, 349]
    + [421, 433, 442, 453, 531, 625, 626, 824, 830, 842, 861, 1156, 1854, 2048, 3120, 4839]
)
SAFENLP = np.array([883, 459, 548, 591, 536, 431, 437, 624, 743, 502, 641, 591, 604])
RATES = tuple(np.round(np.logspace(-3.3, -0.7, 40), 5))
"""True rates at which a limit is compared with the full list."""
AGAIN = 0.935
"""Coverage under which a cell is run again for longer."""
Cell = tuple[float, str, str]
"""Coverage (or power), where, and what it is of."""


class Design(NamedTuple):
    """Clusters of these sizes and rates, weighed alike (macro) or by their size (micro), and how often limits held."""

    held: float
    sizes: NDArray[np.int64]
    rates: Floats
    macro: bool
    where: str


def designs(icc: float, runs: int, seed: int) -> Cell:
    """Worst one-sided coverage over random sizes from 1 to 1,000, rates that depend on size, both kinds of weights.

    The lowest of 240 lies below its truth by chance; so every cell under `AGAIN` is run again, ten times as long and by
    other draws, and only that run counts.
    """
    rng = np.random.default_rng(seed)
    first = [_covered(rng, *cell, icc, runs) for _ in range(120) for cell in _cells(rng)]
    again = [_covered(rng, d.sizes, d.rates, d.macro, d.where, icc, 10 * runs) for d in first if d.held < AGAIN]
    worst = min([*again, *(d for d in first if d.held >= AGAIN)], key=lambda d: d.held)
    many = f"; {len(again)} cells under {AGAIN:g} run again with {10 * runs:,}" if again else ""
    return worst.held, f"{worst.where}{many}", f"rates, icc {icc:g}"


def _cells(rng: np.random.Generator) -> Iterator[tuple[NDArray[np.int64], Floats, bool, str]]:
    count = int(rng.choice([2, 3, 5, 13, 41, 100]))
    sizes = [
        rng.integers(1, 1000, count),
        np.r_[10, np.full(count - 1, 500)],
        np.maximum(1, (1000 * 0.8 ** np.arange(count)).astype(int)),
        np.r_[rng.integers(100, 1000), np.full(count - 1, rng.integers(1, 10))],
    ][int(rng.integers(4))]
    base, slope = 10 ** rng.uniform(-3, -0.4), float(rng.choice([-1, 0, 1]))
    rates = np.clip(base * (sizes / sizes.mean()) ** slope, 0, 1)
    where = f"{count} groups of {sizes.min()} to {sizes.max()}, rates to the power {slope:+.0f} of size"
    for macro in (False, True):
        yield sizes, rates, macro, f"{where}, {'macro' if macro else 'micro'}"


def _covered(
    rng: np.random.Generator, sizes: NDArray[np.int64], rates: Floats, macro: bool, where: str, icc: float, runs: int
) -> Design:
    codes = np.repeat(np.arange(sizes.size), sizes)
    weights = (1 / sizes)[codes] if macro else np.ones(len(codes))
    share = np.bincount(codes, weights) / weights.sum()
    found = np.clip((rng.binomial(sizes, _drawn(rng, rates, icc, runs)) / sizes) @ share, 0, 1)
    n, truth = effective_answers(weights, [Shared(icc, codes)]), float(rates @ share)
    high = (upper_limits(found * n, n) >= truth - 1e-12).mean()
    low = (lower_limits(found * n, n) <= truth + 1e-12).mean()
    return Design(float(min(high, low)), sizes, rates, macro, where)


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


def macro_means(runs: int) -> Cell:
    """Displayed 95% interval of a mean over groups of unequal size, with scores of which few are high."""
    worst: Cell = (1.0, "", "")
    for sizes in ((10, *[100] * 5), (10, 40, 160), (20,) * 13, (12, *[500] * 4)):
        for rare in (0.01, 0.05, 0.2):
            rng, groups = np.random.default_rng(sum(sizes)), np.repeat(np.arange(len(sizes)), sizes)
            own = rare * np.linspace(0.2, 1.8, len(sizes))[::-1][groups]
            weights = (1 / np.array(sizes))[groups] / len(sizes)
            truth, held = float(weights @ (own * 0.9 + (1 - own) * 0.05)), 0
            for _ in range(runs):
                y = np.where(rng.random(own.size) < own, 0.9, 0.05)
                g = gate(y, weights, (0.0, 1.0), effective_answers(weights), False, 0.025)
                held += g.low <= truth <= g.high
            where = (
                f"groups of {', '.join(map(str, sorted(set(sizes))))}; about {rare:g} of the scores at 0.9, else 0.05"
            )
            worst = min(worst, (held / runs, where, ""))
    return worst[0], worst[1], "displayed macro means, two-sided 95%"


def pairs_shown(runs: int) -> list[Cell]:
    """Displayed 95% intervals of paired differences: of a comparison (these prompts), and of a cure by trigger word."""
    listed: Cell = (1.0, "", "")
    rng = np.random.default_rng(11)
    for n in (20, 50, 200):
        for share in (0.01, 0.05, 0.2):
            for split in (0.0, 0.2, 0.5):
                up, down, held = share * split, share * (1 - split), 0
                for b, c, _ in rng.multinomial(n, [up, down, 1 - share], size=runs):
                    low = -three_point_upper(c / n, b / n, n, 0.025)
                    held += low - 1e-9 <= up - down <= three_point_upper(b / n, c / n, n, 0.025) + 1e-9
                listed = min(listed, (held / runs, f"{n} pairs, discordance {share:g}, split {split:g}", ""))
    words = np.repeat(np.arange(535), np.r_[np.full(20, 4), np.full(11, 2), np.ones(504, int)])
    cured: Cell = (1.0, "", "")
    for base in (0.02, 0.05, 0.2, 0.5):
        for cure in (0.0, 0.25, 0.5, 1.0):
            for icc in (0.1, 0.5, 0.95):
                held = 0
                for _ in range(runs):
                    rate = rng.beta(base * (1 / icc - 1), (1 - base) * (1 / icc - 1), 535)[np.repeat(words, 3)]
                    first, then = rng.random(rate.size) < rate, rng.random(rate.size) < rate * (1 - cure)
                    got = paired_rate(then.astype(float), first.astype(float), np.repeat(words, 3))
                    held += got.low <= -cure * base <= got.high
                where = f"refused at first {100 * base:g}%, {100 * cure:g}% cured, correlation {icc:g} in a word"
                cured = min(cured, (held / runs, where, ""))
    return [
        (listed[0], listed[1], "displayed paired differences, these prompts, 95%"),
        (cured[0], cured[1], "displayed cures (net_cure), pairs clustered by trigger word, 95%"),
    ]


def clustered_reviews(runs: int) -> Cell:
    """Two-phase reviews where whole clusters (articles) are bad or not: the labels are of this run's own answers."""
    worst: Cell = (1.0, "", "")
    for prevalence in (0.005, 0.02, 0.05, 0.2):
        for size in (5, 40):
            rng, held = np.random.default_rng(12), 0
            for _ in range(runs):
                bad = np.repeat(rng.random(4000 // size) < prevalence, size)
                flagged = np.where(bad, rng.random(4000) < 0.8, rng.random(4000) < 0.05)
                parts = []
                for side, labels in ((flagged, 100), (~flagged, 200)):
                    n, k = int(side.sum()), int(bad[side].sum())
                    m = min(n, labels)
                    parts.append(Review(n, m, int(rng.hypergeometric(k, n - k, m)) if m else 0))
                got = two_phase([p for p in parts if p.total])
                held += got.low <= bad.mean() <= got.high
            worst = min(worst, (held / runs, f"prevalence {100 * prevalence:g}%, clusters of {size} that agree", ""))
    return worst[0], worst[1], "two-phase review of clustered answers, 95%"


def labelled_gates(runs: int) -> Cell:
    """Limits that a rule with `corrected: true` acts on, of the rate that the answers were drawn from."""
    worst: Cell = (1.0, "", "")
    for prevalence in (0.005, 0.02, 0.05, 0.2, 0.5):
        for answers, labels in ((200, 50), (200, 150), (4000, 50), (4000, 500)):
            rng, above, below = np.random.default_rng(14), 0, 0
            for _ in range(runs):
                bad = rng.random(answers) < prevalence
                flagged = np.where(bad, rng.random(answers) < 0.7, rng.random(answers) < 0.05)
                parts = []
                for side, most in ((flagged, labels // 2), (~flagged, labels - labels // 2)):
                    n, k = int(side.sum()), int(bad[side].sum())
                    m = min(n, most)
                    parts.append(Review(n, m, int(rng.hypergeometric(k, n - k, m)) if m else 0))
                seen = SeenLabels([p for p in parts if p.total], 0, answers)
                above += prevalence <= seen.upper(0.95)
                below += seen.lower(0.95) <= prevalence
            where = f"prevalence {100 * prevalence:g}%, {labels} labels of {answers:,} answers"
            worst = min(worst, (min(above, below) / runs, where, ""))
    return worst[0], worst[1], "rules on people's labels (`corrected: true`), one-sided 95%"


def lost_sensitivity(runs: int) -> list[Cell]:
    """How often labels of this run's answers show that sensitivity fell from .9 to .6, and that none did."""
    rng, found, quiet = np.random.default_rng(13), [], []
    for prevalence in (0.005, 0.02, 0.05, 0.2):
        for sensitivity in (0.6, 0.9):
            seen = 0
            for _ in range(runs):
                card = Calibration(int(rng.binomial(200, 0.9)), 200, int(rng.binomial(200, 0.95)), 200)
                bad = int(rng.binomial(4000, prevalence))
                caught = int(rng.binomial(bad, sensitivity))
                alarms = int(rng.binomial(4000 - bad, 0.05))
                many, rest = min(200, caught + alarms), 4000 - caught - alarms
                first = Review(caught + alarms, many, int(rng.hypergeometric(caught, alarms, many)))
                second = Review(rest, 300, int(rng.hypergeometric(bad - caught, rest - bad + caught, 300)))
                seen += p_sensitive(first, second, card) <= 0.05
            where = f"prevalence {100 * prevalence:g}%, 200 flagged and 300 other answers labelled"
            if sensitivity < 0.9:
                found.append((seen / runs, where, f"sensitivity lost (.9 to .6), seen: POWER at {100 * prevalence:g}%"))
            else:
                quiet.append((1 - seen / runs, where, "sensitivity kept: no alarm"))
    return [*found, min(quiet)]


def stops(runs: int) -> list[Cell]:
    """Verdicts of runs of 40 groups that were stopped early, against the full run's."""
    return [
        (agree, f"{name}; {many:,} runs, {100 * asked:.0f}% of the prompts asked", "stopped, 40 groups: agreement")
        for name, agree, asked, many in stopped_groups.table(runs)
    ]


def limits() -> list[str]:
    """Is `--limit` ever likelier to approve than the full list? Exact, for 'every group below' with equal shares."""
    lines = []
    for name, sizes in {"ToxiGen, 13 groups": SAFENLP, "BOLD, 41 groups": BOLD}.items():
        for bound in (0.05, 0.1):
            full = {r: _approved(sizes, bound, r) for r in RATES if r < 2 * bound}
            more, inside, beyond = 0.0, "", 0.0
            for limit in (600, 1200, 2400, 5000):
                drawn = np.minimum(sizes, max(1, limit // sizes.size))
                for rate, chance in full.items():
                    part = _approved(drawn, bound, rate)
                    if rate >= bound:
                        beyond = max(beyond, part)
                    elif part - chance > more:
                        more, inside = part - chance, f"--limit {limit}, true rate {100 * rate:g}%"
            where = f" ({inside})" if inside else ""
            lines.append(f"| {name} | {100 * bound:g}% | {100 * more:.2f} points{where} | {100 * beyond:.2g}% |")
    return lines


def _approved(sizes: NDArray[np.int64], bound: float, rate: float) -> float:
    """Chance that every group is shown to lie below `bound` on the list."""
    counts = {int(n): critical_count(int(n), bound) for n in set(sizes.tolist())}
    return float(np.prod([binom.cdf(counts[int(n)], n, rate) if counts[int(n)] >= 0 else 0.0 for n in sizes]))


def page(runs: int) -> str:
    by_icc = [designs(icc, runs, 1) for icc in (0.0, 0.02, 0.1, 0.3, 1.0)]
    cells = [*by_icc, displayed(), *means(runs), paired(), *gaps(runs), *judges(runs), macro_means(runs)]
    cells += [
        *pairs_shown(runs),
        clustered_reviews(runs),
        labelled_gates(runs),
        *lost_sensitivity(runs),
        *stops(max(runs // 2, 50)),
    ]
    lines = [f"| {what} | **{value:.3f}** | {where} |" for value, where, what in sorted(cells)]
    return (
        "## What sign-off acts on: the worst cell of each kind, the worst first\n\n"
        f"`python benchmarks/fidelity/gates.py {runs}`. A cell is one design; simulated ones have {runs:,} runs, so "
        "that a lowest of many lies below the truth by up to three standard errors "
        f"({300 * (0.05 * 0.95 / runs) ** 0.5:.1f} points). Rates: 240 random designs for each "
        "correlation within clusters, with the same correlation registered; `icc 0` is the estimand `list`; a cell "
        f"under {AGAIN:g} is run again, ten times as long, and only that counts. Rows with POWER say how often "
        "something is seen that is there; they are no coverage, and low ones are limits of what labels can show.\n\n"
        "| of | worst | where |\n|---|---|---|\n" + "\n".join(lines) + "\n\n"
        "## A limit is not a way to a yes\n\n"
        "Chance that every group is approved, with `--limit` against the full list, exact, over true rates from 0.05% "
        "to twice the rule's limit. One gain is that of a model that meets the rule; the last column is of models that "
        "do not, which any sample approves in less than 5% of runs, as the level promises.\n\n"
        "| list | rule below | largest gain by a limit | chance of approval at or beyond the rule, at most |\n"
        "|---|---|---|---|\n" + "\n".join(limits()) + "\n"
    )


if __name__ == "__main__":
    text = PAGE.read_text(encoding="utf-8")
    head, rest = text.split(BEGIN)[0], text.split(END)[-1]
    made = page(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
    PAGE.write_text(f"{head}{BEGIN}\n{made}{END}{rest}", encoding="utf-8")
