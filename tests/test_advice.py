"""Advice that can be followed: every `pip install` names an extra of ours or a package that we declare."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from safety_eval.core import packages

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = set(PROJECT["optional-dependencies"])
MAKEFILE = re.findall(r"pip install|--no-deps ([\w-]+)", (ROOT / "Makefile").read_text())


def bare(requirement: str) -> str:
    return re.split(r"[<>=!~\[ ;]", requirement, maxsplit=1)[0].lower()


DECLARED = {bare(r) for listed in (PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()) for r in listed}
DECLARED |= {name for name in MAKEFILE if name}
TEXTS = [
    *(p for p in ROOT.glob("*.md")),
    *(p for room in ("safety_eval", "docs") for p in (ROOT / room).rglob("*") if p.suffix in (".py", ".md", ".html")),
]


def advised(text: str) -> list[str]:
    """What each 'pip install ...' of a text would install."""
    wanted = []
    for words in re.findall(r"pip install ((?:--?[\w-]+ )*(?:'[^']+'|[\w.\[\]-]+(?: [a-z][\w-]+(?=[.,`\"']))?))", text):
        wanted += [w.strip("'.,") for w in words.split() if not w.startswith("-")]
    return wanted


@pytest.mark.parametrize("path", TEXTS, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_what_is_advised_is_declared(path: Path) -> None:
    for wanted in advised(path.read_text(encoding="utf-8")):
        if "{" not in wanted:  # a place holder: the test of every module's advice fills it
            check(wanted, path.name)


def check(wanted: str, where: str) -> None:
    name, _, extra = wanted.rstrip("]").partition("[")
    if name == "safety-eval":
        assert not extra or set(extra.split(",")) <= EXTRAS, f"{where}: no extra '{extra}'"
    else:
        assert name.lower() in DECLARED, f"{where} advises '{name}', which pyproject.toml does not name"


@pytest.mark.parametrize("module", packages.PACKAGES)
def test_the_advice_for_a_module_installs_what_carries_it(module: str) -> None:
    for wanted in advised(packages.advice(module)):
        check(wanted, module)
    carriers = [d.lower().replace("_", "-") for d in packages_distributions().get(module, ())]
    named = packages.distribution(module).lower().replace("_", "-")
    assert not carriers or named in carriers or module == "pyarrow", f"{module} is carried by {carriers}"


def test_an_extra_that_we_name_brings_the_package() -> None:
    for module, package in packages.PACKAGES.items():
        if package.extra:
            listed = {bare(r) for r in PROJECT["optional-dependencies"][package.extra]}
            assert package.distribution in listed, f"{module}: the extra {package.extra} does not bring it"


def test_what_is_offered_for_runtime_can_be_chosen() -> None:
    """`runtime=onnx` was offered by a docstring, by doctor and by an extra, and refused."""
    from safety_eval.scorers import _classifying, _runtimes

    said = re.search(r"runtime=([\w|]+)", _classifying.__doc__ or "")
    assert said is not None and tuple(said.group(1).split("|")) == _runtimes.RUNTIMES
