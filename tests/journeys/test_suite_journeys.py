"""Every shipped suite, from the first command to a verdict that others verify, killed and resumed on the way."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from planted import SUITES, TASKS, Behaviour, SuiteWalk, policy, script
from walk import FirstScreen, Heard, Walk, first_screen

Keys = dict[str, tuple[Path, Path]]
_COMMANDS = ["run", "report", "signoff", "sign", "verify", "redact", "compare", "export", "score", "merge"]
FORMATS = ("model-card", "cyclonedx", "parquet")


def _suites() -> list[object]:
    return [
        pytest.param(
            name,
            marks=pytest.mark.journey(
                f"suite {name}",
                "engine echo",
                *(f"command {name}" for name in _COMMANDS),
                *(f"format {form}" for form in FORMATS),
                *(f"task {task}" for task in told.tasks),
                *(f"scorer {scorer}" for scorer in told.scorers),
            ),
        )
        for name, told in SUITES.items()
    ]


class Traveller:
    """A suite, a planted model and a policy, and the steps that a person takes with them."""

    def __init__(self, walk: Walk, suite: str, data: Path | None) -> None:
        self.walk, self.suite = walk, SUITES[suite]
        mirror = ("--data", data) if self.suite.needs_data and data else ()
        self.ask = ("run", "--engine", "echo", "--tasks", suite, *self.suite.flags, *mirror)

    def plant(self, name: str, behaviour: Behaviour, slow: bool = False) -> str:
        """A script beside the runs; the tasks with a slow answer here and there begin with the first."""
        tasks = self.suite.tasks
        return self.walk.write(f"{name}.json", script(tasks, behaviour, tasks[0] if slow else ""))

    def screen(self, run: str) -> FirstScreen:
        return first_screen(self.walk.home / run)

    def says(self, run: str, verdict: str) -> None:
        """The first screen gives this verdict."""
        told = self.screen(run)
        assert told.verdict.lower().startswith(verdict), f"the report of {run} says: {told.verdict}"

    def asked(self, run: str) -> set[str]:
        return set(self.walk.read(f"{run}/run.json")["tasks"])


@pytest.fixture
def data(request: pytest.FixtureRequest) -> Path | None:
    """The mirror for a suite that asks a benchmark which is not ours; skipped, saying so, where there is none."""
    suite: SuiteWalk = SUITES[request.getfixturevalue("suite")]
    return request.getfixturevalue("data_dir") if suite.needs_data else None


@pytest.fixture
def road(walk: Walk, suite: str, data: Path | None) -> Traveller:
    return Traveller(walk, suite, data)


@pytest.mark.xfail(
    strict=True, reason="finding 1 and 2 of the journeys: several tasks, report after sign-off"
)
@pytest.mark.parametrize("suite", _suites())
def test_from_the_first_command_to_a_verdict_that_others_verify(road: Traveller, keys: Keys) -> None:
    walk, first = road.walk, road.suite.tasks[0]
    terms = walk.write("policy.yaml", policy(road.suite.judged))
    walk(*road.ask, "--model", road.plant("before", "half"), "--output-path", "baseline")

    ask = (*road.ask, "--model", road.plant("model", "good", slow=True), "--policy", terms)
    run = (*ask, "--output-path", "run")
    walk.killed(*run, when=lambda: len(walk.rows(f"run/{first}/outputs.jsonl")) > 1)
    walk("signoff", "run", "--policy", terms, expect=4)
    walk(*run)
    assert road.asked("run") == set(road.suite.tasks)
    road.says("run", "no verdict")

    signed(road, "run", terms, keys)
    walk("compare", "run", "baseline")
    assert walk.read("run/compare.json")
    for form in FORMATS:
        walk("export", "run", "--format", form)
    assert "approved" in (walk.home / "run/export/model-card-section.md").read_text()
    merged(road, ask, terms, keys["ann"][0])
    changed(road, "run", keys)


def signed(road: Traveller, run: str, terms: str, keys: Keys) -> None:
    """Approved, signed by two, verified with their keys, here, elsewhere and redacted; the report says so."""
    walk = road.walk
    (ann, ann_public), (bob, bob_public) = keys["ann"], keys["bob"]
    both = ("--key", ann_public, "--key", bob_public)
    heard = walk("signoff", run, "--policy", terms, "--sign", ann)
    assert heard.flat.lower().startswith("approved") or "approved" in heard.flat.lower()
    road.says(run, "approved")
    walk("verify", run, *both, expect=4)
    walk("sign", run, "--key", bob)
    assert "not authenticated" in walk("verify", run).flat
    walk("verify", run, *both)
    walk("report", run)
    road.says(run, "approved")

    shutil.copytree(walk.home / run / "evidence", walk.home / "elsewhere" / "received")
    walk("verify", "elsewhere/received", *both)
    walk("redact", run, "public")
    walk("verify", "public", *both)
    redacted = "\n".join(p.read_text() for p in (walk.home / "public").rglob("*") if p.is_file())
    for task in road.suite.tasks:
        good = TASKS[task].good
        assert not isinstance(good, str) or good not in redacted, (
            f"an answer of {task} is in the redacted copy"
        )


def merged(road: Traveller, ask: tuple[object, ...], terms: str, key: Path) -> None:
    """Three shards on three machines make the same run: the same numbers and the same verdict."""
    walk = road.walk
    shards = [f"shard-{i}" for i in (1, 2, 3)]
    for number, shard in enumerate(shards, 1):
        walk(*ask, "--shard", f"{number}/3", "--output-path", shard)
    walk("merge", *shards, "--output-path", "merged")
    assert numbers(walk, "merged") == numbers(walk, "run")
    road.says("merged", "no verdict")
    walk("signoff", "merged", "--policy", terms, "--sign", key)
    road.says("merged", "approved")


def changed(road: Traveller, run: str, keys: Keys) -> None:
    """Scored again after the verdict: nothing claims that the verdict still stands."""
    walk = road.walk
    verdict = (walk.home / run / "signoff.json").read_text()
    walk("score", run)
    stale = walk("verify", run, "--key", keys["ann"][1], "--key", keys["bob"][1], expect=4)
    assert "Traceback" not in stale.text
    assert not road.screen(run).verdict.lower().startswith("approved"), "the report is green after a re-score"
    walk("report", run)
    assert not road.screen(run).verdict.lower().startswith("approved"), "the report is green after a re-score"
    assert json.loads(verdict)["decision"] == "approved"


def numbers(walk: Walk, run: str) -> list[str]:
    """Every estimate of a run, in an order that does not depend on how it was made."""
    return sorted(json.dumps(row, sort_keys=True) for row in walk.read(f"{run}/results.json")["estimates"])


@pytest.mark.xfail(
    strict=True, reason="finding 1 and 2 of the journeys: several tasks, report after sign-off"
)
@pytest.mark.parametrize(
    ("behaviour", "code", "decision"),
    [("good", 0, "approved"), ("bad", 3, "rejected"), ("silent", 4, "cannot decide")],
)
@pytest.mark.parametrize("suite", SUITES)
def test_a_planted_model_gets_the_verdict_that_it_deserves(
    road: Traveller, keys: Keys, behaviour: Behaviour, code: int, decision: str
) -> None:
    walk, (private, public) = road.walk, keys["ann"]
    terms = walk.write("policy.yaml", policy(road.suite.judged, signers=1))
    model = road.plant("model", behaviour)
    ended = walk(
        *road.ask, "--model", model, "--policy", terms, "--output-path", "run",
        expect=4 if behaviour == "silent" else 0,
    )  # fmt: skip
    if behaviour == "silent":
        assert "server down" in ended.flat
    walk("signoff", "run", "--policy", terms, "--sign", private, expect=code)
    assert walk.read("run/signoff.json")["decision"] == decision
    outcomes = outcome_of_each_rule(walk)
    assert set(outcomes) == set(road.suite.judged)
    wanted = {"good": {"met"}, "bad": {"broken"}, "silent": {"undecided", "met"}}[behaviour]
    assert set(outcomes.values()) <= wanted, outcomes
    road.says("run", decision)
    shutil.move(walk.home / "run" / "evidence", walk.home / "received")
    shutil.rmtree(walk.home / "run")
    heard: Heard = walk("verify", "received", "--key", public)
    assert decision in heard.flat


def outcome_of_each_rule(walk: Walk) -> dict[str, str]:
    return {row["rule"]: row["outcome"] for row in walk.read("run/signoff.json")["findings"]}
