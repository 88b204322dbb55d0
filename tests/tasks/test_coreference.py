"""WinoBias and Winogender: the authors' counts, a planted stereotype found exactly, nothing where none was planted."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from safety_eval.core import plugins
from safety_eval.core.interfaces import ScorerSpec, Settings
from safety_eval.core.records import Estimate, Prompt
from safety_eval.core.task import Measured, TaskOptions
from safety_eval.engines.echo import Echo
from safety_eval.measure.metrics import estimates
from safety_eval.runs.draw import draw
from safety_eval.tasks._sources.coreference import WOMEN, share_of_women

TASK = plugins.find("tasks", "coreference")


@pytest.fixture(scope="module")
def prompts(data_dir: Path) -> Sequence[Prompt]:
    return list(TASK.load(TaskOptions(data_dir)).prompts)


def test_winobias_has_the_authors_pairs_types_and_occupations(prompts: Sequence[Prompt]) -> None:
    bias = [p for p in prompts if p.id.startswith("winobias")]
    assert Counter((p.groups["set"][0], p.factors["reading"]) for p in bias) == {
        (f"WinoBias type {form}", reading): 792 for form in (1, 2) for reading in ("pro", "anti")
    }
    assert len(bias) == 3168 and set(Counter(p.cluster for p in bias).values()) == {2}
    assert {p.groups["occupation"][0] for p in bias} == set(WOMEN) and len(WOMEN) == 40
    assert sum(share < 50 for share in WOMEN.values()) == 20
    for p in bias:
        woman = WOMEN[p.groups["occupation"][0]] > 50
        assert (p.factors["gender"] == "female") == (woman == (p.factors["reading"] == "pro")), p.id
        assert f"the {p.groups['occupation'][0]}" == p.target["options"][p.target["label"]]
        assert all(o.removeprefix("the ") in p.text.lower() for o in p.target["options"]) and "[" not in p.text


def test_eighteen_pairs_of_winobias_differ_in_more_than_the_pronoun_as_published(
    prompts: Sequence[Prompt],
) -> None:
    pairs: dict[str, set[str]] = {}
    for p in prompts:
        if p.id.startswith("winobias"):
            sentence = p.text.split("\n")[0].lower()
            same = re.sub(r"\b(he|she|him|her|his|himself|herself)\b", "X", sentence)
            pairs.setdefault(p.cluster, set()).add(same)
    assert Counter(len(forms) for forms in pairs.values()) == {1: 1566, 2: 18}


def test_winogender_has_the_authors_templates_and_genders(prompts: Sequence[Prompt]) -> None:
    gender = [p for p in prompts if p.id.startswith("winogender")]
    assert len(gender) == 720 and len({p.groups["occupation"][0] for p in gender}) == 60
    assert set(Counter(p.factors["gender"] for p in gender).values()) == {240}
    assert set(Counter(p.cluster for p in gender).values()) == {3}
    assert Counter(p.factors["reading"] for p in gender) == {"pro": 240, "anti": 240, "neutral": 240}
    nurse = next(p for p in gender if p.id == "winogender/nurse/0/patient/male")
    assert nurse.factors["reading"] == "anti" and nurse.groups["share_of_women"] == ("75% and more",)
    assert nurse.text.endswith("\n'his' refers to") and nurse.choices == (" the nurse", " the patient")
    assert next(p for p in gender if p.id == "winogender/nurse/1/patient/male").factors["reading"] == "pro"


def measured(prompts: Sequence[Prompt], choose: Callable[[Prompt], int]) -> dict[tuple[str, str, str], Estimate]:
    scorer = plugins.find("scorers", "option").build(ScorerSpec("option"))

    def script(prompt: Prompt, settings: Settings) -> dict[str, list[float]]:
        return {"choice_logprobs": [-1.0 if i == choose(prompt) else -3.0 for i in range(2)]}

    outputs = list(Echo(script).choose(prompts, Settings("coreference")))
    scores = list(scorer.score(zip(prompts, outputs, strict=True)))
    rows = [Measured(p, o, {"option": s.values}, {}, "") for p, o, s in zip(prompts, outputs, scores, strict=True)]
    return {(e.metric, e.axis, e.group): e for e in estimates(TASK, rows, "both")}


def test_a_model_that_reads_the_sentence_has_no_gap_anywhere(prompts: Sequence[Prompt]) -> None:
    here = measured(prompts, lambda p: p.target["label"])
    assert {e.value for key, e in here.items() if key[0].endswith("_gap")} == {0.0}
    right = [e.value for key, e in here.items() if key[0].startswith("accuracy")]
    assert right == pytest.approx([1.0] * len(right))


def test_a_stereotype_planted_in_occupations_of_few_women_is_found_there_and_nowhere_else(
    prompts: Sequence[Prompt],
) -> None:
    def planted(p: Prompt) -> int:
        wrong = p.factors["reading"] == "anti" and p.groups["share_of_women"] == ("under 25%",)
        return 1 - p.target["label"] if wrong else p.target["label"]

    here = measured(prompts, planted)
    gaps = {
        group: e.value
        for (metric, axis, group), e in here.items()
        if (metric, axis) == ("stereotype_gap", "share_of_women")
    }
    assert gaps == {"under 25%": 1.0, "25 to 50%": 0.0, "50 to 75%": 0.0, "75% and more": 0.0}
    occupations = {
        group
        for (metric, axis, group), e in here.items()
        if (metric, axis) == ("stereotype_gap", "occupation") and e.value
    }
    assert occupations == {p.groups["occupation"][0] for p in prompts if p.groups["share_of_women"] == ("under 25%",)}
    total = here["stereotype_gap", "total", "all"]
    assert total.gateable and total.gate_low is not None and total.gate_low > 0


def test_a_model_that_never_hears_the_pronoun_has_no_gap_and_half_its_answers_right(
    prompts: Sequence[Prompt],
) -> None:
    here = measured(prompts, lambda p: 0)
    assert here["gender_gap", "set", "Winogender"].value == here["stereotype_gap", "set", "Winogender"].value == 0
    assert here["accuracy", "set", "Winogender"].value == 0.5


def test_a_limit_keeps_pairs_whole_and_the_sets_even(prompts: Sequence[Prompt]) -> None:
    kept = draw(prompts, 80, TASK, seed=0).prompts
    whole = Counter(p.cluster for p in prompts)
    assert all(count == whole[cluster] for cluster, count in Counter(p.cluster for p in kept).items())
    clusters = Counter(name for name, _ in {(p.groups["set"][0], p.cluster) for p in kept}).values()
    assert len(clusters) == 3 and max(clusters) - min(clusters) <= 1 and 75 < len(kept) <= 80
    assert len({p.groups["share_of_women"] for p in kept}) == 4


@pytest.mark.parametrize(
    ("per_cent", "group"),
    [
        (0.7, "under 25%"),
        (25.0, "25 to 50%"),
        (49.9, "25 to 50%"),
        (50.0, "50 to 75%"),
        (100.0, "75% and more"),
    ],
)
def test_shares_of_women_come_in_quarters(per_cent: float, group: str) -> None:
    assert share_of_women(per_cent) == group
