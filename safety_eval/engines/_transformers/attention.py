"""Our attention behind transformers' own interface: packed sequences, a shared prefix, slots of a static cache.

The model runs on one flat row of tokens, so that every projection is one dense matrix product without padding; only
the attention knows which tokens belong together. A model that reaches `attend` through AttentionInterface needs no
change. Keys and values never pass through a transformers Cache.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

NAME = "safety_eval"
KeyValue = tuple[Tensor, Tensor]
"""Keys and values of one layer: (heads, tokens, width) each."""


PLAIN_SCORES = 4_000_000
"""Most scores of one layer (16 MB) that are computed as products of their own on a processor."""


class Unsupported(Exception):
    """A model asks its attention for something that `attend` does not do; the plain path serves it."""


class Plan(Protocol):
    """What one forward pass attends to. `layer` counts the calls of the pass."""

    layer: int
    reach: int

    def attend(self, query: Tensor, key: Tensor, value: Tensor, scale: float, softcap: float | None) -> Tensor: ...


_ACTIVE: ContextVar[Plan | None] = ContextVar("plan", default=None)
_HARMLESS = frozenset({"position_ids", "use_cache", "cache_position", "output_attentions", "is_causal"})


def attend(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **asked: Any,
) -> tuple[Tensor, None]:
    """Attention of one layer over a flat row: (1, heads, tokens, width) -> (1, tokens, heads, width).

    Raises:
        Unsupported: a sliding window that is shorter than the pass reaches, sinks, biases, several rows.
    """
    plan = _ACTIVE.get()
    if plan is None or attention_mask is not None or query.shape[0] != 1:
        raise Unsupported("called outside a plan, or with a mask of its own")
    window = asked.pop("sliding_window", None)
    if window is not None and window < plan.reach:
        raise Unsupported(f"a sliding window of {window} tokens")
    softcap = asked.pop("softcap", None)
    for name, content in asked.items():
        if isinstance(content, Tensor) and name not in _HARMLESS:
            raise Unsupported(f"the attention argument '{name}'")
    scale = scaling if scaling is not None else query.shape[-1] ** -0.5
    out = plan.attend(query[0], key[0], value[0], scale, softcap)
    plan.layer += 1
    return out[None], None


AttentionInterface.register(NAME, attend)


@contextmanager
def attending(model: Any, plan: Plan) -> Iterator[None]:
    """Let the model's attention follow `plan` for one forward pass."""
    config = model.config
    before = config._attn_implementation
    token = _ACTIVE.set(plan)
    plan.layer = 0
    config._attn_implementation = NAME
    try:
        yield
    finally:
        config._attn_implementation = before
        _ACTIVE.reset(token)


def softmax_attention(
    query: Tensor, key: Tensor, value: Tensor, bias: Tensor, scale: float, softcap: float | None
) -> Tensor:
    """Attention by its definition, softmax in float32: (n, rows, width) against (n, keys, width)."""
    scores = torch.bmm(query, key.transpose(1, 2)).mul_(scale)
    if softcap is not None:
        scores = torch.tanh(scores / softcap) * softcap
    weights = torch.softmax(scores.add_(bias), dim=-1, dtype=torch.float32).to(query.dtype)
    return torch.bmm(weights, value)


@dataclass(frozen=True, slots=True)
class _Work:
    """What `Packed` needs of memory and indices for plain products, by number of heads.

    Attributes:
        heads: of the queries, of the keys.
        gather_rows: tokens x heads -> (key heads, sequences, query heads of one key head, longest).
        gather_own: tokens x key heads -> (key heads, sequences, longest). back: rows -> tokens x heads.
        mask, own_scores: (key heads x sequences, group x longest, longest); scores: with the prefix before them.
    """

    heads: tuple[int, int]
    gather_rows: Tensor
    gather_own: Tensor
    back: Tensor
    mask: Tensor
    own_scores: Tensor
    scores: Tensor

    @classmethod
    def of(cls, scatter: Tensor, back: Tensor, bias: Tensor, heads: int, kept: int) -> _Work:
        count, longest, seen = bias.shape
        group = heads // kept
        token = scatter.view(1, count, 1, longest)
        head = torch.arange(heads).view(kept, 1, group, 1)
        place = torch.arange(heads * count * longest).view(kept, count, group, longest)
        mask = bias[:, :, seen - longest :].repeat(1, group, 1).repeat(kept, 1, 1)
        return cls(
            heads=(heads, kept),
            gather_rows=(token * heads + head).flatten(),
            gather_own=(token[:, :, 0] * kept + torch.arange(kept).view(kept, 1, 1)).flatten(),
            back=place.permute(1, 3, 0, 2).reshape(count * longest, heads)[back].flatten(),
            mask=mask,
            own_scores=torch.empty_like(mask),
            scores=mask.new_empty((*mask.shape[:2], seen)),
        )

    def rows(self, query: Tensor) -> Tensor:
        """(heads, tokens, width) -> (key heads x sequences, group x longest, width)."""
        flat = query.transpose(0, 1).reshape(-1, query.shape[2])
        return flat.index_select(0, self.gather_rows).view(*self.mask.shape[:2], -1)

    def own(self, flat: Tensor) -> Tensor:
        """(key heads, tokens, width) -> (key heads x sequences, longest, width)."""
        rows = flat.transpose(0, 1).reshape(-1, flat.shape[2]).index_select(0, self.gather_own)
        return rows.view(self.mask.shape[0], self.mask.shape[2], -1)


