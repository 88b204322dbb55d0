"""Paired differences -> a figure: every group's change with its interval, zero and the margin as lines."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from safety_eval.compare.comparison import Comparison
from safety_eval.compare.differences import ALPHA, Difference, descriptive
from safety_eval.compare.table import WHOLE, signed, who, worsening
from safety_eval.show import words as wording
from safety_eval.show.chart_style import (
    BLUE,
    GREEN,
    GREY,
    INK,
    PALE,
    VERMILLION,
    drawable,
    figure,
    label,
    plain_axes,
    save,
    titles,
)

ROW = 0.25
"""Inches of height for a group."""


def save_charts(folder: Path, made: Comparison) -> list[Path]:
    """RUN/charts/compare.<task>.<metric>.png in place of those of an earlier comparison.

    Of each task's first metric that has groups, and of every other one in which a group changed after Holm: a metric
    in which nothing did is a table's row, not a picture.
    """
    for earlier in (folder / "charts").glob("compare.*.png"):
        earlier.unlink()
    saved, begun = [], set()
    for (task, metric, scorer), rows in _by_metric(made).items():
        groups = [d for d in rows if d.axis not in WHOLE]
        if not groups or (task in begun and not any(_changed(d) for d in groups)):
            continue
        begun.add(task)
        named = f"{wording.name(task)}: {wording.metric_name(metric)}, run against baseline"
        fine = f"Run {who(made.run)}, baseline {who(made.baseline)}; instrument {scorer or 'none needed'}; "
        fine += f"interval: {rows[0].method}. Filled: holds after Holm over the whole comparison. "
        fine += "Hollow: no change shown, which is not shown to be none."
        chart = difference_chart(rows, named, fine)
        saved.append(save(chart, folder / "charts" / f"compare.{task}.{metric}.{scorer or 'none'}.png"))
    return saved


def _changed(d: Difference) -> bool:
    return d.p_adjusted is not None and d.p_adjusted <= ALPHA


def _by_metric(made: Comparison) -> dict[tuple[str, str, str], list[Difference]]:
    found: dict[tuple[str, str, str], list[Difference]] = {}
    for d in made.differences:
        found.setdefault((d.task, d.metric, d.scorer), []).append(d)
    return found


def difference_chart(rows: Sequence[Difference], title: str, fine_print: str) -> Figure:
    """The differences of one task, metric and scorer; the whole on top, then the largest worsening first.

    A filled point is a change that holds after Holm over the whole comparison; its colour and shape say which way.
    Rows without data stay, with their reason.
    """
    whole = [d for d in rows if d.axis in WHOLE]
    groups = sorted((d for d in rows if d.axis not in WHOLE), key=worsening, reverse=True)
    ordered = [*whole, *groups]
    made = figure(1.9 + ROW * len(ordered))
    axes = made.subplots()
    plain_axes(axes)
    for y, d in enumerate(ordered):
        _draw(axes, y, d)
    axes.axvline(0, color=INK, linewidth=0.9, zorder=1)
    margin = next((d.margin for d in ordered if d.margin is not None), None)
    if margin is not None:
        for i, side in enumerate((-margin, margin)):
            words = f"margin {signed(margin, rows[0].kind)}" if i == 0 else None
            axes.axvline(side, color=VERMILLION, linewidth=1, linestyle="--", zorder=1, label=words)
    if whole:
        axes.axhspan(-0.5, len(whole) - 0.5, color=PALE, zorder=0)
    axes.set_ylim(len(ordered) - 0.4, -0.6)
    axes.set_yticks(range(len(ordered)), [_named(d) for d in ordered], parse_math=False)
    axes.xaxis.set_major_locator(MaxNLocator(7))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: signed(round(x, 10) + 0.0, rows[0].kind)))
    _numbers(axes, ordered)
    label(axes, f"run minus baseline ({wording.direction(rows[0].better)})")
    titles(made, title, fine_print)
    return made


def _named(d: Difference) -> str:
    if d.axis in WHOLE:
        return "all answers" if d.axis == "total" else drawable(wording.headline_name(d.group))
    return drawable(wording.name(d.group))


def _draw(axes: Axes, y: int, d: Difference) -> None:
    if d.value is None:
        axes.text(0, y, f" no data: {drawable(d.reason)}", fontsize=7, color=GREY, va="center", parse_math=False)
        return
    faint = descriptive(d)
    shown = _changed(d)
    worse = shown and worsening(d) > 0 and d.better != "neither"
    colour = GREY if faint else VERMILLION if worse else GREEN if shown and d.better != "neither" else BLUE
    words = "no change shown" if not shown else "worse" if worse else "better" if d.better != "neither" else "changed"
    shape = {"worse": "^", "better": "v", "changed": "D"}.get(words, "o")
    if d.low is not None and d.high is not None:
        axes.plot([d.low, d.high], [y, y], color=colour, linewidth=1.4, solid_capstyle="butt", zorder=2)
    face = colour if shown else "white"
    named = f"descriptive only, {words}" if faint else f"{words} (p \N{LESS-THAN OR EQUAL TO} 0.05)" if shown else words
    axes.plot(
        [d.value],
        [y],
        shape,
        color=colour,
        markerfacecolor=face,
        markersize=5.5,
        zorder=3,
        label=named,
        linestyle="none",
    )


def _numbers(axes: Axes, ordered: Sequence[Difference]) -> None:
    """At the right: run, baseline and pairs of every row."""
    place = axes.get_yaxis_transform()
    for y, d in enumerate(ordered):
        told = f"{wording.number(d.run, d.kind)} vs {wording.number(d.baseline, d.kind)}, n={d.count:,}"
        axes.text(1.015, y, drawable(told), transform=place, fontsize=7, va="center", color=INK, parse_math=False)
