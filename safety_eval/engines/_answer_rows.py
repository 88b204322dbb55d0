"""Answers made elsewhere, as one row each: what a file may hold, and how its values are checked.

Files come from anybody. Whatever is of another type than is read here ends with a sentence that names its place.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from safety_eval.core.errors import UserError

MOST_ROWS = 2_000_000
MOST_REPEATS = 10_000
LONGEST = 1 << 20
"""Characters of an answer or a prompt."""
SETTINGS = (
    "max_new_tokens",
    "max_thinking_tokens",
    "temperature",
    "top_p",
    "stop",
    "seed",
    "system_prompt",
    "chat_template",
    "chat_prefix",
)
"""How prompts are asked; what a file does not say of these is not known."""
ENDS: Mapping[str, str] = {
    "eos": "eos",
    "stop": "eos",
    "end_turn": "eos",
    "stop_string": "stop",
    "length": "length",
    "max_tokens": "length",
    "model_length": "length",
}
"""How an answer ended, as others call it -> our stop reasons."""
_SHOWN = 60
_ROUNDING = 1e-6
"""By which a sum of log-likelihoods may come out above 0."""


@dataclass(frozen=True, slots=True)
class Row:
    """One answer.

    Attributes:
        place: where it stands in its file: 'line 3'.
        id: of our prompt; '' = the file does not say. prompt: the wording that was asked; '' likewise. system: a
            system turn that was put before it.
        repeat: counted from 0.
        text: None = there is none. reasoning: where the file keeps it apart.
        likelihoods: (choice, log-likelihood), the choice '' where the order of the prompt's own is meant.
        stop_reason: 'eos', 'stop' or 'length'; '' = not known.
        prompt_tokens, output_tokens: 0 = not known.
        error: why there is no text.
    """

    place: str
    id: str = ""
    prompt: str = ""
    system: str = ""
    repeat: int = 0
    text: str | None = None
    reasoning: str = ""
    likelihoods: tuple[tuple[str, float], ...] = ()
    stop_reason: str = ""
    prompt_tokens: int = 0
    output_tokens: int = 0
    error: str = ""

    @property
    def name(self) -> str:
        """How people find it again."""
        return f"{self.place} ({self.id[:_SHOWN]})" if self.id else self.place


@dataclass(frozen=True, slots=True)
class Source:
    """A file of answers.

    Attributes:
        form: 'inspect', 'lm-eval', 'jsonl' or 'csv'. sha256: of its bytes.
        rows: in its order. model, made_by: what it says of its model and of the program; '' = nothing.
        settings: how it says that the prompts were asked, by our names.
        left: columns that were not read.
    """

    form: str
    sha256: str
    rows: tuple[Row, ...]
    model: str = ""
    made_by: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    left: tuple[str, ...] = ()


class FaultError(Exception):
    """What is wrong with a file of answers, and where."""


def words(value: Any, place: str, what: str) -> str:
    """A text of a file.

    Raises:
        FaultError: of another type, too long, or with half of a character in it.
    """
    if not isinstance(value, str):
        raise FaultError(f"{place}: {what} is not a text")
    if len(value) > LONGEST:
        raise FaultError(f"{place}: {what} is longer than {LONGEST:,} characters")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise FaultError(f"{place}: {what} holds half of a character") from None
    return value


def text_or_none(value: Any, place: str, what: str) -> str | None:
    """A text, or None where the file says null."""
    return None if value is None else words(value, place, what)


def name_of(value: Any, place: str, what: str) -> str:
    """An id: a text or a whole number; '' where there is none."""
    if value is None:
        return ""
    return str(value) if type(value) is int and abs(value) < 10**18 else words(value, place, what)


def repeat_of(value: Any, place: str, first: int = 0) -> int:
    """Which of several answers to one prompt, counted from 0. `first`: what the file counts from."""
    number = int(value) if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 9 else value
    if type(number) is not int or not first <= number < MOST_REPEATS + first:
        raise FaultError(f"{place}: the repeat is not a whole number from {first} up")
    return number - first


def likelihood(value: Any, place: str) -> float:
    """A natural-log likelihood, as a number or (as lm-eval writes it) its text."""
    try:
        number = float(value) if type(value) in (str, int, float) else math.nan
    except (ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number) or number > _ROUNDING:
        raise FaultError(f"{place}: a log-likelihood is not a finite number of at most 0")
    return min(number, 0.0)


def count(value: Any) -> int:
    """A number of tokens; 0 where it is none."""
    return value if type(value) is int and 0 <= value < 2**53 else 0


def number(value: Any) -> float | int | None:
    """A setting's number; None where it is none, or not finite."""
    return value if type(value) in (int, float) and math.isfinite(value) else None


def held(rows: Iterable[Row]) -> tuple[Row, ...]:
    """Rows that say whose answers they are.

    Raises:
        FaultError: one does not, two are of the same prompt and repeat, there are none, or too many.
    """
    kept: list[Row] = []
    seen: dict[tuple[str, int], str] = {}
    for row in rows:
        if not row.id and not row.prompt:
            raise FaultError(f"{row.place}: neither a prompt's id nor its text, so that nobody knows what was asked")
        if row.id and (other := seen.setdefault((row.id, row.repeat), row.place)) != row.place:
            raise FaultError(
                f"{row.place}: the id '{row.id[:_SHOWN]}' stands already in {other}; repeats need `repeat`"
            )
        kept.append(row)
        if len(kept) > MOST_ROWS:
            raise FaultError(f"it holds more than {MOST_ROWS:,} answers")
    if not kept:
        raise FaultError("it holds no answers")
    if min(row.repeat for row in kept) > 0:
        raise FaultError("its repeats do not begin at 0")
    return tuple(kept)


def refused(path: Any, why: object) -> UserError:
    """The error of a file that is not what it should be."""
    return UserError(f"{path} cannot be imported: {why}", "See docs/how-to/import-answers.md for what is read.")
