"""Verdict games over all tasks: the same model, made to look better by asking or judging it otherwise. From the
command line, none ends in a silent approval: it cannot be decided, waives by name, or the verdict says what differs.

The first task of each game is played by default, the others in the long run (pytest -m slow).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import evidence_bundle
import planted
import pytest

from safety_eval.cli import main
from safety_eval.core import plugins

SKIPPED = {
    "cyber_frr": "its data has to be fetched",
    "toxigen_likelihood": "no rule can judge it",
    "red_team": "its own judge is a large model",
    "truthfulqa_generation": "its own judge is a large model",
}
TASKS = [name for name in plugins.names("tasks") if name in planted.TASKS and name not in SKIPPED]
GENERATES = [name for name in TASKS if plugins.find("tasks", name).kind == "generate"]
OWN = {name: {s.name for s in plugins.find("tasks", name).scorers} for name in TASKS}


@dataclass(frozen=True)
class Game:
    """How a run is bent: flags of `run`, what is put into the policy, and what the verdict must say of it.

    Attributes:
        words: what must be told. code: of the sign-off.
        run, signoff: further flags of these commands. policy: text that is added to the policy.
        limit, metric: of the rule, in place of the planted ones. unnamed: the rule names no scorer.
        loose: the rule is met by any answers. own_file: the task is a file of somebody's own.
        tasks: on which it can be played.
    """

    words: str
    code: int = 4
    run: tuple[str, ...] = ()
    signoff: tuple[str, ...] = ()
    policy: str = ""
    limit: str = ""
    metric: str = ""
    unnamed: bool = False
    loose: bool = False
    own_file: bool = False
    tasks: Sequence[str] = ()


WAIVED = "waivers: [{rule: r, owner: A. Person, reason: a game, expires: 9999-12-31}]\n"
REFUSAL = [name for name in TASKS if "refusal" in OWN[name]]
ONCE = [name for name in TASKS if plugins.find("tasks", name).samples != 3]
OTHER = [name for name in TASKS if planted.TASKS[name].scorer not in OWN[name]]
GAMES: dict[str, Game] = {
    "two tokens": Game("max_new_tokens must be", run=("--gen-kwargs", "max_new_tokens=2"), tasks=GENERATES),
    "hotter": Game("temperature must be", run=("--gen-kwargs", "temperature=1.9"), tasks=GENERATES),
    "a kind system prompt": Game("system prompt must be ''", run=("--system-prompt", "Be kind."), tasks=TASKS),
    "no chat template": Game("chat template must be 'auto'", run=("--no-apply-chat-template",), tasks=TASKS),
    "a file that calls itself the benchmark": Game("a file of somebody's own", own_file=True, tasks=TASKS),
    "an inverted instrument": Game(
        "must have the arguments none", run=("--scorer-args", "refusal:parser=xstest_prefix"), tasks=REFUSAL
    ),
    "a weak instrument that the rule does not name": Game("not by its own instrument", unnamed=True, tasks=OTHER),
    "its own baseline": Game(
        "this very run",
        limit="non_inferior: {margin: 0.9, direction: lower}",
        signoff=("--baseline", "RUN"),
        tasks=TASKS,
    ),
    "unsigned where two are wanted": Game("0 of 2 signatures", policy="signers: 2\n", tasks=TASKS),
    "everything waived for ever": Game(
        "waived by A. Person until 9999",
        5,
        policy=WAIVED,
        limit="max: 0.0",
        metric="degenerate_rate",
        tasks=GENERATES,
    ),
    "a few prompts": Game("at most 8 prompts", 0, run=("--limit", "8"), loose=True, tasks=TASKS),
    "a few prompts where all are wanted": Game(
        "limit must be 'full'", run=("--limit", "8"), policy="conditions: {limit: full}\n", tasks=TASKS
    ),
    "asked three times": Game("3 answers for each prompt", 0, run=("--samples", "3"), loose=True, tasks=ONCE),
    "another model than the pinned": Game(
        "weights must be", policy=f"conditions: {{weights: {'a' * 64}}}\n", tasks=TASKS
    ),
    "a policy made afterwards": Game("must be recorded before", policy="registered: true\n", tasks=TASKS),
}


def games() -> list[object]:
    """Every game on every task that it can be played on; the first task of each by default."""
    return [
        pytest.param(name, task, marks=[pytest.mark.slow] if number else [], id=f"{name}, {task}")
        for name, game in GAMES.items()
        for number, task in enumerate(game.tasks)
    ]


def terms(task: str, game: Game) -> str:
    """A policy that the honest run meets."""
    told = planted.TASKS[task]
    limit = game.limit or f"{told.limit}: {told.bound}"
    if game.loose:
        limit = "max: 1.0" if told.limit == "max" else "min: 0.0"
    metric = game.metric or told.metric
    scorer = "" if game.unnamed or game.metric else f"scorer: {told.scorer}, "
    rule = f"  - {{id: r, task: {task}, metric: {metric}, {scorer}{limit}, because: a game, floor_met_because: one}}\n"
    signers = "" if "signers" in game.policy else "signers: 0\n"
    ceilings = "ceilings: {unscored: 1.0, degenerate: 1.0}\n"
    return f"version: 1\nname: games\n{signers}{ceilings}{game.policy}rules:\n{rule}"


def asked(home: Path, task: str, game: Game) -> list[str]:
    """The command that runs a game's model."""
    (home / "s.json").write_text(planted.script([task], "good"))
    named = task
    if game.own_file:
        named = str(home / f"{task}.py")
        Path(named).write_text(f"from safety_eval.tasks import {task} as shipped\n\nTASK = shipped.TASK\n")
    words = ["run", "--engine", "echo", "--model", str(home / "s.json"), "--tasks", named]
    words += ["--data-version", "quickstart", "--output-path", str(home / "r")]
    scorer = planted.TASKS[task].scorer
    if scorer not in OWN[task]:
        words += ["--scorer", f"{task}={scorer}"]
    return [*words, *game.run]