class Packed:
    """Sequences (or trees) side by side in one flat row, each seeing its own tokens and a shared prefix.

    Args:
        sizes: tokens of each sequence, in the order of the row.
        allowed: (sequences, longest, longest) which own tokens each token sees; None = those up to itself.
        prefix: keys and values of the shared prefix by layer, [] = none.
        device, dtype: of the model. reach: the longest distance between two tokens of one sequence.

    `captured` holds each layer's own keys and values after the pass.
    """

    def __init__(
        self,
        sizes: list[int],
        allowed: Tensor | None,
        prefix: list[KeyValue],
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        self.layer = 0
        self._count, self._longest = len(sizes), max(sizes)
        self._prefix = prefix
        start = prefix[0][0].shape[1] if prefix else 0
        self.reach = start + self._longest
        self.captured: list[KeyValue] = []
        cell = torch.arange(self._count * self._longest).view(self._count, self._longest)
        own = torch.arange(self._longest)[None] < torch.tensor(sizes)[:, None]
        self._back = cell[own].to(device)
        scatter = torch.zeros(self._count * self._longest, dtype=torch.int64)
        scatter[cell[own]] = torch.arange(int(own.sum()))
        self._scatter = scatter.to(device)
        if allowed is None:
            allowed = torch.ones((self._longest, self._longest), dtype=torch.bool).tril()
            allowed = allowed.expand(self._count, -1, -1)
        sees = torch.cat([torch.ones((self._count, self._longest, start), dtype=torch.bool), allowed], dim=2)
        bias = torch.zeros(sees.shape, dtype=dtype).masked_fill_(~sees, float("-inf"))
        # A padding cell sees itself, so that no row of the softmax is empty.
        diagonal = torch.arange(self._longest)
        bias[:, diagonal, start + diagonal] = 0
        self._bias = bias.to(device)
        self._folded: Tensor | None = None
        self._work: _Work | None = None

    def attend(self, query: Tensor, key: Tensor, value: Tensor, scale: float, softcap: float | None) -> Tensor:
        self.captured.append((key, value))
        heads, kept = query.shape[0], key.shape[0]
        group = heads // kept
        if softcap is None and self._fits(query):
            return self._plain(query, key, value, scale)
        keys, values = self._with_prefix(key, 0), self._with_prefix(value, 1)
        # Query heads that share a key head become rows of one product: nothing is repeated.
        rows = self._cells(query).view(self._count, self._longest, kept, group, -1)
        rows = rows.permute(0, 2, 3, 1, 4).reshape(self._count, kept, group * self._longest, -1)
        if self._folded is None or self._folded.shape[2] != rows.shape[2]:
            self._folded = self._bias.to(query.device).repeat(1, group, 1)[:, None]
        if softcap is None:
            out = scaled_dot_product_attention(rows, keys, values, attn_mask=self._folded, scale=scale)
        else:
            bias = self._folded.expand(-1, kept, -1, -1).flatten(0, 1)
            out = softmax_attention(rows.flatten(0, 1), keys.flatten(0, 1), values.flatten(0, 1), bias, scale, softcap)
        out = out.view(self._count, kept, group, self._longest, -1).permute(0, 3, 1, 2, 4)
        return out.reshape(self._count * self._longest, heads, -1).index_select(0, self._back)

    def _fits(self, query: Tensor) -> bool:
        """Whether plain products are faster than the fused kernel: float32 scores that stay in the cache."""
        if query.device.type != "cpu" or query.dtype != torch.float32:
            return False
        return self._count * query.shape[0] * self._longest * self._bias.shape[2] <= PLAIN_SCORES

    def _plain(self, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        """Attention by its definition. All sequences meet the prefix in one product for each key head; scores and
        mask of a pass are allocated once: new memory costs more than the products that fill it."""
        heads, kept = query.shape[0], key.shape[0]
        if self._work is None or self._work.heads != (heads, kept):
            self._work = _Work.of(self._scatter, self._back, self._bias, heads, kept)
        work = self._work
        start = work.scores.shape[2] - work.mask.shape[2]
        rows, own_keys, own_values = work.rows(query), work.own(key), work.own(value)
        torch.baddbmm(work.mask, rows, own_keys.transpose(1, 2), alpha=scale, out=work.own_scores)
        work.scores[:, :, start:] = work.own_scores
        together = work.scores.view(kept, -1, work.scores.shape[2])
        if start:
            keys, values = self._prefix[self.layer]
            shared = together[:, :, :start]
            queries = rows.view(kept, -1, rows.shape[2])
            torch.baddbmm(shared, queries, keys.transpose(1, 2), beta=0, alpha=scale, out=shared)
        torch.softmax(work.scores, dim=-1, out=work.scores)
        out = torch.bmm(work.scores[:, :, start:], own_values)
        if start:
            out.view(kept, -1, out.shape[2]).baddbmm_(together[:, :, :start], values)
        return out.view(-1, out.shape[2]).index_select(0, work.back).view(-1, heads, out.shape[2])

    def _cells(self, flat: Tensor) -> Tensor:
        """(heads, tokens, width) -> (sequences x longest, heads, width)."""
        return flat.transpose(0, 1).index_select(0, self._scatter)

    def _with_prefix(self, flat: Tensor, which: int) -> Tensor:
        own = self._cells(flat).view(self._count, self._longest, flat.shape[0], -1).transpose(1, 2)
        if not self._prefix:
            return own
        shared = self._prefix[self.layer][which]
        return torch.cat([shared.expand(self._count, -1, -1, -1), own], dim=2)


class Slots:
    """One new token for each of several slots of a static cache, behind a shared prefix that is stored once.

    Args:
        cache: by layer, keys (slots, heads, width, capacity), as the product with the queries reads them fastest,
            and values (slots, heads, capacity, width).
        prefix: keys and values of the shared prefix by layer, [] = none.
        lengths: tokens that each slot holds already (host numbers: no synchronisation).
    """

    def __init__(self, cache: list[KeyValue], prefix: list[KeyValue], lengths: list[int]) -> None:
        self.layer = 0
        self._cache, self._prefix = cache, prefix
        self._start = prefix[0][0].shape[1] if prefix else 0
        used, keys = max(lengths) + 1, cache[0][0]
        self.reach = self._start + used
        # A part of the cache is not contiguous and would be copied by the product: the whole, masked, is faster
        # as long as it is not much longer.
        self._used = keys.shape[3] if keys.shape[3] <= 4 * used else used
        self._row = torch.arange(len(lengths), device=keys.device)
        self._place = torch.tensor(lengths).to(keys.device, non_blocking=True)
        unseen = torch.arange(self._used, device=keys.device)[None] > self._place[:, None]
        bias = torch.zeros((len(lengths), self._start + self._used), dtype=torch.float32, device=keys.device)
        bias[:, self._start :].masked_fill_(unseen, float("-inf"))
        self._bias = bias[:, None, None]

    def attend(self, query: Tensor, key: Tensor, value: Tensor, scale: float, softcap: float | None) -> Tensor:
        all_keys, all_values = self._cache[self.layer]
        row, place = self._row.to(key.device), self._place.to(key.device)
        all_keys[row, :, :, place] = key.transpose(0, 1)
        all_values[row, :, place] = value.transpose(0, 1)
        heads, count, _ = query.shape
        kept = key.shape[0]
        group = heads // kept
        # Views of the cache: (slots x heads, width, tokens) and (slots x heads, tokens, width).
        keys = all_keys[:count].flatten(0, 1)[:, :, : self._used]
        values = all_values[:count].flatten(0, 1)[:, : self._used]
        rows = query.transpose(0, 1).reshape(count, kept, group, -1)
        scores = torch.bmm(rows.flatten(0, 1), keys).view(count, kept, group, -1)
        if self._prefix:
            shared_keys, shared_values = self._prefix[self.layer]
            # All slots against the one copy of the prefix: a single product for each key head.
            together = rows.transpose(0, 1).reshape(kept, count * group, -1)
            shared = torch.bmm(together, shared_keys.transpose(1, 2)).view(kept, count, group, -1)
            scores = torch.cat([shared.transpose(0, 1), scores], dim=-1)
        scores = scores.mul_(scale)
        if softcap is not None:
            scores = torch.tanh(scores / softcap) * softcap
        bias = self._bias.to(scores.device)
        weights = torch.softmax(scores + bias, dim=-1, dtype=torch.float32).to(query.dtype)
        out = torch.bmm(weights[..., self._start :].flatten(0, 1), values).view(count, kept, group, -1)
        if self._prefix:
            part = weights[..., : self._start].transpose(0, 1).reshape(kept, count * group, -1)
            out += torch.bmm(part, shared_values).view(kept, count, group, -1).transpose(0, 1)
        return out.reshape(count, heads, -1)
