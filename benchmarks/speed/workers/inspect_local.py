"""inspect_ai's local provider (hf/...): its own batching of concurrent calls. It always applies the chat template."""

from __future__ import annotations

import asyncio
from typing import Any

import torch
from inspect_ai.model import GenerateConfig, get_model
from protocol import Job, Round, serve


def prepare(job: Job) -> Round:
    torch.set_num_threads(job["threads"])
    if job["same_products"]:
        torch.set_float32_matmul_precision("medium")
    model = get_model(
        "hf/local",
        model_path=job["model"],
        device=job["device"],
        batch_size=job["rows"],
        config=GenerateConfig(
            max_tokens=job["max_new_tokens"],
            temperature=job["temperature"] or None,
            top_p=job["top_p"] if job["temperature"] else None,
            max_connections=job["rows"],
            stop_seqs=job["stop"] or None,
        ),
    )

    async def ask() -> list[Any]:
        return await asyncio.gather(*(model.generate(p["text"]) for p in job["prompts"]))

    def run() -> dict[str, Any]:
        out = asyncio.run(ask())
        answers = {p["id"]: o.completion for p, o in zip(job["prompts"], out, strict=True)}
        return {"answers": answers, "tokens": sum(o.usage.output_tokens for o in out if o.usage)}

    return run


serve(prepare)
