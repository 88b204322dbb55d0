"""Two runs -> what changed, paired by (task, data version, prompt id, sample). A run against itself is exactly zero.

The question is never 'is there a significant difference': absence of evidence passes nothing. Give a margin that
was fixed before the run, and each row says whether the run is shown to be not worse by it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from safety_eval.audit import cards
from safety_eval.audit.sentences import worthless
from safety_eval.compare import comparable
from safety_eval.compare.comparable import Ground
from safety_eval.compare.differences import ALPHA, Difference, Pairs, of_pairs, read
from safety_eval.compare.pairing import paired
from safety_eval.compare.refusing import Decomposition, Reading, decompose
from safety_eval.core.errors import UserError
from safety_eval.core.records import Cell, Estimate, Part, plain
from safety_eval.core.store import write_json
from safety_eval.core.task import ANSWERED, Measured, Task
from safety_eval.measure.table import Column, Table
from safety_eval.runs import answers
from safety_eval.runs.opened import RunFolder

SCHEMA = 1
Margins = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Everything that a comparison says; compare.json holds the same.

    Attributes:
        run, baseline: what was compared, by model and folder name.
        ground: what the two share, and what differs on purpose.
        differences: every row. decompositions: rates taken apart into answering and answering badly.
    """

    run: Mapping[str, Any]
    baseline: Mapping[str, Any]
    ground: Ground
    differences: tuple[Difference, ...]
    decompositions: tuple[Decomposition, ...]

    def _repr_html_(self) -> str:
        """The comparison's tables, for notebooks."""
        from safety_eval.compare.table import comparison_tables
        from safety_eval.show.html import as_html

        return as_html("", comparison_tables(self))


def compare(
    run: RunFolder, baseline: RunFolder, across: Sequence[str] = (), margin: float | Margins | None = None
) -> list[Difference]:
    """Run minus baseline for every metric, in total, by headline and per group.

    Args:
        run, baseline: scored by the same instruments on the same prompts.
        across: fields that may differ on purpose (see comparable.FIELDS); the model always may.
        margin: tolerated difference, one for all or by metric, in the metric's unit (rates 0..1).

    Raises:
        UserError: runs that may not be compared, and why; an unknown field; a margin that is not above zero.
    """
    return list(comparison(run, baseline, across, margin).differences)


def comparison(
    run: RunFolder, baseline: RunFolder, across: Sequence[str] = (), margin: float | Margins | None = None
) -> Comparison:
    """As `compare`, with the decompositions and what the two runs share."""
    margins = _margins(margin)
    ground = _cautioned(run, comparable.common_ground(run, baseline, across))
    found: list[Difference] = []
    apart: list[Decomposition] = []
    for name in ground.tasks:
        rows, parts = _task(run, baseline, name)
        found += rows
        apart += parts
    unknown = set(margins) - {d.metric for d in found} - {""}
    if unknown:
        known = ", ".join(sorted({d.metric for d in found}))
        raise UserError(f"a margin for {', '.join(sorted(unknown))}, which was not compared", f"Compared: {known}.")
    rows = [_told(d, apart) for d in read(found, margins)]
    return Comparison(_who(run), _who(baseline), ground, tuple(rows), tuple(apart))


def _told(d: Difference, apart: Sequence[Decomposition]) -> Difference:
    """The row with what its decomposition says of refusing, so that nobody reads 'better' alone."""
    cell = Cell(d.task, d.metric, d.scorer, d.axis, d.group)
    bought = next((p.reading for p in apart if p.cell == cell), Reading.UNEXPLAINED)
    shown = d.p_adjusted is not None and d.p_adjusted <= ALPHA
    said = bought is Reading.BOUGHT or (bought is Reading.PERHAPS and shown)
    return replace(d, reading=f"{d.reading}; {bought}") if said else d


def _cautioned(run: RunFolder, ground: Ground) -> Ground:
    """The ground with the gravest sentence of every instrument whose group gaps are worth nothing."""
    told = []
    for task, scorers in ground.scorers.items():
        for scorer in sorted(scorers):
            card = cards.card_for(answers.identity(run.folder, task, scorer), [run.folder / "cards"])
            if card is not None and any(worthless(part) for part in card.parts):
                told.append(f"{scorer}: {card.sentences[0].rstrip('.')}")
    return replace(ground, notes=(*ground.notes, *dict.fromkeys(told)))


def write(folder: Path, made: Comparison) -> Path:
    """RUN/compare.json."""
    path = folder / "compare.json"
    write_json(path, {"schema": SCHEMA, **plain_comparison(made)})
    return path


def plain_comparison(made: Comparison) -> dict[str, Any]:
    """JSON-ready form of a comparison."""
    ground = {
        "tasks": list(made.ground.tasks),
        "scorers": {task: sorted(names) for task, names in made.ground.scorers.items()},
        "across": list(made.ground.across),
        "notes": list(made.ground.notes),
    }
    parts = {"run": made.run, "baseline": made.baseline, "ground": ground}
    rows = {"differences": made.differences, "decompositions": made.decompositions}
    result: dict[str, Any] = plain({**parts, **rows})
    return result


