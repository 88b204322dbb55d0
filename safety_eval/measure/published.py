"""Published figures of Llama 2 and Code Llama (package data), by block: which of our estimates each stands
beside.

A figure keeps its printed number, its table and its doubts: rows whose printed group labels do not fit the
groups' sizes are suspect (they fit exactly one other column order), and carry the groups that they do fit.
Sources: Llama 2, arXiv 2307.09288, Tables 11, 14, 44-50; Code Llama, arXiv 2308.12950 v3, Tables 9, 19-25.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from safety_eval.core.errors import UserError, nearest
from safety_eval.measure.beside import WHOLE, Beside, Origin

BLOCKS = ("truthfulqa", "toxigen", "bold")
METRIC = {"truthfulqa": "truthful_and_informative", "toxigen": "toxic_rate", "bold": "sentiment"}
"""Our metric beside which a block's headline stands."""
ORIGIN = {
    "truthfulqa": Origin(frozenset({"v0", "v1"}), "two fine-tuned GPT-3 models that are not public"),
    "toxigen": Origin(
        frozenset({"safenlp"}),
        "tomh/toxigen_roberta on the answer alone",
        {"name": "hf_classifier", "model": "tomh/toxigen_roberta", "index": 1, "settings": {"text": "answer"}},
    ),
    "bold": Origin(
        frozenset({"paper"}),
        "VADER's compound of prompt and answer",
        {"name": "vader", "settings": {"text": "prompt and answer, not lower-cased", "value": "compound"}},
    ),
}
"""How a block was measured; 817 questions rule out TruthfulQA's 2025 version."""
PAPERS = {"llama2": "Llama 2", "codellama": "Code Llama"}
_DOMAINS = ("race", "gender", "religious_ideology", "political_ideology", "profession")
_TRUTH = {"true_info": "truthful_and_informative", "true": "truthful", "info": "informative"}
_GROUPS = {
    "Middle Eastern": "middle_east",
    "American actors": "American_actors",
    "American actresses": "American_actresses",
    "Asian Americans": "Asian_Americans",
    "African Americans": "African_Americans",
    "European Americans": "European_Americans",
    "Hispanic and Latino Americans": "Hispanic_and_Latino_Americans",
    "Left-wing": "left-wing",
    "Right-wing": "right-wing",
    "Metal-working": "metalworking_occupations",
    "Sewing": "sewing_occupations",
    "Healthcare": "healthcare_occupations",
    "Computer": "computer_occupations",
    "Film & television": "film_and_television_occupations",
    "Artistic": "artistic_occupations",
    "Scientific": "scientific_occupations",
    "Entertainer": "entertainer_occupations",
    "Dance": "dance_occupations",
    "Writing": "writing_occupations",
    "Mental health": "mental_health_occupations",
    "Industrial": "industrial_occupations",
    "Railway industry": "railway_industry_occupations",
}
"""Printed column -> our group, where lower case with underscores is not enough."""
_ALONE = {("codellama", "Code Llama - Instruct 13B", "Muslim"): ("lgbtq", "black", "physical_disability")}
"""A row with one cell above zero: that cell is not k/n of its column, so its row's order is unknown."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One printed number.

    Attributes:
        block: 'truthfulqa', 'toxigen' or 'bold'.
        paper: 'llama2' or 'codellama'.
        model: as printed.
        column: as printed ('' for a headline).
        metric, axis, group: the Estimate of ours that it stands beside.
        value: in that Estimate's unit (rates 0..1).
        printed: in the paper's unit (per cent; mean compound).
        source: paper and table.
        suspect: the printed column cannot be right.
        fits: for a suspect figure the groups that it does fit (two of equal size cannot be told apart).
        derived: not printed, but computed from the printed group values.
    """

    block: str
    paper: str
    model: str
    column: str
    metric: str
    axis: str
    group: str
    value: float
    printed: float
    source: str
    suspect: bool = False
    fits: tuple[str, ...] = ()
    derived: bool = False


def group_of(column: str) -> str:
    """Our name of a printed group column."""
    return _GROUPS.get(column, column.lower().replace(" ", "_"))


def macro(values: Mapping[tuple[str, ...], float]) -> float:
    """Unweighted mean over the first level of the mean over the next ...: the papers' headline aggregates.

    Args:
        values: path of groups, outermost first -> value; all paths equally long.
    """
    first: dict[str, dict[tuple[str, ...], float]] = {}
    for path, value in values.items():
        first.setdefault(path[0], {})[path[1:]] = value
    parts = [macro(inner) if all(inner) else inner[()] for inner in first.values()]
    return sum(parts) / len(parts)


@cache
def raw() -> dict[str, Any]:
    """The file of figures as it is, with its notes on misprints under '_about'."""
    found: dict[str, Any] = json.loads(Path(__file__).with_name("published_results.json").read_text("utf-8"))
    return found


def figures(block: str) -> list[Figure]:
    """Every printed number of a block, headlines first, Code Llama's before Llama 2's.

    Raises:
        UserError: no such block.
    """
    if block not in BLOCKS:
        raise UserError(f"no published figures are called '{block}'", nearest(block, BLOCKS))
    found = [figure for paper in ("codellama", "llama2") for figure in _of_paper(block, paper)]
    return sorted(found, key=lambda figure: bool(figure.column))


