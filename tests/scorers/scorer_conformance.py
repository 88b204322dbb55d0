"""What every scorer must do, whatever it measures. A plugin's test calls `check_scorer`.

Answers of a conforming test: `make(texts)` gives (Prompt, Output) pairs with what the scorer needs in `target`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fnmatch import fnmatch
from math import isfinite

from safety_eval.core.interfaces import Answer, Scorer, ScorerEntry, ScorerSpec
from safety_eval.core.records import Output, Prompt, Score, canonical, key

ODD = (
    "Ein sehr langer Satz. " * 400,
    "Привет, 你好, مرحبا 🙂",
    "bell \x07 null \x00 escape \x1b[31m tab \t",
    "lone surrogate \ud83d here",
    "...",
    "\ufffd\ufffd",
)
"""Very long, not English, control characters, invalid Unicode, punctuation only."""

PLAIN = (
    "She is a very kind engineer, and everyone likes her!",
    "It is Paris.",
    "I have no comment.",
    "He said that it was the worst and most stupid thing he had ever seen.",
    "It is Paris.",
)
EMPTY = ("", "  \n", "\u200b")

Make = Callable[[Sequence[str]], list[Answer]]


def answers(texts: Sequence[str], target: dict | None = None, **prompt: object) -> list[Answer]:
    """Answers to prompts of a task 'test', numbered."""
    made = []
    for i, text in enumerate(texts):
        asked = Prompt("test", f"p{i}", "What do you think of them? ", target=dict(target or {}), **prompt)
        made.append((asked, Output(key(asked), asked.id, text=text, stop_reason="eos")))
    return made


def check_scorer(
    entry: ScorerEntry,
    spec: ScorerSpec,
    make: Make = answers,
    tolerance: float = 0.0,
    scores_empty: bool = False,
) -> None:
    """Raise AssertionError unless the scorer conforms. `tolerance`: of values between batch splits."""
    scorer = entry.build(spec)
    try:
        _check_identity(scorer, spec)
        assert list(scorer.score([])) == []
        _check_splits(scorer, make([*PLAIN, *ODD]), tolerance)
        scored = _by_key(scorer, make(PLAIN))
        assert all(not s.error for s in scored.values()), next(s.error for s in scored.values() if s.error)
        offered = entry.offers(spec.args)
        for given in (set(score.values) for score in scored.values()):
            assert offered <= given, f"offered and not given: {offered - given}"
            unknown = {n for n in given - offered if not any(fnmatch(n, name) for name in entry.also)}
            assert not unknown, f"given, and on no page of the reference: {unknown}"
        _check_missing(scorer, make, scores_empty)
    finally:
        scorer.close()
        scorer.close()


def _check_identity(scorer: Scorer, spec: ScorerSpec) -> None:
    assert canonical(scorer.identity)
    assert scorer.identity["name"]


def _by_key(scorer: Scorer, given: Sequence[Answer]) -> dict[str, Score]:
    scores = list(scorer.score(iter(given)))
    assert sorted(s.output_key for s in scores) == sorted(key(output) for _, output in given)
    ids = {key(output): (output.prompt_id, output.sample) for _, output in given}
    for score in scores:
        assert (score.prompt_id, score.sample) == ids[score.output_key]
        assert bool(score.error) != bool(score.values), score
        assert all(isinstance(v, str) or isfinite(v) for v in score.values.values()), score
        assert canonical(score)
    return {s.output_key: s for s in scores}


def _check_splits(scorer: Scorer, given: list[Answer], tolerance: float) -> None:
    """Batches of 0, 1, 2 or all, in any order: the same scores."""
    whole = _by_key(scorer, given)
    assert any(not s.error for s in whole.values())
    for size in (1, 2):
        for start in range(0, len(given), size):
            for name, score in _by_key(scorer, given[start : start + size]).items():
                _same(score, whole[name], tolerance)
    for name, score in _by_key(scorer, given[::-1]).items():
        _same(score, whole[name], tolerance)


def _same(one: Score, other: Score, tolerance: float) -> None:
    assert one.error == other.error
    assert set(one.values) == set(other.values)
    for name, value in one.values.items():
        if isinstance(value, str):
            assert value == other.values[name], name
        else:
            assert abs(value - float(other.values[name])) <= tolerance, (name, value, other.values[name])


def _check_missing(scorer: Scorer, make: Make, scores_empty: bool) -> None:
    """A missing answer is a Score with an error, never a value; one bad answer does not stop the others."""
    given = make([*EMPTY, PLAIN[0]])
    found = [s for _, s in sorted((s.prompt_id, s) for s in _by_key(scorer, given).values())]
    assert not found[-1].error
    if not scores_empty:
        assert all(s.error == "empty answer" and not s.values for s in found[:-1]), found
    prompt, output = given[-1]
    failed = Output(output.prompt_key, output.prompt_id, stop_reason="error", error="server is gone")
    (score,) = scorer.score([(prompt, failed)])
    assert "server is gone" in score.error and not score.values
