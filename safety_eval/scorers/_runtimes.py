"""How a classifier's network is run: plain PyTorch, or a faster route that computes the same numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any, Protocol

import numpy as np

from safety_eval.interfaces import ScorerSpec
from safety_eval.scorers._arguments import choice, whole
from safety_eval.scorers._text_classifier import (
    Network,
    Reading,
    TextClassifier,
    device_of,
    longest_input,
    torch_forward,
)  # fmt: skip

LONG = ("truncate", "windows")
DTYPES = ("auto", "float32", "bfloat16", "float16")


class Reader(Protocol):
    """Texts -> Readings, in order."""

    def read(self, texts: Sequence[str]) -> list[Reading]: ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Ran:
    """How it is run, for the identity: `settings` and `precision` change values, `runtime` only their last
    digits.
    """

    precision: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    runtime: Mapping[str, Any] = field(default_factory=dict)


def reader(spec: ScorerSpec, network: Network, margin: Callable[[np.ndarray], float]) -> tuple[Reader, Ran]:
    """The reader that the arguments ask for, and how to name it.

    Args:
        margin: logits of one text [windows, labels] -> distance of the nearest decision in log-odds.

    Raises:
        UserError: a device, precision or runtime that is not there.
    """
    device = device_of(spec.device)
    longest = longest_input(network.tokenizer, network.model.config, network.max_length)
    asked = whole(spec.args, "max_length", None, least=8)
    longest = min(longest, asked) if asked else longest
    long = choice(spec.args, "long", LONG, LONG[0])
    budget = whole(spec.args, "batch_tokens")
    forward = torch_forward(network.model.to(device))
    made = TextClassifier(forward, network.tokenizer, longest, device, budget, long)
    runtime = {"runtime": "torch", "torch": version("torch"), "transformers": version("transformers"),
               "device": device.type}  # fmt: skip
    return made, Ran("float32", {"max_length": longest}, runtime)
