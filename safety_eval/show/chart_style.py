"""The look of every chart: figures without pyplot, colours that colour-blind readers and printers keep apart.

Colours are Okabe and Ito's; wherever colour says something, shape or line style says it too. No figure
touches matplotlib's global state (no pyplot, no rcParams): charts may be drawn from any thread or notebook.
"""

from __future__ import annotations

import io
import textwrap
import threading
from functools import cache
from pathlib import Path
from typing import Any

from matplotlib import font_manager, rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ft2font import FT2Font

from safety_eval.show.words import printable

BLUE, VERMILLION, GREEN, PURPLE, ORANGE = "#0072B2", "#D55E00", "#009E73", "#AA4499", "#E69F00"
INK, GREY, PALE, RULE = "#1a1a1a", "#767676", "#eef2f6", "#d4d9de"
BESIDE = ((VERMILLION, "^"), (GREEN, "s"), (PURPLE, "D"), (ORANGE, "v"), (INK, "P"))
"""Colour and shape of published rows, in this order."""
SERIES = ((BLUE, "-", "o"), (VERMILLION, "--", "^"), (GREEN, "-.", "s"), (PURPLE, ":", "D"), (INK, "-", "v"))
DPI = 160
_QUICKLY = {"compress_level": 1}
"""Flat colours: the same size within a few percent, in a quarter of the time."""
WIDTH = 9.2
"""Inches: a page's width, so that text keeps its size in print."""


@cache
def _drawable() -> frozenset[int]:
    path = font_manager.findfont(font_manager.FontProperties(family="DejaVu Sans"))
    return frozenset(FT2Font(path).get_charmap())


def drawable(text: object, keep: str = "") -> str:
    """`text` with what cannot be drawn shown escaped: control characters, and letters that the font lacks."""
    shown = printable(text, keep)
    return "".join(c if ord(c) in _drawable() or c in keep else f"\\u{ord(c):04x}" for c in shown)


class Chart(Figure):
    """A figure that a notebook shows as it is, whether or not it has set matplotlib up."""

    def _repr_png_(self) -> bytes:
        return png(self)


def figure(height: float, width: float = WIDTH) -> Chart:
    """An empty figure with its own canvas; inches."""
    chart = Chart(figsize=(width, height), dpi=DPI, layout="constrained", facecolor="white")
    FigureCanvasAgg(chart)
    return chart


def titles(chart: Figure, title: str, fine_print: str) -> None:
    """Heading and key (each line and shape named once) on top, the fine print below; all plain text."""
    once: dict[str, Any] = {}
    for axes in chart.axes:
        for handle, words in zip(*axes.get_legend_handles_labels(), strict=True):
            once.setdefault(words, handle)
    heading = wrap(title, 88)
    if once:
        drawn = chart.legend(
            list(once.values()),
            list(once),
            title=heading,
            alignment="left",
            fontsize=7.5,
            ncols=4,
            loc="outside upper left",
            frameon=False,
            borderaxespad=0.5,
            borderpad=0.2,
        )
        drawn.get_title().set(fontsize=12, fontweight="bold", color=INK, parse_math=False)
        for text in drawn.get_texts():
            text.set_parse_math(False)
    else:
        chart.suptitle(heading, x=0.012, ha="left", fontsize=12, fontweight="bold", color=INK, parse_math=False)
    wrapped = wrap(fine_print, int(chart.get_figwidth() * 16.5))
    chart.supxlabel(wrapped, x=0.012, ha="left", fontsize=7, color="#4a4a4a", linespacing=1.35, parse_math=False)


def wrap(text: str, width: int) -> str:
    """`text` on lines of at most `width` characters, ready to be drawn; line breaks in it are kept."""
    lines = [textwrap.fill(drawable(line), width, break_on_hyphens=False) for line in text.split("\n")]
    return "\n".join(lines)


def plain_axes(axes: Axes) -> None:
    """No box, light vertical rules, ink-coloured small ticks."""
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(RULE)
    axes.grid(axis="x", color=RULE, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(colors=INK, labelsize=8, length=0, pad=6)


def label(axes: Axes, x: str = "", y: str = "") -> None:
    """Axis labels as plain text."""
    axes.set_xlabel(drawable(x), fontsize=8.5, color=INK, parse_math=False)
    axes.set_ylabel(drawable(y), fontsize=8.5, color=INK, parse_math=False)


def png(chart: Figure) -> bytes:
    """The figure as PNG bytes that depend on the figure only (no date, no software version)."""
    buffer = io.BytesIO()
    chart.set_dpi(DPI)
    # Not `savefig`, which draws everything twice when a layout is asked for.
    FigureCanvasAgg(chart).print_png(buffer, metadata={"Software": None}, pil_kwargs=_QUICKLY)
    return buffer.getvalue()


_ONE_AT_A_TIME = threading.Lock()
"""matplotlib takes these settings from its global state, which is put back before another thread draws with it."""


def svg(chart: Figure) -> str:
    """The figure, laid out by `png` before, as SVG text that depends on the figure only."""
    chart.set_layout_engine("none")
    buffer = io.StringIO()
    # Words as text take a third of what outlines take; a salt makes ids depend on the content, not on chance.
    with _ONE_AT_A_TIME, rc_context({"svg.fonttype": "none", "svg.hashsalt": "safety-eval"}):
        FigureCanvasSVG(chart).print_svg(buffer, metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    return buffer.getvalue()[buffer.getvalue().index("<svg") :]  # without the declaration, which names a host


def save(chart: Figure, path: Path) -> Path:
    """Write the figure as PNG; the folder is chart."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(png(chart))
    return path
