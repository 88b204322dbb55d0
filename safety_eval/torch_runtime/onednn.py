"""Products of linear layers through oneDNN on a processor: the mode for float32, and weights laid out once.

PyTorch hands float32 matrices to MKL, and reorders bfloat16 weights for oneDNN in every call; with few rows, as in
decoding, that is a third of a layer's time. Laying the weights out once avoids both (the operators are those that
torch.compile emits for frozen weights). The layout is a second copy of the weights, so `prepack` makes it only where
memory is plentiful.

A sequence classifier of BERT's family reads the first token of the last layer and nothing else, so `pack` computes
that layer for that token alone; in the others, queries, keys and values are one product. All give the numbers of the
plain forward pass up to rounding, which the callers check.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from safety_eval.torch_runtime.devices import free_memory

STEP_ROWS, BATCH_ROWS = 128, 512
"""Rows that a layout is tuned for: those of a full step of decoding, and the usual token budget of a classifier."""
_FAMILY = ("BertLayer", "RobertaLayer", "XLMRobertaLayer")
_FLOAT32_ERROR = 5e-5
"""Error of a product of N(0, 1) matrices over sqrt(inner size): float32 5e-6, TF32 5e-4, bfloat16 3e-3."""


def usable() -> bool:
    """Whether this PyTorch has the operators."""
    names = ("_linear_pointwise", "_reorder_linear_weight")
    return torch.backends.mkldnn.is_available() and all(hasattr(torch.ops.mkldnn, name) for name in names)


def _laid_out(weight: Tensor, rows: int) -> Tensor:
    return torch.as_tensor(torch.ops.mkldnn._reorder_linear_weight(weight, rows))


def _product(weight: Tensor, bias: Tensor | None, given: Tensor, after: str = "none") -> Tensor:
    """given W^T + b by a weight that is laid out, followed by nothing or by the exact GELU ('gelu')."""
    return torch.as_tensor(torch.ops.mkldnn._linear_pointwise(given, weight, bias, after, [], "none"))


def matmul_mode(device: torch.device, dtype: torch.dtype) -> str:
    """'oneDNN' where float32 products may go through it (torch's 'medium' precision), else 'default'.

    On a processor 'medium' sends float32 layers to oneDNN, twice as fast as the default on some; on others it rounds
    them to bfloat16. So it is measured against float64, on several shapes, and used only where it keeps float32.
    """
    if device.type != "cpu" or dtype != torch.float32:
        return "default"
    generator = torch.Generator().manual_seed(0)
    with matmul("oneDNN"):
        for rows, inner, outer in ((1, 576, 512), (8, 1536, 576), (64, 576, 1536), (256, 512, 512)):
            left = torch.randn((rows, inner), generator=generator)
            right = torch.randn((outer, inner), generator=generator)
            product = torch.nn.functional.linear(left, right)
            error = (product.double() - left.double() @ right.double().T).abs().max() / inner**0.5
            if error > _FLOAT32_ERROR:
                return "default"
    return "oneDNN"


@contextmanager
def matmul(mode: str) -> Iterator[None]:
    """Run float32 products in the given mode, and leave torch's setting as it was."""
    if mode != "oneDNN":
        yield
        return
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def prepack(model: Any, mode: str) -> bool:
    """Lay out the linear layers of a causal model on a processor; False = left as they are.

    Args:
        mode: of float32 products (`matmul_mode`); other than oneDNN, float32 layers are left alone.
    """
    layers = [m for m in model.modules() if type(m) is nn.Linear]
    size = sum(m.weight.numel() * m.weight.element_size() for m in layers)
    if not layers or not _fits(model, mode) or free_memory(layers[0].weight.device) < 4 * size:
        return False
    with torch.inference_mode():
        weights = [_laid_out(m.weight, STEP_ROWS) for m in layers]
    for layer, weight in zip(layers, weights, strict=True):
        layer.forward = partial(_product, weight, layer.bias)  # type: ignore[method-assign]
    return True


def _fits(model: Any, mode: str) -> bool:
    if any(p.device.type != "cpu" for p in model.parameters()) or not usable():
        return False
    return mode == "oneDNN" if model.dtype == torch.float32 else model.dtype == torch.bfloat16


class PackedLinear(nn.Module):
    """x [..., inputs] -> x W^T + b [..., outputs] in float32; when `gelu`, followed by the exact GELU and in `dtype`.

    The product is computed in `dtype`: what stays outside (residuals, norms, softmax) keeps float32. Behind a GELU
    there is nothing but the next product, which would round to `dtype` again.
    """

    def __init__(self, linear: nn.Linear, gelu: bool, dtype: torch.dtype) -> None:
        super().__init__()
        weight = linear.weight.detach().to(dtype).contiguous()
        self._packed = _laid_out(weight, BATCH_ROWS)
        self._bias = None if linear.bias is None else linear.bias.detach().to(dtype)
        self._after, self._dtype = ("gelu" if gelu else "none"), dtype
        self._gives = dtype if gelu else torch.float32
        self.in_features, self.out_features = linear.in_features, linear.out_features

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return _product(self._packed, self._bias, x.to(self._dtype), self._after).to(self._gives)


class FirstTokenLayer(nn.Module):
    """A layer of BERT's family for the first token of each text: [texts, tokens, width] -> [texts, 1,
    width].
    """

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self._attention, self._layer = layer.attention, layer

    def forward(self, hidden: torch.Tensor, attention_mask: torch.Tensor | None, *_: Any, **__: Any) -> torch.Tensor:
        own, first = self._attention.self, hidden[:, :1]

        def heads(x: torch.Tensor) -> torch.Tensor:
            return x.unflatten(-1, (own.num_attention_heads, own.attention_head_size)).transpose(1, 2)

        seen = (
            nn.functional.scaled_dot_product_attention(
                heads(own.query(first)),
                heads(own.key(hidden)),
                heads(own.value(hidden)),
                attn_mask=None if attention_mask is None else attention_mask[:, :, :1],
            )
            .transpose(1, 2)
            .flatten(2)
        )
        attended = self._attention.output(seen, first)
        return torch.as_tensor(self._layer.output(self._layer.intermediate(attended), attended))


class SelfAttention(nn.Module):
    """Self-attention of BERT's family, one product for queries, keys and values: [texts, tokens, width] -> the same."""

    def __init__(self, own: Any, dtype: torch.dtype) -> None:
        super().__init__()
        parts = (own.query, own.key, own.value)
        joined = nn.Linear(own.query.in_features, 3 * own.query.out_features, device="meta")
        joined.weight = nn.Parameter(torch.cat([x.weight for x in parts]), requires_grad=False)
        joined.bias = nn.Parameter(torch.cat([x.bias for x in parts]), requires_grad=False)
        self._heads = own.num_attention_heads, own.attention_head_size
        self._product = PackedLinear(joined, False, dtype)

    def forward(
        self, hidden: torch.Tensor, attention_mask: torch.Tensor | None = None, **_: Any
    ) -> tuple[torch.Tensor, None]:
        parts = self._product(hidden).chunk(3, dim=-1)
        query, key, value = (x.unflatten(-1, self._heads).transpose(1, 2) for x in parts)
        seen = nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=attention_mask)
        return seen.transpose(1, 2).flatten(2), None


