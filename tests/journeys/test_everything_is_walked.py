"""Every command, suite, task, scorer, engine and export format that the installed command offers is in a journey.

Journeys declare what they use (`@pytest.mark.journey(...)`), and the fixture `walk` holds them to it; here what they
declare is compared with what there is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import test_command_journeys
import test_ray_journey
import test_server_journey
import test_suite_journeys
import test_wrong_turns
from planted import SUITES, TASKS
from walk import Walk

JOURNEYS: tuple[ModuleType, ...] = (
    test_suite_journeys,
    test_command_journeys,
    test_server_journey,
    test_ray_journey,
    test_wrong_turns,
)

ONLY_STOPS = {
    "engine vllm": "a package with a torch of its own: tests/engines/test_engine_vllm.py runs in that environment",
    "scorer truth_judge": "two judges of 7 billion parameters",
    "scorer risk_judge": "a guard model of 0.6 billion parameters and more",
    "scorer detoxify": "its published checkpoints lie on GitHub and the Hub",
}
"""What cannot be walked to its end without a download, and why; a walk of each stops and names what is missing."""


def _marks(test: object) -> Iterator[pytest.Mark]:
    for mark in getattr(test, "pytestmark", ()):
        yield mark
        if mark.name == "parametrize":
            for case in mark.args[1]:
                yield from getattr(case, "marks", ())


def declared() -> set[str]:
    """What the journeys say that they use."""
    found: set[str] = set()
    for module in JOURNEYS:
        for name, test in vars(module).items():
            if name.startswith("test_"):
                found |= {part for mark in _marks(test) if mark.name == "journey" for part in mark.args}
    return found


def _names(walk: Walk, kind: str) -> list[str]:
    return [line.split()[0] for line in walk("ls", kind).out.splitlines() if line and line[0] != " "]


def test_every_module_of_journeys_is_looked_at() -> None:
    here = {path.stem for path in Path(__file__).parent.glob("test_*.py")} - {Path(__file__).stem}
    assert here == {module.__name__ for module in JOURNEYS}


def test_every_command_is_walked(walk: Walk) -> None:
    commands = re.findall(r"^  ([a-z][a-z-]+)  ", walk("--help").out.partition("Commands:")[2], re.MULTILINE)
    assert len(commands) > 10
    assert {f"command {name}" for name in commands} - declared() == set()
    kinds = re.search(r"\{([a-z|]+)\}", walk("ls", "--help").out)
    assert kinds is not None
    assert {f"command ls {kind}" for kind in kinds.group(1).split("|")} - declared() == set()
    formats = re.search(r"--format \[([a-z|\s-]+)\]", walk("export", "--help").out)
    assert formats is not None
    assert {f"format {name.strip()}" for name in formats.group(1).split("|")} - declared() == set()


@pytest.mark.parametrize("kind", ["suite", "task", "scorer", "engine"])
def test_everything_that_is_listed_is_walked(walk: Walk, kind: str) -> None:
    listed = {f"{kind} {name}" for name in _names(walk, f"{kind}s")}
    here = {name for name in ONLY_STOPS if name.startswith(f"{kind} ")}
    assert here <= listed, "an exception for what is not there any more"
    assert listed - here - declared() == set()
    assert {f"stops {name}" for name in here} <= declared()


def test_what_is_planted_is_what_the_suites_ask() -> None:
    asked = {task for suite in SUITES.values() for task in suite.tasks}
    assert asked == set(TASKS)
    assert all(suite.judged for suite in SUITES.values())
