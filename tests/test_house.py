"""The house is kept: no long calls, nothing that only tests reach, no name in a docstring that does not exist."""

from __future__ import annotations

import ast
import re
from collections import Counter
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "safety_eval"
OFFERED = {"TASK", "ENGINE", "SCORER"}
"""What a plugin file offers; core/plugins.py asks for it by these names."""
CALLED_BY_OTHERS: dict[str, str] = {
    "__getattr__": "Python asks a module for its lazy names",
    "__dir__": "Python lists a module's lazy names",
    "on_broken_pipe": "rich, whose reader has gone",
    "_repr_png_": "Jupyter draws a chart",
    "_repr_html_": "Jupyter shows a run, a verdict, a comparison, an estimate",
}
"""Name -> who calls it from outside."""


@cache
def trees() -> dict[str, ast.Module]:
    """Every file of the package, by its path below it."""
    return {
        path.relative_to(PACKAGE).as_posix(): ast.parse(path.read_text(encoding="utf-8"))
        for path in sorted(PACKAGE.rglob("*.py"))
    }


def test_no_call_passes_more_than_seven_positional_arguments() -> None:
    open_ended = {
        node.name
        for tree in trees().values()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and node.args.vararg
    }
    long = [
        f"{name}:{node.lineno} {ast.unparse(node.func)}({len(node.args)} arguments)"
        for name, tree in trees().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and len(node.args) > 7 and ast.unparse(node.func).split(".")[-1] not in open_ended
    ]
    assert not long, long


@cache
def named() -> Counter[str]:
    """How often each name is used in the package: loaded, asked of something, or imported by another file."""
    used: Counter[str] = Counter()
    docs = ast.parse((ROOT / "docs" / "generate.py").read_text(encoding="utf-8"))
    for name, tree in {**trees(), "docs/generate.py": docs}.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
                used[node.id] += 1
            elif isinstance(node, ast.Attribute):
                used[node.attr] += 1
            elif isinstance(node, ast.ImportFrom) and not name.endswith("__init__.py"):
                used.update(alias.name for alias in node.names)
    return used


def _decorated(node: ast.FunctionDef) -> bool:
    """Called by what decorates it: a command by click, a validator by pydantic, a filter by jinja2."""
    words = " ".join(ast.unparse(d) for d in node.decorator_list)
    return bool(re.search(r"command|group|validator|callback|pass_context", words))


def _definitions(tree: ast.Module) -> list[tuple[int, str]]:
    found: list[tuple[int, str]] = []
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and not _decorated(node):
            found.append((node.lineno, node.name))
        elif isinstance(node, ast.ClassDef):
            found.append((node.lineno, node.name))
            inner = [n for n in node.body if isinstance(n, ast.FunctionDef) and not _decorated(n)]
            found += [(n.lineno, n.name) for n in inner if not re.fullmatch(r"__\w+__", n.name)]
        elif isinstance(node, ast.Assign):
            found += [(node.lineno, target.id) for target in node.targets if isinstance(target, ast.Name)]
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found.append((node.lineno, node.target.id))
    return found


def test_nothing_is_reached_by_tests_alone() -> None:
    """A definition that the package never names is reached by tests alone, or by nobody. What the door offers
    (`__all__`) users call."""
    public = set(
        ast.literal_eval(
            next(
                ast.unparse(node.value)
                for node in trees()["__init__.py"].body
                if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
            )
        )
    )
    alone = [
        f"{file}:{line} {name}"
        for file, tree in trees().items()
        for line, name in _definitions(tree)
        if not named()[name]
        and name not in OFFERED | public | set(CALLED_BY_OTHERS)
        and not (file == "api.py" and not name.startswith("_"))
        and not re.fullmatch(r"__(version|all)__", name)
    ]
    assert not alone, alone


def test_every_name_in_a_docstring_exists() -> None:
    """`module.name` and `Class.field` in backticks: the second word must be defined somewhere in the package."""
    defined = {name for tree in trees().values() for _, name in _definitions(tree)}
    for tree in trees().values():
        for node in ast.walk(tree):
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                defined.add(node.target.id)
            elif isinstance(node, ast.FunctionDef | ast.ClassDef):
                defined.add(node.name)
            elif isinstance(node, ast.arg):
                defined.add(node.arg)
    classes = {n.name for tree in trees().values() for n in ast.walk(tree) if isinstance(n, ast.ClassDef)}
    missing = []
    for file, tree in trees().items():
        for node in ast.walk(tree):
            if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                continue
            for owner, name in re.findall(r"`(\w+)\.(\w+)(?:\(\))?`", ast.get_docstring(node) or ""):
                if owner in classes and name not in defined:
                    missing.append(f"{file}: `{owner}.{name}`")
    assert not missing, missing


def test_a_record_of_many_fields_says_why_it_is_flat() -> None:
    """More than 15 fields: built of parts, or its docstring says who reads them as they stand ('Flat: ...')."""
    silent = [
        f"{file}: {node.name}"
        for file, tree in trees().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
        and sum(isinstance(part, ast.AnnAssign) for part in node.body) > 15
        and "Flat: " not in (ast.get_docstring(node) or "")
    ]
    assert not silent, silent
