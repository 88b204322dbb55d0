"""Where a tokenizer joins context and choice: our two splits beside lm-eval's own log-likelihoods, twelve tokenizers.

    python benchmarks/fidelity/lm_eval_split.py --lm-eval-python /else/bin/python --data DIR --questions 30 --write

A tiny model with random weights for each kind of tokenizer (tests/tiny_tokenizers.py, trained on the questions), asked
TruthfulQA's choices by both sides: lm-eval 0.4.13's `HFLM.loglikelihood` and our engine with split=lm_eval and
split=whole. Fails where split=lm_eval differs by more than 1e-3, but for the tokenizer that appends an end token, which
lm-eval leaves in the middle of what the model reads. Writes lm_eval_split.json beside this file with --write.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
TOLERANCE = 1e-3
Pair = list[str]


def pairs(data: Path, questions: int) -> list[tuple[str, tuple[str, ...]]]:
    """(context, choices) of TruthfulQA's first questions, every second choice without a blank before it."""
    from safety_eval.core import plugins
    from safety_eval.core.task import TaskOptions

    found = plugins.find("tasks", "truthfulqa_choice").load(TaskOptions(version="v0", data=data)).prompts
    spread = found[:: max(1, len(found) // questions)][:questions]
    tail = [p.text[p.text.rindex("\n\n") + 2 :] for p in spread]
    return [
        (text, tuple(c if i % 2 else c.lstrip() for i, c in enumerate(p.choices)))
        for text, p in zip(tail, spread, strict=True)
    ]


def ours(folder: Path, asked: list[tuple[str, tuple[str, ...]]], split: str) -> list[list[float]]:
    """Our log-likelihoods."""
    from safety_eval.core.interfaces import ModelSpec, Settings
    from safety_eval.core.records import Prompt
    from safety_eval.engines.transformers import ENGINE

    engine = ENGINE.build(ModelSpec(str(folder), {"split": split}, dtype="float32", device="cpu"))
    prompts = [Prompt("t", str(i), text, choices=choices) for i, (text, choices) in enumerate(asked)]
    found = {o.prompt_id: o for o in engine.choose(prompts, Settings("t"))}
    assert not any(o.error for o in found.values()), [o.error for o in found.values() if o.error][:1]
    return [list(found[p.id].choice_logprobs) for p in prompts]


def theirs(job_file: str) -> None:
    """lm-eval's side, in lm-eval's own environment; knows nothing of safety-eval."""
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    job = json.loads(Path(job_file).read_text())
    found = {}
    for kind, folder in job["folders"].items():
        model = HFLM(pretrained=folder, dtype="float32", device="cpu", batch_size=8)
        flat = [Instance("loglikelihood", {}, (text, c), 0) for text, choices in job["asked"] for c in choices]
        found[kind] = [value for value, _ in model.loglikelihood(flat, disable_tqdm=True)]
    Path(job["output"]).write_text(json.dumps(found))


def row(kind: str, asked: Any, found: dict[str, list[list[float]]], other: list[float]) -> dict[str, Any]:
    """Largest differences, and how many choices the split decides."""
    flat = {split: [v for values in rows for v in values] for split, rows in found.items()}
    away = [abs(a - b) for a, b in zip(flat["lm_eval"], other, strict=True)]
    apart = [abs(a - b) for a, b in zip(flat["lm_eval"], flat["whole"], strict=True)]
    return {
        "tokenizer": kind,
        "choices": len(away),
        "lm_eval_largest": max(away),
        "lm_eval_beyond": sum(a > TOLERANCE for a in away),
        "whole_differs": sum(a > TOLERANCE for a in apart),
        "whole_largest": max(apart),
    }


def compare(python: str, asked: list[tuple[str, tuple[str, ...]]]) -> list[dict[str, Any]]:
    """A row for each kind of tokenizer."""
    sys.path.insert(0, str(HERE.parents[1] / "tests"))
    from tiny_tokenizers import KINDS, model, tokenizer

    texts = [text for text, _ in asked] + [text + c for text, choices in asked for c in choices]
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        folders = {kind: root / str(i) for i, kind in enumerate(KINDS)}
        for kind, folder in folders.items():
            model(folder, tokenizer(kind, texts))
        job = {"folders": {k: str(f) for k, f in folders.items()}, "asked": asked, "output": str(root / "out.json")}
        (root / "job.json").write_text(json.dumps(job))
        subprocess.run([python, __file__, "--theirs", str(root / "job.json")], check=True)
        other = json.loads((root / "out.json").read_text())
        return [
            row(kind, asked, {s: ours(folder, asked, s) for s in ("lm_eval", "whole")}, other[kind])
            for kind, folder in folders.items()
        ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lm-eval-python")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--questions", type=int, default=40)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--theirs", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.theirs:
        theirs(asked.theirs)
        return 0
    rows = compare(asked.lm_eval_python, pairs(asked.data, asked.questions))
    for line in rows:
        print(line)
    if asked.write:
        Path(__file__).with_suffix(".json").write_text(json.dumps(rows, indent=1) + "\n")
    return int(any(line["lm_eval_beyond"] for line in rows if "</s> behind" not in line["tokenizer"]))


if __name__ == "__main__":
    sys.exit(main())
