"""Peak memory of a whole run (ask, score, measure, report) at 2,000 prompts of BOLD and at all 23,679.

`safety-eval run` in a process of its own, answers of two tokens: what is held beside the model is what could grow.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

COUNTS = (2000, 23679)
_PEAK = """
import resource, sys
from safety_eval.cli import script
try:
    script()
finally:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, file=open({!r}, "w"))
"""


def measure(data: Path, model: tuple[str, ...] = ("--model", "smollm2")) -> dict[str, Any]:
    """Peak bytes and seconds by number of prompts; and those of a second call, which finds nothing to do."""
    found: dict[str, Any] = {}
    for count in COUNTS:
        with tempfile.TemporaryDirectory() as name:
            command = [
                "run",
                *model,
                "--tasks",
                "bold",
                "--data",
                str(data),
                "--gen-kwargs",
                "max_new_tokens=2",
                "--limit",
                str(count),
                "--output-path",
                f"{name}/run",
            ]
            first = _peak(command, Path(name) / "peak")
            found[str(count)] = {"first": first, "again": _peak(command, Path(name) / "peak")}
    return found


def _peak(command: list[str], note: Path) -> dict[str, float]:
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", _PEAK.format(str(note)), *command], check=False, capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(f"safety-eval {' '.join(command)} ended with {done.returncode}: {done.stderr[-500:]}")
    return {"peak_bytes": float(note.read_text()), "seconds": time.perf_counter() - start}


def growth(result: dict[str, Any]) -> float:
    """Peak memory at the larger number of prompts over that at the smaller."""
    small, large = (result[str(c)]["first"]["peak_bytes"] for c in COUNTS)
    return float(large / small)


def table(result: dict[str, Any]) -> str:
    """Peaks beside each other."""
    lines = [
        "### Memory of a run against its number of prompts",
        "",
        "BOLD, answers of two tokens, sentiment, table, charts and report.",
        "",
        "| prompts | peak | seconds | the complete run again: peak | seconds |",
        "|---|---|---|---|---|",
    ]
    for count, each in result.items():
        first, again = each["first"], each["again"]
        lines.append(
            f"| {int(count):,} | {first['peak_bytes'] / 1e9:.2f} GB | {first['seconds']:.0f} | "
            f"{again['peak_bytes'] / 1e9:.2f} GB | {again['seconds']:.0f} |"
        )
    return "\n".join(
        [
            *lines,
            "",
            f"{growth(result):.2f} times the memory for {COUNTS[1] / COUNTS[0]:.0f} times the prompts.",
        ]
    )
