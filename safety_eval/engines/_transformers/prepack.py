"""Weights of linear layers laid out once as oneDNN wants them (on a processor).

Each call of a plain layer lays its weight out anew; with few rows, as in decoding, that is a third of its time. The
products are the same, to the bit where both go through oneDNN. The layout is a second copy, so it is made only where
memory is plentiful.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from safety_eval.engines._transformers.batching import free_memory

ROWS = 128
"""Rows that the layout is tuned for: those of a full step of decoding."""


def prepack(model: Any, mode: str) -> bool:
    """Lay out the linear layers of a model on a processor; False = left as they are.

    Args:
        mode: of float32 products (`check.matmul_mode`); other than oneDNN, float32 layers are left alone.
    """
    layers = [m for m in model.modules() if type(m) is nn.Linear]
    size = sum(m.weight.numel() * m.weight.element_size() for m in layers)
    if not layers or not _fits(model, mode) or free_memory(layers[0].weight.device) < 4 * size:
        return False
    with torch.inference_mode():
        packed = [torch.ops.mkldnn._reorder_linear_weight(m.weight, ROWS) for m in layers]
    for layer, weight in zip(layers, packed, strict=True):
        layer.forward = partial(_linear, weight, layer.bias)  # type: ignore[method-assign]
    return True


def _fits(model: Any, mode: str) -> bool:
    if any(p.device.type != "cpu" for p in model.parameters()) or not torch.backends.mkldnn.is_available():
        return False
    if not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        return False
    return mode == "oneDNN" if model.dtype == torch.float32 else model.dtype == torch.bfloat16


def unpack(model: Any) -> None:
    """Give the layers back their own forward pass."""
    for layer in model.modules():
        if type(layer) is nn.Linear:
            vars(layer).pop("forward", None)


def _linear(weight: Tensor, bias: Tensor | None, given: Tensor) -> Tensor:
    return torch.as_tensor(torch.ops.mkldnn._linear_pointwise(given, weight, bias, "none", [], ""))
