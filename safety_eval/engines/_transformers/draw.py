"""`sampling.draw` for a whole batch on the model's device: the same integers, no full sort of the
vocabulary."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from safety_eval.core import sampling


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


_NARROW = 0.3
"""Temperatures up to which the candidates of `_pick_narrow` are few."""

_NOTHING = 1e-7
"""Mass, beside the best token's 1, that may stay unknown."""


@dataclass(frozen=True, slots=True)
class Sampler:
    """Temperature and nucleus of one call. Temperature 0 is greedy; equal logits go to the lowest token
    id."""

    temperature: float
    top_p: float

    def pick(self, logits: Tensor, keys: Tensor, steps: Tensor) -> Tensor:
        """Token ids (rows,) drawn from logits (rows, vocabulary) for the streams `keys` at `steps`; BROKEN for a row
        whose largest logit is not finite."""
        if self.temperature == 0:
            return _unless_broken(best_token(logits), logits)
        if self.top_p >= 1:
            return _unless_broken(_pick_any(logits, self.temperature, keys, steps), logits)
        blocks = _block_maxima(logits)
        sound = torch.isfinite(blocks.amax(dim=-1))
        if not bool(sound.all()):
            logits = logits.masked_fill(~sound[:, None], 0.0)
            blocks = blocks.masked_fill(~sound[:, None], 0.0)
        if self.temperature <= _NARROW and self.top_p < 1 - 10 * _NOTHING:
            tokens = _pick_narrow(logits, blocks, self, keys, steps)
        else:
            tokens = _pick_wide(logits, self.temperature, self.top_p, keys, steps)
        return tokens.masked_fill(~sound, BROKEN)


def _unless_broken(tokens: Tensor, logits: Tensor) -> Tensor:
    """A NaN or infinite logit wins every comparison, so the token that was taken shows it."""
    values = logits.gather(1, tokens[:, None])[:, 0]
    return tokens.masked_fill(~torch.isfinite(values), BROKEN)


_BLOCK = 128
BROKEN = -1
"""In place of a token: the logits say nothing."""


def best_token(logits: Tensor) -> Tensor:
    """argmax of (rows, vocabulary), the lowest id among equals: (rows,).

    On a processor in two looks, the best block and the best token in it: there `argmax` of a whole row costs five times
    as much in float32 and nine times in bfloat16 as a maximum.
    """
    if logits.device.type != "cpu":
        return logits.argmax(dim=-1)
    first = _block_maxima(logits).argmax(dim=-1, keepdim=True) * _BLOCK
    # In the last block the last token stands for those that are not there; the first of equals is taken.
    tokens = (first + torch.arange(_BLOCK)).clamp_max(logits.shape[1] - 1)
    best = logits.gather(1, tokens).argmax(dim=-1, keepdim=True)
    return tokens.gather(1, best)[:, 0]


