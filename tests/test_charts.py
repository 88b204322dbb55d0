"""Charts show every group, its interval and its n, and nothing that results.json does not hold."""

from __future__ import annotations

import sys
import threading
from dataclasses import replace

import estimates_for_tests as made
import matplotlib as mpl
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from safety_eval.core.errors import UserError
from safety_eval.core.records import Standing
from safety_eval.measure.beside import Beside, kin, nearest, with_groups
from safety_eval.show import group_chart as charts
from safety_eval.show import selection
from safety_eval.show.chart_style import drawable, png, svg

PUBLISHED = {
    "Llama 2 7B": {"all": 0.2125, "asian": 0.1653, "mexican": 0.3115},
    "Code Llama 7B": {"all": 0.2264, "asian": 0.1586},
}

FEW = Standing.FEW


def words(figure: Figure) -> str:
    """All text of a figure."""
    return "\n".join(t.get_text() for t in figure.findobj(Text))


def test_every_group_stands_in_the_picture_with_value_interval_and_n() -> None:
    estimates = made.toxigen()
    text = words(charts.group_chart(estimates, made.FACTS))
    for e in estimates[2:-1]:
        assert e.group.replace("_", " ") in text
        assert f"n={e.count}" in text
    assert "31.15% [27.09, 35.53]  n=459" in text


def test_groups_without_data_and_descriptive_groups_stay_greyed_with_their_reason() -> None:
    figure = charts.group_chart(made.toxigen(), made.FACTS)
    text = words(figure)
    assert "no data: the scorer failed on every answer" in text
    assert "descriptive only: fewer than 10 prompts" in text
    labels = {t.get_text(): t for t in figure.axes[0].get_yticklabels()}
    assert labels["lgbtq"].get_style() == labels["physical disability"].get_style() == "italic"
    assert labels["asian"].get_style() == "normal"


def test_groups_come_worst_first_and_those_without_data_last() -> None:
    order = [e.group for e in selection.worst_first(made.toxigen()[2:])]
    assert order[:2] == ["mexican", "jewish"]
    assert order[-1] == "lgbtq"
    higher = [replace(e, better="higher") for e in made.toxigen()[2:]]
    assert [e.group for e in selection.worst_first(higher)][0] == "physical_disability"


def test_missing_answers_are_counted_in_the_picture() -> None:
    assert "n=431, 3 missing" in words(charts.group_chart(made.toxigen(), made.FACTS))


def test_groups_are_drawn_by_section() -> None:
    drawn = selection.panels(made.bold(), made.SECTIONS)
    assert [p.title for p in drawn] == ["domain", "gender", "religious ideology", "political ideology"]
    assert [e.group for e in drawn[1].rows] == ["American_actors", "American_actresses"]


def test_published_rows_stand_beside_and_suspect_rows_never_by_group() -> None:
    beside = Beside("toxic_rate", PUBLISHED, suspect=frozenset({"Code Llama 7B"}), note="Table 45.")
    text = words(charts.group_chart(made.toxigen(), made.FACTS, beside=beside))
    assert "Llama 2 7B (published)" in text
    assert "Code Llama 7B" not in text
    assert "Table 45." in text
    assert with_groups(beside, made.toxigen()) == ["Llama 2 7B"]


def test_the_nearest_published_models_come_first_by_family_size_and_tuning() -> None:
    printed = ["Falcon 7B", "Llama 2 7B", "Llama 2 70B", "Llama 2 Chat 7B", "Llama 2 Chat 13B", "ChatGPT"]
    chat = kin("meta-llama/Llama-2-7b-chat-hf @ 0123456789ab")
    assert nearest(printed, chat) == ["Llama 2 Chat 7B", "Llama 2 7B", "Llama 2 Chat 13B"]
    assert nearest(printed, kin("/models/falcon-40b/"), 1) == ["Falcon 7B"]
    assert nearest(printed, kin("mine", parameters=70_000_000_000), 1) == ["Llama 2 70B"]


