"""safety-eval: may this language model be released? See README.md for the two commands.

The public door. Names are loaded when they are first used, so that importing the package loads nothing heavy.
`safety_eval.api` holds what runs, scores and judges; the rest is what a reader or a plugin needs.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from safety_eval import api
    from safety_eval.api import audit, compare, export, plan, report, review, run, sign_off
    from safety_eval.core.errors import CannotDecideError, EvidenceError, SafetyEvalError, UserError
    from safety_eval.core.interfaces import Engine, Scorer, Settings
    from safety_eval.core.records import Estimate, Output, Prompt, Score
    from safety_eval.core.task import Metric, PromptSet, Task, TaskOptions
    from safety_eval.show.notebook import Run, open_run

__version__ = "0.1.0"
__all__ = [
    "CannotDecideError",
    "Engine",
    "Estimate",
    "EvidenceError",
    "Metric",
    "Output",
    "Prompt",
    "PromptSet",
    "Run",
    "SafetyEvalError",
    "Score",
    "Scorer",
    "Settings",
    "Task",
    "TaskOptions",
    "UserError",
    "api",
    "audit",
    "compare",
    "export",
    "open_run",
    "plan",
    "report",
    "review",
    "run",
    "sign_off",
]
_DOORS = ("plan", "review", "run", "sign_off")
_HOMES = ("core.errors", "core.interfaces", "core.records", "core.task", "show.notebook")


def __getattr__(name: str) -> Any:
    if name == "api":
        return import_module("safety_eval.api")
    if name in _DOORS:
        return getattr(import_module("safety_eval.api"), name)
    if name in __all__:
        for home in _HOMES:
            module = import_module(f"safety_eval.{home}")
            if name in vars(module):
                return vars(module)[name]
    raise AttributeError(f"module 'safety_eval' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _door(name: str) -> property:
    return property(lambda package: getattr(import_module("safety_eval.api"), name), lambda package, module: None)


class _Package(ModuleType):
    """The package, of which four functions bear the names of folders: importing a module from such a folder must not
    put the folder in the function's place. Modules inside are imported by `from safety_eval.report import page`."""

    audit, compare, export, report = map(_door, ("audit", "compare", "export", "report"))


sys.modules[__name__].__class__ = _Package
