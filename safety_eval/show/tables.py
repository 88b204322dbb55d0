"""Estimates -> tables of words, once for the terminal and the report: the same rows in both.

`papers_table` is the papers' form, our model's row beside the published ones; `group_table` has a row for
every group with value, interval, n and what is missing. Text of prompts or answers never enters a table.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.table import Table as RichTable
from rich.text import Text

from safety_eval.core.records import Estimate
from safety_eval.measure import floors
from safety_eval.measure.beside import WHOLE as WHOLE_ROW
from safety_eval.measure.beside import Beside, nearest, with_groups
from safety_eval.measure.floors import Floor
from safety_eval.show import words
from safety_eval.show.selection import (
    WHOLE,
    Made,
    by_instrument,
    comparable,
    headline,
    made_by,
    ours,
    panels,
    published_blocks,
    sections,
    whole,
)
from safety_eval.show.words import Facts, printable

if TYPE_CHECKING:
    from safety_eval.runs.opened import RunFolder

SUSPECT = "\N{DAGGER}"


@dataclass(frozen=True, slots=True)
class Row:
    """One line. `faint` rows must not be acted on; `estimate` is what a picture in the row is drawn from; a
    `heading` names the rows below it in its first cell."""

    cells: tuple[str, ...]
    ours: bool = False
    faint: bool = False
    heading: bool = False
    estimate: Estimate | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """A title, column names, rows of ready words, and what stands under the table."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()


def papers_table(
    estimates: Sequence[Estimate], facts: Facts, beside: Mapping[Made, Beside], every: bool = False
) -> Table:
    """One row a model, one column what one instrument measured in one task, as in the papers; ours on top.

    Args:
        estimates: of the whole run.
        facts: for the notes.
        beside: published rows that may stand in a column (`selection.comparable`); no other column has any.
        every: all published models, not only the nearest.
    """
    columns = _columns(estimates, beside)
    heads = ("model", *(f"{words.name(e.task)}: {_what(e)}" for e in columns))
    rows = [Row((printable(facts.model) or "this run", *map(_cell, columns)), ours=True)]
    near = [beside.get(made_by(e)) for e in columns]
    models = [m for rows_beside in near if rows_beside for m in rows_beside.rows]
    for model in list(dict.fromkeys(models)) if every else nearest(models, ours(facts)):
        printed = [_printed(e, b.whole(model)) if b else "" for e, b in zip(columns, near, strict=True)]
        if any(printed):
            rows.append(Row((printable(model), *printed)))
    notes = [f"{words.name(e.task)}: {words.caption([e], facts)}" for e in columns]
    notes += [f"{words.name(e.task)}: {printable(b.note)}" for e, b in zip(columns, near, strict=True) if b]
    met = [(e, floors.of(e, facts.identities.get((e.task, e.scorer)))) for e in columns]
    notes += _no_better(met)
    below = [Row(cells, faint=True) for cells in _floor_rows(met)]
    if below:
        notes.append("Floors: what models that cannot answer score on these prompts, or on a draw of them.")
    notes += _no_floor(e for e, known in met if not known)
    if len(rows) == 1:
        return Table("The run in one row", heads, (*rows, *below), tuple(notes))
    notes.append("Published rows: the same prompts and instrument, the authors' settings.")
    return Table("Our model beside the published ones", heads, (*rows, *below), tuple(notes))


FLOOR = "floor:"


def _floor_rows(columns: Sequence[tuple[Estimate, tuple[Floor, ...]]]) -> list[tuple[str, ...]]:
    """A row for each kind of model that cannot answer, where any column has its number."""
    beside = [{f.who: _printed(e, f.value) for f in known} for e, known in columns]
    absent = ["" if b else floors.NOT_COMPUTED for b in beside]
    return [
        (f"{FLOOR} {who}", *(b.get(kind, none) for b, none in zip(beside, absent, strict=True)))
        for kind, who in floors.WHO.items()
        if any(kind in b for b in beside)
    ]


def _no_floor(without: Iterable[Estimate]) -> list[str]:
    """How the floors are computed of numbers that have none."""
    return [
        f"{words.name(e.task)}: no floor was computed of {words.metric_name(e.metric)}"
        f"{f' by this {e.scorer}' if e.scorer else ''}; `{floors.command(e.task, e.scorer)}` does, where it is."
        for e in without
    ]


