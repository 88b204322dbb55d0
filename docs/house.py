"""The structure of the package, measured: its rooms, which room imports which, and the picture of both."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1] / "safety_eval"
DOOR = "api"
"""The two modules at the top, `__init__` and `api`, are one room: the door."""
SCRIPT = "__main__"
"""Starts the command line: it belongs to that room."""
Arrows = dict[tuple[str, str], list[tuple[str, str]]]
"""(room, room below it) -> the (module, module) pairs that draw the arrow."""


def modules() -> list[Path]:
    """Every file of the package."""
    return sorted(PACKAGE.rglob("*.py"))


def module_name(path: Path) -> str:
    """'runs.pipeline'; a package by its own name, the package itself as ''."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(p for p in parts if p != "__init__")


@cache
def tree(path: Path) -> ast.Module:
    """A file, parsed."""
    return ast.parse(path.read_text(encoding="utf-8"))


def room(name: str) -> str:
    """The room of a module: its folder."""
    if name in ("", DOOR):
        return DOOR
    if name == SCRIPT:
        return "cli"
    return name if PACKAGE.joinpath(*name.split(".")).is_dir() else name.rpartition(".")[0]


def imported(path: Path) -> Iterator[str]:
    """Our own modules that a file imports, anywhere in it, except for type hints alone."""
    hints = {
        id(inner)
        for node in ast.walk(tree(path))
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree(path)):
        if id(node) in hints:
            continue
        if isinstance(node, ast.Import):
            yield from (a.name.removeprefix("safety_eval.") for a in node.names if a.name.startswith("safety_eval."))
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "safety_eval":
            base = (node.module or "").removeprefix("safety_eval").lstrip(".")
            for alias in node.names:
                inner = f"{base}.{alias.name}" if base else alias.name
                whole = PACKAGE.joinpath(*inner.split("."))
                if whole.with_suffix(".py").exists() or (whole / "__init__.py").exists():
                    yield inner
                elif base:
                    yield base


def arrows() -> Arrows:
    """Which room imports which. What the door offers lazily to users is not an arrow."""
    drawn: Arrows = {}
    for path in modules():
        name = module_name(path)
        if not name:
            continue
        for other in imported(path):
            if room(name) != room(other):
                drawn.setdefault((room(name), room(other)), []).append((name, other))
    return drawn


def rooms_in(page: str) -> list[str]:
    """Names of the rooms in a picture, from the ground up."""
    return re.findall(r"^(\S+) {2,}\S.*\n {20,}<-", page, re.M)


def picture(names: list[str]) -> str:
    """Every room with its purpose, its number of files and the rooms that it imports."""
    drawn = arrows()
    parts = []
    for name in names:
        folder = PACKAGE if name == DOOR else PACKAGE.joinpath(*name.split("."))
        files = 2 if name == DOOR else len(list(folder.glob("*.py"))) - 1
        about = "The door: what notebooks and the command line call"
        if name != DOOR:
            about = " ".join((ast.get_docstring(tree(folder / "__init__.py")) or "").split("\n\n")[0].split())
        below = [there for there in names if (name, there) in drawn]
        count = f"{about.rstrip('.')} ({files})"
        parts.append(f"{name:24}{count}\n{'':24}<- {', '.join(below) or 'nothing'}\n")
    return "".join(parts)
