"""lm-eval's own likelihood of (context, continuation) pairs: its HFLM, as `lm_eval --model hf` runs it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

# This file has the library's name; its own folder must not be searched first for it.
sys.path = [p for p in sys.path if Path(p or ".").resolve() != Path(__file__).resolve().parent]

import torch  # noqa: E402
from lm_eval.api.instance import Instance  # noqa: E402
from lm_eval.models.huggingface import HFLM  # noqa: E402

sys.path.append(str(Path(__file__).resolve().parent))
from protocol import Job, Round, serve  # noqa: E402


def prepare(job: Job) -> Round:
    torch.set_num_threads(job["threads"])
    if job["same_products"]:
        torch.set_float32_matmul_precision("medium")
    model: Any = HFLM(pretrained=job["model"], dtype=job["dtype"], device=job["device"], batch_size=job["rows"])
    pairs = [(p["id"], p["text"], choice) for p in job["prompts"] for choice in p["choices"]]
    asked = [
        Instance("loglikelihood", {}, (text, choice), i, metadata=("speed", i, 1))
        for i, (_, text, choice) in enumerate(pairs)
    ]

    def run() -> dict[str, Any]:
        found = model.loglikelihood(asked, disable_tqdm=True)
        values: dict[str, list[float]] = {}
        for (name, _, _), (value, _) in zip(pairs, found, strict=True):
            values.setdefault(name, []).append(float(value))
        return {"values": values}

    return run


serve(prepare)