def _of_paper(block: str, paper: str) -> Iterator[Figure]:
    for name, rows in raw()[paper].items():
        table, _, kind = name.removeprefix("table").partition("_")
        source = f"{PAPERS[paper]}, Table {table}"
        if name.endswith("_summary"):
            yield from _summary(block, paper, rows)
        elif block == "truthfulqa" and kind == "truthfulqa":
            for model, row in rows.items():
                for column, value in row.items():
                    yield _figure(block, paper, model, column, (_TRUTH[column], "total", WHOLE, value), source)
        elif block == "toxigen" and kind == "toxigen":
            yield from _toxigen(paper, rows, source)
        elif block == "bold" and kind.removeprefix("bold_") in _DOMAINS:
            for model, row in rows.items():
                for column, value in row.items():
                    beside = ("sentiment", "group", group_of(column), value)
                    yield _figure(block, paper, model, column, beside, source)


def _figure(
    block: str, paper: str, model: str, column: str, beside: tuple[str, str, str, float], source: str
) -> Figure:
    metric, axis, group, printed = beside
    value = printed if block == "bold" else printed / 100
    return Figure(
        block=block,
        paper=paper,
        model=model,
        column=column,
        metric=metric,
        axis=axis,
        group=group,
        value=value,
        printed=printed,
        source=source,
    )


def _summary(block: str, paper: str, rows: Mapping[str, Mapping[str, float]]) -> Iterator[Figure]:
    axis, group = {
        "truthfulqa": ("total", WHOLE),
        "toxigen": ("macro", "macro"),
        "bold": ("macro", "domain_macro"),
    }[block]
    for model, row in rows.items():
        for column, printed in row.items():
            if not column.startswith(block):
                continue
            derived = "DERIVED" in column
            table = "9" if paper == "codellama" else "14" if _tuned(model) else "11"
            source = f"{PAPERS[paper]}, {'computed' if derived else f'Table {table}'}"
            place = (METRIC[block], axis, group, printed)
            yield replace(_figure(block, paper, model, "", place, source), derived=derived)


def _tuned(model: str) -> bool:
    return bool(re.search(r"[Cc]hat|instruct|Instruct", model))


def _toxigen(paper: str, rows: Mapping[str, Mapping[str, float]], source: str) -> Iterator[Figure]:
    wrong: Mapping[str, Mapping[str, str]] = raw()["_about"]["toxigen_label_warning"]["rows"]
    for model, row in rows.items():
        order = wrong.get(f"{paper}:{model}", {})
        for column, printed in row.items():
            fits = tuple(group_of(name) for name in order[column].split(" (")[0].split("|")) if order else ()
            fits = _ALONE.get((paper, model, column), fits)
            group = group_of(column)
            place = ("toxic_rate", "target", group, printed)
            figure = _figure("toxigen", paper, model, column, place, source)
            yield replace(figure, suspect=bool(fits), fits=fits)


def beside(block: str) -> Beside:
    """The published rows of a block for tables and charts: model -> our group (`WHOLE` = headline) -> value.

    Where both papers print a model, Code Llama's row is kept for BOLD (three decimals) and Llama 2's
    otherwise; they agree to their last digit.
    """
    if block in bias():
        return _of_bias(bias()[block])
    order = ("llama2", "codellama") if block == "bold" else ("codellama", "llama2")
    rows: dict[str, dict[str, float]] = {}
    sources: dict[str, list[str]] = {}
    suspect: set[str] = set()
    headline = METRIC[block]
    for figure in sorted(figures(block), key=lambda f: order.index(f.paper)):
        if figure.metric != headline:
            continue
        model = one_name(figure.model)
        rows.setdefault(model, {})[WHOLE if figure.axis in ("total", "macro") else figure.group] = figure.value
        sources.setdefault(model, []).append(figure.source)
        if figure.suspect:
            suspect.add(model)
    kept = {model: _listed(found) for model, found in sources.items()}
    kind = "mean" if block == "bold" else "rate"
    return Beside(headline, rows, kept, frozenset(suspect), _note(block, suspect), kind=kind, origin=ORIGIN[block])


@cache
def bias() -> dict[str, Any]:
    """Figures of the bias benchmarks' own papers, by block, as printed."""
    figures: dict[str, Any] = json.loads(Path(__file__).with_name("published_bias.json").read_text(encoding="utf-8"))
    return figures


def _of_bias(block: Mapping[str, Any]) -> Beside:
    rows = {model: {group: value / 100 for group, value in row.items()} for model, row in block["per_cent"].items()}
    origin = Origin(frozenset(block["versions"]), block["instrument"], {"name": "option"})
    sources = dict.fromkeys(rows, block["paper"])
    return Beside(block["metric"], rows, sources, note=block["note"], kind=block["kind"], origin=origin)


def _listed(sources: list[str]) -> str:
    """'Llama 2, Tables 11, 45' instead of each table with its paper."""
    tables: dict[str, list[str]] = {}
    for source in dict.fromkeys(sources):
        paper, _, table = source.partition(", ")
        if table == "computed":
            continue
        tables.setdefault(paper, []).append(table.removeprefix("Table "))
    return "; ".join(f"{paper}, {'Tables' if len(t) > 1 else 'Table'} {', '.join(t)}" for paper, t in tables.items())


def one_name(model: str) -> str:
    """One spelling for a model that the two papers write differently."""
    return model.replace("Llama 2-Chat", "Llama 2 Chat")


def _note(block: str, suspect: set[str]) -> str:
    judged = {
        "truthfulqa": "Judged by two fine-tuned GPT-3 models, not public; another judge is another scale.",
        "toxigen": "Scored by tomh/toxigen_roberta; another classifier is another scale.",
        "bold": "Mean VADER compound; Llama 2 prints no total: computed from its groups.",
    }[block]
    left = f" Group values of {', '.join(sorted(suspect))} are left out: their printed labels cannot be right."
    return f"Published: Llama 2 and Code Llama, one answer at temperature 0.1. {judged}{left if suspect else ''}"
