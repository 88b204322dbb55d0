"""Early stopping: the verdict of the full run, fewer prompts, and nothing stopped without a registered rule."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from safety_eval import api, policy
from safety_eval.core.errors import UserError
from safety_eval.core.records import Estimate, Standing
from safety_eval.policy import stopping
from safety_eval.stats.plan import critical_count
from safety_eval.stats.sequential import boundaries

TASK = """
from safety_eval.core.records import Prompt
from safety_eval.core.task import Metric, PromptSet, ScorerChoice, Task

def load(options):
    rows = ((f"{i:03d}", ("ab"[i % 2],)) for i in range(600))
    return PromptSet([Prompt("mood", name, text=f"day {name}", groups={"half": half}) for name, half in rows], "1")

TASK = Task(
    name="mood", title="mood", paper="", kind="generate", load=load, versions=("1",), settings={"max_new_tokens": 9},
    scorers=(ScorerChoice("vader"),),
    metrics=(Metric("gloom_rate", ("sentiment_answer",), lambda p, o, v: float(float(v["sentiment_answer"]) < -0.3),
                    axes=("half",)),),
)
"""
POLICY = """
version: 1
name: test
rules:
  - {id: gloom, task: mood, metric: gloom_rate, group: every half, max: 0.2, because: a test, floor_met_because: a test}
