"""Is what a run will take known before it is asked? Tokens and hours by a probe, beside what three runs then took.

python benchmarks/speed/cost.py --model FOLDER --data DIR [--write]      FOLDER: any causal model with a tokenizer.json

The clock is the processor's (all threads of this process), since the machine may be shared; scoring is left out of the
hours that are compared, as the instruments of these tasks take next to nothing.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

from safety_eval.runs import answers, cost, pipeline
from safety_eval.runs.config import run_config

SHORT = {"max_new_tokens": 24}
CASES = (
    {"tasks": ("xstest",), "limit": 64, "probe": 24, "generation": SHORT},
    {"tasks": ("truthfulqa_choice",), "limit": 32, "probe": 8},
    {"tasks": ("bold",), "limit": 96, "probe": 32, "generation": SHORT},
)
TOKENS, HOURS = 0.10, 0.25
"""How far an estimate may lie from what was then taken."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    rows = []
    for case in CASES:
        rows.append(row(dict(case), given.model, given.data))
        print(json.dumps(rows[-1]), flush=True)
    held = all(one["tokens_off"] <= TOKENS and one["hours_off"] <= HOURS for one in rows)
    print("within the bounds" if held else "OUTSIDE of the bounds")
    if given.write:
        Path(__file__).with_name("cost.json").write_text(json.dumps({"rows": rows}, indent=1) + "\n")


def row(case: dict[str, Any], model: str, data: str) -> dict[str, Any]:
    """One run: estimated, then taken."""
    probe = case.pop("probe")
    asked = {"model": model, "data": data, "device": "cpu", **case}
    (before,) = cost.costs(run_config(asked), probe, time.process_time)
    watch = cost.Stopwatch(time.process_time)
    with tempfile.TemporaryDirectory() as place:
        folder = pipeline.run(run_config({**asked, "output_path": Path(place) / "run"}), watch)
        outputs = [o for o in answers.outputs(folder, before.task).values() if not o.error]
    after = cost.seen(outputs, watch.seconds, before.task)
    estimated, taken = before.tokens_in + (before.tokens_out or 0.0), after.tokens_in + after.tokens_out
    hours = before.asking or 0.0
    return {
        "task": before.task,
        "answers": before.answers,
        "probe": probe,
        "tokens_in": [before.tokens_in, after.tokens_in],
        "tokens_out": [round(before.tokens_out or 0.0), after.tokens_out],
        "tokens_off": round(abs(estimated / taken - 1), 3),
        "processor_seconds": [round(hours * 3600, 1), round(after.asking, 1)],
        "hours_off": round(abs(hours * 3600 / after.asking - 1), 3),
    }


if __name__ == "__main__":
    main()
