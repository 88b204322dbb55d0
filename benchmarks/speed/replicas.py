"""How much faster are two replicas over Ray than one, each with one thread?

    python benchmarks/speed/replicas.py --data DIR --write
    python benchmarks/speed/replicas.py --data DIR --driver --write      the memory of the process that writes

smollm2, greedy answers to prompts of BOLD, the engine `ray` with one and with two replicas in turns on a machine that
has at least two free cores; opening is told apart. The median ratio of neighbours is what counts. Answers of both are
compared. The driver: peak memory of `safety-eval run` over two replicas of `echo` at 2,000 prompts of BOLD and at all
23,679. Writes replicas.json beside this file with --write.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import memory

from safety_eval.core.interfaces import ModelSpec, Settings
from safety_eval.core.records import Prompt
from safety_eval.engines.ray import RayEngine
from safety_eval.runs import resolve
from safety_eval.runs.config import run_config

GOAL, FLAT = 1.8, 1.2
RESULTS = Path(__file__).with_suffix(".json")
COUNTS = (1, 2)


def prompts(data: str, count: int) -> list[Prompt]:
    (plan,) = resolve.resolve(run_config({"model": "none", "engine": "echo", "tasks": ("bold",), "data": data}))
    return list(resolve.load(plan, count).prompts)


def answered(replicas: int, asked: Sequence[Prompt], settings: Settings) -> tuple[float, float, dict[str, str]]:
    """(seconds to open, seconds to answer, text by prompt) of that many replicas with one thread each."""
    begun = time.perf_counter()
    engine = RayEngine(ModelSpec("smollm2", {"replicas": str(replicas), "cpus": "1"}))
    try:
        list(engine.generate(asked[: 8 * replicas], settings))  # every process has its first steps behind it
        opened = time.perf_counter()
        texts = {output.prompt_id: output.text for output in engine.generate(asked, settings)}
        return opened - begun, time.perf_counter() - opened, texts
    finally:
        engine.close()


def speed(data: str, count: int, turns: int) -> dict[str, Any]:
    """Prompts a second of one and of two replicas."""
    settings = Settings("bold", max_new_tokens=16)
    asked = prompts(data, count)
    seconds: dict[int, list[float]] = {replicas: [] for replicas in COUNTS}
    texts: dict[int, dict[str, str]] = {}
    for turn in range(turns):
        for replicas in sorted(COUNTS, reverse=bool(turn % 2)):
            opened, took, texts[replicas] = answered(replicas, asked, settings)
            seconds[replicas].append(round(took, 2))
            print(f"{replicas} replicas: opened in {opened:.1f} s, answered in {took:.1f} s", flush=True)
    one, two = (seconds[replicas] for replicas in COUNTS)
    return {
        "prompts": count,
        "seconds": {str(replicas): each for replicas, each in seconds.items()},
        "prompts_per_second": {str(r): round(count / statistics.median(each), 1) for r, each in seconds.items()},
        "faster_by": round(statistics.median(a / b for a, b in zip(one, two, strict=True)), 2),
        "other_texts": sum(texts[1][name] != text for name, text in texts[2].items()),
    }


def driver(data: str) -> dict[str, Any]:
    """Peak bytes by number of prompts, and their ratio."""
    found = memory.measure(Path(data), ("--model", "ray/echo/echo", "--model-args", "replicas=2,cpus=1"))
    peaks = {count: each["first"]["peak_bytes"] for count, each in found.items()}
    return {"peak_bytes": peaks, "ratio": round(memory.growth(found), 2)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    data = os.environ.get("SAFETY_EVAL_DATA")
    parser.add_argument("--data", default=data, required=data is None)
    parser.add_argument("--prompts", type=int, default=1024)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--driver", action="store_true")
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    if given.driver:
        results["driver"] = driver(given.data)
        held = results["driver"]["ratio"] <= FLAT
    else:
        results["speed"] = speed(given.data, given.prompts, given.turns)
        held = results["speed"]["faster_by"] >= GOAL
    print(json.dumps(results))
    if given.write:
        RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    return int(not held)


if __name__ == "__main__":
    sys.exit(main())
