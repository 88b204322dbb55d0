"""Twenty kills each, at chance, of a model server and of a replica over Ray, while `safety-eval run` asks them.

    python benchmarks/reliability/engine_kills.py --data DIR --write

A tiny model of random weights answers prompts of BOLD. SIGKILL strikes after a random number of answers: the server
(`transformers serve`), which comes back at once, or only after the run has stopped, so that the same command resumes
it; or one of two replicas of the engine `ray`, which is replaced while the run goes on. Then every answer is compared
with those of the engine `transformers` in one process: none may be lost, doubled, changed or invented. Writes
engine_kills.json beside this file and the table into the how-to with --write.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from served import Served  # noqa: E402
from tiny_models import CHATML, causal_lm  # noqa: E402

PAGE = ROOT / "docs" / "how-to" / "run-on-a-cluster.md"
MARKS = ("<!-- kills -->", "<!-- /kills -->")
ANSWERS = Path("bold") / "outputs.jsonl"
_ENOUGH = 40
"""Commands after which a run that never ends is given up."""


@dataclass
class Found:
    """What one case came to. `commands`: that were needed; `stopped`: of them, by a kill. The rest are answers."""

    prompts: int
    kills: int = 0
    commands: int = 0
    stopped: int = 0
    lost: int = 0
    doubled: int = 0
    changed: int = 0
    invented: int = 0
    seconds: float = 0.0

    @property
    def wrong(self) -> int:
        return self.lost + self.doubled + self.changed + self.invented


@dataclass
class Case:
    """A run that is disturbed. `strike`: kills once, whether something was there to be killed; `mend`: before the next
    command."""

    asks: tuple[str, ...]
    strike: Callable[[subprocess.Popen[bytes]], bool]
    mend: Callable[[], None]


def command(home: Path, run: str, data: Path, limit: int, *more: str) -> list[str]:
    ask = ["--tasks", "bold", "--data", str(data), "--limit", str(limit), "--predict-only", "--dtype", "auto"]
    greedy = ["--gen-kwargs", "temperature=0,max_new_tokens=12", "--apply-chat-template"]
    return [
        str(Path(sys.executable).parent / "safety-eval"),
        "run",
        *more,
        *ask,
        *greedy,
        "--output-path",
        str(home / run),
    ]


def rows(path: Path) -> list[dict[str, object]]:
    """Whole lines of a file of records: answers, not errors."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    read = [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]
    return [row for row in read if not row.get("error")]


def lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def disturbed(case: Case, line: list[str], folder: Path, kills: int, chance: random.Random) -> Found:
    """Run until everything is answered, killing at random numbers of answers."""
    found = Found(prompts=int(line[line.index("--limit") + 1]))
    points = sorted(chance.randrange(1, int(found.prompts * 0.95)) for _ in range(kills))
    began = time.monotonic()
    while found.commands < _ENOUGH:
        case.mend()
        with tempfile.TemporaryFile() as log:
            process = subprocess.Popen(line, stdout=log, stderr=log)
            found.commands += 1
            while process.poll() is None:
                time.sleep(0.02)
                if points and lines(folder / ANSWERS) >= points[0] and case.strike(process):
                    points.pop(0)
                    found.kills += 1
            log.seek(0)
            said = log.read().decode(errors="replace")
        if process.returncode == 0:
            break
        if process.returncode not in (2, 4):
            raise SystemExit(f"exit {process.returncode}: {said[-3000:]}")
        found.stopped += 1
        print(f"  exit {process.returncode}: {said.strip().splitlines()[-2:]}", flush=True)
    found.seconds = round(time.monotonic() - began, 1)
    return found


def compared(found: Found, folder: Path, whole: Path) -> Found:
    """Count what is wrong beside the undisturbed run."""
    right = {row["prompt_id"]: row["text"] for row in rows(whole / ANSWERS)}
    texts: dict[object, list[object]] = {}
    for row in rows(folder / ANSWERS):
        texts.setdefault(row["prompt_id"], []).append(row["text"])
    found.lost = sum(1 for name in right if name not in texts)
    found.invented = sum(1 for name in texts if name not in right)
    found.doubled = sum(len(several) - 1 for several in texts.values())
    found.changed = sum(1 for name in right if any(text != right[name] for text in texts.get(name, ())))
    return found


