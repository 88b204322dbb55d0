"""The page of speeds says what results.json says: its goals are written by the same functions."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
SPEED = ROOT / "benchmarks/speed"
TABLE = "import goals, json, sys; print(goals.table(json.load(sys.stdin)))"


def _goals(results: dict[str, object]) -> str:
    """The table in a process of its own: the folder's module names are too short to be imported here."""
    done = subprocess.run(
        [sys.executable, "-c", TABLE],
        cwd=SPEED,
        input=json.dumps(results),
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def test_the_page_shows_the_goals_of_the_recorded_results() -> None:
    results = json.loads((SPEED / "results.json").read_text())
    assert _goals(results) in (ROOT / "docs/explanation/performance.md").read_text()


def test_a_missed_goal_is_marked_and_a_missing_measurement_is_not_a_number() -> None:
    slow = {"startup": {"seconds": {"second start": [4.0, 6.0, 7.0], "--help": [0.05, 0.06, 0.04]}}}
    lines = _goals(slow).splitlines()
    assert "| Start: second start | at most 5.00 s | **6.00 s** |" in lines
    assert "| Start: --help | at most 0.10 s | 0.05 s |" in lines
    rest = [line for line in lines[4:] if "Start:" not in line]
    assert len(rest) > 20 and all(line.endswith("| not measured |") for line in rest)


def test_results_of_one_peer_alone_give_a_page_with_gaps() -> None:
    """`run.py --peers hf` measures nothing beside the other peers, and their goals are not measured."""
    results = json.loads((SPEED / "results.json").read_text())
    for case in results.values():
        for field in ("sides", "agreement"):
            if field in case:
                case[field] = {k: v for k, v in case[field].items() if k == "ours" or k.startswith("hf ")}
    lines = _goals(results).splitlines()
    beside = [line for line in lines if "beside vLLM" in line or "beside lm-eval" in line]
    assert beside and all(line.endswith("| not measured |") for line in beside)
    assert not any("not measured" in line for line in lines if "beside transformers" in line)
