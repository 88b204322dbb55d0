"""Runs: resume, kill, refusal of mixed runs, limits, shards. The public echo engine answers."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from safety_eval import api
from safety_eval.core import plugins
from safety_eval.core.errors import UserError
from safety_eval.core.interfaces import ModelSpec
from safety_eval.core.journal import Journal
from safety_eval.core.records import Output
from safety_eval.core.store import read_json, read_records, writing
from safety_eval.runs import answers, merge, pipeline, run_file, start
from safety_eval.runs.config import run_config
from safety_eval.runs.session import Session
from safety_eval.show.notebook import open_run

TASK = str(Path(__file__).with_name("small_task.py"))


def run(folder: Path, **changes: object) -> Path:
    values = {"model": "echo", "engine": "echo", "tasks": [TASK], "output_path": str(folder), **changes}
    return pipeline.run(run_config(values))


def sorted_lines(path: Path, skip: int = 0) -> list[str]:
    return sorted(path.read_text().splitlines()[skip:])


def test_a_run_gives_every_group_with_interval_and_count(tmp_path: Path) -> None:
    found = open_run(run(tmp_path / "r"))
    table = found.estimates().set_index(["metric", "axis", "group"])
    assert table.loc[("sentiment", "team", "red"), "count"] == 16
    assert table.loc[("sentiment", "total", "all"), "expected"] == 48
    assert len(found.outputs("small_task")) == 48
    facts = read_json(tmp_path / "r" / "run.json")
    assert facts["tasks"]["small_task"]["instruments"]["vader"]["name"] == "vader"


def test_the_same_command_again_asks_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(tmp_path / "r")
    before = (tmp_path / "r" / "small_task" / "outputs.jsonl").read_bytes()
    monkeypatch.setattr(Session, "engine", lambda *_: pytest.fail("the engine was loaded"))
    monkeypatch.setattr(Session, "scorer", lambda *_: pytest.fail("a scorer was loaded"))
    run(tmp_path / "r")
    assert (tmp_path / "r" / "small_task" / "outputs.jsonl").read_bytes() == before


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 1},
        {"samples": 1},
        {"limit": 6},
        {"system_prompt": "x"},
        {"generation": {"temperature": 0.1}},
        {"data_version": {"small_task": "two"}},
        {"scorers": {"small_task": "profanity_check"}},
    ],
    ids=lambda c: next(iter(c)),
)
def test_another_setting_in_the_same_folder_is_refused(tmp_path: Path, changes: dict[str, object]) -> None:
    if "scorers" not in changes:
        run(tmp_path / "r")
        with pytest.raises(UserError, match="holds another run"):
            run(tmp_path / "r", **changes)
    else:
        with pytest.raises(UserError, match="measures sentiment"):
            run(tmp_path / "r", **changes)


def test_another_model_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    script = tmp_path / "script.json"
    script.write_text(json.dumps({"": "one answer"}))
    run(tmp_path / "r", model=str(script))
    outputs = tmp_path / "r" / "small_task" / "outputs.jsonl"
    outputs.write_text("".join(outputs.read_text().splitlines(keepends=True)[:5]))
    script.write_text(json.dumps({"": "another answer"}))
    with pytest.raises(UserError, match="another model"):
        run(tmp_path / "r", model=str(script))


def test_an_answer_that_failed_is_asked_again_and_counts_once(tmp_path: Path) -> None:
    script = tmp_path / "script.json"
    script.write_text(json.dumps({"p03": {"error": "server down: 500"}}))
    run(tmp_path / "r", model=str(script))
    e = open_run(tmp_path / "r").estimate_records()[0]
    assert (e.count, e.expected, dict(e.missing)) == (46, 48, {"server down": 2})
    assert e.gate_low < e.lowest <= e.value <= e.highest < e.gate_high
    facts = read_json(tmp_path / "r" / "run.json")
    script.write_text(json.dumps({"p03": "fine"}))
    facts["engine"]["weights"] = plugins.find("engines", "echo").build(ModelSpec(str(script))).identity["weights"]
    (tmp_path / "r" / "run.json").write_text(json.dumps(facts))
    run(tmp_path / "r", model=str(script))
    assert open_run(tmp_path / "r").estimate_records()[0].count == 48
    assert len(answers.outputs(tmp_path / "r", "small_task")) == 48


def test_a_limit_takes_an_even_share_of_every_group_and_says_so(tmp_path: Path) -> None:
    run(tmp_path / "r", limit=6)
    facts = read_json(tmp_path / "r" / "run.json")["tasks"]["small_task"]
    groups = [p.groups["team"][0] for p in answers.prompts(tmp_path / "r", "small_task")]
    assert sorted(groups) == ["blue"] * 2 + ["green"] * 2 + ["red"] * 2
    assert any("even share of every team" in note for note in facts["notes"])


def test_shards_put_together_equal_the_whole_run(tmp_path: Path) -> None:
    run(tmp_path / "whole")
    parts = [run(tmp_path / f"part{i}", shard=[i, 3]) for i in (1, 2, 3)]
    merge.merge(parts, tmp_path / "merged")
    for name in ("outputs.jsonl", "prompts.jsonl", "scores/vader.jsonl"):
        assert sorted_lines(tmp_path / "merged" / "small_task" / name) == sorted_lines(
            tmp_path / "whole" / "small_task" / name
        )
    assert read_json(tmp_path / "merged" / "results.json") == read_json(tmp_path / "whole" / "results.json")


def test_shards_of_another_run_are_not_merged(tmp_path: Path) -> None:
    a, b = run(tmp_path / "a", shard=[1, 2]), run(tmp_path / "b", shard=[2, 2], seed=1)
    with pytest.raises(UserError, match="seed"):
        merge.merge([a, b], tmp_path / "m")
    with pytest.raises(UserError, match="another part"):
        merge.merge([a, a], tmp_path / "m")


def test_shards_of_two_models_of_one_name_are_not_merged(tmp_path: Path) -> None:
    script, parts = tmp_path / "script.json", []
    for i, answer in enumerate(("one answer", "another answer"), 1):
        script.write_text(json.dumps({"": answer}))
        parts.append(run(tmp_path / f"part{i}", shard=[i, 2], model=str(script)))
    with pytest.raises(UserError, match="engine differ"):
        merge.merge(parts, tmp_path / "m")


def test_a_folder_that_another_process_writes_is_left_alone(tmp_path: Path) -> None:
    with writing(tmp_path / "r"), pytest.raises(UserError, match="another process"):
        run(tmp_path / "r")
    assert not (tmp_path / "r" / "run.json").exists()


def test_prompts_of_which_a_part_was_written_are_frozen_again(tmp_path: Path) -> None:
    """A kill while they are written leaves a file that run.json does not know."""
    part = tmp_path / "r" / "small_task" / "prompts.jsonl"
    part.parent.mkdir(parents=True)
    part.write_text((run(tmp_path / "whole") / "small_task" / "prompts.jsonl").read_text()[:700])
    whole = (tmp_path / "whole" / "small_task" / "prompts.jsonl").read_text()
    assert (run(tmp_path / "r") / "small_task" / "prompts.jsonl").read_text() == whole


SLOW = """
import sys, time
from safety_eval.runs import pipeline
from safety_eval.runs.config import run_config
from safety_eval.engines import echo
real = echo.Echo.generate
def slow(self, prompts, settings):
    for output in real(self, prompts, settings):
        time.sleep(0.01)
        yield output
