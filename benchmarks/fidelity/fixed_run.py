"""A fixed run over every task, and the digest of each task's estimates: shows whether a change moved a number.

    python benchmarks/fidelity/fixed_run.py --into before.json
    (change something)
    python benchmarks/fidelity/fixed_run.py --against before.json      exit 1 when an estimate moved, and which

The engine is `echo` with a fixed script, so that nothing but this package decides the numbers. It asks our own small
prompts, and with SAFETY_EVAL_DATA (or --data) the first prompts of every benchmark. Instruments are those that need no
download. It runs the installed command and reads results.json, so it can be held against any revision.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

COMMAND = str(Path(sys.executable).parent / "safety-eval")
ANSWERS = {
    "kill": "I'm sorry, but I can't help with that request.",
    "hack": "I can't assist with this, but here is how to protect an account: use a long passphrase.",
    "steal": "Sure. 1. Look at the lock. 2. Use a pick. 3. Open the door and steal what is inside.",
    "women": "Women are wonderful, and everybody loved the work that they did for the town.",
    "black": "It was a terrible, hateful, disgusting failure, and people were hurt and died.",
    "should": "Nothing in particular happens, although many people believe that something does.",
    " was ": "a disaster that destroyed the hopes of the damn stupid idiots who had trusted it.",
    " is ": "a kind and honest person who is proud of a happy and successful life.",
    " the ": "and it began in the spring, when the first visitors came over the river.",
    " a ": "I have no comment.",
}
WITHOUT_DOWNLOAD = (
    "--scorer",
    "truthfulqa_generation=truth_similarity",
    "--scorer-args",
    "truth_similarity:embedding=none",
    "--scorer",
    "toxigen=profanity_check",
    "--scorer",
    "red_team=risk_words",
)

_TOXICITY = ("--scorer", "real_toxicity_prompts=profanity_check")


def command(*words: str | Path) -> str:
    """Standard output of the installed command; ends this program with its words when it fails."""
    done = subprocess.run([COMMAND, *map(str, words)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"safety-eval {' '.join(map(str, words))}: exit {done.returncode}\n{done.stderr}")
    return done.stdout


def names(kind: str) -> list[str]:
    return [line.split()[0] for line in command("ls", kind).splitlines()]


def estimates(folder: Path, *flags: str | Path) -> list[dict[str, Any]]:
    """What results.json says after the run."""
    script = folder.with_suffix(".json")
    script.write_text(json.dumps(ANSWERS))
    asked = ("--engine", "echo", "--model", script.name, *WITHOUT_DOWNLOAD, *flags, "--output-path", folder)
    here = Path.cwd()
    os.chdir(folder.parent)
    try:
        command("run", *asked)
    finally:
        os.chdir(here)
    found: list[dict[str, Any]] = json.loads((folder / "results.json").read_text())["estimates"]
    return found


def of_task(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """How many estimates, their digest, and the value of each in short, to find the one that moved."""
    lines = sorted(json.dumps(row, sort_keys=True) for row in rows)
    return {
        "estimates": len(lines),
        "sha256": hashlib.sha256("\n".join(lines).encode()).hexdigest(),
        "values": {
            " ".join(str(row[k]) for k in ("metric", "scorer", "axis", "group")): [
                row[k] for k in ("value", "low", "high", "gate_low", "gate_high", "count")
            ]
            for row in sorted(rows, key=lambda r: json.dumps(r, sort_keys=True))
        },
    }


def fixed(data: Path | None, limit: int) -> dict[str, Any]:
    """{'quickstart TASK' or 'benchmark TASK': what `of_task` says}."""
    found = {}
    with tempfile.TemporaryDirectory() as scratch:
        sets: list[tuple[str, tuple[str | Path, ...]]] = [("quickstart", ("--tasks", "quickstart"))]
        if data is not None:
            every = ",".join(names("tasks"))
            sets.append(("benchmark", ("--tasks", every, "--limit", str(limit), "--data", data, *_TOXICITY)))
        for name, flags in sets:
            rows = estimates(Path(scratch) / name, *flags)
            for task in dict.fromkeys(row["task"] for row in rows):
                found[f"{name} {task}"] = of_task([row for row in rows if row["task"] == task])
    return found


def moved(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """One line for every estimate that is not what it was."""
    lines = []
    for name in sorted(before | after):
        old, new = before.get(name, {}), after.get(name, {})
        if old.get("sha256") == new.get("sha256"):
            continue
        values = (old.get("values", {}), new.get("values", {}))
        rows = [
            f"{name}: {row}: {values[0].get(row)} -> {values[1].get(row)}"
            for row in sorted(values[0] | values[1])
            if values[0].get(row) != values[1].get(row)
        ]
        lines += rows or [f"{name}: a field other than value, interval, limits and count"]
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    mirror = os.environ.get("SAFETY_EVAL_DATA")
    parser.add_argument("--data", type=Path, default=Path(mirror) if mirror else None)
    parser.add_argument("--limit", type=int, default=240, help="prompts of each benchmark")
    parser.add_argument("--into", type=Path, help="write the result here")
    parser.add_argument("--against", type=Path, help="result of another revision")
    asked = parser.parse_args()
    found = fixed(asked.data, asked.limit)
    if asked.into:
        asked.into.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
    for name, told in found.items():
        print(f"{name:36} {told['estimates']:4} estimates  {told['sha256']}")
    print(hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest())
    if asked.against:
        lines = moved(json.loads(asked.against.read_text()), found)
        print(*lines, f"{len(lines)} moved", sep="\n")
        raise SystemExit(1 if lines else 0)


if __name__ == "__main__":
    main()
