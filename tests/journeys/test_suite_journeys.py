"""Every shipped suite, from the first command to a verdict that others verify, killed and resumed on the way."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from planted import SUITES, TASKS, Behaviour, SuiteWalk, policy, script
from walk import FirstScreen, Heard, Walk, first_screen

Keys = dict[str, tuple[Path, Path]]
_COMMANDS = ["run", "report", "signoff", "sign", "verify", "reproduce", "redact", "compare", "export", "score", "merge"]
FORMATS = ("model-card", "cyclonedx", "parquet", "inspect", "lm-eval", "every-eval-ever", "hub", "github")


LONGEST = "release"
"""All tasks of the other suites in one run: its whole journey is among the slow tests, its verdicts are not."""
COLD = "toxicity"
"""The shortest: each of its commands starts the installed script itself."""


def _forms(suite: str) -> tuple[str, ...]:
    """The forms in which a suite is exported: each form is some suite's, beside the longest."""
    suites = sorted(set(SUITES) - {LONGEST})
    return FORMATS[suites.index(suite) :: len(suites)] if suite in suites else FORMATS[:1]


def _suites() -> list[object]:
    return [
        pytest.param(
            name,
            marks=[
                pytest.mark.journey(
                    f"suite {name}",
                    "engine echo",
                    *(f"command {command}" for command in _COMMANDS),
                    *(f"format {form}" for form in _forms(name)),
                    *(f"task {task}" for task in told.tasks),
                    *(f"scorer {scorer}" for scorer in told.scorers),
                ),
                *([pytest.mark.slow] if name == LONGEST else []),
                *([pytest.mark.cold] if name == COLD else []),
            ],
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


@pytest.mark.parametrize("suite", _suites())
def test_from_the_first_command_to_a_verdict_that_others_verify(road: Traveller, suite: str, keys: Keys) -> None:
    walk, first = road.walk, road.suite.tasks[0]
    terms = walk.write("policy.yaml", policy(road.suite.judged))
    walk(*road.ask, "--model", road.plant("before", "half"), "--output-path", "baseline")

    ask = (*road.ask, "--model", road.plant("model", "good", slow=True), "--policy", terms)
    run = (*ask, "--output-path", "run")
    walk.killed(*run, when=lambda: len(walk.rows(f"run/{first}/outputs.jsonl")) > 1)
    walk("signoff", "run", "--policy", terms, expect=4)
    assert walk.read("run/signoff.json")["decision"] == "cannot decide"
    walk(*run)
    assert road.asked("run") == set(road.suite.tasks)
    road.says("run", "stale")

    signed(road, "run", terms, keys)
    walk("compare", "run", "baseline")
    assert walk.read("run/compare.json")
    for form in _forms(suite):
        told = walk("export", "run", "--format", form, "--relationship", "other").out.splitlines()
        exported = [walk.home / line for line in told]
        assert exported and all(path.stat().st_size for path in exported), form
    merged(road, ask, terms, keys["ann"][0])
    changed(road, "run", keys)


def signed(road: Traveller, run: str, terms: str, keys: Keys) -> None:
    """Approved, signed by two, verified with their keys, here, elsewhere and redacted; the report says so."""
    walk = road.walk
    (ann, ann_public), (bob, bob_public) = keys["ann"], keys["bob"]
    both = ("--key", ann_public, "--key", bob_public)
    heard = walk("signoff", run, "--policy", terms, "--sign", ann, expect=4)
    assert "1 of 2 signatures" in heard.flat
    walk("verify", run, *both, expect=4)
    walk("sign", run, "--key", bob)
    assert "2 of 2 signatures" in walk("signoff", run, "--policy", terms).flat, "the signatures were lost"
    road.says(run, "approved")
    walk("verify", run, *both)

    shutil.copytree(walk.home / run / "evidence", walk.home / "elsewhere" / "received")
    walk("verify", "elsewhere/received", *both)
    assert "equal: 12 of 12" in walk("reproduce", "elsewhere/received", *both, "--sample", "12").flat
    walk("redact", run, "public")
    walk("verify", "public", *both)
    files = [p for p in (walk.home / "public").rglob("*") if p.is_file()]
    redacted = "\n".join(p.read_bytes().decode("utf-8", "replace") for p in files)
    for task in road.suite.tasks:
        good = TASKS[task].good
        assert not isinstance(good, str) or good not in redacted, f"an answer of {task} is in the redacted copy"


def merged(road: Traveller, ask: tuple[object, ...], terms: str, key: Path) -> None:
    """Three shards on three machines make the same run: the same numbers and the same verdict."""
    walk = road.walk
    shards = [f"shard-{i}" for i in (1, 2, 3)]
    for number, shard in enumerate(shards, 1):
        walk(*ask, "--shard", f"{number}/3", "--output-path", shard)
    walk("merge", *shards, "--output-path", "merged")
    assert numbers(walk, "merged") == numbers(walk, "run")
    road.says("merged", "not judged")
    walk("signoff", "merged", "--policy", terms, "--sign", key, expect=4)
    assert walk.read("merged/signoff.json")["decision"] == "approved"
    road.says("merged", "approved")


def changed(road: Traveller, run: str, keys: Keys) -> None:
    """Scored again after the verdict: what is new makes it stale, on the page and for whoever verifies."""
    walk = road.walk
    (walk.home / "signoff.json").write_bytes((walk.home / run / "signoff.json").read_bytes())
    edited = walk.read("signoff.json") | {"policy": "another", "decided_at": "2020-01-01T00:00:00Z"}
    (walk.home / run / "signoff.json").write_text(json.dumps(edited))
    walk("report", run)
    road.says(run, "stale")
    shutil.copy(walk.home / "signoff.json", walk.home / run / "signoff.json")
    both = ("--key", keys["ann"][1], "--key", keys["bob"][1])
    if "bold" in road.suite.tasks:
        walk("score", run, "--scorer", "gender_polarity")
    else:
        name = f"{run}/{road.suite.tasks[-1]}/scores/refusal.jsonl"
        lines = (walk.home / name).read_text().splitlines(keepends=True)
        (walk.home / name).write_text("".join(lines[:-1]))
        walk("score", run)
    road.says(run, "stale")
    walk("verify", run, *both, expect=4)


def numbers(walk: Walk, run: str) -> list[str]:
    """Every estimate of a run, in an order that does not depend on how it was made."""
    return sorted(json.dumps(row, sort_keys=True) for row in walk.read(f"{run}/results.json")["estimates"])


VERDICTS: dict[Behaviour, tuple[int, str]] = {
    "good": (0, "approved"),
    "bad": (3, "rejected"),
    "silent": (4, "cannot decide"),
}


@pytest.mark.parametrize(
    ("suite", "behaviour"),
    [
        # The longest suite has the tasks of all others, so that these need not be walked by everybody.
        pytest.param(suite, behaviour, marks=[] if suite == LONGEST else [pytest.mark.slow])
        for suite in SUITES
        for behaviour in VERDICTS
        if suite == LONGEST or behaviour != "good"
    ],
)
def test_a_planted_model_gets_the_verdict_that_it_deserves(road: Traveller, keys: Keys, behaviour: Behaviour) -> None:
    """Approval stands in the whole journey of each suite already, all but the longest one's."""
    walk, (private, public) = road.walk, keys["ann"]
    code, decision = VERDICTS[behaviour]
    terms = walk.write("policy.yaml", policy(road.suite.judged, signers=1))
    model = road.plant("model", behaviour)
    ended = walk(
        *road.ask,
        "--model",
        model,
        "--policy",
        terms,
        "--output-path",
        "run",
        expect=4 if behaviour == "silent" else 0,
    )
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
