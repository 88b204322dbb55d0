"""RUN/review/*.labels.json: labels that a policy may act on (`corrected: true`), and what they count to, per group.

The draw is made again from the run's own scores: labels of other answers than it names, or of scores that were made
anew since, are refused. The file holds no text of a prompt or an answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from safety_eval.audit.drawing import Asked, column_of, drawn, name_of, phases, strata
from safety_eval.core.errors import EvidenceError
from safety_eval.core.records import Cell, plain
from safety_eval.core.store import read_json, typed
from safety_eval.core.task import Measured, Task
from safety_eval.stats.judge import Review

FOLDER, SUFFIX = "review", ".labels.json"
SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Labels:
    """What people said of the answers that were drawn.

    Attributes:
        asked: the draw. people: how many labelled every answer. disagreed: on how many they differ (counted as bad).
        bad: by the answer's name, whether it is.
    """

    asked: Asked
    people: int
    disagreed: int
    bad: Mapping[str, bool]


@dataclass(frozen=True, slots=True)
class Labelled:
    """The labels of one group of answers, counted.

    Attributes:
        cell: of which number. strata: what the scorer flagged, could not score, let pass. lost: answers that do not
            exist, or are no sound ones (empty, looping): no label makes them good. people: who labelled.
        share_of_good: of the good answers (the metric's better end is the higher one), not of the bad ones.
        stale: the labels are not of the answers that the scores draw now.
    """

    cell: Cell
    strata: tuple[Review, Review, Review]
    lost: int
    people: int
    share_of_good: bool
    stale: bool = False

    @property
    def reviewed(self) -> int:
        """Answers with a label."""
        return sum(s.reviewed for s in self.strata)

    @property
    def unseen(self) -> bool:
        """Whether a stratum has answers and not one label, so that nothing is known of it."""
        return any(s.total and not s.reviewed for s in self.strata)


def written(labels: Labels) -> Mapping[str, Any]:
    """The content of a labels file."""
    return {"schema": SCHEMA, **plain(labels)}


def file_name(asked: Asked) -> str:
    """Of the labels of a number."""
    return f"{asked.task}.{asked.metric}.{asked.scorer or 'none'}{SUFFIX}"


def files(run: Path) -> list[Path]:
    """The labels of a run, sorted."""
    return sorted((run / FOLDER).glob(f"*{SUFFIX}"))


def read(path: Path) -> Labels:
    """Labels of a run.

    Raises:
        EvidenceError: the file is damaged.
    """
    row = read_json(path)
    if not isinstance(row, dict) or row.pop("schema", None) != SCHEMA:
        raise EvidenceError(f"{path.name} is damaged: it is no file of labels")
    try:
        found = replace(typed(Labels, row), asked=typed(Asked, row["asked"]))
    except (TypeError, ValueError) as error:
        raise EvidenceError(f"{path.name} is damaged: {error}") from error
    if found.people not in (1, 2) or found.asked.design != "two_phase":
        raise EvidenceError(f"{path.name} is damaged: these are no labels of a two-phase review")
    return found


def labelled(row: Any) -> Labelled:
    """A Labelled back from its JSON form.

    Raises:
        ValueError: it is none.
    """
    flat = typed(Labelled, row)
    first, second, third = (typed(Review, part) for part in row["strata"])
    return replace(flat, cell=typed(Cell, row["cell"]), strata=(first, second, third))


def counted(task: Task, measured: Sequence[Measured], labels: Labels) -> Iterator[Labelled]:
    """The labels per group.

    Raises:
        UserError: the number that they are of is not measured (any more).
    """
    asked = labels.asked
    column, rows = column_of(task, measured, asked)
    wanted = {n for s, names in strata(column, rows, asked.design).items() for n in drawn(s, names, asked)}
    stale = wanted != set(labels.bad)
    names, bad = [name_of(m) for m in rows], {name: float(label) for name, label in labels.bad.items()}
    places = [("total", "all", list(range(len(rows))))]
    for axis in column.metric.axes:
        for group in dict.fromkeys(g for row in column.groups for g in row.get(axis, ())):
            places.append((axis, group, [i for i, row in enumerate(column.groups) if group in row.get(axis, ())]))
    for axis, group, members in places:
        there = [i for i in members if not rows[i].output.error and column.sound[i]]
        yield Labelled(
            Cell(task.name, column.metric.name, column.scorer, axis, group),
            phases(column, names, bad, there),
            len(members) - len(there),
            labels.people,
            column.metric.better == "higher",
            stale,
        )
