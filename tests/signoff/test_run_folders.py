"""Sign-off on run folders: whatever is wrong with one ends as 'cannot decide' with the reason."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import evidence_bundle
import pytest

from safety_eval import policy
from safety_eval.core.records import canonical, key, plain
from safety_eval.core.store import read_json, write_json
from safety_eval.runs import answers, pipeline
from safety_eval.runs.config import run_config
from safety_eval.signoff.decision import decide

TASK = "planted_task"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return evidence_bundle.make(tmp_path_factory.mktemp("run"))[0]


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "run", ignore=shutil.ignore_patterns("evidence")))


TERMS = policy.parse(evidence_bundle.POLICY)


def reasons(folder: Path) -> str:
    verdict = decide(folder, TERMS)
    assert verdict.decision == "cannot decide" and verdict.exit_code == 4
    return " ".join(b.sentence for b in verdict.blockers)


def test_the_run_as_it_is_gets_a_verdict(run: Path) -> None:
    assert decide(run, TERMS).decision == "approved with waivers"


def test_an_empty_folder_and_none_at_all(tmp_path: Path) -> None:
    assert "no run.json" in reasons(tmp_path)
    assert "no run.json" in reasons(tmp_path / "none")


def test_a_killed_run_says_so_and_resumes_to_a_verdict(run: Path) -> None:
    facts = read_json(run / "run.json")
    del facts["finished"]
    write_json(run / "run.json", facts)
    path = answers.outputs_file(run, TASK)
    path.write_bytes(path.read_bytes()[:9000])
    (run / "results.json").unlink()
    assert "did not finish" in reasons(run)
    pipeline.run(run_config({**facts["config"], "output_path": str(run)}))
    assert decide(run, TERMS).decision == "approved with waivers"


def _other_outputs(run: Path) -> list[str]:
    """The lines another model would have left: the same prompts, other answers."""
    lines = answers.outputs_file(run, TASK).read_text().splitlines()
    return [canonical({**json.loads(x), "text": "All good."}) for x in lines]


def test_another_models_outputs_appended(run: Path) -> None:
    with answers.outputs_file(run, TASK).open("a") as file:
        file.write("\n".join(_other_outputs(run)[:3]) + "\n")
    assert "another model's outputs mixed in" in reasons(run)


def test_another_models_outputs_in_place_of_some(run: Path) -> None:
    path = answers.outputs_file(run, TASK)
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*_other_outputs(run)[:40], *lines[40:]]) + "\n")
    assert "judges an answer that is not there" in reasons(run)


def test_another_models_outputs_with_its_scores(run: Path) -> None:
    others = _other_outputs(run)
    scores = list(answers.scores(run, TASK, "vader").values())
    header = answers.scores_file(run, TASK, "vader").read_text().splitlines()[0]
    answers.outputs_file(run, TASK).write_text("\n".join(others) + "\n")
    outputs = answers.outputs(run, TASK)
    rows = [
        {**plain(s), "output_key": key(outputs[s.prompt_id, s.sample]), "values": {"sentiment": 1.0}} for s in scores
    ]
    answers.scores_file(run, TASK, "vader").write_text("\n".join([header, *map(canonical, rows)]) + "\n")
    assert "was changed after it was measured" in reasons(run)


def _replace(name: str, old: str, new: str) -> Callable[[Path], object]:
    return lambda run: (run / name).write_text((run / name).read_text().replace(old, new, 1))


def _first_line(run: Path) -> None:
    path = run / "journal.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[1:]))


CHANGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "edited results": (
        _replace("results.json", '"count": 40', '"count": 41'),
        "results.json",
    ),
    "no results": (lambda run: (run / "results.json").unlink(), "results.json"),
    "lost prompts": (lambda run: answers.prompts_file(run, TASK).unlink(), "prompts.jsonl"),
    "damaged record": (
        lambda run: answers.outputs_file(run, TASK).write_bytes(b"{\n" + answers.outputs_file(run, TASK).read_bytes()),
        "line 1 is damaged",
    ),
    "other instrument": (
        lambda run: answers.scores_file(run, TASK, "vader").write_text(
            answers.scores_file(run, TASK, "vader").read_text().replace('"vader"', '"vader2"', 1)
        ),
        "another instrument",
    ),
    "damaged run.json": (lambda run: (run / "run.json").write_text("{"), "run.json is damaged"),
    "edited policy": (
        lambda run: (run / "policy.yaml").write_text((run / "policy.yaml").read_text().replace("0.5", "0.6")),
        "not the policy that was recorded",
    ),
    "cut journal": (
        _first_line,
        "the chain is broken",
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_folder_cannot_be_decided(run: Path, name: str) -> None:
    change, words = CHANGES[name]
    change(run)
    assert words in reasons(run)


def test_lost_answers_within_the_ceiling_are_counted_at_their_worst(run: Path) -> None:
    before = {f.rule: f.high for f in decide(run, TERMS).findings if f.group in ("red", "all")}
    path = answers.scores_file(run, TASK, "vader")
    lines = path.read_text().splitlines()
    row = json.loads(lines[1])
    lines[1] = canonical({**row, "values": {}, "error": "timeout"})
    path.write_text("\n".join(lines) + "\n")
    facts = read_json(run / "run.json")
    pipeline.write_results(run, pipeline.measure(run, _plans(facts)))
    evidence_bundle.invent_journal(run)
    after = {f.rule: f.high for f in decide(run, TERMS).findings if f.group in ("red", "all")}
    assert after["mood"] > before["mood"] and decide(run, TERMS).decision == "approved with waivers"


def _plans(facts: dict) -> list:
    from safety_eval.runs import resolve

    return resolve.resolve(run_config(facts["config"]))
