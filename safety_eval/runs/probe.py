"""A task tried out before the first token: do its settings, prompts, groups and metrics fit together?

A benchmark of somebody's own is most often wrong in a word: an axis that no prompt has, a value that no scorer gives,
a group that is a text where a tuple is meant. Each of these would cost the run, or lose a group in silence.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any

from safety_eval.core import packages, plugins
from safety_eval.core.errors import nearest
from safety_eval.core.faults import PluginError, fault, file_of, raised, told
from safety_eval.core.interfaces import ScorerEntry, Settings
from safety_eval.core.records import Output, Prompt, key
from safety_eval.core.task import Metric, PromptSet, Task

_TEXT_KINDS: Mapping[str, tuple[type, ...]] = {
    "max_new_tokens": (int,),
    "max_thinking_tokens": (int,),
    "temperature": (int, float),
    "top_p": (int, float),
    "stop": (tuple, list),
    "chat_template": (bool,),
    "system_prompt": (str, type(None)),
    "chat_prefix": (str,),
}
"""Settings that a task may choose, and what each has to be."""
_TRIED_VALUES: tuple[float | str, ...] = (0.5, 0.0, 1.0, "comply", "neutral")
"""Values that a scorer might give: a measure has to bear at least one of them."""
_TRIED_PROMPTS = 200


def settings(task: Task) -> None:
    """Refuse settings that no engine knows, and texts where several are meant.

    Raises:
        PluginError: naming the file and line.
    """
    file = file_of(task.load)
    known = [f.name for f in fields(Settings) if f.name in _TEXT_KINDS]
    for name, value in task.settings.items():
        if name not in known:
            raise fault(file, name, f"task '{task.name}' has the unknown setting '{name}'", nearest(name, known))
        if not isinstance(value, _TEXT_KINDS[name]) or isinstance(value, bool) != (_TEXT_KINDS[name] == (bool,)):
            wanted = " or ".join(kind.__name__ for kind in _TEXT_KINDS[name])
            raise fault(file, name, f"setting '{name}' of task '{task.name}' is {value!r}", f"Give it as {wanted}.")
    for holder, name, value in _tuples(task):
        if isinstance(value, str):
            raise fault(
                file,
                value,
                f"{holder}: {name} is the text '{value}', where several are meant",
                f"Write a tuple: {name}=('{value}',).",
            )


def _tuples(task: Task) -> Iterator[tuple[str, str, Any]]:
    """(whose, field, value) of everything that has to be a tuple."""
    for name in ("versions", "scorers", "metrics"):
        yield f"task '{task.name}'", name, getattr(task, name)
    for metric in task.metrics:
        for name in ("needs", "axes", "headlines"):
            yield f"metric '{metric.name}'", name, getattr(metric, name)
        for headline in metric.headlines:
            yield f"headline '{headline.name}'", "levels", headline.levels


def needs(task: Task, offered: Sequence[frozenset[str]]) -> None:
    """Refuse a metric that needs a value which no scorer gives, neither of the run (`offered`) nor of the installation.

    Raises:
        PluginError: the nearest value is offered.
    """
    lacking = [m for m in task.metrics if m.needs and not any(set(m.needs) <= one for one in offered)]
    file = file_of(task.load)
    if not lacking or file is None:
        return
    known = {value for one in (*offered, *_installed()) for value in one}
    for metric in lacking:
        for value in (v for v in metric.needs if v not in known):
            raise fault(
                file,
                value,
                f"metric '{metric.name}' needs '{value}', a value that no scorer gives",
                nearest(value, known),
            )


def _installed() -> Iterator[frozenset[str]]:
    for name in plugins.names("scorers"):
        try:
            entry: ScorerEntry = plugins.find("scorers", name)
        except packages.MissingPackageError:
            continue
        yield from (entry.offers(args) for args in entry.examples)


def prompts(task: Task, loaded: object) -> PromptSet:
    """The loaded prompts, if they are prompts of this task and its axes and measures fit them.

    Raises:
        PluginError: naming the file and line.
    """
    file = file_of(task.load)
    if not isinstance(loaded, PromptSet):
        kind = type(loaded).__name__
        raise fault(file, "load", f"load of task '{task.name}' gave a {kind}", "Give back a PromptSet.")
    if file is None:
        return loaded
    for prompt in loaded.prompts:
        _prompt(task, prompt)
    if loaded.prompts:
        _axes(task, loaded.prompts)
        for metric in task.metrics:
            _measure(task, metric, loaded.prompts)
    return loaded


def _prompt(task: Task, prompt: object) -> None:
    file = file_of(task.load)
    if not isinstance(prompt, Prompt):
        raise fault(file, "load", f"load of task '{task.name}' gave a {type(prompt).__name__}", "Give Prompts.")
    if prompt.task != task.name:
        problem = f"prompt '{prompt.id}' is of task '{prompt.task}', the file is of '{task.name}'"
        raise fault(file, prompt.task, problem, f"Write task='{task.name}'.")
    for axis, groups in prompt.groups.items():
        if isinstance(groups, str) or not all(isinstance(group, str) for group in groups):
            problem = f"groups of prompt '{prompt.id}': '{axis}' is {groups!r}, where a tuple of names is meant"
            raise fault(file, axis, problem, f"Write groups={{'{axis}': ('name',)}}.")
    if task.kind == "choose" and not prompt.choices:
        problem = f"prompt '{prompt.id}' has no choices, and task '{task.name}' chooses"
        raise fault(file, "kind", problem, "Give each prompt its choices, or kind='generate'.")


def _axes(task: Task, all_prompts: Sequence[Prompt]) -> None:
    """Every axis that is named somewhere belongs to at least one prompt."""
    known = {axis for prompt in all_prompts for axis in prompt.groups}
    named = [("limit_axis", task.limit_axis)] if task.limit_axis else []
    for metric in task.metrics:
        named += [(f"metric '{metric.name}'", axis) for axis in metric.axes]
        named += [(f"headline '{h.name}'", level) for h in metric.headlines for level in h.levels]
    for holder, axis in named:
        if axis not in known:
            problem = f"{holder} of task '{task.name}' names the axis '{axis}', which no prompt has in its groups"
            raise fault(file_of(task.load), axis, problem, nearest(axis, known))


def _measure(task: Task, metric: Metric, all_prompts: Sequence[Prompt]) -> None:
    """Try a metric on made-up answers to real prompts."""
    where = metric.where
    about: Sequence[int] = range(len(all_prompts))
    if where is not None:
        with told(where, f"where of metric '{metric.name}'"):
            about = [i for i, prompt in enumerate(all_prompts) if where(prompt)]
    for i in about[:: max(1, len(about) // _TRIED_PROMPTS)]:
        prompt = all_prompts[i]
        _tried(task, metric, prompt, _made_up(task, prompt))


def _made_up(task: Task, prompt: Prompt) -> Output:
    if task.kind == "choose":
        logprobs = tuple(-1.0 - number for number in range(len(prompt.choices)))
        return Output(key(prompt), prompt.id, 0, choice_logprobs=logprobs, stop_reason="choice")
    return Output(key(prompt), prompt.id, 0, text="An answer of some words.", stop_reason="eos")


def _tried(task: Task, metric: Metric, prompt: Prompt, output: Output) -> None:
    errors: list[Exception] = []
    for value in _TRIED_VALUES:
        try:
            number = metric.measure(prompt, output, dict.fromkeys(metric.needs, value))
        except Exception as error:
            errors.append(error)
            continue
        _fits(task, metric, number)
    if len(errors) == len(_TRIED_VALUES):
        file = file_of(metric.measure) or file_of(task.load)
        assert file is not None
        raise raised(errors[0], file, f"measure of metric '{metric.name}'") from errors[0]


def _fits(task: Task, metric: Metric, number: object) -> None:
    file = file_of(metric.measure) or file_of(task.load)
    if number is not None and not isinstance(number, int | float):
        problem = f"metric '{metric.name}' measured {number!r}, which is not a number"
        raise fault(file, metric.name, problem, "Give back a number, or None for undecided.")
    if metric.kind == "rate" and number is not None and number not in (0, 1):
        problem = f"metric '{metric.name}' is a rate and measured {number!r}"
        raise fault(file, metric.name, problem, "A rate measures 0 or 1 for each answer; for others: kind='mean'.")


__all__ = ["PluginError", "needs", "prompts", "settings"]
