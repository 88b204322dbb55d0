"""What plugins hand over is checked before it is written; a join that was killed is done again; frozen means frozen."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from safety_eval.core.errors import EvidenceError, UserError
from safety_eval.core.interfaces import Settings
from safety_eval.core.records import DigestOfAll, Output, Prompt, Score, digest, key
from safety_eval.core.store import read_json
from safety_eval.engines.echo import Echo
from safety_eval.runs import merge, pipeline, seam
from safety_eval.runs.config import run_config
from safety_eval.runs.unfinished import unfinished
from safety_eval.show.notebook import open_run

sys.path.insert(0, str(Path(__file__).parents[1] / "pipeline"))
from test_pipeline import TASK, sorted_lines

PROMPTS = [Prompt("t", f"p{i}", f"text {i}", choices=(" a", " b")) for i in range(3)]
ASKED = Settings("t", sample=1)


class Bent(Echo):
    """An engine that does something to its second output."""

    def __init__(self, bend: Callable[[Output], list[Any]]) -> None:
        super().__init__()
        self._bend = bend

    def generate(self, prompts, settings) -> Iterator[Output]:
        for i, output in enumerate(super().generate(prompts, settings)):
            yield from self._bend(output) if i == 1 else [output]


BROKEN: dict[str, Callable[[Output], list[Any]]] = {
    "twice": lambda o: [o, o],
    "not asked": lambda o: [replace(o, prompt_id="nobody")],
    "another sample": lambda o: [replace(o, sample=0)],
    "another prompt's key": lambda o: [replace(o, prompt_key="0" * 32)],
    "no output": lambda o: [0.5],
}


@pytest.mark.parametrize("kind", BROKEN)
def test_an_engine_that_breaks_the_contract_stops_and_what_came_before_is_kept(kind: str) -> None:
    kept = []
    with pytest.raises(UserError, match="the engine breaks its contract"):
        for output in seam.outputs(Bent(BROKEN[kind]), "generate", PROMPTS, ASKED):
            kept.append(output)
    assert [o.prompt_id for o in kept] == ["p0", "p1"][: 2 if kind == "twice" else 1]


def test_a_prompt_that_an_engine_reads_again_may_not_be_answered_again() -> None:
    class Again(Echo):
        def generate(self, prompts, settings) -> Iterator[Output]:
            yield from super().generate(prompts, settings)
            yield from super().generate([prompts[0]], settings)

    with pytest.raises(UserError, match="the engine breaks its contract: .* twice"):
        list(seam.outputs(Again(), "generate", PROMPTS, ASKED))


@pytest.mark.parametrize("bent", [{"text": None}, {"text": 5}, {"choice_logprobs": (float("nan"),)}])
def test_an_answer_that_is_none_is_a_failure_of_that_prompt(bent: dict[str, Any]) -> None:
    engine = Bent(lambda o: [replace(o, **bent)])
    good, bad, also = seam.outputs(engine, "generate", PROMPTS, ASKED)
    assert (good.error, also.error) == ("", "")
    assert bad.error.startswith("malformed: ") and bad.text is None and not bad.choice_logprobs


def test_likelihoods_are_one_finite_number_for_each_choice() -> None:
    class Chooses(Echo):
        def choose(self, prompts, settings) -> Iterator[Output]:
            made = list(super().choose(prompts, settings))
            yield replace(made[0], choice_logprobs=(-1.0,))
            yield replace(made[1], choice_logprobs=(-1.0, float("-inf")))
            yield made[2]

    errors = [o.error for o in seam.outputs(Chooses(), "choose", PROMPTS, ASKED)]
    assert "1 log-probabilities for 2 choices" in errors[0] and "finite" in errors[1] and not errors[2]


class Given:
    """A scorer that does something to its second score."""

    identity: dict[str, Any] = {"name": "given"}

    def __init__(self, bend: Callable[[Score], list[Any]]) -> None:
        self._bend = bend

    def score(self, answers) -> Iterator[Score]:
        for i, (_, output) in enumerate(answers):
            good = Score(key(output), output.prompt_id, output.sample, "given", {"toxicity": 0.5})
            yield from self._bend(good) if i == 1 else [good]

    def close(self) -> None:
        pass


ANSWERS = [(p, o) for p, o in zip(PROMPTS, Echo().generate(PROMPTS, ASKED), strict=True)]


@pytest.mark.parametrize(
    "bend",
    [
        lambda s: [s, s],
        lambda s: [replace(s, output_key="0" * 32)],
        lambda s: [replace(s, prompt_id="nobody")],
        lambda s: [None],
    ],
    ids=["twice", "another answer's key", "not asked", "no score"],
)
def test_a_scorer_that_breaks_the_contract_stops(bend: Callable[[Score], list[Any]]) -> None:
    with pytest.raises(UserError, match="scorer given breaks its contract"):
        list(seam.scores(Given(bend), "given", ANSWERS))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), None, [0.1]])
def test_a_value_that_is_no_number_is_missing_and_never_zero(value: Any) -> None:
    scores = list(seam.scores(Given(lambda s: [replace(s, values={"toxicity": value})]), "given", ANSWERS))
    assert [bool(s.error) for s in scores] == [False, True, False]
    assert scores[1].values == {} and "toxicity is" in scores[1].error


def test_a_plugin_cannot_choose_the_exit_code_while_it_scores(tmp_path: Path) -> None:
    path = tmp_path / "leaves.py"
    path.write_text(
        "class Leaves:\n    def score(self, answers):\n        yield from ()\n        raise SystemExit(0)\n"
    )
    names: dict[str, Any] = {}
    exec(compile(path.read_text(), str(path), "exec"), names)
    with pytest.raises(UserError, match=r"leaves.py, line 4: score of scorer leaves fails with SystemExit"):
        list(seam.scores(names["Leaves"](), "leaves", ANSWERS))


def test_the_digest_of_all_records_needs_no_list_of_them() -> None:
    for some in (PROMPTS, PROMPTS[:1], []):
        of_all = DigestOfAll()
        assert [of_all.add(one) for one in some] == some and of_all.hexdigest() == digest(some)


def run(folder: Path, **changes: object) -> Path:
    values = {"model": "echo", "engine": "echo", "tasks": [TASK], "output_path": str(folder), **changes}
    return pipeline.run(run_config(values))


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    home = tmp_path_factory.mktemp("shards")
    return [run(home / f"part{i}", shard=[i, 2]) for i in (1, 2)]


def test_other_prompts_than_the_frozen_ones_are_refused_whoever_reads_them(parts: list[Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(parts[0], tmp_path / "r"))
    (folder / "small_task" / "prompts.jsonl").write_text("")
    for reads in (lambda: run(folder, shard=[1, 2]), lambda: open_run(folder).measured("small_task")):
        with pytest.raises(EvidenceError, match="does not hold the prompts that were frozen"):
            reads()


def test_a_shard_owes_its_own_part_alone(parts: list[Path]) -> None:
    assert [unfinished(open_run(part)).outputs for part in parts] == [{}, {}]


@pytest.mark.parametrize("at", ["run.json", "results.json", "small_task/prompts.jsonl"])
def test_a_join_that_was_killed_is_done_again_from_its_beginning(
    parts: list[Path], tmp_path: Path, at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, cut = merge.merge(parts, tmp_path / "whole"), tmp_path / "cut"
    killed = {"run.json": (pipeline, "measure"), "results.json": (pipeline, "write_results"), "": (merge, "_carry")}
    place, name = killed.get(at, killed[""])
    with monkeypatch.context() as patch:

        def stop(*_: object) -> None:
            raise KeyboardInterrupt

        patch.setattr(place, name, stop)
        with pytest.raises(KeyboardInterrupt):
            merge.merge(parts, cut)
    merge.merge(parts, cut)
    for record in ("outputs.jsonl", "prompts.jsonl", "scores/vader.jsonl"):
        assert sorted_lines(cut / "small_task" / record) == sorted_lines(whole / "small_task" / record)
    assert read_json(cut / "results.json") == read_json(whole / "results.json")
    assert [json.loads(line)["event"] for line in (cut / "journal.jsonl").read_text().splitlines()] == [
        json.loads(line)["event"] for line in (whole / "journal.jsonl").read_text().splitlines()
    ]
    with pytest.raises(UserError, match="holds a run already"):
        merge.merge(parts, cut)