@torch.inference_mode()
def pack(model: Any, dtype: torch.dtype = torch.float32, family: bool = False) -> Any:
    """`model` with every nn.Linear packed (in place), a GELU behind one taken into it.

    Args:
        dtype: of the matrix products over all tokens: float32 or bfloat16. Those that meet one token of each text
            stay in float32: they cost next to nothing, and nothing averages out their rounding before the label.
        family: where the model is of BERT's family, compute the last layer for the first token only, and queries,
            keys and values in one product.
    """
    layers = getattr(getattr(getattr(model, "base_model", None), "encoder", None), "layer", None)
    family = family and layers is not None and type(layers[-1]).__name__ in _FAMILY
    once = _once_a_text(model, layers[-1] if layers is not None and family else None)
    if layers is not None and family:
        for layer in layers[:-1]:
            layer.attention.self = SelfAttention(layer.attention.self, dtype)
    for module in list(model.modules()):
        gelu = _gelu_behind(module)
        for name, child in list(module.named_children()):
            if type(child) is nn.Linear:
                precision = torch.float32 if child in once else dtype
                setattr(module, name, PackedLinear(child, gelu and name == "dense", precision))
        if gelu:
            module.intermediate_act_fn = nn.Identity()
    if layers is not None and family:
        layers[-1] = FirstTokenLayer(layers[-1])
    return model


def _once_a_text(model: Any, last: Any) -> set[nn.Module]:
    """What meets one token of each text: all behind the body, its pooler, and a last layer but for keys and values."""
    body = getattr(model, "base_model", model)
    head = {*model.modules()} - {*body.modules()}
    pooler = getattr(body, "pooler", None)
    if pooler is not None:
        head |= {*pooler.modules()}
    if last is not None:
        head |= {*last.modules()} - {last.attention.self.key, last.attention.self.value}
    return head


def _gelu_behind(module: nn.Module) -> bool:
    """The BERT family's intermediate block: `dense`, then the exact GELU."""
    act = getattr(module, "intermediate_act_fn", None)
    exact = type(act).__name__ == "GELUActivation" or type(act) is nn.GELU and act.approximate == "none"
    return exact and isinstance(getattr(module, "dense", None), nn.Linear)
