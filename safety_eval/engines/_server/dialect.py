"""What servers of one protocol call by other names: the parameters of an answer, as this server takes them.

`neutral` switches off what a server would add of its own (a checkpoint's generation_config.json is applied by vLLM and
by transformers where a request says nothing), since an answer follows its Settings alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from safety_eval.core.interfaces import Settings

SEEDS = 2**31
"""Seeds that every server takes."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """How one kind of server is asked.

    Attributes:
        name: for `--model-args dialect=`.
        neutral: sent with every request.
        in_config: sampling stands in a JSON text of its own, as transformers' server wants it.
        prefill: sent so that an assistant's turn is continued, {} where that is not known to be possible.
        echo: sent for the log-probabilities of a prompt's own tokens; {} where there are none.
    """

    name: str
    neutral: Mapping[str, Any]
    in_config: bool = False
    prefill: Mapping[str, Any] | None = None
    echo: Mapping[str, Any] | None = None

    def parameters(self, settings: Settings, most: int, seed: int) -> dict[str, Any]:
        """The body's part that says how to answer, in at most `most` tokens."""
        told: dict[str, Any] = {"max_tokens": most, "temperature": settings.temperature, **self.neutral}
        if settings.temperature > 0:
            told |= {"top_p": settings.top_p, "seed": seed % SEEDS}
        if self.in_config:
            told["generation_config"] = json.dumps(_as_config(settings, most))
        return told


def _as_config(settings: Settings, most: int) -> dict[str, Any]:
    """transformers' GenerationConfig of the settings alone."""
    config: dict[str, Any] = {"max_new_tokens": most, "do_sample": settings.temperature > 0, "repetition_penalty": 1.0}
    if settings.temperature > 0:
        config |= {"temperature": settings.temperature, "top_p": settings.top_p, "top_k": 0}
    return config


OPENAI = Dialect("openai", {}, echo={"echo": True, "logprobs": 1, "max_tokens": 1})
VLLM = Dialect(
    "vllm",
    {"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0},
    prefill={"continue_final_message": True, "add_generation_prompt": False},
    echo={"echo": True, "logprobs": 1, "max_tokens": 0},
)
TRANSFORMERS = Dialect("transformers", {}, in_config=True)
DIALECTS: Mapping[str, Dialect] = {d.name: d for d in (VLLM, OPENAI, TRANSFORMERS)}
"""In the order in which they are tried: the one that says most first."""
