"""OpenVINO GenAI with continuous batching, from the GGUF file (weights stay quantised)."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

# This file has the library's name; its own folder must not be searched first for it.
sys.path = [p for p in sys.path if Path(p or ".").resolve() != Path(__file__).resolve().parent]
import openvino_genai as ov  # noqa: E402

sys.path.append(str(Path(__file__).resolve().parent))
from protocol import Job, Round, serve  # noqa: E402


def prepare(job: Job) -> Round:
    scheduler = ov.SchedulerConfig()
    scheduler.max_num_seqs = job["rows"]
    scheduler.cache_size = 2
    model = ov.LLMPipeline(job["gguf"], "CPU", scheduler_config=scheduler, INFERENCE_NUM_THREADS=job["threads"])
    asked = ov.GenerationConfig(max_new_tokens=job["max_new_tokens"], apply_chat_template=False)
    if job["stop"]:
        asked.stop_strings = set(job["stop"])
    if job["temperature"]:
        asked.do_sample, asked.temperature, asked.top_p = True, job["temperature"], job["top_p"]

    def run() -> dict[str, Any]:
        texts = [p["text"] for p in job["prompts"]]
        out = model.generate(texts, asked)
        answers = {p["id"]: text for p, text in zip(job["prompts"], out.texts, strict=True)}
        return {"answers": answers, "tokens": int(out.perf_metrics.get_num_generated_tokens())}

    return run


serve(prepare)
