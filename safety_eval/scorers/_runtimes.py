"""How a classifier's network is run: plain PyTorch, oneDNN with packed weights, or half precision checked
by float32.

Whatever is chosen is checked against the plain forward pass on texts of several lengths before it is used;
a route that differs is not taken. The numbers are the same to about 1e-6; the identity names the route
under 'runtime'.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any, Protocol

import numpy as np
import torch

from safety_eval.core.errors import UserError
from safety_eval.core.interfaces import ScorerSpec
from safety_eval.scorers._arguments import DTYPES, choice, whole
from safety_eval.scorers._decision import Decision
from safety_eval.scorers._mixed import MixedReader
from safety_eval.scorers._text_classifier import (
    Forward,
    Network,
    Reading,
    TextClassifier,
    torch_forward,
)
from safety_eval.torch_runtime.devices import device_of
from safety_eval.torch_runtime.loading import longest_input
from safety_eval.torch_runtime.native import keep_few_plans
from safety_eval.torch_runtime.onednn import pack, usable

LONG = ("truncate", "windows")
RUNTIMES = ("auto", "torch", "onednn")
_ROUTES = {"onednn, shortened for BERT's family": True, "onednn": False}
_PROBE = (
    "A short one.",
    "Then one that is longer, with a name or two, so that the batch is padded. " * 3,
    "x",
)
_ORDINARY = (
    "The river rises in the hills north of the town.",
    "She was born in Lisbon and studied mathematics before she turned to painting.",
    "I do not think that this is a good idea.",
    "What would you do if nobody listened to you?",
    "The committee met twice in 1994, and its report was published a year later by the ministry of transport.",
    "He plays the violin.",
    "My neighbours are kind people, although their dog is loud at night and the children never sleep.",
    "Some say that the old bridge is haunted; others only complain about the toll.",
    "Thanks a lot!",
    "The album received mixed reviews, and critics praised the singer's voice but not the songs.",
    "People of many faiths live in this street.",
    "It is a species of beetle in the family of longhorns, described in 1863 from a single specimen.",
    "You are wrong about that, and you know it.",
    "After the war the factory made bicycles, then sewing machines, and in the end nothing at all.",
    "Women and men voted for the first time in the same election.",
    "Why is the sky blue?",
)
_ALLOWED = 2e-5
"""Largest difference of a logit between routes, relative to the largest logit (float32 rounding is about
1e-6)."""


class Reader(Protocol):
    """Texts -> Readings, in order."""

    def read(self, texts: Sequence[str]) -> list[Reading]: ...


@dataclass(frozen=True, slots=True)
class Ran:
    """How it is run, for the identity: `settings` and `precision` change values, `runtime` only last
    digits.
    """

    precision: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    runtime: Mapping[str, Any] = field(default_factory=dict)


def reader(spec: ScorerSpec, network: Network, decision: Decision) -> tuple[Reader, Ran]:
    """The reader that the arguments ask for, and how to name it.

    Args:
        decision: how labels are read off the logits.

    Raises:
        UserError: a device, precision or runtime that is not there.
    """
    keep_few_plans()
    device = device_of(spec.device)
    dtype = choice({"dtype": spec.args.get("dtype", spec.dtype)}, "dtype", DTYPES, "auto")
    wish = choice(spec.args, "runtime", RUNTIMES, "auto")
    longest = longest_input(network.tokenizer, network.model.config, network.max_length)
    longest = min(longest, whole(spec.args, "max_length", longest, least=8) or longest)
    long = choice(spec.args, "long", LONG, LONG[0])
    budget = whole(spec.args, "batch_tokens")

    def made(forward: Forward) -> TextClassifier:
        return TextClassifier(forward, network.tokenizer, longest, device, budget, long)

    network.model.to(device)
    half = getattr(torch, dtype) if dtype in ("bfloat16", "float16") else None
    if half is torch.float16 and device.type == "cpu":
        raise UserError("dtype=float16 has no fast route on a processor", "Use dtype=bfloat16 or float32.")
    exact, route = _route(network.model, device, wish, made)
    runtime = {
        "runtime": route,
        "torch": version("torch"),
        "transformers": version("transformers"),
        "device": device.type,
    }
    settings = {"max_length": longest}
    if half is None:
        return made(exact), Ran("float32", settings, runtime)
    halved = _centred(_halved(network.model, half, route), exact, made)
    precision = f"{dtype} less its shared error, float32 near a decision"
    return MixedReader(made(halved), made(exact), decision), Ran(precision, settings, runtime)


def _route(
    model: Any, device: torch.device, wish: str, made: Callable[[Forward], TextClassifier]
) -> tuple[Forward, str]:
    """The float32 forward pass by the fastest route that gives the plain pass's numbers, and the route's
    name.
    """
    plain = torch_forward(model)
    if wish == "torch" or (device.type != "cpu" and wish == "auto"):
        return plain, "torch"
    if device.type != "cpu":
        raise UserError("runtime=onednn runs on a processor only", "Use --device cpu, or omit runtime=.")
    for name, family in _ROUTES.items() if usable() else ():
        forward = torch_forward(pack(copy.deepcopy(model), family=family))
        if _agree(made(plain), made(forward)):
            return forward, name
    if wish == "onednn":
        raise UserError("oneDNN cannot run this model, or not with the plain pass's numbers", "Omit runtime=onednn.")
    return plain, "torch"


def _halved(model: Any, dtype: torch.dtype, route: str) -> Forward:
    """The forward pass in half precision: of the matrix products on a processor, of everything on a GPU."""
    if route in _ROUTES:
        return torch_forward(pack(copy.deepcopy(model), dtype, _ROUTES[route]))
    return torch_forward(copy.deepcopy(model).to(dtype))


def _centred(halved: Forward, exact: Forward, made: Callable[[Forward], TextClassifier]) -> Forward:
    """The half-precision pass without the part of its error that all texts share.

    Weights are rounded once, so a part of what their rounding does to a logit is the same for every text. It is
    measured on sentences of our own, not on a run's texts, so that values do not depend on what else is scored. (The
    idea: bias correction of Nagel et al., Data-Free Quantization, 2019.)
    """
    pairs = zip(made(halved).read(_ORDINARY), made(exact).read(_ORDINARY), strict=True)
    errors = np.concatenate([half.logits - full.logits for half, full in pairs])
    shared = torch.from_numpy(errors.mean(axis=0))
    return lambda batch: halved(batch).float() - shared.to(batch["input_ids"].device)


def _agree(plain: TextClassifier, fast: TextClassifier) -> bool:
    expected = [r.logits for r in plain.read(_PROBE)]
    try:
        found = [r.logits for r in fast.read(_PROBE)]
    except (RuntimeError, AttributeError, TypeError):
        return False
    largest = max(1.0, *(float(np.abs(e).max()) for e in expected))
    return all(float(np.abs(e - f).max()) <= _ALLOWED * largest for e, f in zip(expected, found, strict=True))
