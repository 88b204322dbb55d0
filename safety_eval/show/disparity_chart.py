"""Groups of one axis drawn towards their mean by their noise, the worst first: which differences would stay."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safety_eval.measure.disparity import Disparity
from safety_eval.show import words
from safety_eval.show.disparity_table import p_words

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def disparity_chart(d: Disparity) -> Figure:
    """Every group as measured (bar) and as drawn towards the mean (dot); filled where it is shown to differ from the
    rest; the band is where the truly worst one lies."""
    from matplotlib.figure import Figure

    names = list(d.shrunk)
    figure = Figure(figsize=(7.2, 2.0 + 0.24 * len(names)), layout="constrained")
    axes = figure.subplots()
    axes.axvspan(d.worst_low, d.worst_high, color="0.93", zorder=0)
    rows = range(len(names))
    measured, drawn = list(d.measured.values()), list(d.shrunk.values())
    axes.hlines(rows, measured, drawn, color="0.6", linewidth=1, zorder=2)
    axes.scatter(measured, rows, marker="|", s=60, color="#333333", zorder=3)
    filled = ["#b2182b" if name in d.named else "white" for name in names]
    axes.scatter(drawn, rows, s=28, color=filled, edgecolor="#333333", zorder=4)
    axes.set_yticks(list(rows), [words.name(name) for name in names])
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlabel(words.metric_name(d.metric))
    figure.suptitle(_words(d), x=0.01, ha="left", fontsize=9)
    if d.kind == "rate":
        axes.xaxis.set_major_formatter(lambda value, _: f"{100 * value:.3g}%")
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def _words(d: Disparity) -> str:
    worst = "lowest" if d.better == "neither" else "worst"
    differ = "shown to differ from" if d.better == "neither" else "shown worse than"
    return (
        f"{words.name(d.task)}, {words.metric_name(d.metric)} by {words.name(d.axis)}: "
        f"are all {d.groups} groups the same? p = {p_words(d.p_equal)}\n"
        f"Bar: as measured. Dot: drawn towards the mean by its noise; filled where {differ} the rest.\n"
        f"Band: where the truly {worst} group lies (95%). "
        f"Gap between two groups: at least {words.number(d.gap_low, d.kind)} (95%)."
    ).replace("p = <", "p < ")
