"""Estimates -> tables of words, once for the terminal and the report: the same rows in both.

`papers_table` is the papers' form, our model's row beside the published ones; `group_table` has a row for
every group with value, interval, n and what is missing. Text of prompts or answers never enters a table.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from rich.table import Table as RichTable
from rich.text import Text

from safety_eval.core.records import Estimate
from safety_eval.measure import published
from safety_eval.measure.beside import WHOLE, Beside, few
from safety_eval.runs.opened import Run
from safety_eval.show import words
from safety_eval.show.group_chart import OTHER_PROMPTS, panels, published_rows, sections, select
from safety_eval.show.words import Facts, printable

SUSPECT = "\N{DAGGER}"
NOT_COMPARABLE = "Not comparable: our prompts here are not the benchmark's."


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


def headline(estimates: Iterable[Estimate], task: str, metric: str = "") -> Estimate | None:
    """A task's number in the papers' summary: the named aggregate of its first metric, else its total."""
    mine = [e for e in estimates if e.task == task and (not metric or e.metric == metric)]
    if not mine:
        return None
    same = [e for e in mine if (e.metric, e.scorer) == (mine[0].metric, mine[0].scorer)]
    for axis in ("macro", "total"):
        for e in same:
            if e.axis == axis:
                return e
    return same[0]


@dataclass(frozen=True, slots=True)
class _Summary:
    """A column of the papers' table: a metric, our estimate of it if there is one, published rows if there are."""

    task: str
    metric: str
    ours: Estimate | None
    beside: Beside | None


def papers_table(estimates: Sequence[Estimate], facts: Facts, beside: Mapping[str, Beside]) -> Table:
    """One row a model, one column a task (those with published rows first), as in the papers; ours on top.

    Where our instruments did not measure the published metric, its column says so, and what they measured
    stands in a column of its own.
    """
    tasks = sorted(dict.fromkeys(e.task for e in estimates), key=lambda t: t not in beside)
    columns = [c for t in tasks for c in _summaries(estimates, t, beside.get(t))]
    heads = ("model", *(f"{words.name(c.task)}: {_what(c)}" for c in columns))
    rows = [Row((printable(facts.model) or "this run", *(_cell(c.ours) for c in columns)), ours=True)]
    for model in dict.fromkeys(m for c in columns if c.beside for m in c.beside.rows):
        cells = [_published(c, model) for c in columns]
        if any(cells):
            rows.append(Row((printable(model), *cells)))
    notes = [
        f"{words.name(c.task)}: {words.caption([c.ours], facts)}" for c in columns if c.ours is not None
    ]
    notes += [f"{words.name(c.task)}: {printable(c.beside.note)}" for c in columns if c.beside]
    if len(rows) == 1:
        return Table("The run in one row", heads, tuple(rows), tuple(notes))
    notes.append("Published rows were measured by their authors with their instruments and settings.")
    other = any(c.beside and c.beside.note.startswith(NOT_COMPARABLE) for c in columns)
    title = "Our model beside the published ones" + (": NOT comparable, other prompts" if other else "")
    return Table(title, heads, tuple(rows), tuple(notes))


def _summaries(estimates: Sequence[Estimate], task: str, beside: Beside | None) -> list[_Summary]:
    first = headline(estimates, task)
    assert first is not None
    if beside is None:
        return [_Summary(task, first.metric, first, None)]
    published = _Summary(task, beside.metric, headline(estimates, task, beside.metric), beside)
    return [published] if published.ours else [published, _Summary(task, first.metric, first, None)]


def _what(column: _Summary) -> str:
    better = column.ours.better if column.ours else ""
    arrow = {"lower": " \N{DOWNWARDS ARROW}", "higher": " \N{UPWARDS ARROW}"}.get(better, "")
    return f"{words.metric_name(column.metric)}{arrow}"


def _cell(e: Estimate | None) -> str:
    if e is None:
        return "not measured"
    gone = f", {words.absent(e)} missing" if words.absent(e) else ""
    return f"{words.value(e)} (n={e.count:,}{gone})" if e.value is not None else words.value(e)


def _published(column: _Summary, model: str) -> str:
    if column.beside is None or model not in column.beside.rows:
        return ""
    printed = column.beside.whole(model)
    return "" if printed is None else words.number(printed, column.beside.kind)


def group_table(
    estimates: Sequence[Estimate],
    facts: Facts,
    beside: Beside | None = None,
    published: Sequence[str] = (),
    sections: Mapping[str, str] | None = None,
) -> Table:
    """Every group of one task, metric and scorer, worst first, the whole run on top.

    Args:
        estimates: of one task, metric and scorer.
        facts: for the notes.
        beside: published rows.
        published: models of `beside` that get a column.
        sections: group -> section, where groups stand by section.
    """
    first = estimates[0]
    columns = (
        "group",
        words.metric_name(first.metric),
        "95% interval",
        "n",
        "missing",
        *(f"{printable(m)} (published)" for m in published),
        "note",
    )
    rows = [_group_row(e, beside, published) for e in estimates if e.axis in ("macro", "total")]
    parts = panels(estimates, sections)
    for part in parts:
        if len(parts) > 1:
            rows.append(Row((part.title, *("" for _ in columns[1:])), heading=True))
        rows += [_group_row(e, beside, published) for e in part.rows]
    notes = [words.caption(list(estimates), facts), f"{words.direction(first.better).capitalize()}."]
    if any(row.cells[-1].startswith(("descriptive, G", "few, G")) for row in rows):
        notes.append(words.FOOTNOTE)
    if beside is not None and beside.note:
        notes.append(printable(beside.note))
    title = f"{words.name(first.task)}: {words.metric_name(first.metric)}"
    return Table(title, columns, tuple(rows), tuple(notes))