def _margins(margin: float | Margins | None) -> dict[str, float]:
    given = {} if margin is None else dict(margin) if isinstance(margin, Mapping) else {"": float(margin)}
    for metric, value in given.items():
        if not (math.isfinite(value) and value > 0):
            raise UserError(
                f"margin {value:g}{f' for {metric}' if metric else ''} is not above zero",
                "A margin is the largest difference that is tolerated; rates are shares, so 1 point is 0.01.",
            )
    return given


def _who(run: RunFolder) -> dict[str, Any]:
    engine = run.file.engine
    return {
        "folder": run.folder.name,
        "model": run.file.config.model,
        **{field: engine.get(field) for field in ("revision", "weights", "dtype")},
    }


def _task(run: RunFolder, baseline: RunFolder, name: str) -> tuple[list[Difference], list[Decomposition]]:
    task, version = run.task(name), run.file.tasks[name].data_version
    new, old, lonely = paired(run, baseline, name)
    sides = [Table(task, rows, version, side.drawn(name)).makers() for rows, side in ((new, run), (old, baseline))]
    found: list[Difference] = []
    apart: list[Decomposition] = []
    for which in dict.fromkeys([*sides[0], *sides[1]]):
        makers = [side.get(which) for side in sides]
        if makers[0] is None or makers[1] is None:
            made = makers[0] or makers[1]
            assert made is not None
            found.append(_one_sided(made(), "baseline" if makers[1] is None else "run"))
            continue
        rows, parts = _metric(makers[0](), makers[1]())
        found += rows
        apart += parts
    return [_unpaired(d, lonely) for d in [*found, *_derived(task, new, old, version)]], apart


def _metric(first: Column, second: Column) -> tuple[list[Difference], list[Decomposition]]:
    """Differences of one metric, and where refusals matter also those among answered prompts."""
    metric = first.metric
    pairs = Pairs(first, second, np.ones(len(first.y), bool))
    rows = list(of_pairs(pairs))
    statuses = first.status, second.status
    if not metric.on_answered or not all(any(side.counts()) for side in statuses):
        return rows, []
    both = statuses[0].within(ANSWERED) & statuses[1].within(ANSWERED)
    named = replace(metric, name=Part.ANSWERED.of(metric.name))
    rows += of_pairs(Pairs(replace(first, metric=named), replace(second, metric=named), both, conditional=True))
    bad_is_high = metric.kind == "rate" and metric.better == "lower"
    return rows, decompose(pairs) if bad_is_high else []


def _unpaired(d: Difference, lonely: Mapping[str, int]) -> Difference:
    return replace(d, missing={**d.missing, **lonely}) if d.axis == "total" and lonely else d


def _one_sided(column: Column, absent: str) -> Difference:
    metric = column.metric
    return Difference(
        column.task,
        metric.name,
        column.scorer,
        "total",
        "all",
        metric.kind,
        None,
        expected=len(column.y),
        better=metric.better,
        reason=f"not measured by {column.scorer or 'any scorer'} in the {absent}",
        data_version=column.version,
    )


def _derived(task: Task, new: Sequence[Measured], old: Sequence[Measured], version: str) -> Iterator[Difference]:
    """Numbers that come from all answers together: their difference, with an interval that ignores the pairing.

    Square-and-add of the two intervals; treating runs on the same prompts as independent is wide, not narrow.
    """
    if task.derive is None:
        return
    place = {(e.metric, e.scorer, e.axis, e.group): e for e in task.derive(old, version)}
    for e in task.derive(new, version):
        was = place.get((e.metric, e.scorer, e.axis, e.group))
        made = Difference(
            e.task,
            e.metric,
            e.scorer,
            e.axis,
            e.group,
            e.kind,
            None,
            run=e.value,
            better=e.better,
            baseline=was.value if was else None,
            count=e.count,
            expected=e.expected,
            clusters=e.clusters,
            effective_clusters=e.effective_clusters,
            data_version=version,
            reason="a derived number: shown, not gated",
        )
        if was is None or e.value is None or was.value is None:
            yield replace(made, reason="not measured on both sides")
            continue
        yield replace(made, value=e.value - was.value, **_square_and_add(e, was))


def _square_and_add(e: Estimate, was: Estimate) -> dict[str, Any]:
    if None in (e.value, e.low, e.high, was.value, was.low, was.high):
        return {"method": "none: no interval on both sides"}
    assert e.value is not None and e.low is not None and e.high is not None
    assert was.value is not None and was.low is not None and was.high is not None
    change = e.value - was.value
    return {
        "low": change - math.hypot(e.value - e.low, was.high - was.value),
        "high": change + math.hypot(e.high - e.value, was.value - was.low),
        "method": "square-and-add 95% of the two intervals, not paired",
    }
