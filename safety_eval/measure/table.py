"""A task's answers read once, one after the other, into columns of numbers: what every estimate is made of.

No prompt, answer or score is held; the columns lie in temporary files where there are many, and are read one at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from safety_eval.core.faults import told
from safety_eval.core.records import THOUGHT_VALUE, Part, Prompt, Reason, heading
from safety_eval.core.task import ANSWERED, Drawn, Measured, Metric, Task, Values, asked_with
from safety_eval.measure import listed
from safety_eval.measure.coded import Coded, Coder, Groups, Spooled, name_of, numbered
from safety_eval.stats.gate import Codes

Floats = NDArray[np.float64]
_MEASURED, _UNDECIDED, _MISSING = range(3)
UNSOUND = ("degenerate", "undecided")
STATUS_RATES = {"refusal_rate": "refuse", "degenerate_rate": "degenerate"}
"""Rates of a status, which tasks that generate text have without saying so."""
_TOLD_BY = {"refuse": "refusal", "degenerate": ""}
"""The instrument that tells a status."""


@dataclass(frozen=True, slots=True)
class Column:
    """One metric by one scorer over all its answers: aligned arrays and lists."""

    metric: Metric
    scorer: str
    y: Floats
    sound: NDArray[np.bool_]
    """Not degenerate: only then does the value count for the gate."""
    clusters: Codes
    prompts: Codes
    """Number of each answer's prompt: its samples share it."""
    chance: Floats
    """Share of its part of the list that was asked; 1 = all of it."""
    drawn: Drawn | None
    units: Codes
    """What the limit draws together."""
    groups: Groups
    reasons: Coded[str]
    status: Coded[str]
    version: str
    task: str
    part: Part = Part.WHOLE


def measured_by(metric: Metric, row: Measured, values: Values) -> float | None:
    """The number of one answer.

    Raises:
        PluginError: an exception in somebody's own measure, with its file and line.
    """
    with told(metric.measure, f"measure of metric '{metric.name}' on prompt '{row.prompt.id}'"):
        return metric.measure(row.prompt, row.output, values)


@dataclass(slots=True)
class _Metric:
    """A metric while rows are read: which rows it is about, and what each scorer gives."""

    metric: Metric
    needs: frozenset[str]
    about: Spooled | None
    part: Part = Part.WHOLE
    rows: int = 0
    scorers: dict[str, tuple[Spooled, Spooled]] = field(default_factory=dict)
    """Value and state of each row that it is about, by scorer."""

    def read(self, row: Measured, is_about: bool) -> None:
        """Take a row in."""
        if self.about is not None:
            self.about.append(is_about)
        if not is_about:
            return
        for scorer, values in row.values.items() if self.needs else (("", _NOTHING),):
            if self.needs <= values.keys():
                if scorer not in self.scorers:
                    self.scorers[scorer] = (Spooled("d"), Spooled("B"))
                self._add(self.scorers[scorer], row, values)
        self.rows += 1

    def _add(self, columns: tuple[Spooled, Spooled], row: Measured, values: Values) -> None:
        y, state = columns
        y.fill(self.rows, np.nan)
        state.fill(self.rows, _MISSING)
        value = None
        if not row.output.error:
            value = measured_by(self.metric, row, values)
            state.append(_UNDECIDED if value is None else _MEASURED)
        else:
            state.append(_MISSING)
        y.append(np.nan if value is None else float(value))


_NOTHING: Values = {}


@dataclass(slots=True)
class _Scorer:
    """What a scorer gave while rows are read: why a value is missing, by row."""

    reasons: Spooled
    failed: bool = False
    gave: bool = False