def _block_maxima(logits: Tensor) -> Tensor:
    """Largest logit of each block of `_BLOCK` tokens, the last one perhaps shorter: (rows, blocks)."""
    whole = logits.shape[1] - logits.shape[1] % _BLOCK
    blocks = logits[:, :whole].unflatten(1, (whole // _BLOCK, _BLOCK)).amax(dim=-1)
    if whole < logits.shape[1]:
        blocks = torch.cat([blocks, logits[:, whole:].amax(dim=-1, keepdim=True)], dim=1)
    return blocks


def _pick_any(logits: Tensor, temperature: float, keys: Tensor, steps: Tensor) -> Tensor:
    tokens = torch.arange(logits.shape[1], device=logits.device)[None]
    picked = []
    # Noise of 16 rows at a time: float64 over a whole vocabulary is the largest tensor of a step.
    for rows in torch.arange(logits.shape[0], device=logits.device).split(16):
        scores = logits[rows].double() / temperature + gumbel(keys[rows], steps[rows], tokens)
        picked.append(scores.argmax(dim=-1))
    return torch.cat(picked)


def _pick_narrow(logits: Tensor, blocks: Tensor, sampler: Sampler, keys: Tensor, steps: Tensor) -> Tensor:
    """Low temperatures: all but a few tokens are so unlikely that their mass need not be known.

    Tokens less likely than `_NOTHING` / V of the best one weigh less than `_NOTHING` together, so the whole mass lies
    between the candidates' and that much more. The two ends' nuclei enclose the true one: where both draw the same
    token, so does it; where not, the row is drawn in full.
    """
    temperature, top_p = sampler.temperature, sampler.top_p
    best = blocks.amax(dim=-1, keepdim=True)
    floor = (best.float() + temperature * math.log(_NOTHING / logits.shape[1])).to(logits.dtype)
    tokens, valid = _gather(_above(logits, blocks, floor), logits.shape[0])
    values = (logits.gather(1, tokens).double() - best.double()) / temperature
    mass = values.masked_fill(~valid, -math.inf).exp().sum(dim=-1, keepdim=True)
    low = _draw(tokens, valid, values, top_p * mass, keys, steps)
    high = _draw(tokens, valid, values, top_p * (mass + _NOTHING), keys, steps)
    unsure = (low != high).nonzero()[:, 0]
    if unsure.numel():
        low[unsure] = _pick_wide(logits[unsure], temperature, top_p, keys[unsure], steps[unsure])
    return low


def _pick_wide(logits: Tensor, temperature: float, top_p: float, keys: Tensor, steps: Tensor) -> Tensor:
    picked = []
    # Some rows at a time stay in the processor's cache over the passes that follow.
    rows = torch.arange(logits.shape[0], device=logits.device)
    for part in rows.split(16 if logits.device.type == "cpu" else logits.shape[0]):
        exact = logits[part].float()
        best = exact.amax(dim=-1, keepdim=True)
        scaled = (exact - best).mul_(1.0 / temperature)
        weights = scaled.exp()
        total = weights.sum(dim=-1, keepdim=True)
        kept = scaled >= _floor(weights, total, top_p).log_()
        tokens, valid = _gather(kept.nonzero(as_tuple=True), len(part))
        # Candidates in float64, as the reference computes them.
        values = (exact.gather(1, tokens).double() - best.double()) / temperature
        picked.append(_draw(tokens, valid, values, top_p * total.double(), keys[part], steps[part]))
    return torch.cat(picked)


def _draw(tokens: Tensor, valid: Tensor, values: Tensor, share: Tensor, keys: Tensor, steps: Tensor) -> Tensor:
    """Tokens drawn among the candidates whose better ones hold less than `share`."""
    values = values.masked_fill(~valid, -math.inf)
    # Stable, and candidates stand in the order of their ids: equal logits stay in that order.
    values, order = values.sort(dim=-1, descending=True, stable=True)
    mass = values.exp()
    inside = (mass.cumsum(dim=-1) - mass < share) & (values > -math.inf)
    tokens = tokens.gather(1, order)
    scores = (values + gumbel(keys, steps, tokens)).masked_fill(~inside, -math.inf)
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


def _above(logits: Tensor, blocks: Tensor, floor: Tensor) -> tuple[Tensor, Tensor]:
    """Rows and token ids of the logits that reach their row's floor, in order; only blocks that do are looked into."""
    rows, numbers = (blocks >= floor).nonzero(as_tuple=True)
    tokens = numbers[:, None] * _BLOCK + torch.arange(_BLOCK, device=logits.device)
    cells = logits[rows[:, None], tokens.clamp_max(logits.shape[1] - 1)]
    kept = (cells >= floor[rows]) & (tokens < logits.shape[1])
    return rows[:, None].expand_as(kept)[kept], tokens[kept]


def _gather(cells: tuple[Tensor, ...], count: int) -> tuple[Tensor, Tensor]:
    """Column numbers of chosen cells (rows, columns) by row, padded to the longest of `count` rows, and which of them
    are real."""
    rows, columns = cells
    counts = torch.bincount(rows, minlength=count)
    width = int(counts.max())
    starts = counts.cumsum(0) - counts
    place = torch.arange(rows.numel(), device=rows.device) - starts[rows]
    tokens = torch.zeros((count, width), dtype=torch.int64, device=rows.device)
    tokens[rows, place] = columns
    valid = torch.arange(width, device=rows.device)[None] < counts[:, None]
    return tokens, valid
