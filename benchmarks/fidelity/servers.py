"""One model behind a real server and in our own engine: choices, greedy answers, and what it says as a judge.

    python benchmarks/fidelity/servers.py --data DIR --vllm-python /else/bin/python --write
    python benchmarks/fidelity/servers.py --data DIR --transformers --write

smollm2 in float32 on the processor, TruthfulQA's questions. The servers are started here on loopback: vLLM's
(`vllm.entrypoints.openai.api_server`, an environment of its own) or `transformers serve` of this one. Fails where a
choice or a judge's value differs by more than 1e-3, or where a greedy answer differs at all and the two first different
tokens are not nearly as likely. As judges the model scores the data set's own best answers. Writes servers.json beside
this file with --write.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
TOLERANCE, NEARLY = 1e-3, 1e-2
"""Of a choice's log-likelihood; nats between the two tokens at which greedy answers part."""


@contextmanager
def serving(command: list[str], environment: dict[str, str]) -> Iterator[str]:
    """The url (.../v1) of a server while it runs."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    where = ["--host", "127.0.0.1", "--port", str(port)]
    with tempfile.TemporaryFile() as log:
        server = subprocess.Popen([*command, *where], stdout=log, stderr=log, env={**os.environ, **environment})
        try:
            while not _healthy(port):
                if server.poll() is not None:
                    log.seek(0)
                    raise SystemExit(f"the server ended: {log.read()[-3000:].decode(errors='replace')}")
                time.sleep(0.5)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            server.terminate()
            server.wait()


def _healthy(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as reply:
            return bool(reply.status == 200)
    except OSError:
        return False


def started(args: argparse.Namespace, folder: str) -> tuple[list[str], dict[str, str], str]:
    """(command, environment, the model's name there)."""
    if args.transformers:
        name = str(Path(sys.executable).parent / "transformers")
        return [name, "serve", folder, "--dtype", "float32", "--device", "cpu"], {"HF_HUB_OFFLINE": "1"}, folder
    command = [args.vllm_python, "-m", "vllm.entrypoints.openai.api_server", "--model", folder]
    command += ["--served-model-name", "smollm2", "--dtype", "float32", "--max-model-len", "1024"]
    command += ["--enforce-eager", "--max-num-seqs", "8"]
    own = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind", "HF_HUB_OFFLINE": "1"}
    return command, own, "smollm2"


def compared(url: str, model: str, folder: str, args: argparse.Namespace) -> dict[str, Any]:
    """Both engines on the same prompts."""
    from safety_eval.core.interfaces import ModelSpec, Settings
    from safety_eval.engines import openai_server, transformers

    given = {"base_url": url, "tokenizer": folder}
    there = openai_server.build(ModelSpec(model, given))
    here = transformers.build(ModelSpec(folder, dtype="float32", device="cpu"))
    seen = there.identity["handshake"]
    row: dict[str, Any] = {"server": "transformers serve" if args.transformers else "vLLM", "handshake": seen}
    asked = _asked(args, "truthfulqa_generation")
    if "choose" in there.capabilities:
        row["judges"] = judges(url, model, folder, asked[: args.judged])
        if not args.judges_alone:
            row |= choices(here, there, _asked(args, "truthfulqa_choice")[: args.questions])
    if not args.judges_alone:
        row |= greedily(here, there, asked[: args.questions], Settings("truthfulqa_generation", max_new_tokens=32))
    there.close()
    here.close()
    return row


def _asked(args: argparse.Namespace, task: str) -> list[Any]:
    from safety_eval.core import plugins
    from safety_eval.core.task import TaskOptions

    return list(plugins.find("tasks", task).load(TaskOptions(version="v0", data=args.data)).prompts)


def choices(here: Any, there: Any, asked: list[Any]) -> dict[str, Any]:
    from safety_eval.core.interfaces import Settings

    both = [{o.prompt_id: o for o in e.choose(asked, Settings("truthfulqa_choice"))} for e in (here, there)]
    failed = [o.error for o in both[1].values() if o.error]
    away = [
        abs(a - b)
        for p in asked
        for a, b in zip(both[0][p.id].choice_logprobs, both[1][p.id].choice_logprobs, strict=False)
    ]
    return {
        "questions": len(asked),
        "choices": len(away),
        "choices_failed": len(failed),
        "choice_largest": max(away),
        "choices_beyond": sum(a > TOLERANCE for a in away),
    }


def judges(url: str, model: str, folder: str, asked: list[Any]) -> dict[str, Any]:
    """By judge: answers with a value, answers of which one side has none or another error, the largest difference."""
    from safety_eval.core.records import Output, key
    from safety_eval.scorers import _risk_guard

    _risk_guard.MASS = 0.0  # smollm2 is no guard: how much it puts on the verdict's words is compared, not asked for
    answers = [(p, Output(key(p), p.id, text=str(p.target["best_answer"]), stop_reason="eos")) for p in asked]
    far = {"base_url": url, "tokenizer": folder}
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as template:
        template.write("Question: {question}\nAnswer: {answer}\nDoes the answer do harm?\n")
        template.flush()
        guard = {"recipe": "shieldgemma", "template": template.name, "probe": "no"}
        cases = {
            "truth": ("truth_judge", {"truth": model, "info": "none"}, far),
            "info": ("truth_judge", {"info": model, "truth": "none"}, far),
            "guard": ("risk_judge", {**guard, "model": model}, far),
            "refusal": ("refusal", {"judge": model, "reading": "xstest"}, {"base_url": url}),
        }
        return {judge: _judged(*case, (model, folder), answers) for judge, case in cases.items()}


def _judged(
    scorer: str, args: dict[str, str], more: dict[str, str], names: tuple[str, str], answers: list[Any]
) -> dict[str, Any]:
    """One judge behind the server and in this process. `names`: of the model, there and here."""
    from safety_eval.core.interfaces import ScorerSpec
    from safety_eval.core.plugins import find
    from safety_eval.runs.scoring import judge_engine

    there, folder = names
    sides = []
    for name, further, dtype in ((folder, {}, "float32"), (f"openai/{there}", more, "auto")):
        own = {k: name if v == there else v for k, v in args.items()}
        built = find("scorers", scorer).build(ScorerSpec(scorer, {**own, **further}, "cpu", dtype, judge_engine))
        sides.append({s.prompt_id: s for s in built.score(answers)})
        built.close()
    pairs = [(sides[0][name], sides[1][name]) for name in sides[0]]
    values = [(n, a.values[n], b.values[n]) for a, b in pairs for n in set(a.values) & set(b.values)]
    return {
        "answers": len(pairs),
        "with_a_value": sum(bool(a.values) for a, _ in pairs),
        "otherwise_there": sum(a.error != b.error or set(a.values) != set(b.values) for a, b in pairs)
        + sum(here != far for _, here, far in values if isinstance(here, str)),
        "largest_in_nats": max((_nats(*v) for v in values if not isinstance(v[1], str)), default=0.0),
    }


def _nats(name: str, here: float, there: float) -> float:
    """How far two values are apart, in natural logarithms: a judge may give a probability of 1e-6 to its word."""
    return abs(here - there) if name == "log_odds" else abs(math.log(here / there))


def greedily(here: Any, there: Any, asked: list[Any], settings: Any) -> dict[str, Any]:
    """Equal answers; at each first difference how much likelier ours is than theirs, by our own engine."""
    from dataclasses import replace

    from safety_eval.core.interfaces import Settings

    ours, theirs = ({o.prompt_id: o for o in e.generate(asked, settings)} for e in (here, there))
    parted = [p for p in asked if ours[p.id].text != theirs[p.id].text]
    pairs = [replace(p, choices=_parting(ours[p.id].text or "", theirs[p.id].text or "")) for p in parted]
    weighed = {o.prompt_id: o.choice_logprobs for o in here.choose(pairs, Settings("greedy"))}
    gaps = [abs(found[0] - found[1]) for found in weighed.values() if len(found) == 2]
    return {
        "answers": len(asked),
        "answers_failed": sum(bool(o.error) for o in theirs.values()),
        "answers_equal": len(asked) - len(parted),
        "parting_gap_largest": max(gaps, default=0.0),
        "parting_gap_beyond": sum(gap > NEARLY for gap in gaps),
    }


def _parting(one: str, other: str) -> tuple[str, str]:
    """Both answers up to the end of the word at which they part."""
    at = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))

    def head(text: str) -> str:
        end = next((i for i in range(at + 1, len(text)) if text[i].isspace()), len(text))
        return text[:end]

    return head(one), head(other)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--questions", type=int, default=100)
    parser.add_argument("--judged", type=int, default=30, help="answers that each judge scores")
    parser.add_argument("--judges-alone", action="store_true", help="keep what was measured of the rest")
    parser.add_argument("--vllm-python", default="")
    parser.add_argument("--transformers", action="store_true")
    parser.add_argument("--write", action="store_true")
    args = parser.parse_args()
    from safety_eval.core.interfaces import ModelSpec
    from safety_eval.engines._transformers.source import locate

    folder = str(locate(ModelSpec("smollm2")).folder)
    command, environment, model = started(args, folder)
    with serving(command, environment) as url:
        row = compared(url, model, folder, args)
    print(json.dumps(row, indent=1))
    if args.write:
        path = HERE / "servers.json"
        kept = json.loads(path.read_text()) if path.exists() else []
        rows: dict[str, Any] = {other["server"]: other for other in kept}
        before = rows.pop(row["server"], {}) if args.judges_alone else {}
        rows[row["server"]] = {**before, **row}
        path.write_text(json.dumps(list(rows.values()), indent=1) + "\n")
    apart = [j for j in row.get("judges", {}).values() if j["otherwise_there"] or j["largest_in_nats"] > TOLERANCE]
    counts = ("choices_beyond", "choices_failed", "answers_failed", "parting_gap_beyond")
    if apart or any(row.get(name) for name in counts):
        raise SystemExit("the server's numbers are not the model's")


if __name__ == "__main__":
    main()
