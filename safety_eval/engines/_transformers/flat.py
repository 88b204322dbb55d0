"""One forward pass of the model over a flat row of tokens, through our attention."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor

from safety_eval.engines._transformers.attention import KeyValue, Packed, Plan, attending


def can_run_flat(model: Any) -> str:
    """Why a model cannot run flat, as far as its class says; '' = it may (the check at load decides)."""
    if not getattr(model, "_supports_attention_backend", False):
        return "its attention is not behind transformers' attention interface"
    asked = inspect.signature(model.forward).parameters
    missing = [name for name in ("position_ids", "logits_to_keep") if name not in asked]
    return f"its forward pass takes no {missing[0]}" if missing else ""


def forward(model: Any, tokens: Tensor, positions: Tensor, plan: Plan, keep: Tensor) -> Tensor:
    """Logits (len(keep), vocabulary) after the tokens numbered `keep` of a flat row of tokens (n,)."""
    with attending(model, plan):
        out = model(input_ids=tokens[None], position_ids=positions[None], use_cache=False, logits_to_keep=keep)
    return torch.as_tensor(out.logits)[0]


_WHOLE: WeakSet[Any] = WeakSet()
"""Models whose forward pass turned out not to call the body that `base_model` names."""


def forward_in_parts(
    model: Any, tokens: Tensor, positions: Tensor, plan: Plan, keep: Tensor, rows: int
) -> Iterator[Tensor]:
    """The logits of `forward`, at most `rows` rows at a time: the model's body runs once, what follows it (projection,
    scale, cap) for each part. Logits of a whole pass are its largest memory by far, and new memory is slow.
    """
    body = model.base_model
    if len(keep) <= rows or body is model or model in _WHOLE:
        yield from forward(model, tokens, positions, plan, keep).split(rows)
        return
    with attending(model, plan):
        hidden = body(input_ids=tokens[None], position_ids=positions[None], use_cache=False)
    with _known(body, hidden) as calls:
        for part in keep.split(rows):
            logits = forward(model, tokens, positions, plan, part)
            if not calls:
                _WHOLE.add(model)
                break
            yield logits
    if not calls:
        yield from forward(model, tokens, positions, plan, keep).split(rows)


@contextmanager
def _known(module: Any, output: Any) -> Iterator[list[None]]:
    """Let a module give an output that is known, for the time being; the list grows with each call of it."""
    own = vars(module).get("forward")
    calls: list[None] = []

    def known(*_: Any, **__: Any) -> Any:
        calls.append(None)
        return output

    module.forward = known
    try:
        yield calls
    finally:
        del module.forward
        if own is not None:
            module.forward = own


def read_prefix(model: Any, prefix: Sequence[int], device: torch.device) -> list[KeyValue]:
    """Keys and values of a shared prefix by layer; [] for an empty one."""
    if not prefix:
        return []
    plan = Packed([len(prefix)], None, [], device, model.dtype)
    tokens = torch.tensor(prefix, device=device)
    keep = torch.tensor([len(prefix) - 1], device=device)
    forward(model, tokens, torch.arange(len(prefix), device=device), plan, keep)
    return [(key.contiguous(), value.contiguous()) for key, value in plan.captured]