class Table:
    """Every answer of a task as numbers.

    Args:
        task: whose metrics are taken. rows: every owed (prompt, sample), also those without an output.
        version: data version, copied into each column. drawn: what a limit drew; None = the whole list.
    """

    def __init__(self, task: Task, rows: Iterable[Measured], version: str, drawn: Drawn | None = None) -> None:
        self.task, self.version, self.drawn, self.length = task, version, drawn, 0
        self._metrics = [
            _Metric(m, frozenset(m.needs), Spooled("B") if m.where is not None else None) for m in task.metrics
        ]
        self._thoughts = [
            _Metric(replace(m, name=part.of(m.name)), frozenset(m.needs), Spooled("B"), part)
            for m in task.metrics
            for part in ((Part.THOUGHT, Part.LEAK) if m.on_thought else ())
        ]
        self._scorers: dict[str, _Scorer] = {}
        self._names: Coder[str] = Coder()
        self._groups: Coder[Mapping[str, tuple[str, ...]]] = Coder()
        self._of_row = {n: Spooled(c) for n, c in (("group", "i"), ("status", "i"), ("error", "i"))}
        self._of_row |= {n: Spooled("q") for n in ("prompt", "cluster", "unit")}
        self._read(rows)

    def _read(self, rows: Iterable[Measured]) -> None:
        last: Prompt | None = None
        about: list[bool] = []
        shared: dict[str, int] = {}
        for row in rows:
            if row.prompt is not last:
                last = row.prompt
                about = [m.metric.where is None or bool(m.metric.where(last)) for m in self._metrics]
                shared = self._of_prompt(last)
            for name, value in shared.items():
                self._of_row[name].append(value)
            self._of_row["status"].append(self._word(row.status))
            self._of_row["error"].append(self._word(row.output.error))
            self._see_scorers(row)
            for metric, is_about in zip(self._metrics, about, strict=True):
                metric.read(row, is_about)
            if self._thoughts:
                self._read_thought(row)
            self.length += 1

    def _read_thought(self, row: Measured) -> None:
        """Take in the thought before an answer, with its values under the names of the answer's."""
        thinks = bool(row.output.reasoning.strip()) and not row.output.error
        own = {
            scorer: {n.removeprefix(THOUGHT_VALUE): v for n, v in values.items() if n.startswith(THOUGHT_VALUE)}
            for scorer, values in row.values.items()
        }
        apart = replace(row, values=own, errors={})
        for metric in self._thoughts:
            behind = metric.part is Part.THOUGHT or row.status == "refuse"
            where = metric.metric.where
            metric.read(apart, thinks and behind and (where is None or where(row.prompt)))

    def _of_prompt(self, prompt: Prompt) -> dict[str, int]:
        """Names by their hash: 64 bits tell the names of one task apart."""
        return {
            "prompt": hash(prompt.id),
            "cluster": hash(prompt.unit),
            "unit": hash(asked_with(prompt, self.task.whole)),
            "group": self._groups.code(name_of(prompt.groups), prompt.groups),
        }

    def _see_scorers(self, row: Measured) -> None:
        absent = self._word(Reason.NOT_SCORED)
        for name in dict.fromkeys((*row.values, *row.errors)):
            scorer = self._scorers.setdefault(name, _Scorer(Spooled("i")))
            scorer.reasons.fill(self.length, absent)
            scorer.reasons.append(self._word(heading(row.errors.get(name, Reason.NOT_SCORED))))
            scorer.failed |= name in row.errors
            scorer.gave |= any(not value.startswith(THOUGHT_VALUE) for value in row.values.get(name, ()))

    def _word(self, word: str) -> int:
        return self._names.code(word, str(word))

    def _coded(self, name: str, rows: Any = slice(None)) -> Coded[str]:
        return Coded(self._of_row[name].read()[rows], self._names.table)

    def columns(self) -> Iterator[Column]:
        """Every metric by every scorer that offers it, as one column of numbers, in the order of the rows."""
        for read, scorer in self._offered():
            column = self._column(read, scorer)
            yield column
            if read.metric.on_answered and any(column.status.counts()):
                conditional = _answered(column)
                if conditional is not None:
                    yield self._of_list(conditional)
            for thought in self._thoughts:
                if thought.metric.name == thought.part.of(read.metric.name) and scorer in thought.scorers:
                    yield self._column(thought, scorer)

    def _offered(self) -> Iterator[tuple[_Metric, str]]:
        for read in self._metrics:
            for scorer in self._scorers if read.needs else [""]:
                if read.rows and (not read.needs or scorer in read.scorers or self._owes(scorer)):
                    yield read, scorer

    def makers(self) -> dict[tuple[str, str], Callable[[], Column]]:
        """What makes each column over all answers, by metric and scorer, those of statuses last: for whoever cannot
        hold all at once."""
        found = {(read.metric.name, scorer): partial(self._column, read, scorer) for read, scorer in self._offered()}
        return found | {(metric.name, name): make for metric, name, make in self._statuses()}

    def _owes(self, scorer: str) -> bool:
        """A scorer whose every answer failed still owes its metric: it shows as missing, it does not vanish."""
        return self._scorers[scorer].failed and not self._scorers[scorer].gave

    def _column(self, read: _Metric, scorer: str) -> Column:
        rows: Any = slice(None) if read.about is None else np.flatnonzero(read.about.read())
        y, state = read.scorers.get(scorer, (Spooled("d"), Spooled("B")))
        y.fill(read.rows, np.nan)
        state.fill(read.rows, _MISSING)
        reasons = self._reasons("" if read.part else scorer, state.read(), rows)
        return replace(self._built(read.metric, scorer, y.read(), reasons, rows), part=read.part)

    def _reasons(self, scorer: str, state: NDArray[Any], rows: Any) -> Coded[str]:
        """Why each of some rows has no value: of the answer, of the scorer, or undecided."""
        errors = self._of_row["error"].read()[rows]
        nothing, undecided = self._word(""), self._word("undecided")
        if scorer:
            self._scorers[scorer].reasons.fill(self.length, self._word(Reason.NOT_SCORED))
            missing = self._scorers[scorer].reasons.read()[rows]
        else:
            missing = np.where(errors == nothing, self._word(Reason.NOT_SCORED), errors)
        headings = np.array([self._word(heading(name)) for name in list(self._names.table)], np.int32)
        missing = np.where(errors != nothing, headings[errors], missing)
        codes = np.where(state == _MEASURED, nothing, np.where(state == _UNDECIDED, undecided, missing))
        return Coded(codes.astype(np.int32), self._names.table)

    def _built(self, metric: Metric, scorer: str, y: Floats, reasons: Coded[str], rows: Any) -> Column:
        status = self._coded("status", rows)
        unsound = [i for i, name in enumerate(status.table) if name in UNSOUND]
        prompts, clusters = (numbered(self._of_row[name].read()[rows]) for name in ("prompt", "cluster"))
        units = {"": prompts, "cluster": clusters}.get(self.task.whole)
        column = Column(
            metric=metric,
            scorer=scorer,
            y=y,
            sound=~np.isin(status.codes, unsound),
            clusters=clusters,
            prompts=prompts,
            chance=np.broadcast_to(1.0, len(y)),
            drawn=None,
            units=numbered(self._of_row["unit"].read()[rows]) if units is None else units,
            groups=Coded(self._of_row["group"].read()[rows], self._groups.table),
            reasons=reasons,
            status=status,
            version=self.version,
            task=self.task.name,
        )
        return self._of_list(column)

    def _of_list(self, column: Column) -> Column:
        """The column with what it has to know of the list that its answers speak for."""
        units = column.units if self.task.whole else None
        return replace(column, drawn=self.drawn, chance=listed.chances(column.groups, self.drawn, units))

    def status_columns(self) -> Iterator[Column]:
        """Degenerate rate of every task that generates text; refusal rate where an instrument tells refusals."""
        return (make() for _, _, make in self._statuses())

    def _statuses(self) -> Iterator[tuple[Metric, str, Callable[[], Column]]]:
        if self.task.kind != "generate" or not self.length:
            return
        status, errors = self._coded("status"), self._coded("error")
        told_by = np.array([name not in ("", "degenerate") for name in status.table])
        tells = bool((told_by[status.codes] & (errors.codes == self._word(""))).any())
        axes = tuple(dict.fromkeys(axis for metric in self.task.metrics for axis in metric.axes))
        for (name, wanted), better in zip(STATUS_RATES.items(), ("neither", "lower"), strict=True):
            if any(metric.name == name for metric in self.task.metrics) or not (tells or wanted == "degenerate"):
                continue
            metric = Metric(name, (), lambda *_: None, kind="rate", better=better, axes=axes)  # type: ignore[arg-type]
            yield metric, _TOLD_BY[wanted], partial(self._status_column, metric, wanted)

    def _status_column(self, metric: Metric, wanted: str) -> Column:
        status, errors = self._coded("status"), self._coded("error")
        nothing, undecided = self._word(""), self._word("undecided")
        failed = errors.codes != nothing
        known = ~failed if wanted == "degenerate" else ~np.isin(status.codes, [nothing, undecided])
        y = np.where(known, (status.codes == self._word(wanted)).astype(float), np.nan)
        codes = np.where(known, nothing, np.where(failed, errors.codes, undecided)).astype(np.int32)
        column = self._built(metric, _TOLD_BY[wanted], y, Coded(codes, self._names.table), slice(None))
        # A degenerate answer is itself what the degenerate rate counts; for the refusal rate it is unmeasured.
        return replace(column, sound=np.ones(len(y), bool)) if wanted == "degenerate" else column


def _answered(column: Column) -> Column | None:
    """The same metric on answered prompts only; None where every answer was refused."""
    rows = np.flatnonzero(np.array([name != "refuse" for name in column.status.table])[column.status.codes])
    if not len(rows):
        return None
    status, reasons = column.status.of(rows), column.reasons.of(rows)
    names: Coder[str] = Coder()
    for name in column.reasons.table:
        names.code(name, name)
    said = np.array([names.code(name or "unknown status", name or "unknown status") for name in status.table], np.int32)
    silent = ~np.array([name in ANSWERED for name in status.table])[status.codes]
    given = reasons.codes != names.code("", "")
    codes = np.where(silent & ~given, said[status.codes], reasons.codes).astype(np.int32)
    return replace(
        column,
        metric=replace(column.metric, name=Part.ANSWERED.of(column.metric.name)),
        y=np.where(silent, np.nan, column.y[rows]),
        sound=column.sound[rows],
        clusters=numbered(column.clusters[rows]),
        prompts=numbered(column.prompts[rows]),
        units=numbered(column.units[rows]),
        groups=column.groups.of(rows) if isinstance(column.groups, Coded) else column.groups,
        reasons=Coded(codes, names.table),
        status=status,
        part=Part.ANSWERED,
    )
