"""Prompts, owed answers and joined answers of a task as sequences that are read from its files when they are asked for.

Each walk over one reads the files anew and holds one record at a time; whoever needs a sequence twice walks twice.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import overload

import numpy as np
from numpy.typing import NDArray

from safety_eval.core.interfaces import Answer
from safety_eval.core.records import Output, Prompt, Reason, Score, key
from safety_eval.core.store import RecordFile
from safety_eval.core.task import Measured
from safety_eval.runs.places import Located


class Prompts(Sequence[Prompt]):
    """Some prompts of a task's file: all, a shard's, those still owed.

    Args:
        path: the file. places: where each of its prompts begins. numbers: which of them, in order; None = all.
    """

    def __init__(self, path: Path, places: array[int], numbers: Sequence[int] | None = None) -> None:
        self._path, self._places = path, places
        self.numbers: Sequence[int] = range(len(places)) if numbers is None else numbers

    def __len__(self) -> int:
        return len(self.numbers)

    def __iter__(self) -> Iterator[Prompt]:
        if not self.numbers:
            return
        with RecordFile(self._path, Prompt) as file:
            for number in self.numbers:
                yield file.at(self._places[number])

    @overload
    def __getitem__(self, at: int) -> Prompt: ...
    @overload
    def __getitem__(self, at: slice) -> Prompts: ...
    def __getitem__(self, at: int | slice) -> Prompt | Prompts:
        if isinstance(at, slice):
            return self.chosen(self.numbers[at])
        with RecordFile(self._path, Prompt) as file:
            return file.at(self._places[self.numbers[at]])

    def chosen(self, numbers: Sequence[int]) -> Prompts:
        """Others of the same file, by their numbers in it."""
        return Prompts(self._path, self._places, numbers)


class Owed(Sequence[Answer]):
    """Answers that a scorer owes a score of. `places`: of prompt and output, in turns."""

    def __init__(self, prompts: Path, outputs: Path, places: array[int]) -> None:
        self._prompts, self._outputs, self._places = prompts, outputs, places

    def __len__(self) -> int:
        return len(self._places) // 2

    def __iter__(self) -> Iterator[Answer]:
        return self._read(range(len(self)))

    @overload
    def __getitem__(self, at: int) -> Answer: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[Answer]: ...
    def __getitem__(self, at: int | slice) -> Answer | Sequence[Answer]:
        which = range(len(self))[at]
        return next(self._read([which])) if isinstance(which, int) else list(self._read(which))

    def _read(self, which: Sequence[int]) -> Iterator[Answer]:
        if not which:
            return
        with RecordFile(self._prompts, Prompt) as prompts, RecordFile(self._outputs, Output) as outputs:
            for i in which:
                yield prompts.at(self._places[2 * i]), outputs.at(self._places[2 * i + 1])


Status = Callable[[Prompt, Output, Mapping[str, Mapping[str, float | str]], Mapping[str, str]], str]


@dataclass(frozen=True, slots=True)
class Joined:
    """What joins the records of a task.

    Attributes:
        prompts, outputs, scores: its files, the scores by scorer.
        located: the places of all owed answers, or of those to one prompt by its number.
        number: of a prompt by its id; None = there is no such prompt.
        status: of an answer, from its prompt, output, values and errors.
        samples: of each prompt.
    """

    prompts: Path
    outputs: Path
    scores: Mapping[str, Path]
    located: Callable[[int | None], Iterator[Located]]
    number: Callable[[str], int | None]
    status: Status
    samples: int


class Rows(Sequence[Measured]):
    """Every owed (prompt, sample) of a task with its output, scores and status; what is missing says so.

    Args:
        joined: its records. prompts: how many there are.
    """

    def __init__(self, joined: Joined, prompts: int) -> None:
        self._joined, self._length = joined, prompts * joined.samples

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Measured]:
        return self._read(None)

    @overload
    def __getitem__(self, at: int) -> Measured: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[Measured]: ...
    def __getitem__(self, at: int | slice) -> Measured | Sequence[Measured]:
        which = range(self._length)[at]
        return [self[i] for i in which] if isinstance(which, range) else self._one(which)

    def _one(self, at: int) -> Measured:
        number, sample = divmod(at, self._joined.samples)
        return list(self._read(number))[sample]

    def find(self, prompt_id: str, sample: int) -> Measured | None:
        """The row of a prompt and sample; None where none is owed."""
        number = self._joined.number(prompt_id)
        return (
            None
            if number is None or sample >= self._joined.samples
            else self._one(number * self._joined.samples + sample)
        )

    def chosen(self, numbers: Sequence[int] | NDArray[np.int64]) -> Sequence[Measured]:
        """Some rows by their numbers, in that order, read when they are asked for."""
        return _Chosen(self, np.asarray(numbers, np.int64))

    def at(self, numbers: Iterable[int]) -> Iterator[Measured]:
        """Some rows by their numbers, which ascend: the others are not read."""
        return self._read(None, iter(numbers))

    def _read(self, number: int | None, only: Iterator[int] | None = None) -> Iterator[Measured]:
        if not self._length:
            return
        wanted = None if only is None else next(only, -1)
        joined = self._joined
        with ExitStack() as stack:
            prompts = stack.enter_context(RecordFile(joined.prompts, Prompt))
            outputs = stack.enter_context(RecordFile(joined.outputs, Output)) if joined.outputs.exists() else None
            scores = {s: stack.enter_context(RecordFile(path, Score)) for s, path in joined.scores.items()}
            last, prompt = -1, None
            for i, (prompt_at, output_at, scores_at) in enumerate(joined.located(number)):
                if wanted is not None:
                    if i != wanted:
                        continue
                    wanted = next(only or iter(()), -1)
                if prompt is None or prompt_at != last:
                    last, prompt = prompt_at, prompts.at(prompt_at)
                if outputs is not None and output_at is not None:
                    output = outputs.at(output_at)
                else:
                    output = _unasked(prompt, i % joined.samples)
                given = (None if at is None else scores[s].at(at) for s, at in zip(scores, scores_at, strict=True))
                yield join(joined.status, prompt, output, dict(zip(scores, given, strict=True)))


class _Chosen(Sequence[Measured]):
    """Some rows of a task."""

    def __init__(self, rows: Rows, numbers: NDArray[np.int64]) -> None:
        self._rows, self._numbers = rows, numbers

    def __len__(self) -> int:
        return len(self._numbers)

    def __iter__(self) -> Iterator[Measured]:
        if (np.diff(self._numbers) > 0).all():
            return self._rows.at(map(int, self._numbers))
        return (self._rows[int(number)] for number in self._numbers)

    @overload
    def __getitem__(self, at: int) -> Measured: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[Measured]: ...
    def __getitem__(self, at: int | slice) -> Measured | Sequence[Measured]:
        if isinstance(at, slice):
            return _Chosen(self._rows, self._numbers[at])
        return self._rows[int(self._numbers[at])]


def _unasked(prompt: Prompt, sample: int) -> Output:
    return Output(key(prompt), prompt.id, sample, stop_reason="error", error=Reason.NOT_ASKED)


def join(status: Status, prompt: Prompt, output: Output, scores: Mapping[str, Score | None]) -> Measured:
    """An answer with what each scorer said of it; None = nothing."""
    values, errors = {}, {}
    for scorer, score in scores.items():
        if score is not None and score.values:  # those of a thought stand there even where there is no answer
            values[scorer] = score.values
        if score is None or score.error:
            errors[scorer] = score.error if score is not None else Reason.NOT_SCORED
    return Measured(prompt, output, values, errors, status(prompt, output, values, errors))
