"""One walk over a task's answers: everything that the page says of them, but for their texts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from safety_eval.core.task import Measured, Task
from safety_eval.measure.against import Against, Counted
from safety_eval.measure.coded import Coded, Spooled
from safety_eval.report.answers import AnswerPart, Picked, answer_text
from safety_eval.runs.thoughts import Thought, thought


@dataclass(frozen=True, slots=True)
class Seen:
    """What a walk over a task's answers found.

    Attributes:
        rows: the answers, read again when they are asked for.
        against: for each the rates that it made worse. rates: those that single answers count for.
        lengths: characters of each prompt with its answer. numbers: 'scorer.value' of every number that was given.
        parts: the answers that the section shows. thoughts: how many answers ended with which thought.
    """

    rows: Sequence[Measured]
    against: Coded[tuple[Counted, ...]]
    rates: tuple[Counted, ...]
    lengths: NDArray[np.integer]
    numbers: tuple[str, ...]
    parts: tuple[AnswerPart, ...] = ()
    thoughts: Counter[Thought] = field(default_factory=Counter)


def walk(task: Task, rows: Sequence[Measured]) -> Seen:
    """Look at every answer of a task once."""
    against, picked, lengths = Against(task), Picked(), Spooled("i")
    numbers: dict[str, None] = {}
    thoughts: Counter[Thought] = Counter()
    for row in rows:
        picked.add(row, against.add(row))
        lengths.append(len(row.prompt.asked) + len(answer_text(row)))
        numbers |= {f"{scorer}.{name}": None for scorer, name, _ in given(row)}
        if not row.output.error:
            thoughts[thought(row.output)] += 1
    rates, parts = tuple(against.rates()), picked.parts()
    return Seen(rows, against.all(), rates, lengths.read(), tuple(numbers), parts, thoughts)


def given(row: Measured) -> Iterable[tuple[str, str, float]]:
    """(scorer, name, value) of every number that an answer was given."""
    for scorer, values in row.values.items():
        for name, value in values.items():
            if isinstance(value, int | float):
                yield scorer, name, value