stop: {block: 50, delta: 0.01}
"""


@pytest.fixture
def asked(tmp_path: Path):
    (tmp_path / "mood.py").write_text(TASK)
    (tmp_path / "policy.yaml").write_text(POLICY)

    def run(answers: dict[str, str], **settings: object):
        script = tmp_path / "script.json"
        script.write_text(json.dumps(answers))
        values = {"model": str(script), "engine": "echo", "tasks": [str(tmp_path / "mood.py")]}
        stop = {"policy": tmp_path / "policy.yaml", "stop_when_decided": True}
        return api.run(**{**values, **stop, "output_path": tmp_path / "r", **settings})

    return run


def answered(run) -> int:
    return sum(not m.output.error for m in run.measured("mood"))


def test_a_good_model_is_passed_early_and_owes_nothing(asked) -> None:
    run = asked({"": "a calm day by the sea"})
    assert run.file.tasks["mood"].stopped == "pass"
    assert answered(run) <= 200
    e = next(e for e in run.estimate_records() if e.group == "a" and e.metric == "gloom_rate")
    assert e.missing["not_asked"] > 200 and e.count < 120
    left = api.unfinished(run)
    assert not left.outputs and not left.scores


def test_a_bad_model_is_stopped_even_earlier(asked) -> None:
    run = asked({"": "a horrible, terrible, hateful day"})
    assert run.file.tasks["mood"].stopped == "not pass"
    assert answered(run) <= 100


def test_a_stopped_run_goes_no_further_when_asked_again(asked) -> None:
    first = answered(asked({"": "a calm day"}))
    assert answered(asked({"": "a calm day"})) == first


def test_lost_answers_count_as_bad(asked) -> None:
    run = asked({"": ""})
    assert run.file.tasks["mood"].stopped == "not pass"


def test_a_borderline_model_is_asked_in_full(asked) -> None:
    bad = {f"{i:03d}": "a horrible, terrible, hateful day" for i in range(0, 600, 7)}
    run = asked({**bad, "": "a calm day by the sea"})
    assert answered(run) > 300


def test_the_order_depends_on_the_seed_alone_and_asks_everything_once(asked) -> None:
    prompts = [m.prompt for m in asked({"": "a calm day"}).measured("mood")]
    one, same, other = (
        [p[i].id for i in stopping.order(p, s, "mood")] for p, s in ((prompts, 0), (prompts[::-1], 0), (prompts, 1))
    )
    assert one == same != other and sorted(one) == [p.id for p in prompts]


def test_a_policy_without_a_stopping_rule_stops_nothing(asked, tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text(POLICY[: POLICY.index("stop:")])
    with pytest.raises(UserError, match="no 'stop'"):
        asked({"": "a calm day"})


def test_a_rule_on_a_mean_or_a_headline_is_never_decided_early() -> None:
    assert stopping.early(policy.parse(POLICY, "p"), "mood")
    assert not stopping.early(policy.parse(POLICY.replace("every half", "macro/macro"), "p"), "mood")


def test_a_pass_is_seen_at_the_first_prompt_that_allows_it(asked) -> None:
    """Looks fall on the moments at which a pass is possible, so that a block of any size wastes nothing."""
    run = asked({"": "a calm day by the sea"})
    rule = policy.parse(POLICY, "p")
    [a, b] = [e for e in run.estimate_records() if e.axis == "half" and e.metric == "gloom_rate"]
    prompts = [m.prompt for m in run.measured("mood")]
    needed = next(t for t, low in enumerate(boundaries(300, critical_count(300, 0.2), 0.01).pass_at) if low >= 0)
    halves = [prompts[i].groups["half"][0] for i in stopping.order(prompts, 0, "mood")]
    assert answered(run) == next(t for t in range(600) if min(halves[:t].count("a"), halves[:t].count("b")) == needed)
    assert all(stopping.decide(rule.rules[0], e, rule) == "pass" for e in (a, b))


@pytest.mark.parametrize("last", [0, 30], ids=["in the first block", "at the end"])
def test_a_block_that_was_cut_short_is_ended_before_anything_is_decided(asked, tmp_path: Path, last: int) -> None:
    whole = asked({"": "a calm day by the sea"}, output_path=tmp_path / "whole")
    cut = asked({"": "a calm day by the sea"}, limit=None)
    prompts = [m.prompt for m in cut.measured("mood")]
    order = [prompts[i] for i in stopping.order(prompts, 0, "mood")]
    outputs = cut.folder / "mood" / "outputs.jsonl"
    end = answered(whole) if last else 40
    kept = {p.id for p in order[end - 30 : end]}
    lines = [x for x in outputs.read_text().splitlines() if json.loads(x)["prompt_id"] in kept]
    outputs.write_text("\n".join(lines) + "\n")
    (cut.folder / "mood" / "scores" / "vader.jsonl").unlink()
    facts = json.loads((cut.folder / "run.json").read_text())
    facts["tasks"]["mood"].pop("stopped")
    (cut.folder / "run.json").write_text(json.dumps(facts))
    again = asked({"": "a calm day by the sea"})
    assert answered(again) == answered(whole)
    assert {m.prompt.id for m in again.measured("mood") if not m.output.error} == {
        m.prompt.id for m in whole.measured("mood") if not m.output.error
    }


def so_far(group: str, bad: int, asked: int, total: int = 300) -> Estimate:
    """A rate of which `asked` of `total` answers are there, `bad` of them bad."""
    waiting = total - asked
    cell = ("mood", "gloom_rate", "vader", "half", group, "rate")
    left = {"expected": total, "missing": {stopping.NOT_ASKED: waiting}, "answers": float(total), "listed": total}
    ends = {"lowest": bad / total, "highest": (bad + waiting) / total, "standing": Standing.JUDGED}
    return Estimate(*cell, bad / asked, count=asked, events=bad, **left, **ends)


def test_the_error_of_stopping_is_shared_by_all_that_could_speak_against_approval() -> None:
    """What settles the only claim of a task must not settle one of ten: each would add its own chance of a mistake."""
    terms = policy.parse(POLICY, "p")
    rule, delta = terms.rules[0], terms.stop.delta if terms.stop else 0.0
    broken = next(
        e
        for bad in range(60)
        if stopping.breaks(rule, e := so_far("a", bad, 60), terms, delta)
        and not stopping.breaks(rule, e, terms, delta / 10)
    )
    others = [so_far(f"b{i}", 12, 60) for i in range(9)]
    assert stopping.state(terms, "mood", [broken]) == stopping.NOT_PASS
    assert stopping.state(terms, "mood", [broken, *others]) == ""
    missed = next(
        e
        for asked in range(150, 300)
        for bad in range(25, 65)
        if stopping.decide(rule, e := so_far("a", bad, asked), terms, 1) == stopping.NOT_PASS
        and stopping.decide(rule, e, terms, 10) == ""
        and stopping._unbroken(rule, e, terms, delta / 10)
    )
    clean = [so_far(f"b{i}", 0, 299) for i in range(9)]
    assert stopping.state(terms, "mood", clean) == stopping.PASS
    assert stopping.state(terms, "mood", [missed, *clean]) == ""


def test_nothing_is_decided_while_a_rule_has_no_number() -> None:
    """A scorer that gave nothing yet: what its rule will say is not known, however clean the other one looks."""
    one = policy.parse(POLICY, "p")
    two = one.model_copy(update={"rules": (*one.rules, one.rules[0].model_copy(update={"metric": "anger_rate"}))})
    clean = [so_far("a", 0, 299), so_far("b", 0, 299)]
    assert stopping.state(one, "mood", clean) == stopping.PASS
    assert stopping.state(two, "mood", clean) == ""


def test_answers_that_weigh_differently_are_not_counted_as_if_they_did_not() -> None:
    terms = policy.parse(POLICY, "p")
    drawn = [replace(so_far(group, 0, 299), answers=150.0) for group in "ab"]
    assert stopping.state(terms, "mood", drawn) == ""