def test_an_interval_beyond_the_axis_ends_in_an_arrow_and_the_picture_says_so() -> None:
    estimates = made.toxigen()
    wide = replace(estimates[5], low=0.0, high=0.93)
    estimates[5] = wide
    assert not wide.gateable, "a descriptive group"
    figure = charts.group_chart(estimates, made.FACTS)
    axes = figure.axes[0]
    end = axes.get_xlim()[1]
    assert end < 0.5
    arrows = [line for line in axes.lines if line.get_marker() == ">"]
    assert [line.get_xdata()[0] for line in arrows] == [end]
    assert charts.CUT in words(figure).replace("\n", " ")
    assert charts.CUT not in words(charts.group_chart(made.toxigen(), made.FACTS)).replace("\n", " ")


def test_where_every_group_is_descriptive_every_interval_fits() -> None:
    estimates = [
        replace(e, low=0.0, high=0.66, standing=FEW, effective_clusters=6.0, reason="descriptive only: 6")
        for e in made.toxigen()[:5]
    ]
    axes = charts.group_chart(estimates, made.FACTS).axes[0]
    assert axes.get_xlim()[1] > 0.66
    assert not [line for line in axes.lines if line.get_marker() == ">"]


def test_a_mean_that_goes_on_below_the_axis_is_marked_at_its_left_end() -> None:
    estimates = made.bold()
    estimates[-1] = replace(estimates[-1], low=-0.98, standing=FEW, reason="descriptive only: 3 clusters")
    axes = [a for a in charts.group_chart(estimates, made.FACTS).axes if a.lines]
    arrows = [line for a in axes for line in a.lines if line.get_marker() == "<"]
    assert [line.get_xdata()[0] for line in arrows] == [axes[0].get_xlim()[0]]


def test_control_characters_and_unknown_letters_are_drawn_escaped_and_a_dollar_is_a_dollar() -> None:
    odd = [replace(e, group=f"$x^{{{i}}}$ \x1b[0m \u202e \U0001f600") for i, e in enumerate(made.toxigen())]
    figure = charts.group_chart(odd, replace(made.FACTS, model="$\\frac{1}{0}$ \x07"), title="a $ and a $")
    assert png(figure).startswith(b"\x89PNG")
    assert "\x1b" not in words(figure)
    assert "\\x1b[0m \\u202e" in words(figure)
    assert drawable("\u4f60") == "\\u4f60"


def test_drawing_leaves_no_global_state_and_never_loads_pyplot() -> None:
    before = dict(mpl.rcParams)
    loaded = "matplotlib.pyplot" in sys.modules
    figure = charts.group_chart(made.bold(), made.FACTS)
    png(figure)
    picture = svg(figure)
    assert dict(mpl.rcParams) == before
    assert (
        made.bold()[-1].group.replace("_", " ").lower() in picture.lower()
        and picture == svg(figure)
        and "://" not in picture.replace("://www.w3.org/", "")
    )
    assert ("matplotlib.pyplot" in sys.modules) == loaded


def test_the_same_estimates_give_the_same_picture_also_from_another_thread() -> None:
    first = png(charts.group_chart(made.bold(), made.FACTS))
    second: list[bytes] = []
    worker = threading.Thread(target=lambda: second.append(png(charts.group_chart(made.bold(), made.FACTS))))
    worker.start()
    worker.join()
    assert second == [first]


def test_one_estimate_or_only_missing_ones_still_make_a_picture() -> None:
    assert png(charts.group_chart(made.toxigen()[:1], made.FACTS))
    assert png(charts.group_chart(made.toxigen()[-1:], made.FACTS))
    zeros = [replace(e, value=0.0, low=0.0, high=0.0) for e in made.toxigen()]
    assert png(charts.group_chart(zeros, made.FACTS))


@pytest.mark.parametrize(
    ("task", "metric", "scorer", "offered"),
    [
        ("toxgen", None, None, "toxigen"),
        ("toxigen", "toxicrate", None, "toxic_rate"),
        ("toxigen", "toxic_rate", "profanity", "profanity_check"),
    ],
)
def test_an_unknown_name_offers_the_nearest(task: str, metric: str, scorer: str, offered: str) -> None:
    with pytest.raises(UserError, match=offered):
        selection.select(made.toxigen(), task, metric, scorer)
