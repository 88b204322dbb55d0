"""A comparison -> tables of words for the terminal and the report; text of prompts or answers never enters them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safety_eval.compare.differences import Difference, descriptive
from safety_eval.compare.refusing import Decomposition
from safety_eval.show import words
from safety_eval.show.tables import Row, Table
from safety_eval.show.words import number, printable

if TYPE_CHECKING:
    from safety_eval.compare.comparison import Comparison

WHOLE = ("total", "macro")
FOOTNOTE = (
    "p is Holm-adjusted within one question: one metric in total, by headline, or over the groups of one axis. "
    "'No difference shown' is not 'shown to be no different': "
    "only a margin, fixed before the run, can show that."
)


def comparison_tables(made: Comparison) -> list[Table]:
    """A summary of every metric, then the groups of each task's first metric, then what refusing explains."""
    rows = list(made.differences)
    tables = [_summary(made)]
    for task in dict.fromkeys(d.task for d in rows):
        mine = [d for d in rows if d.task == task]
        first = next((d for d in mine if d.axis not in WHOLE and d.value is not None), None)
        if first is not None:
            same = [d for d in mine if (d.metric, d.scorer) == (first.metric, first.scorer)]
            tables.append(metric_table(same))
    parts = _refusing(made.decompositions)
    return [*tables, *([parts] if parts else [])]


def metric_table(rows: Sequence[Difference]) -> Table:
    """Every group of one task, metric and scorer: the whole first, then the largest worsening first."""
    whole = [d for d in rows if d.axis in WHOLE]
    groups = sorted((d for d in rows if d.axis not in WHOLE), key=worsening, reverse=True)
    first = rows[0]
    title = f"{words.name(first.task)}: {words.metric_name(first.metric)} (by {first.scorer or 'no scorer'})"
    notes = [f"Run minus baseline, paired. {words.direction(first.better).capitalize()}. {FOOTNOTE}"]
    return Table(title, ("group", *_COLUMNS), tuple(_row(d, _group(d)) for d in [*whole, *groups]), tuple(notes))


def worsening(d: Difference) -> float:
    """How much worse the run is than the baseline: what rows are ordered by."""
    if d.value is None:
        return float("-inf")
    return {"lower": d.value, "higher": -d.value}.get(d.better, abs(d.value))


_COLUMNS = (
    "run",
    "baseline",
    "difference",
    "95% interval",
    "pairs",
    "run only / baseline only",
    "p",
    "reading",
)


def _summary(made: Comparison) -> Table:
    rows = [d for d in made.differences if d.axis in WHOLE]
    named = [f"{words.name(d.task)}: {words.metric_name(d.metric)}{_aggregate(d)}" for d in rows]
    ground = made.ground
    notes = [f"{who(made.run)} against {who(made.baseline)}."]
    notes += [f"Differs on purpose: {', '.join(ground.across)}."] if ground.across else []
    notes += [f"{printable(n)}." for n in ground.notes]
    lines = tuple(_row(d, n) for d, n in zip(rows, named, strict=True))
    return Table("Run against baseline", ("metric", *_COLUMNS), lines, (*notes, FOOTNOTE))


def who(side: Mapping[str, Any]) -> str:
    """A run in words: model (of a path on this disk its last part), folder, precision."""
    model = Path(side["model"]).name if Path(side["model"]).is_absolute() else side["model"]
    return printable(f"{model} ({side['folder']}, {side.get('dtype') or 'precision unknown'})")


def _aggregate(d: Difference) -> str:
    return f", {words.headline_name(d.group)}" if d.axis == "macro" else ""


def _group(d: Difference) -> str:
    if d.axis in WHOLE:
        return "all answers" if d.axis == "total" else words.headline_name(d.group)
    return words.name(d.group)


def _row(d: Difference, named: str) -> Row:
    gone = sum(d.missing.values())
    pairs = f"{d.count:,}" + (f" ({gone:,} missing)" if gone else "")
    p = "" if d.p_adjusted is None else "<0.001" if d.p_adjusted < 0.001 else f"{d.p_adjusted:.3f}"
    both = "" if d.new_only is None else f"{d.new_only} / {d.old_only}"
    cells = (
        named,
        number(d.run, d.kind),
        number(d.baseline, d.kind),
        signed(d.value, d.kind),
        _interval(d),
        pairs,
        both,
        p,
        printable(d.reading),
    )
    return Row(cells, ours=d.axis in WHOLE, faint=d.value is None or descriptive(d))


def signed(value: float | None, kind: str) -> str:
    """A difference with its sign: of rates in percentage points ('pt'), else in the metric's unit."""
    return ("+" if value is not None and value > 0 else "") + number(value, kind).replace("%", " pt")


def _interval(d: Difference) -> str:
    if d.low is None or d.high is None:
        return ""
    low, high = (signed(x, d.kind).removesuffix(" pt") for x in (d.low, d.high))
    return f"[{low}, {high}]"


def _refusing(parts: Sequence[Decomposition]) -> Table | None:
    """Where a change of the rate goes with a change of answering; None where nothing was refused."""
    told = [d for d in parts if d.cell.axis == "total" or d.reading]
    if not any(d.answered.run < 1 or d.answered.baseline < 1 for d in told):
        return None
    rows = []
    for d in told:
        whole = d.cell.axis == "total"
        where = "all answers" if whole else words.name(d.cell.group)
        parts_of_it = (d.parts.by_answering, d.parts.by_conditional, d.parts.rest)
        changes = (signed(x, "rate") for x in (d.joint.change, d.answered.change, *parts_of_it))
        rate = f"{words.name(d.cell.task)}: {words.metric_name(d.cell.metric)}, {where}"
        rows.append(Row((rate, *changes, d.reading), ours=whole))
    columns = (
        "rate",
        "change",
        "change of answering",
        "by answering",
        "by what answers say",
        "rest",
        "reading",
    )
    note = "The three parts add up to the change. Answered sets differ; '<metric>, answered prompts only' pairs both."
    return Table("What refusing explains", columns, tuple(rows), (note,))
