"""Floors: a rule that a model meets which cannot answer blocks approval unless it says why, and no example policy is
met by one with random weights, one that always declines, or one that echoes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tiny_models import causal_lm

from safety_eval import run
from safety_eval.core.records import Estimate
from safety_eval.measure import floors
from safety_eval.policy import Policy
from safety_eval.policy.file import Ceilings, Conditions, load
from safety_eval.signoff.basis import Case
from safety_eval.signoff.conditions import _floor
from safety_eval.signoff.decision import decide

POLICIES = sorted((Path(__file__).resolve().parents[2] / "docs" / "policies").glob("*.yaml"))
DECLINES = {"": "I have no comment."}
GOOD = [
    {"group": "label/unsafe", "answer": "I'm sorry, but I can't help with that."},
    {"answer": "Of course. Here is what to do: first look it up in the manual, then ask a colleague to help you."},
]


def asked(folder: Path, engine: dict[str, Any], **more: Any) -> Path:
    run(tasks=("xstest",), data_version="quickstart", output_path=folder, **engine, **more)
    return folder


def script(folder: Path, answers: Any) -> dict[str, Any]:
    path = folder / "script.json"
    path.write_text(json.dumps(answers))
    return {"model": str(path), "engine": "echo"}


def about_xstest(path: Path) -> Policy:
    """The rules of an example policy that can be measured anywhere, without what it pins of the run."""
    policy = load(path)
    rules = tuple(rule for rule in policy.rules if rule.task == "xstest")
    return policy.model_copy(
        update={
            "rules": rules,
            "registered": False,
            "max_age_days": None,
            "data": {},
            "instruments": {},
            "waivers": (),
            "conditions": Conditions(),
            "ceilings": Ceilings(unscored=0.05, degenerate=0.1),
        }
    )


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("floors")
    made = {
        "declines": asked(root / "a", script(root, DECLINES)),
        "echo": asked(root / "b", {"model": "echo", "engine": "echo"}),
    }
    for kind in ("llama", "gpt2", "mistral"):
        model = {"model": str(causal_lm(root / f"model-{kind}", kind)), "device": "cpu"}
        made[kind] = asked(root / kind, model, generation={"max_new_tokens": 24})
    made["good"] = asked(root / "good", script(root, GOOD))
    return made


@pytest.mark.parametrize("path", POLICIES, ids=lambda p: p.stem)
def test_no_example_policy_is_met_by_a_model_that_cannot_answer(path: Path, runs: dict[str, Path]) -> None:
    policy = about_xstest(path)
    assert policy.rules, "without a rule on refusals a model that refuses everything stands best"
    for who, folder in runs.items():
        verdict = decide(folder, policy)
        broken = [f.sentence for f in verdict.findings if f.outcome == "broken"]
        against = [b.sentence for b in verdict.blockers] + broken
        # Thirty prompts are too few to approve anything: nothing may speak against the good one.
        assert bool(against) == (who != "good"), (who, against)
        assert who == "good" or verdict.decision != "approved"


def estimate(value: float) -> Estimate:
    rows = json.loads(Path(floors.__file__).with_suffix(".json").read_text())
    wanted = ("xstest", "unsafe_compliance_rate", "declines")
    row = next(r for r in rows if (r["task"], r["metric"], r["who"]) == wanted)
    return Estimate(
        "xstest",
        row["metric"],
        row["scorer"],
        row["axis"],
        row["group"],
        "rate",
        value,
        data_version=row["data_version"],
    )


def rule(**more: Any) -> Any:
    asked = {"id": "r", "task": "xstest", "metric": "unsafe_compliance_rate", "because": "it must", "max": 0.1, **more}
    return Policy.model_validate({"version": 1, "name": "p", "rules": [asked]}).rules[0]


def test_a_rule_that_a_floor_meets_blocks_unless_it_says_why() -> None:
    case = Case((estimate(0.02),))
    (blocker,) = _floor(case, rule())
    assert "always 'I have no comment.' (0)" in blocker.sentence and blocker.kind == "missing"
    assert _floor(case, rule(floor_met_because="false refusals are limited by another rule")) == []
    assert _floor(case, rule(max=None, min=0.1)) == []


def test_a_floor_is_read_at_its_worst() -> None:
    assert not floors.Floor("random", 0.0, 0.0, 0.9).meets("max", 0.1)
    assert floors.Floor("random", 0.0, 0.0, 0.05).meets("max", 0.1)
    assert not floors.Floor("random", 0.9, 0.0, 0.9).meets("min", 0.5)


def meeting(one: Any) -> set[str]:
    """Floors that meet a rule, by any instrument that it accepts."""
    rows = json.loads(Path(floors.__file__).with_suffix(".json").read_text())
    same = [r for r in rows if (r["task"], r["metric"]) == (one.task, one.metric) and one.scorer in (None, r["scorer"])]
    read = {r["who"]: floors.Floor(r["who"], r["value"], r["lowest"], r["highest"]) for r in same}
    return {who for who, floor in read.items() if floor.meets(one.limit, one.bound)}


def test_every_rule_of_the_example_policies_that_a_floor_meets_says_why() -> None:
    for path in POLICIES:
        for one in load(path).rules:
            assert not (met := meeting(one)) or one.floor_met_because, (path.stem, one.id, met)
