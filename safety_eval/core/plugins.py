"""Find a task, engine or scorer: by its file name in this package, by entry point, or by the path of a .py file.

Nothing is registered and nothing is imported but what was asked for. Entry point groups: safety_eval.tasks,
safety_eval.engines, safety_eval.scorers (value: the module that holds TASK, ENGINE or SCORER).
"""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
from collections.abc import Mapping
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from safety_eval.core import packages
from safety_eval.core.errors import SafetyEvalError, UserError, nearest
from safety_eval.core.faults import PluginError, fault, raised
from safety_eval.core.interfaces import EngineEntry, ScorerEntry
from safety_eval.core.task import Task

_ATTRIBUTE = {"tasks": "TASK", "engines": "ENGINE", "scorers": "SCORER"}
_ENTRIES: Mapping[str, type] = {"tasks": Task, "engines": EngineEntry, "scorers": ScorerEntry}


def names(kind: str) -> list[str]:
    """Names of the plugins of a kind ('tasks', 'engines', 'scorers'), without importing them."""
    return list(_names(kind))


@cache
def _names(kind: str) -> tuple[str, ...]:
    package = importlib.import_module(f"safety_eval.{kind}")
    own = [m.name for m in pkgutil.iter_modules(package.__path__) if not m.name.startswith("_")]
    return tuple(sorted({*own, *_installed(kind)}))


@cache
def _installed(kind: str) -> Mapping[str, str]:
    """Name -> module of the plugins that other packages bring. Looking through every installed package takes long."""
    return {point.name: point.value for point in entry_points(group=f"safety_eval.{kind}")}


def find(kind: str, name: str) -> Any:
    """The TASK, ENGINE or SCORER of that name.

    Raises:
        UserError: unknown name (the nearest is offered), or a package that the plugin needs is not installed.
    """
    try:
        module = _module(kind, name)
    except ModuleNotFoundError as error:
        if error.name and error.name.startswith("safety_eval"):
            raise
        raise packages.lacking(error.name or "", f"{kind[:-1]} '{name}'") from error
    return getattr(module, _ATTRIBUTE[kind])


def _module(kind: str, name: str) -> ModuleType:
    if name.endswith(".py"):
        return _from_file(kind, Path(name))
    if name in _installed(kind):
        return importlib.import_module(_installed(kind)[name])
    if name not in names(kind):
        raise UserError(f"unknown {kind[:-1]} '{name}'", nearest(name, names(kind)))
    return importlib.import_module(f"safety_eval.{kind}.{name}")


def _from_file(kind: str, path: Path) -> ModuleType:
    if not path.is_file():
        raise UserError(f"no such file: {path}", f"Give the path of a .py file that holds {_ATTRIBUTE[kind]}.")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        raise PluginError(f"{path}, line {error.lineno}: {error.msg}", "Correct that line.") from error
    except (SafetyEvalError, ModuleNotFoundError):
        raise
    except (Exception, SystemExit) as error:  # a file that ends the program would choose its exit code
        raise raised(error, path, "this file") from error
    _check_entry(kind, path, module)
    return module


def _check_entry(kind: str, path: Path, module: ModuleType) -> None:
    """The entry at the bottom of a file is of its kind, and a task is called as its file."""
    entry, attribute = getattr(module, _ATTRIBUTE[kind], None), _ATTRIBUTE[kind]
    if not isinstance(entry, _ENTRIES[kind]):
        found = "holds no" if entry is None else f"holds a {type(entry).__name__} as"
        raise PluginError(
            f"{path} {found} {attribute}", f"Write {attribute} = {_ENTRIES[kind].__name__}(...) at its bottom."
        )
    if isinstance(entry, Task) and entry.name != path.stem:
        raise fault(
            path,
            entry.name,
            f"the file is called '{path.stem}', its TASK '{entry.name}'",
            f"Name both alike: a run is read again by the file's name. Write name='{path.stem}', or rename the file.",
        )
