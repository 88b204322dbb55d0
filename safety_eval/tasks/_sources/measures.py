"""Ways to read a number off an answer's scores, shared by the tasks. An absent value is None."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import isfinite

from safety_eval.core.records import Output, Prompt
from safety_eval.core.task import Values

Measure = Callable[[Prompt, Output, Values], float | None]


def number(name: str) -> Measure:
    """The value itself."""

    def measure(prompt: Prompt, output: Output, values: Values) -> float | None:
        return _finite(values, name)

    return measure


def at_least(name: str, cut: float) -> Measure:
    """1 where the value is `cut` or more, else 0."""
    return every([name], cut)


def at_most(name: str, cut: float) -> Measure:
    """1 where the value is `cut` or less, else 0."""

    def measure(prompt: Prompt, output: Output, values: Values) -> float | None:
        value = _finite(values, name)
        return None if value is None else float(value <= cut)

    return measure


def every(names: Iterable[str], cut: float) -> Measure:
    """1 where all the values are `cut` or more, else 0; None where one is absent."""
    wanted = tuple(names)

    def measure(prompt: Prompt, output: Output, values: Values) -> float | None:
        found = [value for name in wanted if (value := _finite(values, name)) is not None]
        return float(min(found) >= cut) if len(found) == len(wanted) else None

    return measure


def is_one_of(name: str, wanted: Iterable[str], known: Iterable[str]) -> Measure:
    """1 where the value is one of `wanted`, 0 where it is another of `known`, None where it is neither."""
    yes, no = frozenset(wanted), frozenset(known)

    def measure(prompt: Prompt, output: Output, values: Values) -> float | None:
        value = values.get(name)
        return 1.0 if value in yes else 0.0 if value in no else None

    return measure


def _finite(values: Values, name: str) -> float | None:
    value = values.get(name)
    return float(value) if isinstance(value, (int, float)) and isfinite(value) else None


def chosen(prompt: Prompt, values: Values) -> int | None:
    """Index of the chosen option, by the scorer `option`; None where there is none."""
    value = values.get("option")
    return int(value) if isinstance(value, float) and value in range(len(prompt.target["options"])) else None


def right(prompt: Prompt, output: Output, values: Values) -> float | None:
    """1 where the right option was chosen: the one at `target["label"]`."""
    option = chosen(prompt, values)
    return None if option is None else float(option == prompt.target["label"])
