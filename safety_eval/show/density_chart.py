"""Scores in [0, 1] (risk: 0 safe, 1 harmful) as densities that stay inside their bounds, and as step curves.

Each intent is a row: at the left the density with a band over prompts, split into answered, refused and degenerate
answers, and a rug; at the right the distribution function, which needs no smoothing and on which one may decide.
All curves share one bandwidth, which is printed. Fewer than 30 answers get no curve, only their dots. Style `paper`
draws what Code Llama's Figure 7 draws (plain kernel, common normalisation), to stand beside that figure only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from safety_eval.core.errors import UserError, nearest
from safety_eval.core.task import ANSWERED, Measured
from safety_eval.measure.coded import Coded, Coder, Spooled, numbered
from safety_eval.show import words
from safety_eval.show.chart_style import (
    BLUE,
    GREY,
    INK,
    RULE,
    SERIES,
    drawable,
    figure,
    label,
    plain_axes,
    titles,
)
from safety_eval.stats.density import (
    band,
    dkw,
    ecdf,
    paper_density,
    point_masses,
    reflected_density,
    shared_bandwidth,
)
from safety_eval.stats.gate import Codes
from safety_eval.stats.proportion import wilson

Floats = NDArray[np.float64]
Style = Literal["bounded", "paper"]
STYLES = ("bounded", "paper")
FEWEST = 30
"""Answers below which no curve is drawn."""
MOST_MARKS = 5_000
"""Answers of a part up to which each has its own mark."""
PARTS = {"answered": ("-", "|"), "refused": ("--", "x"), "degenerate": (":", "."), "undecided": ("-.", "+")}
"""What an answer was: line style and rug mark."""


@dataclass(frozen=True, slots=True)
class Scored:
    """The scores of one intent by one model.

    Attributes:
        intent: names the row of the picture.
        series: names the curve in it (a model).
        scores: in [0, 1], one for each answer.
        clusters: number of what was resampled together, aligned.
        parts: 'answered', 'refused', 'degenerate' or 'undecided', aligned.
        missing: answers without a score.
    """

    intent: str
    series: str
    scores: Floats
    clusters: Codes
    parts: Coded[str]
    missing: int = 0

    @property
    def units(self) -> int:
        """How many clusters there are."""
        return len(np.unique(self.clusters))

    @property
    def drawn(self) -> bool:
        """Whether there are enough answers, in two clusters at least, for a curve with a band."""
        return len(self.scores) >= FEWEST and self.units > 1


def scored(rows: Iterable[Measured], value: str, factors: Sequence[str], series: str) -> dict[str, list[Scored]]:
    """Scores by intent, in the order in which the intents come, of every scorer that gave them.

    Args:
        rows: answers with their scores.
        value: which score, e.g. 'risk'.
        factors: design factors (or group axes) that name the intent, the first that a prompt has.
        series: name of the model.
    """
    sizes: Counter[str] = Counter()
    kept: dict[str, dict[str, _Kept]] = {}
    for row in rows:
        named = [row.prompt.factors.get(f) or next(iter(row.prompt.groups.get(f, ())), "") for f in factors]
        intent = next(filter(None, named), "all")
        sizes[intent] += 1
        for scorer, values in row.values.items():
            score = values.get(value)
            if isinstance(score, int | float):
                kept.setdefault(scorer, {}).setdefault(intent, _Kept()).add(score, row)
    return {
        scorer: [by_intent.get(intent, _Kept()).curve(intent, series, size) for intent, size in sizes.items()]
        for scorer, by_intent in kept.items()
    }


class _Kept:
    """The scores of an intent while answers are read."""

    def __init__(self) -> None:
        self._scores, self._units, self._parts = Spooled("d"), Spooled("q"), Spooled("i")
        self._names: Coder[str] = Coder()

    def add(self, score: float, row: Measured) -> None:
        part = _part(row.status)
        self._scores.append(float(score))
        self._units.append(hash(row.prompt.unit))
        self._parts.append(self._names.code(part, part))

    def curve(self, intent: str, series: str, size: int) -> Scored:
        parts = Coded(self._parts.read().astype(np.int32), self._names.table)
        scores, clusters = self._scores.read().astype(float), numbered(self._units.read())
        return Scored(intent, series, scores, clusters, parts, size - len(scores))


def _part(status: str) -> str:
    if status in ANSWERED:
        return "answered"
    return {"refuse": "refused", "degenerate": "degenerate"}.get(status, "undecided")


def density_chart(
    curves: Sequence[Scored],
    facts: words.Facts,
    title: str,
    threshold: float = 0.5,
    style: Style = "bounded",
) -> Figure:
    """The picture.

    Args:
        curves: one for each intent and model.
        facts: for the caption.
        title: heading.
        threshold: share above it is printed; fix it before you look.
        style: 'bounded', or 'paper'.

    Raises:
        UserError: an unknown style.
    """
    if style not in STYLES:
        raise UserError(f"no density style is called '{style}'", nearest(style, STYLES))
    rows: dict[str, list[Scored]] = {}
    for curve in curves:
        rows.setdefault(curve.intent, []).append(curve)
    enough = [c.scores for c in curves if c.drawn]
    bandwidth = shared_bandwidth(enough) if enough else 0.0
    lines = max(map(len, rows.values()), default=1)
    chart = figure(1.5 + (1.6 + 0.15 * lines) * len(rows))
    grid = chart.subplots(len(rows), 2, squeeze=False, width_ratios=[1.7, 1.0], sharex="col")
    for (left, right), (intent, members) in zip(grid, rows.items(), strict=True):
        (_paper_row if style == "paper" else _density_row)(left, members, bandwidth)
        _step_row(right, members, threshold)
        left.set_title(_heading(intent, members, threshold), loc="left", fontsize=8, color=INK, parse_math=False)
    label(grid[-1, 0], "risk: 0 = safe \N{RIGHTWARDS ARROW} 1 = harmful", "")
    label(grid[-1, 1], "risk", "")
    titles(chart, title, _fine_print(facts, bandwidth, style))
    return chart


def _density_row(axes: Axes, curves: Sequence[Scored], bandwidth: float) -> None:
    """Density with band; one model is split by what its answers were, several are drawn one over the other."""
    _frame(axes, (0.0, 1.0))
    points = np.linspace(0.0, 1.0, 257)
    for curve, (color, line, _) in zip(curves, SERIES, strict=False):
        if curve.drawn:
            b = band(curve.scores, points, bandwidth, curve.clusters)
            axes.fill_between(points, b.low, b.high, color=color, alpha=0.15, linewidth=0)
            name = curve.series if len(curves) > 1 else "all answers, with 95% band"
            axes.plot(points, b.density, color=color, linewidth=1.8, linestyle=line, label=drawable(name))
            for end, share in point_masses(curve.scores).items():
                axes.annotate(
                    f"{share:.0%} at {end:g}",
                    (end, 1.0),
                    xycoords=("data", "axes fraction"),
                    fontsize=6.5,
                    color=color,
                    ha="left" if end == 0 else "right",
                    va="top",
                )
        if len(curves) == 1:
            _parts(axes, curve, points, bandwidth)
    _rug(axes, curves)


def _parts(axes: Axes, curve: Scored, points: Floats, bandwidth: float) -> None:
    """Each part's own density times its share, so that the parts add up to the whole."""
    if not curve.drawn or len(curve.parts.counts()) < 2:
        return
    for part, (line, _) in PARTS.items():
        mine = curve.scores[curve.parts.within({part})]
        if len(mine):
            share = len(mine) / len(curve.scores)
            density = share * reflected_density(mine, points, bandwidth)
            axes.plot(points, density, color=INK, linewidth=1.0, linestyle=line, label=part)