@pytest.fixture
def told(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    def call(*words: object) -> tuple[int, str]:
        capsys.readouterr()
        code = main([str(w) for w in words])
        shown = capsys.readouterr()
        return code, " ".join((shown.out + shown.err).split())

    return call


@pytest.mark.parametrize(("name", "task"), games())
def test_no_game_ends_in_a_silent_approval(name: str, task: str, tmp_path: Path, told) -> None:
    game = GAMES[name]
    assert told(*asked(tmp_path, task, game))[0] == 0
    (tmp_path / "p.yaml").write_text(terms(task, game))
    flags = [str(tmp_path / "r") if f == "RUN" else f for f in game.signoff]
    code, said = told("signoff", tmp_path / "r", "--policy", tmp_path / "p.yaml", *flags)
    # Of a few prompts some tasks cannot decide at all: no approval is as good as one that says what was asked.
    assert code in {game.code, 4 if game.code == 0 else game.code} and game.words in said, said


ENOUGH = [task for task in TASKS if task != "false_refusals"]
"""Tasks whose own small set is enough for a verdict; that one has eight intents."""


@pytest.mark.parametrize("task", [pytest.param(t, marks=[pytest.mark.slow] if i else []) for i, t in enumerate(ENOUGH)])
def test_the_honest_run_is_approved_and_verify_names_what_was_judged(task: str, tmp_path: Path, told) -> None:
    """Otherwise every game would be won by refusing all."""
    honest = Game("", loose=True)
    assert told(*asked(tmp_path, task, honest))[0] == 0
    (tmp_path / "p.yaml").write_text(terms(task, honest))
    private, public = evidence_bundle.write_keys(tmp_path)
    code, said = told("signoff", tmp_path / "r", "--policy", tmp_path / "p.yaml", "--sign", private[0])
    assert code == 0, said
    code, said = told("verify", tmp_path / "r", "--key", public[0])
    run = json.loads((tmp_path / "r" / "run.json").read_text())
    digest = json.loads((tmp_path / "r" / "signoff.json").read_text())["policy_sha256"]
    model = (f"model: {run['engine']['model']}", run["engine"]["weights"])
    named = (*model, "policy: games", digest, "verdict: approved, 20")
    assert code == 0 and all(word in said for word in (*named, "(trusted)")), said


def test_there_are_a_hundred_games_and_each_task_plays() -> None:
    played = [(name, task) for name, game in GAMES.items() for task in game.tasks]
    assert len(played) >= 100 and {task for _, task in played} == set(TASKS)
    assert set(planted.TASKS) - set(TASKS) <= set(SKIPPED)


def test_the_evidence_of_another_model_does_not_pass_for_this_one(tmp_path: Path, told) -> None:
    """An old bundle under a new run folder, and the weights that a receiver asks for."""
    honest = Game("", loose=True)
    (tmp_path / "p.yaml").write_text(terms("bold", honest))
    for name in ("old", "new"):
        home = tmp_path / name
        home.mkdir()
        told(*asked(home, "bold", honest), *(["--limit", "9"] if name == "new" else []))
        told("signoff", home / "r", "--policy", tmp_path / "p.yaml")
    shutil.rmtree(tmp_path / "new" / "r" / "evidence")
    shutil.copytree(tmp_path / "old" / "r" / "evidence", tmp_path / "new" / "r" / "evidence")
    assert told("verify", tmp_path / "new" / "r")[0] == 4
    assert told("verify", tmp_path / "old" / "r", "--expect-weights", "0" * 64)[0] == 4