def of_server(home: Path, chance: random.Random) -> Case:
    served = Served(home / "tiny", home / "log")
    down = False

    def strike(process: subprocess.Popen[bytes]) -> bool:
        nonlocal down
        if down:
            return False
        served.kill()
        if chance.random() < 0.5:
            served.start()
        else:
            down = True
        return True

    def mend() -> None:
        nonlocal down
        if down:
            served.start()
        down = False

    asks = ("--model", f"openai/{home / 'tiny'}", "--base-url", f"{served.url}/v1")
    return Case((*asks, "--model-args", "dialect=transformers,deadline=20,concurrency=8"), strike, mend)


def of_replicas(home: Path, chance: random.Random) -> Case:
    def strike(process: subprocess.Popen[bytes]) -> bool:
        alive = []
        for below in psutil.Process(process.pid).children(recursive=True):
            with suppress(psutil.Error):  # it has just ended
                alive += [below] if "".join(below.cmdline()).startswith("ray::Worker") else []
        if not alive:
            return False
        chance.choice(alive).kill()
        return True

    return Case(("--model", f"ray/{home / 'tiny'}", "--model-args", "replicas=2,cpus=1"), strike, lambda: None)


CASES = {"server": (of_server, 600), "replica": (of_replicas, 6000)}
"""Case -> how it is made, and prompts: so many that twenty kills fall into the run."""


def measured(name: str, data: Path, kills: int, seed: int) -> Found:
    home = Path(tempfile.mkdtemp(prefix="k-"))
    try:
        causal_lm(home / "tiny", "llama", seed=1, chat_template=CHATML)
        make, limit = CASES[name]
        alone = command(home, "whole", data, limit, "--model", str(home / "tiny"))
        subprocess.run(alone, check=True, capture_output=True)
        case = make(home, random.Random(f"{name} {seed}"))
        line = command(home, "run", data, limit, *case.asks)
        found = disturbed(case, line, home / "run", kills, random.Random(seed))
        return compared(found, home / "run", home / "whole")
    finally:
        for child in psutil.Process().children(recursive=True):
            child.kill()
        shutil.rmtree(home, ignore_errors=True)


def table(results: dict[str, dict[str, float]]) -> str:
    """The counts, as Markdown."""
    names = ("prompts", "kills", "commands", "stopped", "lost", "doubled", "changed", "invented")
    heads = {"commands": "commands needed", "stopped": "stopped by a kill"}
    top = [f"| killed | {' | '.join(heads.get(name, name) for name in names)} |", "|" + "---|" * (len(names) + 1)]
    said = {"server": "`transformers serve`", "replica": "one of two replicas over Ray"}
    body = [
        f"| {said[case]} | " + " | ".join(f"{int(found[n]):,}" for n in names) + " |" for case, found in results.items()
    ]
    return "\n".join([*top, *body])


def main() -> int:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--data", type=Path, default=os.environ.get("SAFETY_EVAL_DATA"), help="a local mirror with BOLD")
    asked.add_argument("--cases", nargs="+", choices=tuple(CASES), default=tuple(CASES))
    asked.add_argument("--kills", type=int, default=20)
    asked.add_argument("--seed", type=int, default=0)
    asked.add_argument("--write", action="store_true")
    given = asked.parse_args()
    file = Path(__file__).with_suffix(".json")
    results = json.loads(file.read_text()) if file.exists() else {}
    wrong = 0
    for name in given.cases:
        found = measured(name, given.data, given.kills, given.seed)
        results[name] = asdict(found)
        wrong += found.wrong + (found.kills < given.kills)
        print(name, results[name], flush=True)
    if given.write:
        file.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        before, rest = PAGE.read_text(encoding="utf-8").split(MARKS[0])
        after = rest.split(MARKS[1])[1]
        PAGE.write_text(f"{before}{MARKS[0]}\n{table(results)}\n{MARKS[1]}{after}", encoding="utf-8")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
