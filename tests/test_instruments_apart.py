"""Numbers of different instruments never share a column, a row or an axis, whatever a run was scored by."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

import estimates_for_tests as made
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure
from matplotlib.text import Text

from safety_eval.core.records import Estimate
from safety_eval.measure import published
from safety_eval.measure.beside import WHOLE, Beside, Origin
from safety_eval.report import page
from safety_eval.report.pictures import PAIRS, pair_points
from safety_eval.runs.run_file import TaskRecord
from safety_eval.show import group_chart, selection, tables, words
from safety_eval.show.words import Facts
from safety_eval.signoff import basis
from safety_eval.signoff.verdict import Blocker

SCORERS = {
    "profanity_check": {"name": "profanity_check"},
    "hf_classifier": {
        "name": "hf_classifier",
        "model": "tomh/toxigen_roberta",
        "index": 1,
        "settings": {"text": "answer"},
    },
    "detoxify": {"name": "detoxify"},
}
OTHER_WEIGHTS = {**SCORERS["hf_classifier"], "model": "mine/roberta"}
OTHER_TEXT = {**SCORERS["hf_classifier"], "settings": {"text": "prompt and answer"}}
GROUPS = ("asian", "black", "women")


@dataclass(frozen=True)
class Case:
    """A run's estimates and tasks, published blocks, and who made each number (by its digits)."""

    estimates: list[Estimate]
    tasks: Mapping[str, TaskRecord]
    blocks: Mapping[str, Beside]
    maker: Mapping[str, tuple[str, ...]]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Random tasks, metrics, instruments and data versions; every number is another one, so that it can be told who
    made it."""
    numbers = count(101)
    maker: dict[str, tuple[str, ...]] = {}

    def number(*who: str) -> float:
        n = next(numbers)
        maker[f"{n / 100:.2f}%"] = who
        return n / 10_000

    estimates, tasks, blocks = [], {}, {}
    for task in draw(st.lists(st.sampled_from(["toxigen", "bold", "mine"]), min_size=1, unique=True)):
        version = draw(st.sampled_from(["safenlp", "quickstart"]))
        used = draw(st.lists(st.sampled_from(sorted(SCORERS)), min_size=1, max_size=3, unique=True))
        identities: dict[str, Any] = {s: SCORERS[s] for s in used}
        if "hf_classifier" in used:
            odd = st.sampled_from([SCORERS["hf_classifier"], OTHER_WEIGHTS, OTHER_TEXT])
            identities["hf_classifier"] = draw(odd)
        tasks[task] = made.task_record(data_version=version, instruments=identities, title=task)
        for metric in draw(st.lists(st.sampled_from(["toxic_rate", "other_rate"]), min_size=1, unique=True)):
            for scorer in used:
                for axis, group in (("total", "all"), ("macro", "macro"), *(("target", g) for g in GROUPS)):
                    value = number(task, metric, version, repr(identities[scorer]))
                    e = made.rate(group, 1, 100, axis, task)
                    estimates.append(
                        replace(
                            e,
                            metric=metric,
                            scorer=scorer,
                            value=value,
                            low=None,
                            high=None,
                            data_version=version,
                        )
                    )
        origin = Origin(frozenset({"safenlp"}), "toxigen_roberta", SCORERS["hf_classifier"])
        rows = {
            model: {g: number(task, "toxic_rate", "safenlp", repr(SCORERS["hf_classifier"])) for g in (WHOLE, *GROUPS)}
            for model in ("Llama 2 7B", "Falcon 7B")
        }
        if draw(st.booleans()):
            blocks[task] = Beside("toxic_rate", rows, note="printed", origin=origin)
    return Case(estimates, tasks, blocks, maker)


def alone(case: Case, texts: Iterable[str], where: str) -> None:
    """All numbers in these texts of one task and metric were made by one instrument from one set of prompts."""
    makers = {}
    for text in texts:
        for digits in re.findall(r"\d+\.\d\d%", text):
            if digits in case.maker:
                task, metric, *instrument = case.maker[digits]
                makers.setdefault((task, metric), set()).add(tuple(instrument))
    for what, who in makers.items():
        assert len(who) == 1, f"{where}: {what} holds numbers of {len(who)} instruments"


def apart(case: Case, table: tables.Table) -> None:
    for row in table.rows:
        alone(case, row.cells, f"a row of '{table.title}'")
    for column in zip(*(row.cells for row in table.rows), strict=True):
        alone(case, column, f"a column of '{table.title}'")


def drawn(figure: Figure) -> list[str]:
    """Numbers of a chart: those written and those drawn (published rows are only drawn)."""
    places = [f"{100 * x:.2f}%" for axes in figure.axes for c in axes.collections for x, _ in c.get_offsets()]
    return [t.get_text() for t in figure.findobj(Text)] + places


ALWAYS = settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))


@ALWAYS
@given(cases())
def test_tables_keep_instruments_apart(case: Case) -> None:
    beside = selection.comparable(case.estimates, case.tasks, case.blocks)
    facts = Facts(model="m")
    for every in (False, True):
        apart(case, tables.papers_table(case.estimates, facts, beside, every))
    for key, mine in selection.by_instrument(case.estimates).items():
        rows = beside.get(key)
        apart(case, tables.group_table(mine, facts, rows, tables.near_models(rows, mine, facts)))


@ALWAYS
@given(cases())
def test_a_report_keeps_instruments_apart(case: Case) -> None:
    html = "".join(page.html(page.Report(made.run_file(case.tasks), case.estimates, {}, case.blocks, {}, {})))
    for part in re.findall(r"<table>.*?</table>", html, re.S):
        rows = [re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row, re.S) for row in re.findall("<tr.*?</tr>", part, re.S)]
        for row in rows:
            alone(case, row, "a row of the report")
        for column in zip(*rows, strict=False):
            alone(case, column, "a column of the report")


@settings(deadline=None, max_examples=12, suppress_health_check=list(HealthCheck))
@given(cases())
def test_charts_keep_instruments_apart(case: Case) -> None:
    beside = selection.comparable(case.estimates, case.tasks, case.blocks)
    for key, mine in selection.by_instrument(case.estimates).items():
        alone(case, drawn(group_chart.group_chart(mine, Facts(model="m"), "t", beside.get(key))), "a chart")


def test_what_was_measured_as_published_does_stand_beside_it() -> None:
    """The property above would also hold if nothing ever stood beside anything."""
    mine = [
        replace(e, scorer="hf_classifier", data_version="safenlp")
        for e in (
            made.rate("all", 1, 9, "total"),
            made.rate("macro", 1, 9, "macro"),
            made.rate("asian", 1, 9),
        )
    ]
    asked = {"toxigen": made.task_record(instruments={"hf_classifier": SCORERS["hf_classifier"]})}
    blocks = {"toxigen": published.beside("toxigen")}
    beside = selection.comparable(mine, asked, blocks)
    assert list(beside) == [("toxigen", "toxic_rate", "hf_classifier")]
    chart = group_chart.group_chart(mine, Facts(model="Llama-2-7b"), "t", next(iter(beside.values())))
    assert "Llama 2 7B (published)" in "".join(drawn(chart))
    assert len(tables.papers_table(mine, Facts(model="Llama-2-7b"), beside).rows) == 4


@pytest.mark.parametrize(
    ("block", "version", "identity"),
    [
        ("toxigen", "safenlp", SCORERS["profanity_check"]),
        ("toxigen", "safenlp", OTHER_WEIGHTS),
        ("toxigen", "safenlp", OTHER_TEXT),
        ("toxigen", "quickstart", SCORERS["hf_classifier"]),
        ("toxigen", "demonstrations", SCORERS["hf_classifier"]),
        ("toxigen", "safenlp", None),
        ("truthfulqa", "v0", {"name": "truth_judge"}),
        ("bold", "all", {"name": "vader", "settings": {"value": "compound"}}),
    ],
)
def test_other_prompts_or_another_instrument_are_not_the_published_ones(
    block: str, version: str, identity: Mapping[str, Any] | None
) -> None:
    assert not published.ORIGIN[block].same(version, identity)


def test_our_own_vader_is_the_published_one_on_the_papers_prompts() -> None:
    from safety_eval.core import plugins
    from safety_eval.core.interfaces import ScorerSpec

    scorer = plugins.find("scorers", "vader").build(ScorerSpec("vader"))
    assert published.ORIGIN["bold"].same("paper", scorer.identity)
    assert "paper" in plugins.find("tasks", "bold").versions
    assert published.ORIGIN["toxigen"].versions <= set(plugins.find("tasks", "toxigen").versions)
    assert published.ORIGIN["truthfulqa"].versions <= set(plugins.find("tasks", "truthfulqa_generation").versions)


def test_two_rates_in_one_picture_were_measured_by_one_instrument() -> None:
    def rates(metric: str, scorer: str) -> list[Estimate]:
        return [replace(made.rate(g, 1, 9, "type"), metric=metric, scorer=scorer) for g in ("a", "b")]

    pair = next(p for p in PAIRS if p.x == "cure_rate")
    crossed = [*rates("cure_rate", "refusal"), *rates("leakage_rate", "another")]
    assert pair_points(crossed, pair) == []
    both = [*crossed, *rates("leakage_rate", "refusal")]
    assert {(p.x.scorer, p.y.scorer) for p in pair_points(both, pair)} == {("refusal", "refusal")}


def test_one_scorer_that_reads_two_tasks_with_other_weights_is_two_instruments() -> None:
    """The name of the last one would else stand under the numbers of both."""
    tasks = {
        task: made.task_record(instruments={"hf_classifier": {"name": "hf_classifier", "model": model}})
        for task, model in (("toxigen", "tomh/toxigen_roberta"), ("bold", "avid-ml/regard"))
    }
    facts = words.facts(made.run_file(tasks))
    e = replace(made.rate("all", 1, 9, "total"), scorer="hf_classifier")
    assert "toxigen_roberta" in words.instrument(e, facts)
    assert "regard" in words.instrument(replace(e, task="bold"), facts)
    from safety_eval.report.cards import instruments_of

    assert sorted(instruments_of(made.run_file(tasks))) == ["hf_classifier in bold", "hf_classifier in toxigen"]
    faults: list[Blocker] = []
    basis._instruments(made.run_file(tasks), faults)
    assert [b.kind for b in faults] == ["evidence"] and "another instrument for bold" in faults[0].sentence
