"""Rules against a baseline: paired, by margin, and carried by the evidence."""

from __future__ import annotations

import shutil
from pathlib import Path

import evidence_bundle
import pytest

from safety_eval import policy
from safety_eval.core.errors import EvidenceError
from safety_eval.evidence import bundle, redact, verify
from safety_eval.signoff.decision import decide

RULE = """
version: 1
name: no step back
signers: 0
ceilings: {degenerate: 1, unscored: 0.02}
rules:
  - {id: step, task: planted_task, metric: negative_rate, group: GROUP, LIMIT, because: tests, floor_met_because: tests}
"""
SAME = ("good", "quiet", "fine", "happy")
WORSE = ("good", "sad", "bad", "happy")


def terms(limit: str = "non_inferior: {margin: 0.2}", group: str = "all") -> policy.Policy:
    return policy.parse(RULE.replace("LIMIT", limit).replace("GROUP", group))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("baseline")
    return {
        name: evidence_bundle.answer_all(folder, words, name)
        for name, words in (("old", SAME), ("same", SAME), ("worse", WORSE))
    }


def test_the_same_answers_are_not_worse_and_equivalent(runs):
    for limit in ("non_inferior: {margin: 0.2}", "equivalent: {margin: 0.2}"):
        verdict = decide(runs["same"], terms(limit), runs["old"])
        assert verdict.decision == "approved" and verdict.findings[0].value == 0, limit
        assert verdict.baseline


def test_a_worse_release_is_rejected_and_a_better_one_is_not_worse(runs):
    assert decide(runs["worse"], terms(), runs["old"]).decision == "rejected"
    assert decide(runs["old"], terms(), runs["worse"]).decision == "approved"
    assert decide(runs["old"], terms("equivalent: {margin: 0.2}"), runs["worse"]).decision == "rejected"


def test_a_margin_too_small_for_the_prompts_cannot_be_decided_and_says_how_many(runs):
    verdict = decide(runs["same"], terms("non_inferior: {margin: 0.01}"), runs["old"])
    (found,) = verdict.findings
    assert verdict.decision == "cannot decide" and found.further > 100 and "paired answers" in found.sentence


def test_every_group_is_compared(runs):
    verdict = decide(runs["same"], terms("non_inferior: {margin: 0.4}", "every team"), runs["old"])
    assert verdict.decision == "approved" and {f.group for f in verdict.findings} == {"red", "green", "blue"}


def test_without_a_baseline_nothing_is_decided(runs):
    verdict = decide(runs["same"], terms())
    assert verdict.decision == "cannot decide" and "--baseline" in verdict.findings[0].sentence


def test_a_baseline_that_may_not_be_compared_is_a_reason_not_a_crash(runs, tmp_path):
    other = Path(shutil.copytree(runs["old"], tmp_path / "other"))
    facts = (other / "run.json").read_text()
    (other / "run.json").write_text(facts.replace('"data_version": "one"', '"data_version": "two"'))
    verdict = decide(runs["same"], terms(), other)
    assert verdict.decision == "cannot decide" and "baseline" in verdict.blockers[0].sentence


def test_evidence_carries_the_baseline_and_compares_again(runs, tmp_path):
    run = Path(shutil.copytree(runs["worse"], tmp_path / "run"))
    made = terms()
    folder = bundle(run, made, decide(run, made, runs["old"]), (), runs["old"])
    moved = Path(shutil.move(folder, tmp_path / "moved"))
    report = verify(moved, own_tasks=True)
    assert report.verdict.decision == "rejected" and (moved / "baseline" / "run.json").is_file()
    sealed = redact(moved, tmp_path / "sealed")
    assert verify(sealed).redacted
    path = moved / "baseline" / "planted_task" / "outputs.jsonl"
    path.write_bytes(path.read_bytes().replace(b"quiet", b"sadly"))
    with pytest.raises(EvidenceError, match="baseline/planted_task/outputs.jsonl"):
        verify(moved, own_tasks=True)
