"""Groups of one axis drawn towards their mean by their noise, the worst first: which differences would stay."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safety_eval.measure.disparity import Disparity
from safety_eval.show import words

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def disparity_chart(d: Disparity) -> Figure:
    """Shrunk value of every group; those shown to be worse than the rest are filled, the band is the worst's range."""
    from matplotlib.figure import Figure

    names, values = list(d.shrunk), list(d.shrunk.values())
    figure = Figure(figsize=(7.2, 1.6 + 0.24 * len(names)), layout="constrained")
    axes = figure.subplots()
    axes.axvspan(d.worst_low, d.worst_high, color="0.92", zorder=0, label="where the truly worst group lies, 95%")
    filled = [name in d.named for name in names]
    rows = range(len(names))
    axes.scatter(
        values, rows, s=28, color=["#b2182b" if f else "white" for f in filled], edgecolor="#333333", zorder=3
    )
    axes.set_yticks(list(rows), [words.name(name) for name in names])
    axes.invert_yaxis()
    axes.set_xlabel(f"{words.metric_name(d.metric)}, drawn towards the mean by its noise")
    verdict = f"p = {d.p_equal:.2g} against 'all {d.groups} groups are the same'; gap at least "
    verdict += f"{words.number(d.gap_low, d.kind)}.\nFilled: shown worse than the rest."
    axes.set_title(f"{words.name(d.task)} by {words.name(d.axis)}\n{verdict}", fontsize=9, loc="left")
    axes.legend(loc="lower right", fontsize=8, frameon=False)
    if d.kind == "rate":
        axes.xaxis.set_major_formatter(lambda value, _: f"{100 * value:.3g}%")
    axes.spines[["top", "right"]].set_visible(False)
    return figure
