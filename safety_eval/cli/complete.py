"""Names that a shell completes: tasks and suites, engines, scorers. Each part of a list with commas on its own."""

from __future__ import annotations

import click
from click.shell_completion import CompletionItem


def tasks(context: click.Context, parameter: click.Parameter, typed: str) -> list[CompletionItem]:
    """Tasks and suites, behind the last comma."""
    from safety_eval.core import plugins
    from safety_eval.runs.suites import SUITES

    before, comma, begun = typed.rpartition(",")
    names = (*plugins.names("tasks"), *SUITES)
    return [CompletionItem(f"{before}{comma}{name}") for name in names if name.startswith(begun)]


def engines(context: click.Context, parameter: click.Parameter, typed: str) -> list[CompletionItem]:
    """Engines."""
    return [CompletionItem(name) for name in _names("engines") if name.startswith(typed)]


def scorers(context: click.Context, parameter: click.Parameter, typed: str) -> list[CompletionItem]:
    """Scorers."""
    return [CompletionItem(name) for name in _names("scorers") if name.startswith(typed)]


def task_scorers(context: click.Context, parameter: click.Parameter, typed: str) -> list[CompletionItem]:
    """TASK=, then TASK=SCORER, behind the last plus."""
    task, equals, rest = typed.partition("=")
    if not equals:
        return [CompletionItem(f"{name}=") for name in _names("tasks") if name.startswith(task)]
    before, plus, begun = rest.rpartition("+")
    return [CompletionItem(f"{task}={before}{plus}{name}") for name in _names("scorers") if name.startswith(begun)]


def _names(kind: str) -> list[str]:
    from safety_eval.core import plugins

    return plugins.names(kind)
