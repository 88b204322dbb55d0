"""vLLM's CPU build, offline engine, all prompts in one call."""

from __future__ import annotations

import os
from typing import Any

from protocol import Job, Round, serve


def prepare(job: Job) -> Round:
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "2")
    # In this process, so that its processor time and memory are counted.
    os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
    os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", f"0-{job['threads'] - 1}")
    from vllm import LLM, SamplingParams

    model = LLM(job["model"], dtype=job["dtype"], enforce_eager=True, max_model_len=1024, max_num_seqs=job["rows"])
    asked = SamplingParams(
        max_tokens=job["max_new_tokens"],
        temperature=job["temperature"],
        top_p=job["top_p"],
        stop=job["stop"] or None,
    )
    # Its first call compiles; that is not part of a round.
    model.generate([job["prompts"][0]["text"]], asked, use_tqdm=False)

    def run() -> dict[str, Any]:
        out = model.generate([p["text"] for p in job["prompts"]], asked, use_tqdm=False)
        answers = {p["id"]: o.outputs[0].text for p, o in zip(job["prompts"], out, strict=True)}
        return {"answers": answers, "tokens": sum(len(o.outputs[0].token_ids) for o in out)}

    return run


serve(prepare)
