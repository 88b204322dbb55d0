"""The house stays as ARCHITECTURE.md draws it: imports point down, small files, few knobs, one word per idea."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[1]


def _house() -> ModuleType:
    spec = util.spec_from_file_location("house", ROOT / "docs" / "house.py")
    assert spec is not None and spec.loader is not None
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


house = _house()
PACKAGE = house.PACKAGE
modules, module_name, tree, room, imported = (
    house.modules,
    house.module_name,
    house.tree,
    house.room,
    house.imported,
)
arrows = house.arrows

ROOMS = house.rooms_in((ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8"))
"""Every room as ARCHITECTURE.md draws it, from the ground up: a file imports from its own room and those before it."""
MOST_ROOMS, MOST_ARROWS = 24, 100
LONG_FILES: dict[str, str] = {}
"""File -> why it may be longer than 400 lines."""
LONG_FUNCTIONS: dict[str, str] = {}
"""file:function -> why it may be 50 lines or longer."""
SHORT = {"runs/pipeline.py": 250, "cli/running.py": 250}
HEAVY = {
    "torch",
    "transformers",
    "datasets",
    "detoxify",
    "matplotlib",
    "vllm",
    "ray",
    "pandas",
    "scipy",
    "sklearn",
}
OTHER_WORDS = re.compile(
    r"^(?:docs?|item|instances?|responses?|completions?|providers?|backends?|detectors?|graders?)$"
)
"""Names of other projects for what we call prompt, output, engine, scorer."""


def test_every_room_is_drawn_and_the_house_is_small() -> None:
    assert {room(module_name(p)) for p in modules()} == set(ROOMS), "ROOMS must name exactly the rooms that exist"
    assert len(ROOMS) <= MOST_ROOMS and len(arrows()) <= MOST_ARROWS
    assert sorted(p.name for p in PACKAGE.glob("*.py")) == ["__init__.py", "__main__.py", "api.py"]


def test_imports_point_down() -> None:
    up = [pair for (here, there), pairs in arrows().items() for pair in pairs if ROOMS.index(there) > ROOMS.index(here)]
    assert not up, f"these imports run up: {up}"


def test_no_module_imports_itself_in_a_circle() -> None:
    below = {module_name(p): set(imported(p)) for p in modules()}
    order: list[str] = []

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, f"a circle: {' -> '.join((*path, name))}"
        if name in order:
            return
        for other in sorted(below.get(name, ())):
            visit(other, (*path, name))
        order.append(name)

    for name in sorted(below):
        visit(name, ())


@pytest.mark.parametrize("kind", ["engines", "scorers", "tasks"])
def test_plugins_do_not_import_one_another(kind: str) -> None:
    for path in (PACKAGE / kind).rglob("*.py"):
        if path.name.startswith("_"):
            continue
        for other in imported(path):
            first, _, rest = other.partition(".")
            if first in ("engines", "scorers", "tasks") and rest:
                assert first == kind and rest.startswith("_"), f"{module_name(path)} imports {other}"


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def test_files_and_functions_are_small() -> None:
    for path in modules():
        name = path.relative_to(PACKAGE).as_posix()
        lines = len(path.read_text(encoding="utf-8").splitlines())
        limit = SHORT.get(name, 400)
        assert lines <= limit or name in LONG_FILES, f"{name} has {lines} lines, {limit} are allowed"
        for function in functions(path):
            length = (function.end_lineno or 0) - function.lineno + 1
            known = f"{name}:{function.name}" in LONG_FUNCTIONS
            assert length < 50 or known, f"{name}: {function.name} has {length} lines, fewer than 50 are allowed"


def test_no_function_takes_more_than_seven_parameters() -> None:
    for path in modules():
        for function in functions(path):
            a = function.args
            names = [x.arg for x in (*a.posonlyargs, *a.args, *a.kwonlyargs) if x.arg not in ("self", "cls")]
            assert len(names) <= 7, f"{path.name}: {function.name} takes {len(names)}"


def test_every_module_and_public_name_says_what_it_is_for() -> None:
    for path in modules():
        content = tree(path)
        if content.body:
            assert ast.get_docstring(content), f"{path.name} has no docstring"
        for node in content.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                assert ast.get_docstring(node), f"{path.name}: class {node.name} has no docstring"


def test_one_word_per_idea() -> None:
    for path in modules():
        for node in ast.walk(tree(path)):
            names = []
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                names = [node.name]
            elif isinstance(node, ast.arg):
                names = [node.arg]
            for name in names:
                assert not OTHER_WORDS.match(name), f"{path.name}:{node.lineno}: '{name}' is another project's word"


def test_the_door_opens_without_loading_anything_heavy() -> None:
    code = "import sys, safety_eval, safety_eval.cli; print(sorted({m.split('.')[0] for m in sys.modules}))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    loaded = set(ast.literal_eval(found.stdout)) & HEAVY
    assert not loaded, f"importing safety_eval loads {', '.join(sorted(loaded))}"


def test_no_pyplot_anywhere() -> None:
    for path in modules():
        assert "pyplot" not in {
            a.name.split(".")[-1] for n in ast.walk(tree(path)) if isinstance(n, ast.Import) for a in n.names
        }
        assert "import pyplot" not in path.read_text(encoding="utf-8")


def test_nothing_but_the_ci_script_knows_where_this_was_built() -> None:
    words = ("/wo" + "rk/", "shared" + "/data", "shared" + "/design", "/tm" + "p/farm")
    tracked = subprocess.run(["git", "ls-files"], capture_output=True, text=True, check=False, cwd=ROOT).stdout.split()
    for name in tracked:
        path = ROOT / name
        if name == ".ci/run" or not path.is_file() or path.suffix in (".png", ".parquet", ".gz"):
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        assert not [w for w in words if w in text], f"{name} names the place where it was built"