echo.Echo.generate = slow
pipeline.run(run_config({"model": "echo", "engine": "echo", "tasks": [sys.argv[1]], "output_path": sys.argv[2]}))
"""


def recorded(folder: Path) -> int:
    """Bytes of records so far."""
    return sum(f.stat().st_size for f in folder.glob("small_task/**/*.jsonl") if f.exists())


def test_a_run_killed_twenty_times_ends_as_if_it_had_not_been(tmp_path: Path) -> None:
    run(tmp_path / "whole")
    total, rng, killed = recorded(tmp_path / "whole"), random.Random(5), 0
    command = [sys.executable, "-c", SLOW, TASK, str(tmp_path / "r")]
    for _ in range(20):
        # Anywhere from the first import to some way further than the last time.
        aim = recorded(tmp_path / "r") + rng.choice([-1, 0, 1]) * rng.uniform(0, 0.12) * total
        process = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"})
        give_up = time.monotonic() + rng.uniform(0.1, 20)
        while process.poll() is None and recorded(tmp_path / "r") <= aim and time.monotonic() < give_up:
            time.sleep(0.001)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            killed += 1
        process.wait()
    assert killed >= 15
    run(tmp_path / "r")
    for name, skip in (("outputs.jsonl", 0), ("prompts.jsonl", 0), ("scores/vader.jsonl", 1)):
        mine, theirs = (sorted_lines(tmp_path / f / "small_task" / name, skip) for f in ("r", "whole"))
        assert mine == theirs, name
    assert read_json(tmp_path / "r" / "results.json") == read_json(tmp_path / "whole" / "results.json")
    assert len(list(read_records(tmp_path / "r" / "small_task" / "outputs.jsonl", Output))) == 48


def test_results_of_another_version_are_told_and_can_be_measured_again(tmp_path: Path) -> None:
    run(tmp_path / "r")
    path = tmp_path / "r" / "results.json"
    whole = read_json(path)
    kept = {**whole, "estimates": [{**row, "worst": 0.5} for row in whole["estimates"]]}
    path.write_text(json.dumps(kept))
    with pytest.raises(UserError, match="another version") as caught:
        open_run(tmp_path / "r").estimate_records()
    assert f"safety-eval score {tmp_path / 'r'}" in caught.value.hint
    api.score(tmp_path / "r")
    assert read_json(path) == whole


def test_a_run_whose_answers_depend_on_the_batch_size_keeps_it(tmp_path: Path) -> None:
    folder = run(tmp_path / "r")
    file, opened = run_file.read(folder), Journal(folder)
    half = file.changed(engine={**file.engine, "batch": "auto"})
    same = {**file.engine, "batch": "auto"}
    with pytest.raises(UserError, match="begun at --batch-size auto: in this precision answers depend on it"):
        start.bind(folder, {**same, "batch": "8"}, half, opened)
    assert start.bind(folder, same, half, opened).engine["batch"] == "auto"


@pytest.mark.parametrize(("asked", "choices"), [("auto", False), ("on", True)])
def test_a_chat_template_is_for_answers_and_for_choices_only_when_asked(
    tmp_path: Path, asked: str, choices: bool
) -> None:
    tasks = {"tasks": [TASK, "truthfulqa_choice"], "data_version": {"truthfulqa_choice": "quickstart"}}
    folder = run(tmp_path / "r", **tasks, limit=3, chat_template=asked, predict_only=True)
    told = {name: task.settings["chat_template"] for name, task in run_file.read(folder).tasks.items()}
    assert told == {"small_task": True, "truthfulqa_choice": choices}
