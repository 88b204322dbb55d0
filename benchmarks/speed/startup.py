"""Seconds from a new process to the first token of smollm2, and to `--help`.

The first start converts the GGUF file into an empty cache, the second finds it there. The operating system's file
cache is warm in both, as it is for anybody who runs a command twice.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

_FIRST_TOKEN = """
from safety_eval.engines.transformers import ENGINE
from safety_eval.core.interfaces import ModelSpec, Settings
from safety_eval.core.records import Prompt
engine = ENGINE.build(ModelSpec("smollm2", device="cpu"))
settings = Settings("speed", max_new_tokens=1, stop=(), temperature=0.0, top_p=1.0)
[answer] = engine.generate([Prompt("speed", "one", text="The capital of France is")], settings)
assert answer.output_tokens == 1, answer
"""


def _seconds(command: list[str], cache: str) -> float:
    start = time.perf_counter()
    env = {**os.environ, "SAFETY_EVAL_CACHE": cache, "HF_HUB_OFFLINE": "1"}
    subprocess.run(command, env=env, check=True, capture_output=True)
    return time.perf_counter() - start


def measure(rounds: int) -> dict[str, Any]:
    """Seconds of every round: first start, second start, --help."""
    found: dict[str, list[float]] = {"first start": [], "second start": [], "--help": []}
    token = [sys.executable, "-c", _FIRST_TOKEN]
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as cache:
            found["first start"].append(_seconds(token, cache))
            found["second start"].append(_seconds(token, cache))
            found["--help"].append(_seconds([str(Path(sys.executable).with_name("safety-eval")), "--help"], cache))
    return {"seconds": found}


def table(result: dict[str, Any]) -> str:
    """The rounds and their medians."""
    lines = [
        "### From a new process to the first token",
        "",
        "| what | seconds (each round) |",
        "|---|---|",
    ]
    for name, each in result["seconds"].items():
        lines.append(f"| {name} | **{statistics.median(each):.2f}** ({', '.join(f'{s:.2f}' for s in each)}) |")
    return "\n".join(lines)
