"""The words of a comparison never contradict each other or the numbers beside them: random rows, every direction."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safety_eval.compare.differences import Difference, read

ROWS = st.lists(
    st.tuples(st.integers(10, 400), st.floats(0, 1), st.floats(0, 1), st.integers(0, 40)), min_size=1, max_size=6
)
LEVELS = {"shown": 1.96, "limit": 1.645}


def row(i: int, drawn: tuple[int, float, float, int], better: str, kind: str) -> Difference:
    """A paired difference whose interval, limits and p-value come from one and the same normal law."""
    n, share, split, lost = drawn
    up, down = share * split, share * (1 - split)
    value, error = up - down, max(((up + down - (up - down) ** 2) / n) ** 0.5, 1 / n)
    worst, best = min(1.0, value + lost / n), max(-1.0, value - lost / n)
    shown, limit = (LEVELS[name] * error for name in ("shown", "limit"))
    z = abs(value) / error
    return Difference(
        "t",
        "m",
        "s",
        "g",
        f"g{i}",
        kind,
        value,
        low=max(-1.0, value - shown),
        high=min(1.0, value + shown),
        p=1.0 if value == 0 else min(1.0, 2 * 2.718281828 ** (-z * z / 2)),
        better=better,
        count=n,
        expected=n + lost,
        lowest=best,
        highest=worst,
        lower=max(-1.0, best - limit),
        upper=min(1.0, worst + limit),
        answers=float(n),
        listed=n,
        span=(-1.0, 1.0),
        new_only=round(up * n),
        old_only=round(down * n),
        gateable=True,
    )


@settings(max_examples=150, deadline=None)
@given(ROWS, st.sampled_from(["lower", "higher", "neither"]), st.one_of(st.none(), st.floats(0.005, 0.6)))
def test_no_row_says_two_things(rows: list[tuple[int, float, float, int]], better: str, margin: float | None) -> None:
    found = read([row(i, r, better, "rate") for i, r in enumerate(rows)], {} if margin is None else {"": margin})
    for d in found:
        said = d.reading
        assert said, d
        assert d.gateable and (margin is None) == (not d.equivalent)
        worse, none = "worse" in said and "not worse" not in said, "no difference" in said
        assert not (worse and none), said
        assert not ("better" in said and worse and "margin" not in said), said
        assert not (d.not_worse == "approved" and "by more than" in said), said
        assert not (d.not_worse == "rejected" and d.equivalent == "approved"), (said, d)
        if "worse by more" in said or d.not_worse == "rejected":
            assert d.low is not None and d.high is not None and margin is not None
            assert (d.low > 0) if better == "lower" else (d.high < 0), said
        if none:
            assert d.p_adjusted is None or d.p_adjusted > 0.05 or (d.low or 0) <= 0 <= (d.high or 0), said


def test_a_family_pays_for_the_rows_that_are_judged_and_for_no_others() -> None:
    alone = row(0, (400, 0.1, 0.8, 0), "lower", "rate")
    few = replace(row(1, (10, 0.1, 0.8, 0), "lower", "rate"), enough=False, gateable=False)
    other = replace(row(2, (400, 0.02, 0.6, 0), "lower", "rate"), metric="another")
    (first, *rest) = read([alone, few, other], {})
    assert first.p_adjusted == alone.p and rest[0].p_adjusted is None and rest[0].reading == "descriptive only"
    (first, second) = read([alone, replace(few, enough=True, gateable=True)], {})
    assert first.p_adjusted == pytest.approx(2 * (alone.p or 0.0)) and second.p_adjusted == second.p


@pytest.mark.parametrize(("better", "split"), [("lower", 0.9), ("higher", 0.1)])
def test_worse_by_more_than_the_margin_is_said_of_either_end(better: str, split: float) -> None:
    (worse,) = read([row(0, (400, 0.5, split, 0), better, "rate")], {"": 0.1})
    (turned,) = read([row(0, (400, 0.5, 1 - split, 0), better, "rate")], {"": 0.1})
    assert (worse.not_worse, turned.not_worse) == ("rejected", "approved")
