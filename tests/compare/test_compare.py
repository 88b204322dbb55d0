"""Two runs, paired by prompt: real pipeline, echo engine, real scorers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from safety_eval.compare import comparison as compare
from safety_eval.compare.differences import Difference
from safety_eval.compare.pairing import paired
from safety_eval.core.errors import UserError
from safety_eval.runs import pipeline
from safety_eval.runs.config import run_config
from safety_eval.show.notebook import Run, open_run

TASK = str(Path(__file__).with_name("paired_task.py"))
NICE, FOUL = (
    "It was a pleasant day in the town and we walked home together.",
    "You are a stupid fucking bitch.",
)
REFUSED = "I'm sorry, but I can't help with that request."
BROKEN = ""


@pytest.fixture
def make(tmp_path: Path):
    """A run whose answers are given by prompt number; everything else is answered nicely."""

    def run(name: str, said: Mapping[int, str] | None = None, **changes: object) -> Run:
        script = {f"p{i:02d}": (said or {}).get(i, NICE) for i in range(40)}
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps(script))
        values = {"model": str(path), "engine": "echo", "tasks": [TASK], "output_path": str(tmp_path / name)}
        return open_run(pipeline.run(run_config({**values, **changes})))

    return run


def at(found: list[Difference], metric: str, group: str = "all") -> Difference:
    return next(d for d in found if d.metric == metric and d.group == group)


def test_a_run_compared_with_itself_is_exactly_zero_without_discordant_pairs(make) -> None:
    run = make("same", {i: FOUL for i in range(0, 40, 3)} | {1: REFUSED})
    found = compare.compare(run, run)
    assert {d.value for d in found} == {0.0}
    assert {(d.new_only, d.old_only) for d in found if d.kind == "rate"} == {(0, 0)}
    assert all(d.p == 1.0 and d.reading == "identical on every pair" for d in found)
    toxic = at(found, "toxic_rate")
    assert toxic.count == 40 and toxic.low == pytest.approx(-toxic.high)


def test_the_direction_is_run_minus_baseline_and_counts_say_which_pairs_changed(make) -> None:
    old = make("old", {i: FOUL for i in range(12)})
    new = make("new", {0: FOUL, 20: FOUL})
    toxic = at(compare.compare(new, old), "toxic_rate")
    assert (toxic.new_only, toxic.old_only, toxic.count) == (1, 11, 40)
    assert toxic.value == pytest.approx(-0.25) and toxic.run == 0.05 and toxic.baseline == 0.3
    assert toxic.p == pytest.approx(0.006348, abs=1e-6) and toxic.high < 0
    back = at(compare.compare(old, new), "toxic_rate")
    assert (back.value, back.low, back.high) == pytest.approx((-toxic.value, -toxic.high, -toxic.low))


def test_every_group_total_and_headline_has_a_row(make) -> None:
    found = compare.compare(make("a", {0: FOUL}), make("b"))
    rows = {(d.axis, d.group) for d in found if d.metric == "toxic_rate"}
    assert rows == {
        ("total", "all"),
        ("macro", "macro"),
        ("team", "red"),
        ("team", "green"),
        ("team", "blue"),
    }
    assert {d.metric for d in found} >= {"toxic_rate.answered", "toxicity", "refusal_rate", "degenerate_rate"}
    headline, groups = (
        at(found, "toxic_rate", "macro"),
        [at(found, "toxic_rate", g) for g in ("red", "green", "blue")],
    )
    assert headline.value == pytest.approx(np.mean([g.value for g in groups]))


def test_a_fall_that_comes_with_a_larger_fall_of_answering_is_bought_by_refusing(make) -> None:
    old = make("old", {i: FOUL for i in range(6)})
    new = make("new", {i: REFUSED for i in range(12)})
    whole = compare.comparison(new, old).decompositions[0]
    assert whole.reading == "bought by refusing"
    assert at(compare.compare(new, old), "toxic_rate").reading.endswith("; bought by refusing")
    assert (whole.joint.run, whole.joint.baseline, whole.answered.run) == (0.0, 0.15, 0.7)
    parts = whole.parts.by_answering + whole.parts.by_conditional + whole.parts.rest
    assert parts == pytest.approx(whole.joint.change)
    answered = at(compare.compare(new, old), "toxic_rate.answered")
    assert answered.count == 28 and answered.value == 0.0 and answered.missing == {"not answered by both": 12}
    assert not answered.gateable and answered.upper is None


def test_a_fall_without_refusals_is_not_called_bought(make) -> None:
    made = compare.comparison(make("new"), make("old", {i: FOUL for i in range(8)}))
    assert {d.reading for d in made.decompositions} == {""}


def test_an_answer_that_is_lost_never_improves_a_limit(make) -> None:
    old = make("old", {i: FOUL for i in range(10)})
    whole = at(compare.compare(make("whole", {i: FOUL for i in range(10)}), old), "toxic_rate")
    broken = make("lost", {i: BROKEN for i in range(10)})
    lost, back = (at(compare.compare(*both), "toxic_rate") for both in ((broken, old), (old, broken)))
    assert lost.upper >= whole.upper and lost.count == 30 and sum(lost.missing.values()) == 10
    assert lost.value is not None and lost.value == 0.0
    assert (back.value, back.count, back.upper) == (0.0, 30, pytest.approx(-(lost.lower or 0.0)))


def test_a_margin_decides_and_few_pairs_cannot(make) -> None:
    old = make("old", {i: FOUL for i in range(10)})
    found = compare.compare(make("new", {i: FOUL for i in range(10)}), old, margin=0.01)
    assert at(found, "toxic_rate").not_worse == "cannot decide"
    wide = at(compare.compare(old, old, margin={"toxic_rate": 0.2}), "toxic_rate")
    assert (wide.not_worse, wide.equivalent) == ("approved", "approved")
    worse = compare.compare(make("foul", {i: FOUL for i in range(40)}), make("fair"), margin=0.1)
    assert at(worse, "toxic_rate").not_worse == "rejected"


@pytest.mark.parametrize("margin", [0, -0.1, float("nan")])
def test_a_margin_must_be_above_zero(make, margin: float) -> None:
    run = make("a")
    with pytest.raises(UserError, match="not above zero"):
        compare.compare(run, run, margin=margin)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"seed": 1}, "seed"),
        ({"system_prompt": "Be kind."}, "system_prompt"),
        ({"generation": {"temperature": 0.3}}, "temperature"),
        ({"samples": 2}, "samples"),
        ({"limit": 12}, "limit"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_another_setting_is_refused_until_it_is_named(make, changes: dict[str, object], field: str) -> None:
    run, baseline = make("a", **changes), make("b")
    with pytest.raises(UserError, match="may not be compared") as refused:
        compare.compare(run, baseline)
    assert f"--across {field}" in refused.value.hint
    found = compare.comparison(run, baseline, across=[field])
    assert found.ground.across == (field,) and any("differ" in n or "other prompts" in n for n in found.ground.notes)
    assert at(list(found.differences), "toxic_rate").value == 0.0


def test_other_data_is_refused_whatever_is_named(make) -> None:
    run, baseline = make("a", data_version={"paired_task": "two"}), make("b")
    with pytest.raises(UserError, match="data version two against one"):
        compare.compare(run, baseline, across=["seed"])
    with pytest.raises(UserError, match="can never differ"):
        compare.compare(run, baseline, across=["data_version"])


def test_another_instrument_is_refused_whatever_is_named(make) -> None:
    run, baseline = make("a", scorer_args={"profanity_check": {"text": "prompt_and_answer"}}), make("b")
    with pytest.raises(UserError, match="profanity_check is another instrument"):
        compare.compare(run, baseline)
    with pytest.raises(UserError, match="can never differ"):
        compare.compare(run, baseline, across=["instrument"])


def test_an_unknown_field_is_refused_with_the_nearest(make) -> None:
    run = make("a")
    with pytest.raises(UserError, match="no such field") as refused:
        compare.compare(run, run, across=["seeds"])
    assert "seed" in refused.value.hint


def test_each_answer_meets_that_of_the_same_prompt_and_sample_whatever_their_order_and_number(make, tmp_path) -> None:
    backwards = tmp_path / "paired_task.py"
    backwards.write_text(Path(TASK).read_text().replace("range(40)", "range(39, -1, -1)"))
    run, baseline = make("run", samples=3), make("baseline", tasks=[str(backwards)], samples=2, limit=12)
    first, second, lonely = paired(run, baseline, "paired_task")
    asked = [[(m.prompt.id, m.output.sample) for m in side] for side in (first, second)]
    assert asked[0] == asked[1] == sorted(asked[0]) and len(asked[0]) == 12 * 2
    assert lonely == {"only in the run": 40 * 3 - 12 * 2}


def test_two_prompts_of_one_name_are_not_paired(make, tmp_path) -> None:
    other = tmp_path / "paired_task.py"
    other.write_text(Path(TASK).read_text().replace("Opening {i:02d}", "Opening {min(i, 38):02d}"))
    with pytest.raises(UserError, match="'p39' is not the same prompt"):
        paired(make("run"), make("baseline", tasks=[str(other)]), "paired_task")


def test_what_only_one_run_measured_has_a_row_with_the_reason(make) -> None:
    run, baseline = make("a"), make("b")
    (baseline.folder / "paired_task" / "scores" / "refusal.jsonl").unlink()
    lost = at(compare.compare(run, open_run(baseline.folder)), "refusal_rate")
    assert lost.value is None and "in the baseline" in lost.reason


def test_the_file_is_strict_json_and_holds_every_row(make) -> None:
    run = make("a", {0: FOUL})
    made = compare.comparison(run, make("b"))
    held = json.loads(compare.write(run.folder, made).read_text(), parse_constant=lambda c: pytest.fail(c))
    assert len(held["differences"]) == len(made.differences) and held["baseline"]["folder"] == "b"
