"""Derived scores: exact on planted answers, missing at its worst, and no loss ever makes a limit better."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safety_eval.core.records import Estimate, Output, Prompt, Standing, key
from safety_eval.core.task import Measured, PromptSet, ScorerChoice, Task, Values
from safety_eval.measure.derived import GapScore, PromptScore, RatioScore, Spec, of
from safety_eval.measure.metrics import estimates
from safety_eval.runs.draw import draw
from safety_eval.stats.proportion import clopper_pearson


def number(prompt: Prompt, output: Output, values: Values) -> float | None:
    value = values.get("x")
    return value if isinstance(value, float) else None


def parts(prompt: Prompt, output: Output, values: Values) -> tuple[float, float] | None:
    value = number(prompt, output, values)
    return None if value is None else (value, abs(value))


def side(name: str) -> Callable[[Prompt], bool]:
    return lambda prompt: prompt.factors["side"] == name


SPECS: dict[str, Spec] = {
    "ratio": RatioScore("score", ("x",), parts, (-1.0, 1.0), axes=("team",)),
    "gap": GapScore(
        "score",
        ("x",),
        lambda p, o, v: None if (x := number(p, o, v)) is None else float(x > 0),
        side("left"),
        side("right"),
        axes=("team",),
    ),
    "prompts": PromptScore("score", ("x",), number, lambda y: float(y.max()), (-1.0, 1.0), axes=("team",)),
}


def rows(values: Sequence[float | None], each: int = 2, samples: int = 1) -> list[Measured]:
    """Answers whose value is given (None: lost); `each` prompts are a cluster, sides and teams take turns."""
    made = []
    for i, value in enumerate(values):
        at = i // samples
        prompt = Prompt(
            "t",
            f"p{at}",
            "asked",
            groups={"team": ("red" if at % 4 < 2 else "blue",)},
            factors={"side": ("left", "right")[at % 2]},
            cluster=f"c{at // each}",
        )
        output = Output(key(prompt), prompt.id, i % samples, "said", error="" if value is not None else "server: gone")
        made.append(Measured(prompt, output, {} if value is None else {"s": {"x": value}}, {}, "comply"))
    return made


def found(kind: str, measured: Sequence[Measured]) -> dict[str, Estimate]:
    return {e.group: e for e in of("t", [SPECS[kind]])(measured, "v")}


def test_a_ratio_is_exact_in_total_and_per_group() -> None:
    here = found("ratio", rows([1.0, -1.0, 0.0, 0.0, 1.0, 1.0, 0.0, -1.0] * 6))
    assert here["all"].value == pytest.approx((3 - 2) / 5) and here["all"].count == 48
    assert here["red"].value == pytest.approx((3 - 1) / 4) and here["blue"].value == -1.0
    assert here["all"].gateable and here["all"].lowest == here["all"].highest == here["all"].value


def test_a_gap_is_exact_and_its_interval_knows_the_pairs() -> None:
    here = found("gap", rows([1.0, -1.0, 1.0, 1.0] * 20))
    assert here["red"].value == 1.0 and here["blue"].value == 0.0 and here["all"].value == 0.5
    rng = np.random.default_rng(0)
    alike = np.repeat(np.where(rng.random(60) < 0.5, 1.0, -1.0), 2)
    alike[:8:2] *= -1
    apart = np.where(rng.random(120) < 0.5, 1.0, -1.0)
    narrow, wide = (found("gap", rows(list(y)))["all"] for y in (alike, apart))
    assert "both sides of a cluster together" in narrow.method
    assert narrow.high - narrow.low < 0.6 * (wide.high - wide.low)  # type: ignore[operator]
    assert narrow.gate_low < -0.1 < 0.1 < narrow.gate_high  # type: ignore[operator]


def test_each_side_of_a_gap_pays_half_of_the_error() -> None:
    """Whatever the two sides have in common, both limits hold together."""
    gap = found("gap", rows([1.0, -1.0] * 15 + [-1.0, 1.0] * 15, each=1))["all"]
    low, high = clopper_pearson(15, 30)  # 2.5% at either end
    assert gap.value == 0.0 and (gap.gate_low, gap.gate_high) == pytest.approx((low - high, high - low))


def test_a_prompt_with_a_lost_answer_has_no_maximum_but_bounds() -> None:
    whole = found("prompts", rows([0.1, 0.9, 0.2, 0.4] * 10, samples=2))["all"]
    assert whole.value == pytest.approx((0.9 + 0.4) / 2) and (whole.count, whole.expected) == (20, 20)
    lost = found("prompts", rows([0.1, None, 0.2, 0.4] + [0.1, 0.9, 0.2, 0.4] * 9, samples=2))["all"]
    assert (lost.count, lost.expected, lost.missing) == (19, 20, {"server": 1})
    assert lost.lowest == pytest.approx((9 * 0.9 + 10 * 0.4 + 0.1) / 20)
    assert lost.highest == pytest.approx((9 * 0.9 + 10 * 0.4 + 1.0) / 20)


def test_a_degenerate_answer_counts_for_the_number_and_at_its_worst_for_the_limits() -> None:
    measured = rows([1.0, -1.0] * 20)
    broken = [replace(measured[0], status="degenerate"), *measured[1:]]
    before, after = found("ratio", measured)["all"], found("ratio", broken)["all"]
    assert after.value == before.value and after.lowest < before.lowest and after.gate_low < before.gate_low  # type: ignore[operator]


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(sorted(SPECS)), st.integers(0, 10_000))
def test_no_loss_makes_a_limit_better(kind: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    share, size = rng.uniform(0.02, 0.98), 4 * int(rng.integers(6, 20))
    values = [float(v) for v in rng.choice([-1.0, 1.0, 0.0], size, p=[0.8 * (1 - share), 0.8 * share, 0.2])]
    lost = rng.random(size) < rng.choice([1 / size, 0.1, 0.4])
    before = found(kind, rows(values, samples=2 if kind == "prompts" else 1))
    after = found(
        kind,
        rows(
            [None if gone else v for v, gone in zip(values, lost, strict=True)], samples=2 if kind == "prompts" else 1
        ),
    )
    for group, e in after.items():
        if e.gate_low is not None:
            assert e.gate_low <= before[group].gate_low + 1e-8 and e.gate_high >= before[group].gate_high - 1e-8  # type: ignore[operator]


def test_nothing_measured_is_no_number_and_no_limit() -> None:
    for kind in ("ratio", "prompts"):
        measured = [*rows([None] * 39), replace(rows([1.0] * 40)[39], status="degenerate")]
        e = found(kind, measured[:39] + [replace(measured[39], output=measured[0].output)])["all"]
        assert e.value is None and not e.gateable and (e.gate_low, e.gate_high) == (-1.0, 1.0)


def test_a_side_that_is_lost_whole_is_a_gap_that_policies_still_require() -> None:
    values: list[float | None] = [1.0, -1.0] * 20
    before = found("gap", rows(values))
    after = found("gap", rows([None if i % 2 else v for i, v in enumerate(values)]))
    assert before["red"].standing is Standing.JUDGED and after["red"].standing is Standing.UNMEASURED
    assert after["red"].gate_low < before["red"].gate_low and after["red"].gate_high >= before["red"].gate_high  # type: ignore[operator]
    few = found("gap", rows([1.0, None] * 4))["red"]
    assert few.standing is Standing.FEW and few.value is None


def _limited(limit: int, large: int = 60) -> dict[str, Estimate]:
    """A list with `large` red prompts and 20 blue ones, drawn by a limit that gives both teams an even share."""
    prompts = [
        Prompt(
            "t",
            f"p{i}",
            "asked",
            groups={"team": ("red" if i < large else "blue",)},
            factors={"side": ("left", "right")[i % 2]},
        )
        for i in range(large + 20)
    ]
    task = Task(
        "t",
        "T",
        "",
        "choose",
        lambda o: PromptSet((), ""),
        ("v",),
        metrics=(),
        limit_axis="team",
        scorers=(ScorerChoice("s"),),
        derive=of("t", [SPECS["gap"]]),
    )
    drawn = draw(prompts, limit, task, 0)
    made = [Measured(p, Output(key(p), p.id, 0, "said"), {"s": {"x": 1.0}}, {}, "comply") for p in drawn.prompts]
    return {e.group: e for e in estimates(task, made, "v", drawn.drawn) if e.metric == "score"}


def test_a_limit_frees_no_group_of_a_derived_score_and_an_uneven_draw_is_not_the_list() -> None:
    even = _limited(40)
    assert even["red"].standing is even["blue"].standing is Standing.JUDGED
    assert even["all"].standing is Standing.UNMEASURED and "unequal shares" in even["all"].reason
    assert _limited(40, 20)["all"].standing is Standing.JUDGED
    one = _limited(1)
    assert {one["red"].standing, one["blue"].standing} == {Standing.UNMEASURED}