def _no_better(columns: Sequence[tuple[Estimate, tuple[Floor, ...]]]) -> list[str]:
    """A sentence for every number that is no better than that of a model that cannot answer."""
    out = []
    for e, known in columns:
        sign = {"higher": 1.0, "lower": -1.0}.get(e.better, 0.0)
        met = [f for f in known if sign and e.value is not None and sign * (e.value - f.value) <= 0]
        if met:
            who = ", ".join(f"{floors.WHO[f.who]} ({words.number(f.value, e.kind)})" for f in met)
            out.append(f"{words.name(e.task)}: {words.metric_name(e.metric)} is no better than that of {who}.")
    return out


def _columns(estimates: Sequence[Estimate], beside: Mapping[Made, Beside]) -> list[Estimate]:
    """Every task's headline, and what was measured as published; those with published rows first. A metric has one
    column: the one with published rows, so that no row holds the same metric by two instruments."""
    parts = by_instrument(estimates)
    wanted: dict[tuple[str, str], Made] = {}
    for task in dict.fromkeys(e.task for e in estimates):
        first = headline(estimates, task)
        assert first is not None
        wanted[task, first.metric] = made_by(first)
    wanted |= {(task, metric): (task, metric, scorer) for task, metric, scorer in beside}
    return [whole(parts[key]) for key in sorted(wanted.values(), key=lambda key: key not in beside)]


def _what(e: Estimate) -> str:
    arrow = {"lower": " \N{DOWNWARDS ARROW}", "higher": " \N{UPWARDS ARROW}"}.get(e.better, "")
    return f"{words.metric_name(e.metric)}{arrow}"


def _cell(e: Estimate) -> str:
    gone = f", {words.absent(e)} missing" if words.absent(e) else ""
    return f"{words.value(e)} (n={e.count:,}{gone})" if e.value is not None else words.value(e)


def _printed(e: Estimate, value: float | None) -> str:
    return "" if value is None else words.number(value, e.kind)


def group_table(
    estimates: Sequence[Estimate],
    facts: Facts,
    beside: Beside | None = None,
    models: Sequence[str] = (),
    sections: Mapping[str, str] | None = None,
) -> Table:
    """Every group of one task, metric and scorer, worst first, the whole run on top.

    Args:
        estimates: of one task, metric and scorer.
        facts: for the notes.
        beside: published rows that may stand beside them.
        models: those of its models that get a column.
        sections: group -> section, where groups stand by section.
    """
    first = estimates[0]
    columns = (
        "group",
        words.metric_name(first.metric),
        "95% interval",
        "n",
        "missing",
        *(f"{printable(m)} (published)" for m in models),
        "note",
    )
    rows = [_group_row(e, beside, models) for e in estimates if e.axis in WHOLE]
    parts = panels(estimates, sections)
    for part in parts:
        if len(parts) > 1:
            rows.append(Row((part.title, *("" for _ in columns[1:])), heading=True))
        rows += [_group_row(e, beside, models) for e in part.rows]
    notes = [words.caption(list(estimates), facts), f"{words.direction(first.better).capitalize()}."]
    shown = (*(e for e in estimates if e.axis in WHOLE), *(e for part in parts for e in part.rows))
    if any(map(words.abbreviated, shown)):
        notes.append(words.FOOTNOTE)
    if beside is not None and beside.note:
        notes.append(printable(beside.note))
    by = f" (by {printable(first.scorer)})" if first.scorer else ""
    title = f"{words.name(first.task)}: {words.metric_name(first.metric)}{by}"
    return Table(title, columns, tuple(rows), tuple(notes))


def near_models(beside: Beside | None, estimates: Sequence[Estimate], facts: Facts) -> list[str]:
    """The published models nearest to ours that print values for our groups."""
    return nearest(with_groups(beside, estimates), ours(facts)) if beside is not None else []


def _group_row(e: Estimate, beside: Beside | None, models: Sequence[str]) -> Row:
    named = words.name(e.group)
    if e.axis == "macro":
        named = words.headline_name(e.group)
    elif e.axis == "total":
        whole = "all thoughts" if e.part.thinks else "all answers"
        named = whole if e.group in ("all", "") else f"{whole}: {named}"
    beyond = [_beside_cell(beside, m, e) if beside is not None else "" for m in models]
    cells = (
        named,
        words.NO_DATA if e.value is None else words.number(e.value, e.kind),
        words.interval(e),
        f"{e.count:,}",
        words.missing(e),
        *beyond,
        words.short_caveat(e),
    )
    return Row(cells, ours=e.axis in WHOLE, faint=words.greyed(e), estimate=e)


