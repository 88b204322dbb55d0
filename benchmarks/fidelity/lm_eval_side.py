"""lm-eval's side of lm_eval_truthfulqa.py; runs in lm-eval's own environment and knows nothing of safety-eval.

python lm_eval_side.py JOB.json      {"model": folder, "data": folder or "", "indices": [...], "output": file}
"""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from pathlib import Path

import lm_eval
from lm_eval.tasks import TaskManager

TASKS = ("truthfulqa_mc1", "truthfulqa_mc2")


def main(job_file: str) -> None:
    job = json.loads(Path(job_file).read_text())
    tasks = [_task(name, job["data"], Path(job_file).parent) for name in TASKS]
    found = lm_eval.simple_evaluate(
        model="hf",
        model_args={"pretrained": job["model"], "dtype": "float32", "device": "cpu"},
        tasks=tasks,
        task_manager=TaskManager(),
        batch_size=8,
        samples={name: job["indices"] for name in TASKS},
        apply_chat_template=False,
        log_samples=True,
        bootstrap_iters=0,
    )
    rows = {
        name: [
            {
                "question": row["doc"]["question"],
                "acc": float(row["acc"]),
                "logprobs": [float(answer[0]) for answer in row["filtered_resps"]],
                "choices": row["doc"][name.replace("truthfulqa_", "") + "_targets"]["choices"],
            }
            for row in found["samples"][name]
        ]
        for name in TASKS
    }
    totals = {name: found["results"][name]["acc,none"] for name in TASKS}
    versions = {name: version(name) for name in ("lm_eval", "torch", "transformers")}
    Path(job["output"]).write_text(json.dumps({"rows": rows, "totals": totals, "versions": versions}))


def _task(name: str, data: str, folder: Path) -> str:
    """lm-eval's own task; with a local mirror a file that includes it and reads the mirror instead of the Hub."""
    if not data:
        return name
    file = folder / f"{name}.yaml"
    own = Path(lm_eval.__file__).parent / "tasks" / "truthfulqa" / f"{name}.yaml"
    path = f"{data}/hub/truthfulqa/truthful_qa"
    file.write_text(f"include: {own}\ntask: {name}\ndataset_path: {path}\n")
    return str(file)


if __name__ == "__main__":
    main(sys.argv[1])