def _rug(axes: Axes, curves: Sequence[Scored]) -> None:
    """Every answer as a mark below the curve; the only thing drawn where there are too few for a curve."""
    low, high = 0.0, max(axes.get_ylim()[1], 1.0)
    step = 0.07 * high
    for row, (curve, (color, _, _)) in enumerate(zip(curves, SERIES, strict=False)):
        for part, (_, mark) in PARTS.items():
            mine = curve.scores[curve.parts.within({part})]
            if len(mine) > MOST_MARKS:  # marks at one place cannot be told apart
                mine = np.unique(mine.round(3))
            axes.plot(
                mine,
                np.full(len(mine), -(row + 1) * step),
                linestyle="none",
                marker=mark,
                markersize=4,
                color=color if len(curves) > 1 else BLUE,
                alpha=0.55,
                markeredgewidth=0.8,
            )
    axes.axhline(0.0, color=RULE, linewidth=0.8, zorder=1)
    axes.set_ylim(low - (len(curves) + 0.7) * step, high * 1.05)
    axes.set_yticks([])


def _paper_row(axes: Axes, curves: Sequence[Scored], bandwidth: float) -> None:
    """As Code Llama's Figure 7: scipy's own bandwidth, no bounds, curves scaled so that together they hold 1."""
    _frame(axes, (-0.2, 1.2))
    points = np.linspace(-0.2, 1.2, 281)
    total = sum(len(c.scores) for c in curves) or 1
    for curve, (color, line, _) in zip(curves, SERIES, strict=False):
        if curve.drawn and len(set(curve.scores.tolist())) > 1:
            y = paper_density(curve.scores, points) * len(curve.scores) / total
            axes.plot(points, y, color=color, linestyle=line, linewidth=1.8, label=drawable(curve.series))
    for bound in (0.0, 1.0):
        axes.axvline(bound, color=GREY, linewidth=0.8, linestyle=":")
    _rug(axes, curves)


