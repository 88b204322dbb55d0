"""transformers' own generate: left-padded batches in the given order, as its documentation shows."""

from __future__ import annotations

from typing import Any

import torch
from protocol import Job, Round, serve
from transformers import AutoModelForCausalLM, AutoTokenizer


def prepare(job: Job) -> Round:
    torch.set_num_threads(job["threads"])
    if job["same_products"]:
        torch.set_float32_matmul_precision("medium")
    tokenizer: Any = AutoTokenizer.from_pretrained(job["model"], padding_side="left")
    model: Any = AutoModelForCausalLM.from_pretrained(job["model"], dtype=getattr(torch, job["dtype"]))
    model = model.to(job["device"]).eval()
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    asked: dict[str, Any] = {"max_new_tokens": job["max_new_tokens"], "pad_token_id": tokenizer.pad_token_id}
    if job["temperature"]:
        asked |= {"do_sample": True, "temperature": job["temperature"], "top_p": job["top_p"], "top_k": 0}
    else:
        asked |= {"do_sample": False}
    if job["stop"]:
        asked |= {"stop_strings": job["stop"], "tokenizer": tokenizer}
    ends = set(
        model.generation_config.eos_token_id
        if isinstance(model.generation_config.eos_token_id, list)
        else [model.generation_config.eos_token_id]
    )

    def run() -> dict[str, Any]:
        answers, tokens = {}, 0
        for start in range(0, len(job["prompts"]), job["rows"]):
            part = job["prompts"][start : start + job["rows"]]
            given = tokenizer([p["text"] for p in part], return_tensors="pt", padding=True).to(job["device"])
            with torch.inference_mode():
                out = model.generate(**given, **asked)[:, given["input_ids"].shape[1] :]
            for prompt, row in zip(part, out.tolist(), strict=True):
                end = next((i + 1 for i, t in enumerate(row) if t in ends), len(row))
                text = tokenizer.decode(row[:end], skip_special_tokens=True)
                cut = [at for at in (text.find(s) for s in job["stop"]) if at >= 0]
                answers[prompt["id"]] = text[: min(cut)] if cut else text
                tokens += end
        return {"answers": answers, "tokens": tokens}

    return run


serve(prepare)
