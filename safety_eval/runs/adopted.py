"""Answers made elsewhere, on their way into a run: what is told of them, and what the journal keeps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from safety_eval.core.interfaces import Adopted, Adopting, Engine
from safety_eval.core.journal import Event
from safety_eval.core.records import digest
from safety_eval.core.store import write_json
from safety_eval.runs.resolve import TaskPlan
from safety_eval.runs.session import Session

STRANGERS = "strangers.json"
"""RUN/<task>/strangers.json: the rows of the file that belong to no prompt of the run."""
_SHOWN = 3


def adopted(session: Session, plan: TaskPlan, engine: Engine) -> Mapping[str, Any]:
    """How a task's answers were asked where they were made, None for what is not known; {} where they are made here."""
    if not isinstance(engine, Adopting):
        return {}
    name = plan.task.name
    found = engine.adopt(plan.task.kind, session.records(name).prompts, plan.settings, plan.samples)
    session.journal.once(
        Event.ADOPTED,
        task=name,
        answers=found.answers,
        without=found.without,
        strangers=len(found.strangers),
        names=digest(found.strangers),
        unended=found.unended,
    )
    if found.strangers:
        write_json(session.folder / name / STRANGERS, list(found.strangers))
    for line in _sentences(name, found):
        session.progress.note(line)
    return found.settings


def _sentences(task: str, found: Adopted) -> Iterator[str]:
    yield f"{task}: {found.answers:,} answers of the file adopted"
    if found.without:
        yield f"{task}: {found.without:,} answers are owed that the file does not hold; they stay missing"
    if found.strangers:
        shown = ", ".join(found.strangers[:_SHOWN]) + (" ..." if len(found.strangers) > _SHOWN else "")
        where = f"{shown} (all in {task}/{STRANGERS})"
        yield f"{task}: {len(found.strangers):,} rows belong to no prompt of this run: {where}"
    if found.unended:
        yield f"{task}: of {found.unended:,} answers the file does not say how they ended; cut ones are not seen"
    if found.left:
        yield f"{task}: columns that were not read: {', '.join(found.left)}"
