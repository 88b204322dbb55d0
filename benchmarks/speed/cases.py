"""What is timed: prompts and settings of each case. Prompts are drawn by a seed, evenly over the data set."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safety_eval.core.plugins import find
from safety_eval.core.records import Prompt
from safety_eval.core.task import TaskOptions

SEED = 20261125
"""Draws the prompts. Settings (pass sizes, row limits) were chosen on other prompts."""


@dataclass(frozen=True, slots=True)
class Case:
    """One comparison.

    Attributes:
        name, title: for the command line and the table. task, version: where the prompts come from.
        kind: 'choose' or 'generate'. count: prompts (0 = all). dtype: of every side.
        settings: max_new_tokens, temperature, top_p, stop.
        peers: (worker, rows of its batches): several batch sizes = its best counts.
    """

    name: str
    title: str
    task: str
    kind: str
    count: int
    dtype: str
    peers: tuple[tuple[str, int], ...]
    version: str | None = None
    settings: dict[str, Any] = field(default_factory=dict)


_GREEDY = {"max_new_tokens": 50, "temperature": 0.0, "top_p": 1.0, "stop": []}
_PAPER = {"max_new_tokens": 50, "temperature": 0.1, "top_p": 0.9, "stop": []}
_ENDED = {**_GREEDY, "stop": ["\n\n", "\nQ:"]}
# Batch sizes: the best of those that were tried on other prompts (lm-eval 1 and 8, transformers 32, 64 and 128).
_OPEN = (("hf", 64), ("vllm_cpu", 128))
_QUANTISED = (("openvino_genai", 128), ("llama_cpp_one", 1), ("inspect_local", 64))

CASES: Sequence[Case] = (
    Case("mc", "TruthfulQA MC1 + MC2, float32", "truthfulqa_choice", "choose", 0, "float32", (("lm_eval", 1),), "v0"),
    Case(
        "tqa",
        "TruthfulQA generation, greedy, float32",
        "truthfulqa_generation",
        "generate",
        0,
        "float32",
        (("hf", 32), ("vllm_cpu", 128)),
        "v0",
        _ENDED,
    ),
    Case(
        "toxigen",
        "ToxiGen, temperature 0.1, top-p 0.9, float32",
        "toxigen",
        "generate",
        96,
        "float32",
        _OPEN,
        None,
        _PAPER,
    ),
    Case("bold-greedy", "BOLD, greedy, float32", "bold", "generate", 512, "float32", _OPEN, None, _GREEDY),
    Case("bold-greedy-bf16", "BOLD, greedy, bfloat16", "bold", "generate", 512, "bfloat16", _OPEN, None, _GREEDY),
    Case("bold", "BOLD, temperature 0.1, top-p 0.9, float32", "bold", "generate", 512, "float32", _OPEN, None, _PAPER),
    Case(
        "bold-bf16",
        "BOLD, temperature 0.1, top-p 0.9, bfloat16",
        "bold",
        "generate",
        512,
        "bfloat16",
        _OPEN,
        None,
        _PAPER,
    ),
    Case(
        "others",
        "BOLD, greedy, beside engines of quantised weights and a chat provider",
        "bold",
        "generate",
        64,
        "float32",
        _QUANTISED,
        None,
        _GREEDY,
    ),
)


def prompts_of(case: Case, data: Path | None, limit: int | None) -> list[Prompt]:
    """The prompts of a case, drawn by SEED, in a shuffled order that favours no side."""
    found = list(find("tasks", case.task).load(TaskOptions(data, case.version)).prompts)
    count = min(x for x in (case.count or len(found), limit or len(found), len(found)))
    return random.Random(SEED).sample(found, count)