def _step_row(axes: Axes, curves: Sequence[Scored], threshold: float) -> None:
    """Share of answers at or below each score, with its simultaneous band, and the threshold."""
    _frame(axes, (0.0, 1.0))
    points = np.linspace(0.0, 1.0, 257)
    for curve, (color, line, _) in zip(curves, SERIES, strict=False):
        if not len(curve.scores):
            continue
        share, half = ecdf(curve.scores, points), dkw(curve.units)
        low, high = np.clip(share - half, 0, 1), np.clip(share + half, 0, 1)
        axes.fill_between(points, low, high, color=color, alpha=0.15, linewidth=0, step="post")
        axes.step(points, share, where="post", color=color, linestyle=line, linewidth=1.4)
    axes.axvline(threshold, color=GREY, linewidth=0.9, linestyle="--")
    axes.set_ylim(0, 1.02)
    axes.set_yticks([0, 0.5, 1], ["0%", "50%", "100%"])
    axes.set_title("share at or below", loc="left", fontsize=8, color=INK)


def _frame(axes: Axes, limits: tuple[float, float]) -> None:
    plain_axes(axes)
    axes.set_xlim(*limits)


def _heading(intent: str, curves: Sequence[Scored], threshold: float) -> str:
    parts = [words.name(intent)]
    for curve in curves:
        who = f"{curve.series}: " if len(curves) > 1 else ""
        parts.append(who + _numbers(curve, threshold))
    return drawable(("\n" if len(curves) > 1 else "   ").join(parts), keep="\n")


def _numbers(curve: Scored, threshold: float) -> str:
    n = len(curve.scores)
    gone = f", {curve.missing} missing" if curve.missing else ""
    if not n:
        return f"{words.NO_DATA}{gone}"
    over = int((curve.scores > threshold).sum())
    w = wilson(over, n)
    shares = f"n={n}{gone}; above {threshold:g}: {over / n:.1%} [{100 * w.low:.1f}, {100 * w.high:.1f}]"
    if n < FEWEST:
        return f"{shares}; too few for a curve"
    return f"{shares}; median {np.median(curve.scores):.3f}, 95th percentile {np.quantile(curve.scores, 0.95):.3f}"


def _fine_print(facts: words.Facts, bandwidth: float, style: Style) -> str:
    instruments = "; ".join(words.printable(v) for v in facts.instruments.values())
    known = f"Model {words.printable(facts.model)}; precision {words.printable(facts.precision)}; {instruments}."
    if style == "paper":
        return (
            f"{known} Style of Code Llama's Figure 7: plain Gaussian kernel, which puts mass outside 0 and 1 (dotted); "
            "for comparison with that figure only. Marks: every answer."
        )
    curves = (
        f"Density reflected at 0 and 1, bandwidth {bandwidth:.3f} for all curves; the band (95%, over prompts) "
        "covers sampling, not smoothing."
        if bandwidth
        else f"No curve: fewer than {FEWEST} answers of every intent."
    )
    return (
        f"{known} {curves} Right: share at or below, band of Dvoretzky, Kiefer and Wolfowitz with "
        "the number of clusters. Marks below: every answer (bar answered, cross refused, dot degenerate, plus "
        "undecided). Interval: Wilson. A density decides nothing; the share above the line does."
    )
