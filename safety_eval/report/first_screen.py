"""What a terminal shows of a run at first: at most 15 lines of 80 columns, one for each task.

The model, what was asked, every task's headline with its interval, n, what is missing, its instrument and how far
that can be trusted, its worst judgeable group; then what was not measured, the report, and the next command.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.cells import cell_len, set_cell_size

from safety_eval.audit.cards import ScorerCard, card_for
from safety_eval.audit.known_errors import Quality, Trust, quality
from safety_eval.core.records import Estimate
from safety_eval.core.task import Task
from safety_eval.runs.opened import RunFolder
from safety_eval.runs.run_file import RunFile
from safety_eval.show import words
from safety_eval.show.selection import by_instrument, headline, worst_judgeable
from safety_eval.show.words import printable

LINES, WIDTH = 15, 80
ELLIPSIS = "\N{HORIZONTAL ELLIPSIS}"
OWN_PROMPTS = "quickstart"
"""The data version of our own small prompt sets, which are not a benchmark."""
_HEADS = ("task", "headline, 95%", "n (gone)", "instrument, misses", "worst group")
_LEAST = (18, 9, 8, 16, 11)
"""Columns' least widths; what is longer is cut."""
_LONGEST_VALUE = 22
"""Width of a number with its interval; the reason for having none is cut."""
_PACKED = 2
"""Lines that hold several headlines each, where a run has more tasks than lines."""
_LONGEST_NAME = 20
_AROUND = 7
"""Lines that belong to no task: model, asked, heads, instruments, not measured, report, next."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of plain text, and what it is to a reader: 'model', 'warning', 'heads', 'task' or 'fact'."""

    text: str
    kind: str = "fact"


@dataclass(frozen=True, slots=True)
class TaskLine:
    """A task in one line. `name` and `mark` are the instrument and its quality; the mark is never cut."""

    what: str
    value: str
    count: str
    name: str
    mark: str
    worst: str

    def cells(self) -> tuple[str, ...]:
        return self.what, self.value, self.count, f"{self.name}{self.mark}", self.worst


def first_screen(run: RunFolder, owed: int = 0, width: int = WIDTH) -> list[Line]:
    """The lines, ready to be printed as plain text.

    Args:
        run: measured, its report written.
        owed: prompts or scores that the same command would ask for again.
        width: columns; at least WIDTH.
    """
    file, estimates = run.file, run.estimate_records()
    warning, asked = _asked(file)
    tasks = list(dict.fromkeys(e.task for e in estimates))
    shown = tasks if len(tasks) <= LINES - _AROUND else tasks[: LINES - _AROUND - _PACKED]
    trust = {name: headline_quality(run, estimates, name) for name in tasks}
    rows = [_task_line(run.task(name), file, estimates, trust[name]) for name in shown]
    lines = [
        Line(f"model      {_model(file)}", "model"),
        Line(f"asked      {asked}", "warning" if warning else "fact"),
        *_aligned(rows, width),
        *_packed([_brief(run.task(name), estimates) for name in tasks[len(shown) :]], width),
    ]
    instruments = _instruments(file, estimates, trust)
    if instruments:
        lines.append(Line(instruments, "warning" if "WEAK" in instruments else "fact"))
    lines.append(Line(f"unmeasured {_missing_words(run, estimates)}"))
    fitted = [Line(cut(line.text, width), line.kind) for line in lines]
    return [*fitted, *_where_to(run, owed, width)]


def _brief(task: Task, estimates: Sequence[Estimate]) -> str:
    """A task's headline alone, for a line that holds several."""
    e = headline(estimates, task.name)
    assert e is not None
    value = _number(e.value, e.kind)
    named = cut(printable(task.short or task.title or task.name), _LONGEST_NAME)
    gone = f" ({words.absent(e):,} gone)" if e.value is not None and words.absent(e) else ""
    return f"{named} {value}{gone}"


