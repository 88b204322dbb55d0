"""`sampling.draw` for a whole batch on the model's device: the same integers, no full sort of the
vocabulary."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from safety_eval import sampling


def _signed(word: int) -> int:
    return word - (1 << 64) if word >= 1 << 63 else word


_GAMMA, _FIRST, _SECOND = (_signed(w) for w in (sampling.GAMMA, sampling.FIRST, sampling.SECOND))


def _shift(words: Tensor, bits: int) -> Tensor:
    # torch shifts int64 arithmetically; the mask makes the shift logical.
    return (words >> bits) & ((1 << (64 - bits)) - 1)


def mix(words: Tensor) -> Tensor:
    """splitmix64 of int64 words (two's complement; multiplication wraps on every device)."""
    x = words + _GAMMA
    x = (x ^ _shift(x, 30)) * _FIRST
    x = (x ^ _shift(x, 27)) * _SECOND
    return x ^ _shift(x, 31)


def gumbel(keys: Tensor, steps: Tensor, tokens: Tensor) -> Tensor:
    """Gumbel noise in float64: keys and steps (rows,), tokens (rows, n) -> (rows, n)."""
    stream = mix(mix(keys) ^ steps)
    words = mix(stream[:, None] ^ tokens)
    u = (_shift(words, 11).to(torch.float64) + 0.5) * 2.0**-53
    return -torch.log(-torch.log(u))


@dataclass(frozen=True, slots=True)
class Sampler:
    """Temperature and nucleus of one call. Temperature 0 is greedy; equal logits go to the lowest token
    id."""

    temperature: float
    top_p: float

    def pick(self, logits: Tensor, keys: Tensor, steps: Tensor) -> Tensor:
        """Token ids (rows,) drawn from logits (rows, vocabulary) for the streams `keys` at `steps`."""
        if self.temperature == 0:
            return logits.argmax(dim=-1)
        if self.top_p >= 1:
            return _pick_any(logits, self.temperature, keys, steps)
        return _pick_nucleus(logits, self.temperature, self.top_p, keys, steps)


def _pick_any(logits: Tensor, temperature: float, keys: Tensor, steps: Tensor) -> Tensor:
    tokens = torch.arange(logits.shape[1], device=logits.device)[None]
    picked = []
    # Noise of 16 rows at a time: float64 over a whole vocabulary is the largest tensor of a step.
    for rows in torch.arange(logits.shape[0], device=logits.device).split(16):
        scores = logits[rows].double() / temperature + gumbel(keys[rows], steps[rows], tokens)
        picked.append(scores.argmax(dim=-1))
    return torch.cat(picked)


def _pick_nucleus(logits: Tensor, temperature: float, top_p: float, keys: Tensor, steps: Tensor) -> Tensor:
    exact = logits.float()
    best = exact.amax(dim=-1, keepdim=True)
    scaled = (exact - best).mul_(1.0 / temperature)
    weights = scaled.exp()
    total = weights.sum(dim=-1, keepdim=True)
    kept = scaled >= _floor(weights, total, top_p).log_()
    tokens, valid = _gather(kept)
    # Candidates in float64, as the reference computes them.
    values = (exact.gather(1, tokens).double() - best.double()) / temperature
    values = values.masked_fill(~valid, -math.inf)
    # Stable, and candidates stand in the order of their ids: equal logits stay in that order.
    values, order = values.sort(dim=-1, descending=True, stable=True)
    mass = values.exp()
    before = mass.cumsum(dim=-1) - mass
    tokens = tokens.gather(1, order)
    scores = values + gumbel(keys, steps, tokens)
    scores = scores.masked_fill(before >= top_p * total.double(), -math.inf)
    return tokens.gather(1, scores.argmax(dim=-1, keepdim=True))[:, 0]


def _floor(weights: Tensor, total: Tensor, top_p: float) -> Tensor:
    """A weight below which no token of the nucleus lies, as close to it as two looks at the row can tell.

    Tokens less likely than (1 - p) / V hold less than 1 - p together, so those above hold the nucleus:
    always true, and for peaked rows already a handful. Where a higher floor still leaves p of the mass
    above it, it serves.
    """
    # The margin covers the rounding of `total`; a lower floor only adds candidates.
    sure = total * ((1 - top_p) / weights.shape[1] * 0.999)
    high = total * ((1 - top_p) / 64)
    above = torch.where(weights >= high, weights, 0).sum(dim=-1, keepdim=True)
    return torch.where(above > total * min(top_p * 1.0001, 1.0), high, sure).clamp_min(1e-38)


def _gather(kept: Tensor) -> tuple[Tensor, Tensor]:
    """Column numbers of the true cells of each row, padded to the longest row, and which of them are real."""
    counts = kept.sum(dim=-1)
    width = int(counts.max())
    rows, columns = kept.nonzero(as_tuple=True)
    starts = counts.cumsum(0) - counts
    place = torch.arange(rows.numel(), device=kept.device) - starts[rows]
    tokens = torch.zeros((kept.shape[0], width), dtype=torch.int64, device=kept.device)
    tokens[rows, place] = columns
    valid = torch.arange(width, device=kept.device)[None] < counts[:, None]
    return tokens, valid
