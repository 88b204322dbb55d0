"""The walk of a test, held to what its `journey` mark declares."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from walk import Walk, Warm, key_pair

PASSED = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.when == "call":
        item.stash[PASSED] = report.passed
    return report


@pytest.fixture
def walk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Walk]:
    """A person in an empty folder. What the test's `journey` marks declare must have been used at its end."""
    cold = request.node.get_closest_marker("cold") is not None
    walk = Walk(tmp_path / "home", None if cold else request.getfixturevalue("warm"))
    walk.home.mkdir()
    yield walk
    declared = {part for mark in request.node.iter_markers("journey") for part in mark.args}
    if request.node.stash.get(PASSED, False) and declared - walk.used:
        walk.fail(f"the journey declares what it never used: {', '.join(sorted(declared - walk.used))}")


@pytest.fixture(scope="session")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warm]:
    """The process that runs the commands of walks without the mark `cold`."""
    warm = Warm(tmp_path_factory.mktemp("warm"))
    yield warm
    warm.close()


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Path]]:
    """Private and public key files of two signers."""
    folder = tmp_path_factory.mktemp("keys")
    return {name: key_pair(folder, name) for name in ("ann", "bob")}