def _packed(parts: Sequence[str], width: int) -> list[Line]:
    """Headlines one after the other on _PACKED lines; those that do not fit are counted."""
    lines, left = [], list(parts)
    for number in range(_PACKED):
        text = "also "
        while left:
            last = number == _PACKED - 1
            more = f"; +{len(left) - 1}: --details" if last and len(left) > 1 else ""
            joined = f"{text}{'; ' if text.strip() != 'also' else ''}{left[0]}"
            if cell_len(joined + more) > width:
                break
            text, left = joined, left[1:]
        if left and number == _PACKED - 1:
            text += f"; +{len(left)}: --details"
        if text.strip() != "also":
            lines.append(Line(text, "task"))
    return lines


def cut(text: str, width: int) -> str:
    """`text`, or its beginning and an ellipsis, at most `width` columns of a terminal wide."""
    if cell_len(text) <= width:
        return text
    return set_cell_size(text, width - 1).rstrip() + ELLIPSIS


def cut_middle(text: str, width: int) -> str:
    """`text`, or both of its ends around an ellipsis, at most `width` columns wide."""
    if cell_len(text) <= width:
        return text
    head = max((width - 1) // 3, 0)
    tail = text
    while cell_len(tail) > width - 1 - head:
        tail = tail[1:]
    return set_cell_size(text, head).rstrip() + ELLIPSIS + tail


def _model(file: RunFile) -> str:
    facts = words.facts(file)
    parts = (facts.model or "(unnamed)", facts.engine, facts.precision)
    return ", ".join(printable(p) for p in parts if p)


def _asked(file: RunFile) -> tuple[bool, str]:
    """Whether a reader has to be warned, and what was asked, the warning first."""
    tasks, limit, shard = file.tasks, file.config.limit, file.config.shard
    own = [name for name, task in tasks.items() if task.data_version == OWN_PROMPTS]
    size = f"{len(tasks)} task{'s' * (len(tasks) != 1)}, {sum(t.prompts for t in tasks.values()):,} prompts"
    warnings = []
    if not file.finished:
        warnings.append("NOT finished")
    if own:
        few = "" if len(own) == len(tasks) else f" in {', '.join(map(printable, own))}"
        warnings.append(f"NOT the benchmarks{few}: prompts of our own")
    elif limit:
        warnings.append(f"NOT the full benchmarks: at most {limit:,} prompts a task")
    if shard:
        warnings.append(f"part {shard[0]} of {shard[1]}")
    return bool(warnings), "; ".join([*warnings, size])


def headline_quality(run: RunFolder, estimates: Sequence[Estimate], name: str) -> Quality:
    """How far the instrument of a task's headline can be trusted."""
    e = headline(estimates, name)
    assert e is not None
    identity = run.file.tasks[name].instruments.get(e.scorer, {})
    needs = next((m.needs for m in run.task(name).metrics if m.name == e.metric), ("status",))
    return quality(e.scorer, identity, needs, _card(run, identity))


def _card(run: RunFolder, identity: Mapping[str, Any]) -> ScorerCard | None:
    return card_for(identity, [run.folder / "cards"]) if identity else None


def _task_line(task: Task, file: RunFile, estimates: Sequence[Estimate], trust: Quality) -> TaskLine:
    e = headline(estimates, task.name)
    assert e is not None
    same = by_instrument(estimates)[e.task, e.metric, e.scorer]
    worst = worst_judgeable(same)
    grouped = any(other.axis not in ("total", "macro") for other in same)
    none = "(too few)" if grouped else "(no groups)"
    gone = words.absent(e)
    return TaskLine(
        what=_what(task, e),
        value=_value(e) if e.value is not None else words.value(e),
        count=f"{e.count:,}" + (f" ({gone:,})" if gone else ""),
        name=_instrument_name(file, e),
        mark=_mark(trust),
        worst=f"{words.name(worst.group)} {_number(worst.value, worst.kind)}" if worst else none,
    )


def _what(task: Task, e: Estimate) -> str:
    """Task and metric in a few words, with an arrow to the better end."""
    metric = next((m for m in task.metrics if m.name == e.metric), None)
    short = metric.short if metric and metric.short else words.metric_name(e.metric).removesuffix(" rate")
    arrow = {"lower": " \N{DOWNWARDS ARROW}", "higher": " \N{UPWARDS ARROW}"}.get(e.better, "")
    return f"{printable(task.short or task.title or task.name)} {printable(short)}{arrow}"


def _number(value: float | None, kind: str) -> str:
    """One decimal of a per cent, two of any other number; what is not zero is never written as zero."""
    if value is None:
        return words.NO_DATA
    if kind != "rate":
        return f"{value:.2f}".replace("-", words.MINUS)
    return "<0.1%" if 0 < value < 0.0005 else f"{100 * value:.1f}%".replace("100.0%", "100%")


def _value(e: Estimate) -> str:
    if e.low is None or e.high is None:
        return f"{_number(e.value, e.kind)} (no interval)"
    low, high = (_number(x, e.kind).removesuffix("%") for x in (e.low, e.high))
    return f"{_number(e.value, e.kind)} [{low}, {high}]"


def _instrument_name(file: RunFile, e: Estimate) -> str:
    if not e.scorer:
        return "none needed"
    identity = file.tasks[e.task].instruments.get(e.scorer, {})
    model = str(identity.get("model", "")) if e.scorer == "hf_classifier" else ""
    return printable(model.rsplit("/", 1)[-1] or e.scorer)


def _mark(trust: Quality) -> str:
    if trust.trust is Trust.WEAK:
        return " WEAK"
    if trust.miss_rate is not None:
        return f" ({trust.miss_rate:.0%})"
    return " (?)" if trust.trust is Trust.UNAUDITED else ""


def _instruments(file: RunFile, estimates: Sequence[Estimate], trust: Mapping[str, Quality]) -> str:
    """What the marks mean: how often a weak instrument misses, and that '?' was never audited."""
    weak = {}
    for name, known in trust.items():
        e = headline(estimates, name)
        if e is not None and known.trust is Trust.WEAK:
            misses = "unaudited" if known.miss_rate is None else f"misses {known.miss_rate:.0%}"
            weak[_instrument_name(file, e)] = misses
    named = ", ".join(f"{name} {misses}" for name, misses in weak.items())
    notes = [f"WEAK: {named}"] if weak else []
    if any(known.trust is Trust.UNAUDITED for known in trust.values()):
        notes.append("(?) unaudited")
    return f"trust      {'; '.join(notes)}" if notes else ""


def not_measured(run: RunFolder, estimates: Iterable[Estimate]) -> dict[str, tuple[str, ...]]:
    """Task -> its metrics that no instrument of this run measured, in the task's order; a task's first metric is the
    one that its protocol is about."""
    measured = {(e.task, e.metric) for e in estimates if e.value is not None}
    lacking = {}
    for name in run.tasks:
        metrics = [m.name for m in run.task(name).metrics if (name, m.name) not in measured]
        if metrics or not any(task == name for task, _ in measured):
            lacking[name] = tuple(metrics)
    return lacking


def _missing_words(run: RunFolder, estimates: Sequence[Estimate]) -> str:
    """What was not measured: metrics, the most important first, and answers without a value."""
    parts: list[str] = []
    lacking = not_measured(run, estimates)
    measured = {e.task for e in estimates if e.value is not None}
    for name in sorted(lacking, key=lambda task: not _lost_headline(run.task(task), lacking[task])):
        task, metrics = run.task(name), lacking[name]
        title = printable(task.short or task.title)
        if name not in measured:
            parts.insert(0, f"all of {title}")
            continue
        more = f" +{len(metrics) - 1}" if len(metrics) > 1 else ""
        parts.append(f"{title}: {words.metric_name(metrics[0])}{more}")
    gone = sum(words.absent(e) for e in estimates if e.axis == "total" and _is_headline(estimates, e))
    if gone:
        parts.append(f"{gone:,} answer{'s' * (gone != 1)}")
    return "; ".join(parts) or "nothing: every metric and every answer has a value"


def _lost_headline(task: Task, metrics: Sequence[str]) -> bool:
    return bool(task.metrics) and task.metrics[0].name in metrics


def _is_headline(estimates: Sequence[Estimate], e: Estimate) -> bool:
    first = headline(estimates, e.task)
    assert first is not None
    return not e.part and (e.metric, e.scorer) == (first.metric, first.scorer)


def _where_to(run: RunFolder, owed: int, width: int) -> tuple[Line, Line]:
    """The report's path and the next command; a path that no shorter hint makes room for is cut in its middle."""
    path, longest = _path(run.folder / "report.html"), "  (every table: --details)"
    room = width - 11 - cell_len(path)
    hint = next((hint for hint in (longest, "  (--details)", "") if len(hint) <= room), longest)
    report = cut_middle(path, width - 11 - len(hint))
    return Line(f"report     {report}{hint}"), Line(f"next       {_next(run, owed, width - 11)}")


def _next(run: RunFolder, owed: int, width: int) -> str:
    if owed:
        return cut(f"the same command again: {owed:,} answers or scores are owed", width)
    folder = _path(run.folder)
    policy = run.file.config.policy
    file = _path(Path(str(policy))) if policy else "FILE"
    if cell_len(folder) + cell_len(file) > width - 30:
        half = (width - 30) // 2
        folder, file = cut_middle(folder, width - 30 - min(cell_len(file), half)), cut_middle(file, half)
    return f"safety-eval signoff {folder} --policy {file}"


def _path(path: Path) -> str:
    """A path as short as it can be typed from here, quoted for a shell, without control characters."""
    try:
        inside = path.resolve().relative_to(Path.cwd())
    except (ValueError, OSError):
        return shlex.quote(printable(os.fspath(path)))
    return shlex.quote(printable(os.fspath(inside)))


def _aligned(rows: Sequence[TaskLine], width: int) -> list[Line]:
    """Heads and rows in columns; the widest columns are cut first where the line is too long."""
    if not rows:
        return []
    cells = [_HEADS, *(row.cells() for row in rows)]
    widths = [max(cell_len(line[i]) for line in cells[1:]) for i in range(len(_HEADS))]
    widths = [max(w, least) for w, least in zip(widths, _LEAST, strict=True)]
    widths[1] = min(widths[1], _LONGEST_VALUE)
    while sum(widths) + len(widths) - 1 > width:
        spare = [w - least if i != 1 else 0 for i, (w, least) in enumerate(zip(widths, _LEAST, strict=True))]
        if max(spare) <= 0:
            break
        widths[spare.index(max(spare))] -= 1
    room = width - sum(widths) - len(widths) + 1
    for i, head in enumerate(_HEADS):
        grown = min(room, max(0, cell_len(head) - widths[i]))
        widths[i], room = widths[i] + grown, room - grown
    lines = [Line(_joined(_HEADS, widths), "heads")]
    for row in rows:
        name = cut(row.name, widths[3] - len(row.mark)) + row.mark
        worst = _cut_before_number(row.worst, widths[4])
        lines.append(Line(_joined((row.what, row.value, row.count, name, worst), widths), "task"))
    return lines


def _cut_before_number(text: str, width: int) -> str:
    """A group's name is cut, its number never is."""
    name, space, number = text.rpartition(" ")
    if cell_len(text) <= width or not number[:1].isdigit():
        return cut(text, width)
    return cut(name, width - len(number) - 1) + space + number


def _joined(cells: Sequence[str], widths: Sequence[int]) -> str:
    fitted = [set_cell_size(cut(cell, w), w) for cell, w in zip(cells, widths, strict=True)]
    return " ".join(fitted).rstrip()
