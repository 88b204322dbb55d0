"""Published figures: every printed total follows from the printed groups; misprints are marked."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import pytest

from safety_eval.core import plugins
from safety_eval.core.errors import UserError
from safety_eval.core.task import Headline, TaskOptions
from safety_eval.measure import published
from safety_eval.measure.metrics import headline_weights

SIZES = {published.group_of(name): n for name, n in published.raw()["_about"]["toxigen_group_n"].items()}
DOMAINS = {
    published.group_of(column): name.split("_bold_")[1]
    for name, rows in published.raw()["codellama"].items()
    if "_bold_" in name
    for column in next(iter(rows.values()))
}


def groups_and_totals(block: str) -> tuple[dict, dict]:
    """(paper, model) -> its figures by group, and its total."""
    groups: dict = defaultdict(dict)
    totals = {}
    for figure in published.figures(block):
        if figure.axis == "macro":
            totals[figure.paper, figure.model] = figure
        elif figure.axis in ("target", "group"):
            groups[figure.paper, figure.model][figure.group] = figure
    return groups, totals


def test_every_printed_toxigen_total_is_the_mean_of_its_groups() -> None:
    groups, totals = groups_and_totals("toxigen")
    assert len(totals) == 36 and set(totals) == set(groups)
    for row, total in totals.items():
        values = {(g,): f.printed for g, f in groups[row].items()}
        assert len(values) == 13
        assert published.macro(values) == pytest.approx(total.printed, abs=0.00501), row


def test_every_printed_bold_total_is_the_mean_of_domain_means() -> None:
    groups, totals = groups_and_totals("bold")
    printed = {row: total for row, total in totals.items() if not total.derived}
    assert len(printed) == 17 and len(totals) == 36
    for row, total in totals.items():
        values = {(DOMAINS[g], g): f.printed for g, f in groups[row].items()}
        assert len(values) == 41
        assert published.macro(values) == pytest.approx(total.printed, abs=0.000501), row


def test_other_means_do_not_give_the_printed_totals() -> None:
    groups, totals = groups_and_totals("toxigen")
    sound = [row for row in totals if not any(f.suspect for f in groups[row].values()) and totals[row].printed > 1]
    n = sum(SIZES.values())
    by_prompt = {row: sum(f.printed * SIZES[g] / n for g, f in groups[row].items()) for row in sound}
    assert sum(abs(by_prompt[row] - totals[row].printed) > 0.00501 for row in sound) > 0.8 * len(sound)
    groups, totals = groups_and_totals("bold")
    by_group = {row: published.macro({(g,): f.printed for g, f in groups[row].items()}) for row in totals}
    assert sum(abs(by_group[row] - totals[row].printed) > 0.000501 for row in totals) > 0.9 * len(totals)


def test_our_own_headlines_give_the_printed_totals() -> None:
    toxigen = Headline("macro", ("target",))
    bold = Headline("domain_macro", ("domain", "group"))
    for block, headline, tolerance in (("toxigen", toxigen, 0.00501), ("bold", bold, 0.000501)):
        groups, totals = groups_and_totals(block)
        for row, total in totals.items():
            figures = list(groups[row].values())
            answers = [
                {"target": (f.group,), "group": (f.group,), "domain": (DOMAINS.get(f.group, ""),)} for f in figures
            ]
            weights = headline_weights(headline, answers)
            value = float(weights @ [f.printed for f in figures])
            assert value == pytest.approx(total.printed, abs=tolerance), row


def is_share(printed: float, n: int) -> bool:
    """Whether a percentage printed to two decimals is k of n."""
    k = round(printed * n / 100)
    return abs(100 * k / n - printed) < 0.00501


def test_a_toxigen_cell_is_a_share_of_its_group_or_marked_suspect() -> None:
    unfit = [f for f in published.figures("toxigen") if f.column and not is_share(f.printed, SIZES[f.group])]
    assert unfit and all(f.suspect for f in unfit)


def test_a_suspect_cell_fits_the_groups_that_it_names() -> None:
    suspect = [f for f in published.figures("toxigen") if f.suspect]
    assert len({(f.paper, f.model) for f in suspect}) == 8
    for figure in suspect:
        assert figure.fits and all(is_share(figure.printed, SIZES[g]) for g in figure.fits), figure
    by_row = defaultdict(list)
    for figure in suspect:
        by_row[figure.paper, figure.model] += figure.fits
    assert all(set(fits) == set(SIZES) for row, fits in by_row.items() if row[1] != "Code Llama - Instruct 13B")


def test_truthfulqa_cells_are_shares_of_817_questions() -> None:
    figures = published.figures("truthfulqa")
    unfit = [(f.model, f.column, f.printed) for f in figures if not is_share(f.printed, 817)]
    assert unfit == [("ChatGPT", "true", 79.92)], "the one known rounding slip"
    for paper in published.PAPERS:
        row = {f.metric: f.value for f in figures if (f.paper, f.model) == (paper, "Llama 2 7B")}
        wanted = {"truthful_and_informative": 0.3329, "truthful": 0.3953, "informative": 0.9302}
        assert row == pytest.approx(wanted)


def test_the_two_papers_agree_where_both_print_a_model() -> None:
    for block, digits in (("truthfulqa", 4), ("toxigen", 4), ("bold", 2)):
        found: dict = defaultdict(dict)
        for f in published.figures(block):
            if not f.derived and not (block == "bold" and f.axis == "macro"):
                found[published.one_name(f.model), f.metric, f.axis, f.group][f.paper] = f.value
        both = [v for v in found.values() if len(v) == 2]
        assert len(both) >= 10
        assert all(abs(v["llama2"] - v["codellama"]) <= 0.51 * 10**-digits for v in both)


def test_rows_stand_beside_the_tasks_own_groups(data_dir: Path) -> None:
    for name, axis in (("toxigen", "target"), ("bold", "group")):
        task = plugins.find("tasks", name)
        ours = {g for p in task.load(TaskOptions(data_dir)).prompts for g in p.groups[axis]}
        assert {f.group for f in published.figures(task.published) if f.column} == ours
    for name in ("truthfulqa_generation", "toxigen", "bold"):
        task = plugins.find("tasks", name)
        metric = next(m for m in task.metrics if m.name == published.METRIC[task.published])
        headlines = {f.group for f in published.figures(task.published) if f.axis == "macro"}
        assert headlines <= {h.name for h in metric.headlines}


def test_beside_keeps_totals_and_names_the_suspect_rows() -> None:
    beside = published.beside("toxigen")
    assert beside.whole("Code Llama 7B") == pytest.approx(0.2264) and beside.groups("Code Llama 7B") == {}
    assert beside.groups("Llama 2 7B")["asian"] == pytest.approx(0.1653)
    assert (
        "Code Llama 7B" in beside.note
        and beside.sources["Llama 2 7B"] == "Code Llama, Tables 9, 20; Llama 2, Tables 11, 45"
    )
    assert published.beside("bold").groups("Llama 2 7B")["islam"] == 0.296
    assert published.beside("truthfulqa").whole("ChatGPT") == pytest.approx(0.7846)


def test_an_unknown_block_is_refused_and_the_nearest_offered() -> None:
    with pytest.raises(UserError, match="Did you mean 'toxigen'"):
        published.figures("toxygen")
