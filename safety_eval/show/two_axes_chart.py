"""Two rates of the same groups against each other: false against missed refusals, cure against leakage.

One number alone can be bought with the other: a model that refuses everything never misses, a rewording that
cures by opening the door also cures the unsafe twins. So both stand in one picture, each with its interval.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from safety_eval.core.records import Estimate
from safety_eval.show import words
from safety_eval.show.chart_style import BLUE, GREY, INK, RULE, drawable, figure, label, plain_axes, titles
from safety_eval.show.words import Facts


@dataclass(frozen=True, slots=True)
class Axis:
    """One direction of the picture: what it is called and which end is better ('lower', 'higher')."""

    words: str
    better: str


@dataclass(frozen=True, slots=True)
class Plane:
    """The picture's two directions, and what a point on the line up = across means ('' = no line)."""

    across: Axis
    up: Axis
    diagonal: str = ""


@dataclass(frozen=True, slots=True)
class Point:
    """One group with both of its numbers."""

    name: str
    x: Estimate
    y: Estimate

    @property
    def measured(self) -> bool:
        """Whether it has both numbers."""
        return self.x.value is not None and self.y.value is not None

    @property
    def faint(self) -> bool:
        """Whether one of its numbers is descriptive only."""
        return words.greyed(self.x) or words.greyed(self.y)


def matched(x: Sequence[Estimate], y: Sequence[Estimate], prefix: str = "") -> list[Point]:
    """Groups that have both numbers, and the whole first.

    Args:
        x, y: estimates of one metric each.
        prefix: what the second metric's groups carry before the first's name (XSTest: 'contrast_').
    """
    second = {(e.axis, e.group.removeprefix(prefix)): e for e in y}
    points = []
    for e in sorted(x, key=lambda e: e.axis != "total"):
        twin = second.get((e.axis, e.group.removeprefix(prefix)))
        if twin is not None and e.axis != "macro":
            name = "all answers" if e.axis == "total" else words.name(e.group)
            points.append(Point(name, e, twin))
    return points


def two_axes(points: Sequence[Point], facts: Facts, title: str, plane: Plane) -> Figure:
    """Numbered points with both intervals, and their names and numbers beside.

    Args:
        points: groups with both numbers; those with one of them missing are listed, not drawn.
        facts: for the caption.
        title: heading.
        plane: what the two directions are.
    """
    chart = figure(max(4.9, 1.9 + 0.165 * len(points)))
    axes, beside = chart.subplots(1, 2, width_ratios=[1.15, 1.0])
    plain_axes(axes)
    axes.grid(axis="y", color=RULE, linewidth=0.6)
    for at, marks in _places(points).items():
        for point in (p for p, _ in marks):
            _bars(axes, point)
        _mark_place(axes, at, marks)
    _frame(axes, points, plane)
    if not any(p.measured for p in points):
        _say_why(axes, points)
    if plane.diagonal:
        axes.axline((0, 0), slope=1, color=INK, linewidth=0.9, linestyle=":", label=drawable(plane.diagonal))
    _list(beside, points)
    caption = words.caption([p.x for p in points], facts)
    titles(chart, title, f"{caption} Bars are 95% intervals of each number alone. Grey: descriptive only.")
    return chart


def _say_why(axes: Axes, points: Sequence[Point]) -> None:
    """The reasons for an empty picture, in it: an empty one alone reads as 'nothing happened'."""
    reasons = dict.fromkeys(e.reason for p in points for e in (p.x, p.y) if e.value is None and e.reason)
    axes.text(
        0.5,
        0.3,
        "\n".join(["Nothing to draw:", *map(drawable, reasons)]),
        transform=axes.transAxes,
        ha="center",
        va="center",
        fontsize=8,
        color=GREY,
        parse_math=False,
        bbox={"color": "white"},
    )


def _places(points: Sequence[Point]) -> dict[tuple[float, float], list[tuple[Point, str]]]:
    """Measured points with their marks, by place, so that points on one another are named together."""
    places: dict[tuple[float, float], list[tuple[Point, str]]] = {}
    for number, point in enumerate(points):
        if point.x.value is not None and point.y.value is not None:
            at = (round(point.x.value, 3), round(point.y.value, 3))
            places.setdefault(at, []).append((point, _mark(points, number)))
    return places


