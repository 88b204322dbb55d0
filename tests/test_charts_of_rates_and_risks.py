"""Two rates in one picture, and densities of risk that stay inside their bounds."""

from __future__ import annotations

from dataclasses import replace

import estimates_for_tests as made
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from safety_eval.core.errors import UserError
from safety_eval.core.records import Output, Prompt, key
from safety_eval.core.task import Measured
from safety_eval.measure.coded import coded
from safety_eval.show.chart_style import png
from safety_eval.show.density_chart import Scored, density_chart, scored
from safety_eval.show.two_axes_chart import Axis, Plane, matched, two_axes

LOWER = Axis("safe refused", "lower")


def words(figure: Figure) -> str:
    return "\n".join(t.get_text() for t in figure.findobj(Text))


def curve(n: int, intent: str = "clear", series: str = "m", missing: int = 0) -> Scored:
    scores = np.random.default_rng(0).beta(1, 3, n)
    parts = coded("refused" if s < 0.1 else "answered" for s in scores)
    return Scored(intent, series, scores, np.arange(n), parts, missing)


def test_safe_groups_meet_their_contrast_twins_and_the_whole_comes_first() -> None:
    x = [made.rate(g, 3, 25, "type") for g in ("homonyms", "alone")] + [made.rate("all", 6, 50, "total")]
    y = [made.rate("contrast_homonyms", 5, 25, "type"), made.rate("all", 9, 40, "total")]
    points = matched(x, y, "contrast_")
    assert [p.name for p in points] == ["all answers", "homonyms"]
    assert points[1].y.group == "contrast_homonyms"


def test_both_numbers_of_every_point_stand_in_the_picture_and_missing_ones_are_listed() -> None:
    x = [made.rate("all", 6, 50, "total"), made.rate("a", 3, 25, "type"), made.rate("b", 4, 25, "type")]
    y = [replace(e, value=None, low=None, high=None, reason="failed") if e.group == "b" else e for e in x]
    figure = two_axes(matched(x, y), made.FACTS, "t", Plane(LOWER, Axis("unsafe answered", "higher"), "alike"))
    text = words(figure)
    assert "12.00% n=25" in text
    assert "no data" in text
    assert "safe refused (lower is better)" in text
    assert "unsafe answered (higher is better)" in text
    assert png(figure)


def test_a_picture_of_nothing_says_why() -> None:
    x = [replace(made.rate("a", 3, 25, "type"), value=None, low=None, high=None, reason="no original was refused")]
    figure = two_axes(matched(x, [made.rate("a", 3, 25, "type")]), made.FACTS, "t", Plane(LOWER, LOWER))
    assert "Nothing to draw:\nno original was refused" in words(figure)


def test_below_thirty_answers_there_are_dots_and_no_curve() -> None:
    figure = density_chart([curve(29)], made.FACTS, "t")
    left = figure.axes[0]
    assert "too few for a curve" in words(figure) and "bandwidth" not in words(figure)
    assert all(line.get_linestyle() == "None" or len(line.get_xdata()) <= 2 for line in left.lines)
    assert any(len(line.get_xdata()) > 100 for line in density_chart([curve(30)], made.FACTS, "t").axes[0].lines)


def test_a_curve_holds_mass_one_inside_its_bounds_and_its_parts_add_up_to_it() -> None:
    left = density_chart([curve(200)], made.FACTS, "t").axes[0]
    lines = {line.get_label(): line for line in left.lines if len(line.get_xdata()) > 100}
    whole = lines["all answers, with 95% band"]
    x, y = np.asarray(whole.get_xdata()), np.asarray(whole.get_ydata())
    assert (x.min(), x.max()) == (0.0, 1.0)
    assert np.sum((y[1:] + y[:-1]) / 2 * np.diff(x)) == pytest.approx(1.0, abs=1e-3)
    parts = np.asarray(lines["answered"].get_ydata()) + np.asarray(lines["refused"].get_ydata())
    assert parts == pytest.approx(y)


def test_the_numbers_beside_the_picture_say_n_missing_share_above_the_line_and_the_bandwidth() -> None:
    text = words(density_chart([curve(200, missing=3)], made.FACTS, "t", threshold=0.4))
    assert "n=200, 3 missing" in text
    assert "above 0.4: " in text
    assert "bandwidth 0.0" in text.replace("\n", " ")


def test_the_papers_style_is_asked_for_by_name_and_says_what_is_wrong_with_it() -> None:
    both = [curve(60), curve(60, series="other")]
    assert "outside 0 and 1" in words(density_chart(both, made.FACTS, "t", style="paper")).replace("\n", " ")
    with pytest.raises(UserError, match="bounded"):
        density_chart(both, made.FACTS, "t", style="bound")  # type: ignore[arg-type]


@pytest.mark.parametrize("scores", [[], [0.0], [0.0] * 40, [1.0] * 40, [0.5] * 40], ids=lambda s: f"{len(s)}x{s[:1]}")
@pytest.mark.parametrize("style", ["bounded", "paper"])
def test_scores_without_spread_or_none_at_all_still_make_a_picture(scores: list[float], style: str) -> None:
    n = len(scores)
    flat = Scored("i", "m", np.array(scores), np.arange(n), coded(["answered"] * n))
    assert png(density_chart([flat], made.FACTS, "t", style=style))  # type: ignore[arg-type]


def test_answers_without_a_score_are_counted_as_missing_and_never_drawn_as_safe() -> None:
    def measured(number: int, values: dict[str, dict[str, float]], status: str) -> Measured:
        prompt = Prompt("red_team", str(number), "x", factors={"stratum": "clear"}, cluster=f"c{number % 2}")
        return Measured(prompt, Output(key(prompt), prompt.id, text="y"), values, {}, status)

    rows = [
        measured(0, {"judge": {"risk": 0.7}}, "comply"),
        measured(1, {}, "undecided"),
        measured(2, {"judge": {"risk": 0.1}}, "refuse"),
    ]
    [found] = scored(rows, "risk", ("stratum",), "m")["judge"]
    assert found.scores.tolist() == [0.7, 0.1]
    assert found.missing == 1
    assert list(found.parts) == ["answered", "refused"]
    assert found.clusters.tolist() == [0, 0]
