"""llama.cpp through its Python binding, one sequence at a time, from the GGUF file (weights stay quantised)."""

from __future__ import annotations

from typing import Any

from llama_cpp import Llama
from protocol import Job, Round, serve


def prepare(job: Job) -> Round:
    model = Llama(job["gguf"], n_ctx=1024, n_threads=job["threads"], verbose=False, seed=0)

    def run() -> dict[str, Any]:
        answers, tokens = {}, 0
        for prompt in job["prompts"]:
            out: Any = model.create_completion(
                prompt["text"],
                max_tokens=job["max_new_tokens"],
                temperature=job["temperature"],
                top_p=job["top_p"],
                top_k=0,
                min_p=0.0,
                repeat_penalty=1.0,
                stop=job["stop"],
            )
            answers[prompt["id"]] = out["choices"][0]["text"]
            tokens += out["usage"]["completion_tokens"]
        return {"answers": answers, "tokens": tokens}

    return run


serve(prepare)
