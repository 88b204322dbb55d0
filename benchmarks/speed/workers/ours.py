"""safety-eval's transformers engine."""

from __future__ import annotations

from typing import Any

import torch
from gemm import count_products, time_products
from protocol import Job, Round, serve

from safety_eval.core.interfaces import ModelSpec, Settings
from safety_eval.core.records import Prompt
from safety_eval.engines._transformers.engine import TransformersEngine
from safety_eval.engines.transformers import ENGINE


def prepare(job: Job) -> Round:
    torch.set_num_threads(job["threads"])
    spec = ModelSpec(job["model"], dtype=job["dtype"], device=job["device"], args=job.get("args", {}))
    engine = ENGINE.build(spec)
    assert isinstance(engine, TransformersEngine)
    prompts = [Prompt("speed", p["id"], text=p["text"], choices=tuple(p["choices"])) for p in job["prompts"]]
    settings = Settings(
        "speed",
        max_new_tokens=job["max_new_tokens"],
        stop=tuple(job["stop"]),
        temperature=job["temperature"],
        top_p=job["top_p"],
    )

    def run() -> dict[str, Any]:
        if job["kind"] == "choose":
            weighed = {o.prompt_id: o for o in engine.choose(prompts, settings)}
            return {"values": {p.id: weighed[p.id].choice_logprobs for p in prompts}}
        answers = {o.prompt_id: o for o in engine.generate(prompts, settings)}
        return {
            "answers": {p.id: answers[p.id].text for p in prompts},
            "tokens": sum(o.output_tokens for o in answers.values()),
        }

    if not job.get("limit"):
        return run

    def limit() -> dict[str, Any]:
        model = engine._open().model
        with count_products(model) as seen:
            run()
        seconds, flops = time_products(model, seen, engine.identity["matmul"].partition(",")[0])
        return {"limit_seconds": seconds, "flops": flops, "identity": dict(engine.identity)}

    return limit


serve(prepare)
