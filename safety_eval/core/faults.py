"""What is wrong with a plugin file of somebody's own, told with its file and line; a fault of ours stays a bug."""

from __future__ import annotations

import ast
import inspect
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safety_eval.core.errors import SafetyEvalError, UserError

_PACKAGE = Path(__file__).resolve().parents[1]


class PluginError(UserError):
    """A task, scorer or engine of somebody's own is wrong (exit 2)."""


def file_of(function: Callable[..., Any]) -> Path | None:
    """The file of a plugin's function, None for one of this package or where there is no file."""
    try:
        name = inspect.getsourcefile(inspect.unwrap(function))
    except TypeError:
        return None
    path = Path(name) if name else None
    return None if path is None or path.resolve().is_relative_to(_PACKAGE) else path


@contextmanager
def told(function: Callable[..., Any], what: str) -> Iterator[None]:
    """Call a plugin's function: what it raises is told with the line of its file; ours is let through.

    Args:
        what: the part of the plugin, for the message: "load of task 'letters'".

    Raises:
        PluginError: an exception in somebody's own file, or caused by what it gave.
    """
    try:
        yield
    except SafetyEvalError:
        raise
    except (Exception, SystemExit) as error:  # a plugin that ends the program would choose its exit code
        file = file_of(function)
        if file is None:
            raise
        raise raised(error, file, what) from error


def raised(error: BaseException, file: Path, what: str) -> PluginError:
    """An exception as the error that a person gets: innermost line in the plugin's file, kind and words."""
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if Path(f.filename) == file]
    where = f"{file}, line {lines[-1]}" if lines else str(file)
    words = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return PluginError(f"{where}: {what} fails with {words}", "Correct that line; no prompt was lost.")


def fault(file: Path | None, word: str, problem: str, hint: str) -> PluginError:
    """What is wrong about a word of a plugin file, with the line on which the word stands."""
    where = f"{file}, line {line_of(file, word)}: " if file is not None else ""
    return PluginError(f"{where}{problem}", hint)


def line_of(file: Path, word: str) -> int:
    """The first line that holds a text or name as such; where there is none, that of the entry at the bottom."""
    try:
        tree = ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return 1
    entry = 1
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and node.value == word:
            return node.lineno
        if isinstance(node, ast.keyword) and node.arg == word:
            return node.value.lineno
        if isinstance(node, ast.Name) and node.id in ("TASK", "SCORER", "ENGINE"):
            entry = node.lineno
    return entry
