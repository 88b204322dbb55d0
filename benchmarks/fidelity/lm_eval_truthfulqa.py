"""Our truthfulqa_choice beside lm-eval 0.4.13's truthfulqa_mc1 and mc2, question by question, on one model folder.

    python -m venv /some/where
    /some/where/bin/pip install -r benchmarks/fidelity/requirements-lm-eval.txt
    python benchmarks/fidelity/lm_eval_truthfulqa.py --lm-eval-python /some/where/bin/python --data DIR [--limit 40]

Both sides: data version v0, float32 on the CPU, no chat template, the same questions (ours are drawn by --limit,
lm-eval gets their indices). Fails (exit 1) when a log-likelihood differs by more than 1e-3, when a question's MC1
differs, or its MC2 by more than 1e-3. Writes lm_eval_truthfulqa.json beside this file with --write.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

from safety_eval import api
from safety_eval.core.interfaces import ModelSpec
from safety_eval.core.records import key
from safety_eval.engines._transformers.source import locate
from safety_eval.runs import answers

HERE = Path(__file__).parent
TOLERANCE = 1e-3
Row = dict[str, Any]


def ours(model: str, data: Path | None, limit: int, folder: Path) -> list[Row]:
    """Our rows, in the order of the prompts."""
    api.run(
        model=model,
        tasks=["truthfulqa_choice"],
        data=data,
        limit=limit,
        dtype="float32",
        device="cpu",
        chat_template="off",
        data_version={"truthfulqa_choice": "v0"},
        output_path=folder,
    )
    outputs = answers.outputs(folder, "truthfulqa_choice")
    scores = answers.scores(folder, "truthfulqa_choice", "choice_likelihood")
    rows = []
    for prompt in answers.prompts(folder, "truthfulqa_choice"):
        output = outputs[prompt.id, 0]
        rows.append(
            {
                "index": int(prompt.id),
                "question": prompt.target["question"],
                "logprobs": dict(zip((c[1:] for c in prompt.choices), output.choice_logprobs, strict=True)),
                **scores[key(output)].values,
            }
        )
    return rows


def theirs(python: str, model: str, data: Path | None, indices: list[int], folder: Path) -> dict[str, Any]:
    """lm-eval's rows, by task, in the order of the indices."""
    job, output = folder / "job.json", folder / "lm_eval.json"
    asked = {
        "model": model,
        "data": str(data.resolve()) if data else "",
        "indices": indices,
        "output": str(output),
    }
    job.write_text(json.dumps(asked))
    subprocess.run([python, str(HERE / "lm_eval_side.py"), str(job)], check=True)
    found: dict[str, Any] = json.loads(output.read_text())
    return found


def compare(mine: list[Row], found: dict[str, Any]) -> dict[str, Any]:
    """How far the two sides are apart: over choices, and over questions."""
    gap, choices, different = 0.0, 0, []
    mc2_gap = 0.0
    for task, name in (("truthfulqa_mc1", "mc1"), ("truthfulqa_mc2", "mc2")):
        by_question = {row["question"]: row for row in found["rows"][task]}
        assert len(by_question) == len(mine), f"{task}: {len(by_question)} questions there, {len(mine)} here"
        for row in mine:
            other = by_question[row["question"]]
            pairs = [(row["logprobs"][c], p) for c, p in zip(other["choices"], other["logprobs"], strict=True)]
            gap = max([gap, *(abs(a - b) for a, b in pairs)])
            choices += len(pairs)
            apart = abs(row[name] - other["acc"])
            mc2_gap = max(mc2_gap, apart) if name == "mc2" else mc2_gap
            if apart > (TOLERANCE if name == "mc2" else 0):
                different.append(f"{name} of question {row['index']}")
    return {
        "questions": len(mine),
        "choices": choices,
        "largest_log_likelihood_difference": gap,
        "largest_mc2_difference": mc2_gap,
        "questions_that_differ": different,
        "mc1": {
            "ours": sum(r["mc1"] for r in mine) / len(mine),
            "lm_eval": found["totals"]["truthfulqa_mc1"],
        },
        "mc2": {
            "ours": sum(r["mc2"] for r in mine) / len(mine),
            "lm_eval": found["totals"]["truthfulqa_mc2"],
        },
        "versions": {
            "lm_eval side": found["versions"],
            "our side": {n: version(n) for n in ("torch", "transformers")},
        },
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lm-eval-python", required=True, help="python of the environment that has lm-eval")
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--data", type=Path, help="local mirror of the data sets")
    parser.add_argument("--limit", type=int, default=40)
    parser.add_argument("--write", action="store_true", help="write lm_eval_truthfulqa.json beside this file")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        mine = ours(asked.model, asked.data, asked.limit, folder / "run")
        model = str(locate(ModelSpec(asked.model)).folder)
        found = theirs(asked.lm_eval_python, model, asked.data, [row["index"] for row in mine], folder)
    result = {"model": asked.model, **compare(mine, found)}
    print(json.dumps(result, indent=1))
    if asked.write:
        (HERE / "lm_eval_truthfulqa.json").write_text(json.dumps(result, indent=1) + "\n")
    return int(bool(result["questions_that_differ"]) or result["largest_log_likelihood_difference"] > TOLERANCE)


if __name__ == "__main__":
    sys.exit(main())
