"""Our engine beside its peers: the same model, prompts, precision and machine, in turns, in one run.

    python benchmarks/speed/run.py --data DIR [--cases mc,tqa,...] [--rounds 3] [--limit N] [--threads 2] [--write]

Every peer runs in an environment of its own, made from its requirements file beside this script on first use; one
that cannot be installed or started is reported so. Models are loaded first; then the sides take turns, round by
round, so that noise of the machine meets all of them. The table gives medians, ratios of medians, and the share of
the limit: the time that the unavoidable matrix products take alone at the speed measured in the same run.

Equality of results is asserted (log-likelihoods within 1e-3, every MC1 verdict) and answers are compared; times are
never asserted. --write keeps the results in results.json and writes docs/explanation/performance.md from it.
--gpu runs our side and transformers on the first GPU.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import venv
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import classifiers
import memory
import startup
from cases import CASES, Case, prompts_of
from page import OTHERS, write_page

from safety_eval.core.fetch import cache_folder
from safety_eval.core.interfaces import ModelSpec
from safety_eval.core.records import Prompt
from safety_eval.engines._transformers.gguf import SMOLLM2, smollm2_file
from safety_eval.engines._transformers.source import locate

HERE = Path(__file__).resolve().parent
OWN_ENVIRONMENT = {
    "lm_eval": "requirements-lm-eval.txt",
    "vllm_cpu": "requirements-vllm.txt",
    "openvino_genai": "requirements-openvino.txt",
    "llama_cpp_one": "requirements-llama-cpp.txt",
    "inspect_local": "requirements-inspect.txt",
}
TOLERANCE = 1e-3


class Broken(Exception):
    """A peer that cannot be installed or started; its text is the reason."""


def environment(worker: str, folder: Path) -> str:
    """The Python that runs a worker, its environment made when missing.

    Raises:
        Broken: it cannot be installed.
    """
    if worker not in OWN_ENVIRONMENT:
        return sys.executable
    needs = HERE / OWN_ENVIRONMENT[worker]
    place = folder / f"{worker}-{sha256(needs.read_bytes()).hexdigest()[:12]}"
    python = place / "bin" / "python"
    if (place / "failed.txt").is_file():
        raise Broken((place / "failed.txt").read_text())
    if not (place / "done").is_file():
        print(f"  making the environment of {worker} ...", file=sys.stderr)
        venv.create(place, with_pip=True, clear=True)
        made = subprocess.run(
            [python, "-m", "pip", "install", "-q", "-r", needs], capture_output=True, text=True, check=False
        )
        if made.returncode:
            lines = [x for x in made.stderr.strip().splitlines() if "ERROR" in x] or made.stderr.strip().splitlines()
            (place / "failed.txt").write_text(f"cannot be installed: {lines[-1][:200] if lines else 'no reason given'}")
            raise Broken((place / "failed.txt").read_text())
        for line in needs.read_text().splitlines():
            if line.startswith("#! uninstall "):
                subprocess.run([python, "-m", "pip", "uninstall", "-q", "-y", *line.split()[2:]], check=True)
        (place / "done").touch()
    return str(python)


class Worker:
    """One side of a comparison: a process that holds its model and answers rounds."""

    def __init__(self, worker: str, job: dict[str, Any], options: argparse.Namespace) -> None:
        python = options.python.get(worker) or environment(worker, options.envs)
        self._folder = tempfile.TemporaryDirectory()
        file = Path(self._folder.name) / "job.json"
        file.write_text(json.dumps(job))
        self._log = (Path(self._folder.name) / "log").open("w+")
        threads = str(job["threads"])
        self._process = subprocess.Popen(
            [python, HERE / "workers" / f"{worker}.py", file],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env={**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": threads, "TOKENIZERS_PARALLELISM": "true"},
        )
        self._read()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._log.seek(0)
            last = [x for x in self._log.read().strip().splitlines() if x.strip()]
            raise Broken(f"does not run: {last[-1][:200] if last else 'it ended without a word'}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def round(self) -> dict[str, Any]:
        """One timed round."""
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        return self._read()

    def close(self) -> None:
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.terminate()
        self._process.wait()


def job_of(case: Case, prompts: Sequence[Prompt], rows: int, options: argparse.Namespace) -> dict[str, Any]:
    """What a worker is told."""
    settings = case.settings or {"max_new_tokens": 1, "temperature": 0.0, "top_p": 1.0, "stop": []}
    return {
        **settings,
        "kind": case.kind,
        "dtype": case.dtype,
        "rows": rows,
        "threads": options.threads,
        "device": "cuda" if options.gpu else "cpu",
        "model": str(options.folder),
        "gguf": str(options.gguf),
        "same_products": True,
        "prompts": [{"id": p.id, "text": p.text, "choices": list(p.choices)} for p in prompts],
    }


def run_case(case: Case, options: argparse.Namespace) -> dict[str, Any]:
    """Time one case: rounds in turns, then the limit."""
    prompts = prompts_of(case, options.data, options.limit)
    sides = [("ours", 0), *(p for p in case.peers if not options.peers or p[0] in options.peers)]
    workers: dict[str, Worker] = {}
    broken: dict[str, str] = {}
    for name, rows in sides:
        label = name if name == "ours" else f"{name} b{rows}"
        try:
            workers[label] = Worker(name, job_of(case, prompts, rows, options), options)
        except Broken as error:
            broken[label] = str(error)
    found: dict[str, list[dict[str, Any]]] = {label: [] for label in workers}
    for turn in range(options.rounds):
        for label in [x for x in workers if x not in broken]:
            try:
                found[label].append(workers[label].round())
                print(
                    f"  {case.name} {turn + 1}: {label} {found[label][-1]['seconds']:.1f} s "
                    f"({found[label][-1]['cpu_seconds']:.1f} s of processor)",
                    file=sys.stderr,
                )
            except Broken as error:
                broken[label] = str(error)
    for worker in workers.values():
        worker.close()
    kept = {label: rounds for label, rounds in found.items() if len(rounds) == options.rounds}
    limit = _limit(case, prompts, options)
    return {
        "case": case.name,
        "title": case.title,
        "prompts": len(prompts),
        "rounds": options.rounds,
        "sides": {label: _side(rounds, len(prompts)) for label, rounds in kept.items()},
        "broken": broken,
        "limit": limit,
        "agreement": agreement(case, prompts, kept),
    }


def _limit(case: Case, prompts: Sequence[Prompt], options: argparse.Namespace) -> dict[str, Any]:
    if options.gpu:
        return {}
    worker = Worker("ours", {**job_of(case, prompts, 0, options), "limit": True}, options)
    found = worker.round()
    worker.close()
    return {name: found[name] for name in ("limit_seconds", "flops", "identity")}


def _side(rounds: list[dict[str, Any]], prompts: int) -> dict[str, Any]:
    seconds = statistics.median(r["seconds"] for r in rounds)
    return {
        "seconds": [round(r["seconds"], 3) for r in rounds],
        "median": round(seconds, 3),
        "prompts_per_second": round(prompts / seconds, 3),
        "tokens": rounds[-1].get("tokens"),
        "peak_bytes": rounds[-1]["peak_bytes"],
    }


def agreement(case: Case, prompts: Sequence[Prompt], found: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """How each peer's results compare with ours.

    Raises:
        AssertionError: in float32, a log-likelihood that differs by more than 1e-3, or another MC1 verdict.
    """
    ours = found["ours"][-1]
    compared: dict[str, Any] = {}
    for label, rounds in found.items():
        if label == "ours":
            assert all(r.get("answers") == ours.get("answers") for r in rounds), "our own rounds differ"
        elif case.kind == "generate":
            same = sum(ours["answers"][p.id].strip() == rounds[-1]["answers"][p.id].strip() for p in prompts)
            compared[label] = {"same_answers": same, "of": len(prompts)}
        else:
            compared[label] = _weights_agree(prompts, ours["values"], rounds[-1]["values"])
    return compared


def _weights_agree(prompts: Sequence[Prompt], ours: Any, theirs: Any) -> dict[str, Any]:
    gap = max(abs(a - b) for p in prompts for a, b in zip(ours[p.id], theirs[p.id], strict=True))
    pairs = [(_scores(p, ours[p.id]), _scores(p, theirs[p.id])) for p in prompts]
    assert gap <= TOLERANCE, f"log-likelihoods differ by {gap}"
    assert all(a[0] == b[0] for a, b in pairs), "an MC1 verdict differs"
    return {"largest_gap": gap, "largest_mc2_gap": max(abs(a[1] - b[1]) for a, b in pairs)}


def _scores(prompt: Prompt, values: Sequence[float]) -> tuple[bool, float]:
    import math

    one, two = prompt.target["mc1"], prompt.target["mc2"]
    best = max((v, -i) for i, (v, x) in enumerate(zip(values, one, strict=True)) if x is not None)
    top = max(v for v, x in zip(values, two, strict=True) if x is not None)
    true = sum(math.exp(v - top) for v, x in zip(values, two, strict=True) if x == 1)
    every = sum(math.exp(v - top) for v, x in zip(values, two, strict=True) if x is not None)
    return bool(one[-best[1]]), true / every


def measured(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """One case, or one of the other measurements, by name."""
    if name == "startup":
        return startup.measure(options.rounds)
    if name == "memory":
        return memory.measure(options.data)
    if name == "classifiers":
        return classifiers.compare(options.data, options.limit or 512, options.rounds, options.threads)
    return run_case(next(c for c in CASES if c.name == name), options)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("SAFETY_EVAL_DATA"))
    parser.add_argument("--cases", default=",".join([*(c.name for c in CASES), *OTHERS]))
    parser.add_argument("--peers", type=lambda x: x.split(","), default=[], help="only these workers beside ours")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--limit", type=int, help="prompts of each case")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--envs", type=Path, default=cache_folder() / "speed")
    parser.add_argument("--python", action="append", default=[], help="WORKER=PATH: an environment that is there")
    parser.add_argument("--gpu", action="store_true")
    parser.add_argument("--write", action="store_true", help="keep results.json and the documentation page")
    options = parser.parse_args()
    known = [*(c.name for c in CASES), *OTHERS]
    names = options.cases.split(",")
    if unknown := [name for name in names if name not in known]:
        parser.error(f"no case is called {', '.join(unknown)}; there are {', '.join(known)}")
    if options.data is None and {"memory", "classifiers"} & set(names):
        parser.error("memory and classifiers read BOLD from a local mirror: give --data (or SAFETY_EVAL_DATA)")
    if options.data is not None and not Path(options.data).is_dir():
        parser.error(f"the data folder {options.data} does not exist: give --data (or SAFETY_EVAL_DATA) another")
    options.folder = locate(ModelSpec(SMOLLM2)).folder
    options.gguf = smollm2_file()
    options.python = dict(x.split("=", 1) for x in options.python)
    if options.gpu and not options.peers:
        options.peers = ["hf"]
    kept = HERE / "results.json"
    results = json.loads(kept.read_text()) if options.write and kept.is_file() else {}
    for name in names:
        results[name] = measured(name, options)
        if options.write:
            kept.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n")
    print(write_page(results, HERE.parents[1] / "docs/explanation/performance.md" if options.write else None))


if __name__ == "__main__":
    main()