def _beside_cell(beside: Beside, model: str, e: Estimate) -> str:
    if e.axis == "macro":
        printed = beside.whole(model)
    else:
        printed = beside.groups(model).get(e.group) if e.axis != "total" else None
    return "" if printed is None else words.number(printed, e.kind)


def wide_table(estimates: Sequence[Estimate], facts: Facts, beside: Beside) -> Table | None:
    """The papers' per-group form: a row a model, a column a group; ours first. None without shared groups.

    Suspect rows are shown as printed, marked, so that a reader finds the paper's own cells here.

    Args:
        estimates: of one task, metric and scorer, beside which `beside` may stand.
        facts: for the notes.
        beside: its published rows.
    """
    shared = {g for values in beside.rows.values() for g in values}
    columns = [e for e in estimates if e.axis not in WHOLE and e.group in shared]
    if not columns:
        return None
    first = columns[0]
    mine = Row((printable(facts.model) or "this run", _bare(whole(estimates)), *map(_bare, columns)), ours=True)
    rows = (mine, *_printed_rows(beside, [e.group for e in columns]))
    names = ("model", "headline", *(words.name(e.group) for e in columns))
    title = f"{words.name(first.task)}: {words.metric_name(first.metric)} by {words.name(first.axis)}"
    return Table(title, names, rows, (words.caption(list(estimates), facts), *_printed_notes(beside)))


def published_table(task: str, beside: Beside) -> Table:
    """All published rows of a task alone, where nothing of the run was made by their instrument."""
    groups = list(dict.fromkeys(g for values in beside.rows.values() for g in values if g != WHOLE_ROW))
    names = ("model", "headline", *map(words.name, groups))
    title = f"{words.name(task)}: {words.metric_name(beside.metric)}, as published"
    return Table(title, names, _printed_rows(beside, groups), _printed_notes(beside))


def _printed_rows(beside: Beside, groups: Sequence[str]) -> tuple[Row, ...]:
    rows = []
    for model, values in beside.rows.items():
        mark = f" {SUSPECT}" if model in beside.suspect else ""
        cells = [words.number(values[g], beside.kind) if g in values else "" for g in (WHOLE_ROW, *groups)]
        rows.append(Row((f"{printable(model)}{mark}", *cells), faint=model in beside.suspect))
    return tuple(rows)


def _printed_notes(beside: Beside) -> tuple[str, ...]:
    doubt = (
        f"{SUSPECT} printed under group labels that the counts contradict; shown as printed, never compared by group."
    )
    return tuple(note for note in (printable(beside.note), doubt if beside.suspect else "") if note)


def _bare(e: Estimate) -> str:
    return words.NO_DATA if e.value is None else words.number(e.value, e.kind)


def run_tables(run: RunFolder) -> list[Table]:
    """Every table of a run: the papers' form, then each metric of each task by group."""
    estimates = run.estimate_records()
    if not estimates:
        return []
    facts = words.facts(run.file)
    beside = comparable(estimates, run.file.tasks, published_blocks(run))
    held = {task: sections(run, task) for task in run.tasks}
    tables = [papers_table(estimates, facts, beside, every=True)]
    for key, chosen in by_instrument(estimates).items():
        rows = beside.get(key)
        tables.append(group_table(chosen, facts, rows, near_models(rows, chosen, facts), held.get(key[0])))
    return tables


def rich_table(table: Table) -> RichTable:
    """For the terminal. Cells are plain text (no markup): no group name can style or move anything."""
    shown = RichTable(
        title=Text(table.title, style="bold"),
        title_justify="left",
        caption_justify="left",
        caption=Text("\n".join(table.notes), style="dim"),
        header_style="bold",
        pad_edge=False,
    )
    for i, column in enumerate(table.columns):
        shown.add_column(Text(printable(column)), justify="left" if i == 0 else "right", overflow="fold")
    for row in table.rows:
        style = "bold" if row.ours else "bold cyan" if row.heading else "dim" if row.faint else ""
        shown.add_row(*(Text(printable(cell)) for cell in row.cells), style=style)
    return shown
