"""What engines and scorers hand over, checked before it is written: only what was asked, once, and numbers that are
finite. A plugin that breaks the contract stops the run; one value that is no number is a failure of that answer alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, TypeVar, overload

from safety_eval.core.errors import UserError
from safety_eval.core.faults import told
from safety_eval.core.interfaces import Answer, Engine, Scorer, Settings
from safety_eval.core.records import Output, Prompt, Score, key

Kind = TypeVar("Kind")
Record = TypeVar("Record", Output, Score)
Asked = tuple[str, int]
MALFORMED = "malformed"
"""Reason of an answer or a score that is not of the kind that was asked for; it is owed again."""


class _HandedOver(Sequence[Kind]):
    """What an engine or a scorer is given to read. Each is noted the first time that it is read, so that whatever
    still waits is known, and what nobody has read yet need not be held."""

    def __init__(self, many: Sequence[Kind], note: Callable[[Kind], object]) -> None:
        self._many, self._note = many, note
        self._read = bytearray(len(many))

    def __len__(self) -> int:
        return len(self._many)

    def __iter__(self) -> Iterator[Kind]:
        for i, one in enumerate(self._many):
            self._see(i, one)
            yield one

    @overload
    def __getitem__(self, at: int) -> Kind: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[Kind]: ...
    def __getitem__(self, at: int | slice) -> Kind | Sequence[Kind]:
        which = range(len(self))[at]
        if isinstance(which, range):
            return [self[i] for i in which]
        one = self._many[which]
        self._see(which, one)
        return one

    def _see(self, at: int, one: Kind) -> None:
        if not self._read[at]:
            self._read[at] = 1
            self._note(one)


def outputs(engine: Engine, kind: str, prompts: Sequence[Prompt], settings: Settings) -> Iterator[Output]:
    """What an engine answers to `prompts`. `kind`: 'generate' or 'choose'.

    Raises:
        UserError: an answer to what was not asked, a second one, or something else than an Output.
    """
    ask = engine.generate if kind == "generate" else engine.choose
    waiting: dict[Asked, Any] = {}
    handed = _HandedOver(prompts, lambda prompt: waiting.update({(prompt.id, settings.sample): prompt}))
    for output in _told(ask, f"{kind} of the engine", lambda: ask(handed, settings)):
        prompt = _expected(output, Output, waiting, "the engine")
        if output.prompt_key != key(prompt):
            raise _broken("the engine", f"its answer to '{prompt.id}' names another prompt's key")
        problem = "" if output.error else _no_answer(output, kind, prompt)
        yield _failed_output(output, problem) if problem else output


def scores(scorer: Scorer, name: str, answers: Sequence[Answer], offers: Collection[str] = ()) -> Iterator[Score]:
    """What a scorer says of `answers`. `name`: of the scorer; `offers`: names of its values, () = any.

    Raises:
        UserError: a score of what was not asked, a second one, or something else than a Score.
    """
    what = f"scorer {name}"
    waiting: dict[Asked, Any] = {}
    handed = _HandedOver(answers, lambda answer: waiting.update({(answer[1].prompt_id, answer[1].sample): answer[1]}))
    for score in _told(scorer.score, f"score of {what}", lambda: scorer.score(handed)):
        output = _expected(score, Score, waiting, what)
        if score.output_key != key(output):
            raise _broken(what, f"its score of '{score.prompt_id}' names another answer's key")
        problem = "" if score.error else _no_values(score, offers)
        yield replace(score, values={}, error=f"{MALFORMED}: {problem}") if problem else score


def _told(function: Callable[..., Any], what: str, call: Callable[[], Iterable[Record]]) -> Iterator[Record]:
    """Everything of an iterable that a plugin makes; what it raises on the way is told with its line. What the reader
    of this iterator raises passes by."""
    with told(function, what):
        made = iter(call())
    while True:
        with told(function, what):
            try:
                one = next(made)
            except StopIteration:
                return
        yield one


def _expected(record: Any, kind: type[Record], waiting: dict[Asked, Any], what: str) -> Any:
    """The prompt or answer that a record is about, taken from those that still wait for one."""
    if not isinstance(record, kind):
        raise _broken(what, f"it gave {str(record)[:60]!r}, which is no {kind.__name__}")
    asked = (record.prompt_id, record.sample)
    if asked not in waiting:
        raise _broken(what, f"it gave prompt '{asked[0]}', sample {asked[1]}, twice or without being asked")
    return waiting.pop(asked)


def _no_answer(output: Output, kind: str, prompt: Prompt) -> str:
    """Why an output is no answer; '' where it is one."""
    if kind == "choose":
        numbers = output.choice_logprobs
        if len(numbers) != len(prompt.choices):
            return f"{len(numbers)} log-probabilities for {len(prompt.choices)} choices"
        return "" if all(map(_finite, numbers)) else "a log-probability that is no finite number"
    if not isinstance(output.text, str):
        return "neither a text nor an error"
    return "" if all(map(_finite, output.choice_logprobs)) else "a log-probability that is no finite number"


def _failed_output(output: Output, problem: str) -> Output:
    nothing = replace(output, text=None, choice_logprobs=(), stop_reason="error")
    return replace(nothing, error=f"{MALFORMED}: {problem}")


def _no_values(score: Score, offers: Collection[str]) -> str:
    """Why a score holds no values; '' where it does."""
    if offers and not set(offers) & set(score.values):
        return f"no value of those that it offers ({', '.join(sorted(offers))})"
    for name, value in score.values.items():
        if not isinstance(value, str) and not _finite(value):
            return f"{name} is {str(value)[:40]}, neither a finite number nor a word"
    return "" if score.values else "no value and no error"


def _finite(value: Any) -> bool:
    try:
        return math.isfinite(value)
    except (TypeError, OverflowError):
        return False


def _broken(what: str, problem: str) -> UserError:
    return UserError(
        f"{what} breaks its contract: {problem}",
        "Correct the plugin; what it gave before is kept, and the same command continues.",
    )
