"""What a number is about: from how many prompts on the list a group is judged, and what a drawn part stands for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from safety_eval.core.records import Estimate, Output, Prompt, Standing
from safety_eval.core.task import Drawn, Measured, Metric, PromptSet, Stratum, Task
from safety_eval.measure.listed import chances
from safety_eval.measure.metrics import estimates

TOXIC = Metric("toxic_rate", ("toxicity",), lambda p, o, v: float(v["toxicity"]), axes=("g",))
TASK = Task("t", "T", "", "choose", lambda options: PromptSet((), ""), ("v",), metrics=(TOXIC,))


def asked(group: str, prompts: int, toxicity: float, samples: int = 1) -> list[Measured]:
    """Answers of a group, all of one toxicity."""
    rows = [Prompt("t", f"{group}/{i}", text="x", groups={"g": (group,)}) for i in range(prompts)]
    return [
        Measured(p, Output("k", p.id, s, choice_logprobs=(-1.0,)), {"tox": {"toxicity": toxicity}}, {}, "")
        for p in rows
        for s in range(samples)
    ]


def of(rows: Sequence[Measured], drawn: Drawn | None = None, place: str = "all", task: Task = TASK) -> Estimate:
    return next(e for e in estimates(task, rows, "v", drawn) if e.group == place)


@pytest.mark.parametrize(("prompts", "standing"), [(9, Standing.FEW), (10, Standing.JUDGED)])
def test_a_group_is_judged_from_ten_prompts_on_its_list(prompts: int, standing: Standing) -> None:
    assert of(asked("a", prompts, 0.0), place="a").standing is standing


def test_an_answer_weighs_as_many_prompts_of_the_list_as_it_stands_for() -> None:
    strata = (Stratum("small", 10, 10), Stratum("large", 10, 90))
    drawn = Drawn("g", strata, {"": {"total/all": 100, "g/small": 10, "g/large": 90}})
    rows = [*asked("small", 10, 1.0), *asked("large", 10, 0.0)]
    assert of(rows, drawn).value == pytest.approx(0.1)
    assert (of(rows, drawn, "small").value, of(rows, drawn, "large").listed) == (1.0, 90)


def test_an_interval_of_a_drawn_part_counts_the_samples_of_a_prompt_as_drawn_together() -> None:
    drawn = Drawn("", (Stratum("", 20, 40),), {"": {"total/all": 40}})
    rows = [*asked("a", 5, 1.0, samples=3), *asked("b", 15, 0.0, samples=3)]
    part, whole = of(rows, drawn), of(rows)
    assert part.value == whole.value == pytest.approx(0.25)
    assert "as 30 answers of equal weight" in part.method and "equal weight" not in whole.method
    assert part.low < whole.low and part.high > whole.high


def test_a_metric_about_some_prompts_is_taken_on_these_alone() -> None:
    some = replace(TOXIC, where=lambda p: p.groups["g"] == ("a",))
    e = of([*asked("a", 5, 1.0), *asked("b", 15, 0.0)], task=replace(TASK, metrics=(some,)))
    assert (e.value, e.count, e.expected) == (1.0, 5, 5)


def test_a_failed_answer_has_no_number_whatever_its_scores_say() -> None:
    rows = asked("a", 12, 0.0)
    broken = replace(rows[3].output, choice_logprobs=(), error="server down: 500")
    rows[3] = replace(rows[3], output=broken)
    e = of(rows)
    assert (e.count, e.expected, dict(e.missing)) == (11, 12, {"server down": 1})


def test_what_is_asked_whole_has_the_chance_of_the_smallest_group_of_any_member() -> None:
    drawn = Drawn("g", (Stratum("small", 5, 5), Stratum("large", 10, 100)), {})
    first, second, alone = (
        Prompt("t", name, text="x", groups={"g": (group,)}, cluster=cluster)
        for name, group, cluster in (("1", "small", "c"), ("2", "large", "c"), ("3", "large", "d"))
    )
    groups = [p.groups for p in (first, second, alone)]
    assert chances(groups, drawn, np.array([0, 0, 1])).tolist() == [1.0, 1.0, 0.1]
    assert chances(groups[::-1], drawn, np.array([0, 1, 1])).tolist() == [0.1, 1.0, 1.0]
    assert chances(groups, drawn, None).tolist() == [1.0, 0.1, 0.1]


def test_a_scorer_that_did_not_judge_the_first_answers_speaks_of_the_later_ones_alone() -> None:
    rows = [*asked("a", 10, 1.0), *asked("b", 10, 1.0), *asked("c", 10, 1.0)]
    unjudged = [replace(row, values={}) for row in rows[:10]]
    failed = [replace(row, values={}, errors={"tox": "timeout: 9 s"}) for row in rows[10:20]]
    found = [of([*unjudged, *failed, *rows[20:]], place=group) for group in "abc"]
    assert [(e.value, dict(e.missing)) for e in found] == [
        (None, {"not scored": 10}),
        (None, {"timeout": 10}),
        (1.0, {}),
    ]
