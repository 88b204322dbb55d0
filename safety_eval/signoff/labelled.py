"""A rule that acts on people's labels of this run's own answers (`corrected: true`), not on what the scorer said."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from safety_eval.audit import labels
from safety_eval.audit.labels import Labelled
from safety_eval.core.errors import EvidenceError, UserError
from safety_eval.core.records import Estimate
from safety_eval.core.task import Measured, Task
from safety_eval.policy import Rule, stopping
from safety_eval.show.words import number
from safety_eval.signoff.claim import Asked, Claim, Interval, held, where
from safety_eval.stats.labelled import SeenLabels

_EQUAL = 1e-6


def of_task(folder: Path, task: Task, rows: Sequence[Measured]) -> Iterator[Labelled]:
    """The labels of a task's answers, counted from the records.

    Raises:
        EvidenceError: labels that are damaged.
    """
    for path in labels.files(folder):
        read = labels.read(path)
        if path.name != labels.file_name(read.asked):
            raise EvidenceError(f"{path.name} holds the labels of another number")
        if read.asked.task == task.name:
            with suppress(UserError):  # of a number that is not measured any more: no rule can be about it
                yield from labels.counted(task, rows, read)


def claim(rule: Rule, e: Estimate, labelled: Sequence[Labelled], asked: Asked) -> Claim:
    """max or min on one rate, by labels."""
    here = next((found for found in labelled if found.cell == e.cell), None)
    if here is None or (fault := _fault(rule, e, here)):
        told = fault if here else "nobody has labelled its answers: `safety-eval review` draws those that are needed"
        return Claim(rule, e.cell, Interval(e.value), 0, e.expected, fault=told)
    this = SeenLabels(here.strata, here.lost, stopping.effective(e, asked[1]), here.share_of_good)
    words = f"{where(e.cell)}: {number(this.value, e.kind)} by the labels of {_people(here)}, on {here.reviewed:,} of "
    words += f"{e.expected:,} answers ({e.scorer or 'the run'} says {number(e.value, e.kind)})"
    words += f" ({here.lost} more that no label can make good, taken at their worst)" if here.lost else ""
    claim = held(rule, e, this, asked, words)
    return replace(claim, interval=replace(claim.interval, value=this.value), count=here.reviewed, labelled=True)


def _people(here: Labelled) -> str:
    return "one person" if here.people == 1 else "two people"


def _fault(rule: Rule, e: Estimate, here: Labelled) -> str:
    """Why the labels decide nothing, '' where they may."""
    if not e.gateable:
        return e.reason or "descriptive only: it cannot be gated"
    if here.stale:
        return "its answers or scores changed after they were labelled: draw a new sheet (`safety-eval review`)"
    if here.unseen:
        return "of what its scorer flagged, could not score, or let pass, one part has not a single label"
    if e.answers and abs(e.answers - e.expected) > _EQUAL:
        return "its answers do not weigh the same (a limit drew some groups more densely): labels cannot speak for it"
    if here.reviewed < rule.min_count:
        return f"{here.reviewed} labelled answers, {rule.min_count} are required"
    return ""
