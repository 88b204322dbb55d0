"""The same network with less work on a processor: weights packed for oneDNN, one product for three, the last
layer for one token only.

PyTorch hands float32 matrices to MKL, and reorders bfloat16 weights for oneDNN in every call; packing them
once avoids both (the operators are those that torch.compile emits for frozen weights). A sequence
classifier of BERT's family reads the first token of the last layer and nothing else, so that layer is
computed for that token alone; in the others, queries, keys and values are one product. All give the numbers of
the plain forward pass up to rounding, which the caller checks.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

_ROWS = 512
"""Rows that the layout is chosen for: the usual token budget of a batch."""
_FAMILY = ("BertLayer", "RobertaLayer", "XLMRobertaLayer")


def usable() -> bool:
    """Whether this PyTorch has the operators."""
    names = ("_linear_pointwise", "_reorder_linear_weight")
    return torch.backends.mkldnn.is_available() and all(hasattr(torch.ops.mkldnn, name) for name in names)


class PackedLinear(nn.Module):
    """x [..., inputs] -> x W^T + b [..., outputs] in float32; when `gelu`, followed by the exact GELU and in `dtype`.

    The product is computed in `dtype`: what stays outside (residuals, norms, softmax) keeps float32. Behind a GELU
    there is nothing but the next product, which would round to `dtype` again.
    """

    def __init__(self, linear: nn.Linear, gelu: bool, dtype: torch.dtype) -> None:
        super().__init__()
        weight = linear.weight.detach().to(dtype).contiguous()
        self._packed = torch.ops.mkldnn._reorder_linear_weight(weight, _ROWS)
        self._bias = None if linear.bias is None else linear.bias.detach().to(dtype)
        self._after, self._dtype = ("gelu" if gelu else "none"), dtype
        self._gives = dtype if gelu else torch.float32
        self.in_features, self.out_features = linear.in_features, linear.out_features

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = torch.ops.mkldnn._linear_pointwise(
            x.to(self._dtype), self._packed, self._bias, self._after, [], "none"
        )
        return found.to(self._gives)


class FirstTokenLayer(nn.Module):
    """A layer of BERT's family for the first token of each text: [texts, tokens, width] -> [texts, 1,
    width].
    """

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self._attention, self._layer = layer.attention, layer

    def forward(
        self, hidden: torch.Tensor, attention_mask: torch.Tensor | None, *_: Any, **__: Any
    ) -> torch.Tensor:
        own, first = self._attention.self, hidden[:, :1]

        def heads(x: torch.Tensor) -> torch.Tensor:
            return x.unflatten(-1, (own.num_attention_heads, own.attention_head_size)).transpose(1, 2)

        seen = nn.functional.scaled_dot_product_attention(
            heads(own.query(first)), heads(own.key(hidden)), heads(own.value(hidden)),
            attn_mask=None if attention_mask is None else attention_mask[:, :, :1],
        ).transpose(1, 2).flatten(2)  # fmt: skip
        attended = self._attention.output(seen, first)
        found: torch.Tensor = self._layer.output(self._layer.intermediate(attended), attended)
        return found


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
