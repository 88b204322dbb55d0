"""What does asking a server through safety-eval add to what the server takes for the same requests?

    python benchmarks/speed/server_overhead.py --model FOLDER --data DIR --write     FOLDER: any small causal model

One `transformers serve`, prompts of BOLD, greedy, as many requests under way as `--concurrency`. In turns: the same
bodies sent by a bare HTTP client, and the engine `openai_server`. The median ratio of neighbours is what counts;
the handshake, once a run, is told apart. Writes server_overhead.json beside this file with --write.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2 as httpx

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from served import Served  # noqa: E402

from safety_eval.core.interfaces import ModelSpec, Settings  # noqa: E402
from safety_eval.core.records import Prompt  # noqa: E402
from safety_eval.engines._server.asking import request  # noqa: E402
from safety_eval.engines._server.dialect import DIALECTS  # noqa: E402
from safety_eval.engines.openai_server import OpenaiServer  # noqa: E402
from safety_eval.runs import resolve  # noqa: E402
from safety_eval.runs.config import run_config  # noqa: E402

GOAL = 1.05


def taken(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def bare(url: str, asked: Sequence[tuple[str, dict[str, Any]]], at_once: int) -> None:
    """Every body once, as a person would who has only a client."""
    with httpx.Client(timeout=600) as client, ThreadPoolExecutor(at_once) as pool:

        def one(body: tuple[str, dict[str, Any]]) -> None:
            client.post(f"{url}{body[0]}", json=body[1]).raise_for_status().json()

        list(pool.map(one, asked))


def prompts(data: str, many: int) -> list[Prompt]:
    config = run_config({"model": "none", "engine": "echo", "tasks": ("bold",), "data": data})
    (plan,) = resolve.resolve(config)
    return list(resolve.load(plan, many).prompts)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, type=Path)
    parser.add_argument("--data", required=True)
    parser.add_argument("--prompts", type=int, default=32)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--concurrency", type=int, default=4)
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    settings = Settings("bold", max_new_tokens=24, chat_template=True)
    asked = prompts(given.data, given.prompts)
    with tempfile.TemporaryDirectory() as place:
        served = Served(given.model, Path(place) / "log")
        try:
            args = {"base_url": f"{served.url}/v1", "dialect": "transformers", "concurrency": str(given.concurrency)}
            opened: list[OpenaiServer] = []
            handshake = taken(lambda: opened.append(OpenaiServer(ModelSpec(str(given.model), args))))
            (engine,) = opened
            bodies = [request(prompt, settings, DIALECTS["transformers"]) for prompt in asked]
            named = [(f"/v1{path}", {"model": str(given.model), **body}) for path, body in bodies]
            ways = {
                "bare": lambda: bare(served.url, named, given.concurrency),
                "engine": lambda: list(engine.generate(asked, settings)),
            }
            for work in ways.values():
                work()
            seconds: dict[str, list[float]] = {name: [] for name in ways}
            for turn in range(given.turns):
                for name in sorted(ways, reverse=bool(turn % 2)):
                    seconds[name].append(taken(ways[name]))
                    print(name, round(seconds[name][-1], 2), flush=True)
            engine.close()
        finally:
            served.kill()
    ratios = [one / other for one, other in zip(seconds["engine"], seconds["bare"], strict=True)]
    found = {
        "prompts": given.prompts,
        "concurrency": given.concurrency,
        "handshake_seconds": round(handshake, 2),
        "seconds": {name: [round(s, 2) for s in each] for name, each in seconds.items()},
        "ratio": round(statistics.median(ratios), 3),
        "goal": GOAL,
    }
    print(json.dumps(found))
    if given.write:
        Path(__file__).with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return int(found["ratio"] > GOAL)


if __name__ == "__main__":
    sys.exit(main())