def _group_row(e: Estimate, beside: Beside | None, published: Sequence[str]) -> Row:
    named = words.name(e.group)
    if e.axis == "macro":
        named = words.headline_name(e.group)
    elif e.axis == "total":
        named = "all answers" if e.group in ("all", "") else f"all answers: {named}"
    beyond = [_beside_cell(beside, m, e) if beside is not None else "" for m in published]
    cells = (
        named,
        words.NO_DATA if e.value is None else words.number(e.value, e.kind),
        words.interval(e),
        f"{e.count:,}",
        words.missing(e),
        *beyond,
        words.short_caveat(e),
    )
    return Row(cells, ours=e.axis in ("total", "macro"), faint=words.greyed(e), estimate=e)


def _beside_cell(beside: Beside, model: str, e: Estimate) -> str:
    if e.axis == "macro":
        printed = beside.whole(model)
    else:
        printed = beside.groups(model).get(e.group) if e.axis != "total" else None
    return "" if printed is None else words.number(printed, e.kind)


def wide_table(estimates: Sequence[Estimate], facts: Facts, beside: Beside) -> Table | None:
    """The papers' per-group form: a row a model, a column a group; ours first. None without shared groups.

    Suspect rows are shown as printed, marked, so that a reader finds the paper's own cells here.
    """
    groups = [e for e in estimates if e.axis not in ("macro", "total")]
    printed = {g for values in beside.rows.values() for g in values}
    columns = [e for e in groups if e.group in printed]
    if not columns:
        return None
    first = columns[0]
    ours = headline(estimates, first.task, first.metric)
    rows = [Row((printable(facts.model) or "this run", _bare(ours), *map(_bare, columns)), ours=True)]
    for model, values in beside.rows.items():
        mark = f" {SUSPECT}" if model in beside.suspect else ""
        cells = [
            words.number(values[g], first.kind) if g in values else ""
            for g in (WHOLE, *(e.group for e in columns))
        ]
        rows.append(Row((f"{printable(model)}{mark}", *cells), faint=model in beside.suspect))
    notes = [words.caption(list(estimates), facts), printable(beside.note)]
    if beside.suspect:
        notes.append(
            f"{SUSPECT} printed under group labels that the counts contradict; shown as printed, "
            "never compared by group."
        )
    names = ("model", "headline", *(words.name(e.group) for e in columns))
    title = f"{words.name(first.task)}: {words.metric_name(first.metric)} by {words.name(first.axis)}"
    return Table(title, names, tuple(rows), tuple(n for n in notes if n))


def _bare(e: Estimate | None) -> str:
    return words.NO_DATA if e is None or e.value is None else words.number(e.value, e.kind)


def by_metric(estimates: Iterable[Estimate]) -> dict[tuple[str, str, str], list[Estimate]]:
    """(task, metric, scorer) -> its estimates, in their order."""
    found: dict[tuple[str, str, str], list[Estimate]] = {}
    for e in estimates:
        found.setdefault((e.task, e.metric, e.scorer), []).append(e)
    return found


def run_tables(run: Run) -> list[Table]:
    """What a terminal shows of a run: the papers' form, then every task's first metric by group."""
    estimates = run.estimate_records()
    if not estimates:
        return []
    facts = words.facts(run.config)
    made = [papers_table(estimates, facts, published_by_task(run))]
    for task in dict.fromkeys(e.task for e in estimates):
        chosen = select(estimates, task, None, None)
        near = published_rows(run, task, chosen[0].metric)
        made.append(
            group_table(chosen, facts, near, list(few(near, chosen, 1)) if near else [], sections(run, task))
        )
    return made


def published_by_task(run: Run) -> dict[str, Beside]:
    """Published rows for the summary table; the note says where our prompts are not the benchmark's."""
    found = {}
    for task in run.tasks:
        block = run.task(task).published
        if block:
            rows = published.beside(block)
            other = run.config["tasks"][task]["data_version"] in OTHER_PROMPTS
            found[task] = replace(rows, note=f"{NOT_COMPARABLE} {rows.note}") if other else rows
    return found


def rich_table(table: Table) -> RichTable:
    """For the terminal. Cells are plain text (no markup): no group name can style or move anything."""
    made = RichTable(
        title=Text(table.title, style="bold"),
        title_justify="left",
        caption_justify="left",
        caption=Text("\n".join(table.notes), style="dim"),
        header_style="bold",
        pad_edge=False,
    )
    for i, column in enumerate(table.columns):
        made.add_column(Text(printable(column)), justify="left" if i == 0 else "right", overflow="fold")
    for row in table.rows:
        style = "bold" if row.ours else "bold cyan" if row.heading else "dim" if row.faint else ""
        made.add_row(*(Text(printable(cell)) for cell in row.cells), style=style)
    return made
