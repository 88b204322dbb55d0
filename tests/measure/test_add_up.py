"""expected = measured + missing, by reason: checked when an estimate is made, and when it is read."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from safety_eval.core.errors import EvidenceError
from safety_eval.core.records import Estimate, plain
from safety_eval.measure.add_up import problems
from safety_eval.runs import results

GOOD = Estimate(
    "t", "rate", "s", "total", "all", "rate", 0.5, 0.2, 0.8, count=6, events=3, expected=8, missing={"undecided": 2}
)
WRONG: dict[str, Callable[[Estimate], Estimate]] = {
    "an answer is lost": lambda e: replace(e, count=5, events=2),
    "an answer is counted twice": lambda e: replace(e, count=7),
    "a reason is lost": lambda e: replace(e, missing={}),
    "more events than answers": lambda e: replace(e, events=7),
    "a negative count": lambda e: replace(e, count=9, missing={"undecided": -1}),
}


@pytest.mark.parametrize("kind", WRONG)
def test_numbers_that_do_not_add_up_are_found_and_named(kind: str) -> None:
    assert list(problems([GOOD])) == []
    assert [p.split(":")[0] for p in problems([GOOD, WRONG[kind](GOOD)])] == ["t rate total/all"]


@pytest.mark.parametrize("kind", WRONG)
def test_a_results_file_that_does_not_add_up_is_refused_with_a_sentence(kind: str, tmp_path: Path) -> None:
    results.write(tmp_path, [GOOD])
    assert results.read(tmp_path) == [GOOD]
    content: dict[str, Any] = json.loads((tmp_path / "results.json").read_text())
    content["estimates"] = [plain(WRONG[kind](GOOD))]
    (tmp_path / "results.json").write_text(json.dumps(content))
    with pytest.raises(EvidenceError, match="do not add up: t rate total/all") as caught:
        results.read(tmp_path)
    assert caught.value.exit_code == 4 and f"safety-eval score {tmp_path}" in caught.value.hint
