"""How memory and time of every command grow with the run: 20,000 prompts beside 200,000, and what else may be large.

    python benchmarks/speed/growth.py                     # everything, an hour or two
    python benchmarks/speed/growth.py --only own          # the cases whose name begins so

Each command is the installed one, in a process of its own; peak memory is that process's. Memory is to stay flat (at
most 1.2 times for ten times the prompts) and time linear (exponent at most 1.1). It prints both, and writes
`growth.json`.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "growth.json"
TASK = HERE / "grown.py"
WORDS = (
    "the",
    "person",
    "team",
    "nurse",
    "said",
    "good",
    "bad",
    "lovely",
    "damn",
    "kill",
    "sorry",
    "house",
    "he",
    "her",
)
MEMORY_GOAL, TIME_GOAL = 1.2, 1.1
COMMANDS = ("run", "score", "report", "signoff", "verify", "compare", "export")


@dataclass(frozen=True)
class Size:
    """A run of some size. `words`: of `safety-eval run`; `prepare`: writes what they name; `rules`: of the policy."""

    name: str
    answers: int
    words: tuple[str, ...]
    prepare: Callable[[Path], Any] = lambda home: None
    rules: tuple[dict[str, Any], ...] = ()


def rule(task: str, metric: str, group: str = "all", number: int = 0) -> dict[str, Any]:
    """A rule of a policy."""
    return {"id": f"r{number}", "task": task, "metric": metric, "group": group, "max": 0.99, "because": "growth"}


def own(name: str, prompts: int, groups: int = 40, words: int = 8, rules: int = 1) -> Size:
    """A prompt file of one's own, through `echo` and every cheap scorer."""

    def prepare(home: Path) -> None:
        chance = random.Random(prompts)
        with (home / "prompts.jsonl").open("w", encoding="utf-8") as file:
            for i in range(prompts):
                text = " ".join(chance.choices(WORDS, k=words))
                row = {"id": f"p{i:07d}", "text": text, "group": f"g{i % groups}", "cluster": f"c{i // 2}"}
                file.write(json.dumps(row) + "\n")

    asked = ("--tasks", str(TASK), "--prompts", "grown=prompts.jsonl")
    several = tuple(rule("grown", "toxicity_rate", f"group/g{i % groups}" if i else "all", i) for i in range(rules))
    return Size(name, prompts, asked, prepare, several)


def bold(name: str, limit: int, samples: int = 10) -> Size:
    """BOLD, each prompt asked several times. Needs SAFETY_EVAL_DATA."""
    words = ("--tasks", "bold", "--limit", str(limit), "--samples", str(samples))
    return Size(name, limit * samples, words, rules=(rule("bold", "negative_rate"),))


SIZES = (
    own("own 2,000", 2_000),
    own("own 20,000", 20_000),
    own("own 200,000", 200_000),
    bold("bold 20,000", 2_000),
    bold("bold 200,000", 20_000),
    own("groups 10,000", 100_000, groups=10_000),
    own("1 MB answers", 200, groups=4, words=200_000),
    own("1 GB folder", 5_000, groups=4, words=8_000),
    own("1,000 rules", 10_000, groups=400, rules=1_000),
)
PAIRS = (("own 2,000", "own 20,000"), ("own 20,000", "own 200,000"), ("bold 20,000", "bold 200,000"))


def commands(size: Size, home: Path) -> Iterator[tuple[str, list[str]]]:
    """(name, words) of what is measured, in order."""
    ask = ["--engine", "echo", "--model", "echo", "--policy", "policy.yaml", *size.words]
    (home / "policy.yaml").write_text(
        json.dumps(
            {"version": 1, "name": "growth", "signers": 0, "ceilings": {"unscored": 1.0, "degenerate": 1.0}}
            | {"rules": list(size.rules)}
        )
    )
    yield "run", ["run", *ask, "--output-path", "run"]
    shutil.copytree(home / "run", home / "unscored")
    for scores in (home / "unscored").glob("*/scores/*.jsonl"):
        scores.unlink()
    yield "score", ["score", "unscored"]
    shutil.rmtree(home / "unscored")
    yield "report", ["report", "run"]
    yield "signoff", ["signoff", "run", "--policy", "policy.yaml"]
    yield "verify", ["verify", "run", "--own-tasks"]
    shutil.copytree(home / "run", home / "baseline")
    yield "compare", ["compare", "run", "baseline"]
    yield "export", ["export", "run", "--format", "parquet"]


def measured(words: Sequence[str], home: Path) -> dict[str, float]:
    """Exit code, seconds, processor seconds and peak bytes of one command, with the last of what it said."""
    command = [str(Path(sys.executable).parent / "safety-eval"), *words]
    said = home / "said.txt"
    began = time.monotonic()
    with said.open("wb") as out:
        pid = os.posix_spawn(
            command[0],
            command,
            {**os.environ, "OMP_NUM_THREADS": "1"},
            file_actions=[(os.POSIX_SPAWN_DUP2, out.fileno(), 1), (os.POSIX_SPAWN_DUP2, out.fileno(), 2)],
        )
        _, status, used = os.wait4(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    if code not in (0, 3, 4):
        raise SystemExit(f"safety-eval {' '.join(words)} ended with {code}: {said.read_text()[-800:]}")
    return {
        "code": code,
        "seconds": round(time.monotonic() - began, 2),
        "processor": round(used.ru_utime + used.ru_stime, 2),
        "peak": used.ru_maxrss * 1024,
    }


def grow(size: Size) -> dict[str, Any]:
    """Every command at one size."""
    row: dict[str, Any] = {"answers": size.answers, "rules": len(size.rules), "commands": {}}
    with tempfile.TemporaryDirectory() as place:
        home = Path(place)
        os.chdir(home)
        size.prepare(home)
        for name, words in commands(size, home):
            row["commands"][name] = measured(words, home)
            print(f"{size.name}: {name}: {row['commands'][name]}", flush=True)
            row["folder"] = sum(p.stat().st_size for p in (home / "run").rglob("*") if p.is_file())
        os.chdir("/")
    return row


def ratio(small: dict[str, Any], large: dict[str, Any], command: str) -> tuple[float, float]:
    """(peak memory of the large over that of the small, exponent of processor time) of a command."""
    a, b = small["commands"][command], large["commands"][command]
    times = math.log(max(b["processor"], 0.01) / max(a["processor"], 0.01))
    return b["peak"] / a["peak"], times / math.log(large["answers"] / small["answers"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="")
    asked = parser.parse_args()
    rows = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    for size in [s for s in SIZES if s.name.startswith(asked.only)]:
        rows[size.name] = grow(size)
        kept = {s.name: rows[s.name] for s in SIZES if s.name in rows}
        RESULTS.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    for small, large in PAIRS:
        for command in COMMANDS if {small, large} <= rows.keys() else ():
            memory, exponent = ratio(rows[small], rows[large], command)
            met = memory <= MEMORY_GOAL and exponent <= TIME_GOAL
            print(f"{command}, {small} to {large}: memory {memory:.2f}, time {exponent:.2f}{'' if met else ': MISSED'}")


if __name__ == "__main__":
    main()
