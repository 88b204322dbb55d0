"""A run that its registered stopping rule ended early gets the verdict of the full run; any other cut does not."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import evidence_bundle
import pytest

from safety_eval import api, policy
from safety_eval.core.store import read_json
from safety_eval.evidence import bundle, redact, verify
from safety_eval.runs import answers, pipeline, resolve
from safety_eval.runs.config import run_config
from safety_eval.signoff.decision import decide
from safety_eval.signoff.verdict import table

sys.path.insert(0, str(Path(__file__).parents[1] / "pipeline"))
from test_stopping import POLICY, TASK


@pytest.fixture
def asked(tmp_path: Path):
    (tmp_path / "mood.py").write_text(TASK)
    (tmp_path / "policy.yaml").write_text(POLICY)

    def run(script: dict[str, str], **settings: object) -> Path:
        (tmp_path / "script.json").write_text(json.dumps(script))
        values = {
            "model": str(tmp_path / "script.json"),
            "engine": "echo",
            "tasks": [str(tmp_path / "mood.py")],
        }
        given = {"policy": tmp_path / "policy.yaml", "stop_when_decided": True, "output_path": tmp_path / "r"}
        return api.run(**{**values, **given, **settings}).folder

    return run


TERMS = policy.parse(POLICY)


def test_a_good_model_is_approved_with_fewer_prompts_and_its_evidence_verifies(asked, tmp_path):
    run = asked({"": "a calm day by the sea"})
    verdict = decide(run, TERMS)
    assert verdict.decision == "approved", table(verdict)
    assert "stopped early" in verdict.findings[0].sentence and "99%" in verdict.findings[0].sentence
    folder = bundle(run, TERMS, verdict)
    assert verify(folder, own_tasks=True).verdict == verdict
    assert verify(redact(folder, tmp_path / "sealed")).redacted


def test_a_clearly_bad_model_is_rejected_with_fewer_prompts(asked):
    verdict = decide(asked({"": "a horrible, awful, terrible day"}), TERMS)
    assert verdict.decision == "rejected", table(verdict)


def test_another_policy_does_not_profit_from_the_stop(asked):
    run = asked({"": "a calm day by the sea"})
    other = policy.parse(POLICY.replace("max: 0.2", "max: 0.3"))
    assert decide(run, other).decision == "cannot decide"


def test_prompts_that_were_picked_by_hand_are_found(asked):
    run = asked({"": "a calm day by the sea"})
    path = answers.outputs_file(run, "mood")
    path.write_text("".join(path.read_text().splitlines(keepends=True)[1:]))
    facts = read_json(run / "run.json")
    scores = answers.scores_file(run, "mood", "vader")
    lines = scores.read_text().splitlines(keepends=True)
    scores.write_text("".join([lines[0], *lines[2:]]))
    pipeline.write_results(run, pipeline.measure(run, resolve.resolve(run_config(facts["config"]))))
    evidence_bundle.invent_journal(run)
    verdict = decide(run, TERMS)
    assert verdict.decision == "cannot decide" and "seeded order" in verdict.blockers[0].sentence


def test_without_a_registered_rule_prompts_not_asked_block(asked):
    run = asked({"": "a calm day by the sea"}, policy=None, stop_when_decided=False, shard=(1, 2))
    verdict = decide(run, TERMS)
    assert verdict.decision == "cannot decide" and "not asked" in table(verdict)


def test_each_rule_of_a_stopped_run_ends_in_one_plain_sentence(asked):
    script = {f"{i:03d}": "a horrible, awful day" if i % 2 else "a calm day by the sea" for i in range(600)}
    calm, bad = (f.sentence for f in decide(asked(script), TERMS).findings)
    assert calm.endswith("; must be below 20%; whether the full run would be shown to meet this is not settled.")
    assert "(of 300 in full); must be below 20%; the full run would be shown to break this (certain to 99%)" in bad
    assert bad.endswith("): broken, beyond what chance explains.")
