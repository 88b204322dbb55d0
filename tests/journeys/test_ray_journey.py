"""A model in several processes over Ray, as somebody with a cluster asks it: one is killed in the middle."""

from __future__ import annotations

import json
import threading
import time

import psutil
import pytest
from walk import Walk

pytest.importorskip("ray", reason="needs safety-eval[ray]")
RULES = [{"words": "", "seconds": 0.04, "answer": "I cannot help with that."}]


def killed_once(walk: Walk, answered: str, after: int) -> list[int]:
    """Kill one replica of the command that runs, when it has written `after` answers; the list gets its process id."""
    killed: list[int] = []

    def kill() -> None:
        deadline = time.monotonic() + 300
        while not killed and time.monotonic() < deadline:
            time.sleep(0.02)
            if len(walk.rows(answered)) < after:
                continue
            for process in psutil.Process().children(recursive=True):
                if "".join(process.cmdline()).startswith("ray::Worker"):
                    process.kill()
                    killed.append(process.pid)
                    return

    threading.Thread(target=kill, daemon=True).start()
    return killed


@pytest.mark.journey("engine ray", "command run")
def test_a_replica_that_is_killed_costs_nothing(walk: Walk) -> None:
    walk.write("m.json", json.dumps(RULES))
    # More prompts than two replicas answer at once: what only waited for the one that dies is asked again as well.
    ask = ("run", "--tasks", "false_refusals", "--limit", "96", "--samples", "1")
    walk(*ask, "--engine", "echo", "--model", "m.json", "--output-path", "alone")
    killed = killed_once(walk, "run/false_refusals/outputs.jsonl", after=8)
    spread = ("--model", "ray/echo/m.json", "--model-args", "replicas=2,cpus=1", "--output-path", "run")
    heard = walk(*ask, *spread)
    assert "\x1b" not in heard.text and "(raylet)" not in heard.text
    assert killed and "a replica has died" in heard.flat and "asked again" in heard.flat

    def answers(run: str) -> list[tuple[str, int, str]]:
        return sorted(
            (r["prompt_id"], r["sample"], r["text"]) for r in walk.rows(f"{run}/false_refusals/outputs.jsonl")
        )

    assert answers("run") == answers("alone")
    assert walk.read("run/run.json")["engine"]["name"] == "ray/echo"
    # Where the work is done decides nothing: the same run goes on with another number of replicas.
    again = ("--model", "ray/echo/m.json", "--model-args", "replicas=1", "--output-path", "run")
    walk(*ask, *again)