def _bars(axes: Axes, point: Point) -> None:
    x, y = point.x, point.y
    assert x.value is not None and y.value is not None
    color = _color(point)
    if x.low is not None and x.high is not None:
        axes.hlines(y.value, x.low, x.high, color=color, linewidth=1.1, alpha=0.45)
    if y.low is not None and y.high is not None:
        axes.vlines(x.value, y.low, y.high, color=color, linewidth=1.1, alpha=0.45)


def _color(point: Point) -> str:
    return INK if point.x.axis == "total" else GREY if point.faint else BLUE


def _mark_place(axes: Axes, at: tuple[float, float], marks: Sequence[tuple[Point, str]]) -> None:
    """A numbered circle; several numbers stand beside theirs."""
    color = _color(marks[0][0])
    alone = len(marks) == 1
    axes.plot(
        [at[0]],
        [at[1]],
        marker="o",
        markersize=11 if alone else 8,
        color=color,
        zorder=4,
        linestyle="none",
        markerfacecolor="white" if alone else color,
        markeredgewidth=1.4,
        clip_on=False,
    )
    axes.annotate(
        ", ".join(mark for _, mark in marks),
        at,
        xytext=(0, 0) if alone else (6, 8),
        textcoords="offset points",
        ha="center" if alone else "left",
        va="center",
        fontsize=6.5,
        zorder=5,
        color=color,
        fontweight="bold",
        annotation_clip=False,
    )


def _mark(points: Sequence[Point], number: int) -> str:
    """Sigma for the whole, else the place in the list, from 1."""
    if points[number].x.axis == "total":
        return "\N{GREEK CAPITAL LETTER SIGMA}"
    return str(number if points[0].x.axis == "total" else number + 1)


def _frame(axes: Axes, points: Sequence[Point], plane: Plane) -> None:
    """Rates in per cent from 0; other numbers in their unit. The better corner is said in words."""
    per_cent = all(e.kind == "rate" or 0 <= (e.value or 0) <= 1 for p in points for e in (p.x, p.y))
    for axis, which in ((axes.xaxis, "x"), (axes.yaxis, "y")):
        ends = [v for p in points for e in (getattr(p, which),) for v in (e.value, e.low, e.high) if v is not None]
        low, high = min(ends, default=0.0), max(ends, default=1.0)
        low = min(0.0, low)
        margin = 0.06 * ((high - low) or 1.0)
        set_limits = axes.set_xlim if which == "x" else axes.set_ylim
        set_limits(low - margin, min(high + margin, 1.03) if per_cent else high + margin)
        axis.set_major_locator(MaxNLocator(nbins=6))
        if per_cent:
            axis.set_major_formatter(FuncFormatter(lambda v, _: f"{100 * v:g}%".replace("-", words.MINUS)))
    across, up = plane.across, plane.up
    label(
        axes,
        f"{across.words} ({words.direction(across.better)})",
        f"{up.words} ({words.direction(up.better)})",
    )
    corner = {"lower": 0.015, "higher": 0.985}
    axes.annotate(
        "better",
        (corner[across.better], corner[up.better]),
        xycoords="axes fraction",
        fontsize=7.5,
        color=GREY,
        style="italic",
        ha="left" if across.better == "lower" else "right",
        va="bottom" if up.better == "lower" else "top",
    )


def _list(axes: Axes, points: Sequence[Point]) -> None:
    """Names and numbers of the points, in the order of their numbers."""
    axes.set_axis_off()
    axes.set_ylim(len(points) + 0.5, -1.5)
    axes.set_xlim(0, 1)
    places = (0.0, 0.07, 0.5, 0.77)
    heads = ("", "group", "across \N{RIGHTWARDS ARROW}", "up \N{UPWARDS ARROW}")
    for x, head in zip(places, heads, strict=True):
        axes.text(x, -1, head, fontsize=7.5, color=GREY, va="center")
    for number, point in enumerate(points):
        cells = (_mark(points, number), _short(point.name), *map(_cell, (point.x, point.y)))
        color = GREY if point.faint else INK
        for x, cell in zip(places, cells, strict=True):
            axes.text(x, number, drawable(cell), fontsize=7, va="center", parse_math=False, color=color)


def _cell(e: Estimate) -> str:
    return words.NO_DATA if e.value is None else f"{words.number(e.value, e.kind)} n={e.count:,}"


def _short(text: str) -> str:
    return text if len(text) <= 30 else text[:29] + "\N{HORIZONTAL ELLIPSIS}"
