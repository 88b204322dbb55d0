"""The plain path: transformers' own generate and padded batches. Works for every causal language model.

It is what the fast paths are checked against, and what runs where an architecture does not allow them.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import LogitsProcessor, LogitsProcessorList, StoppingCriteria, StoppingCriteriaList

from safety_eval.core.interfaces import Settings
from safety_eval.core.turns import cut_at
from safety_eval.engines._transformers.answer import Reader
from safety_eval.engines._transformers.draw import BROKEN, Sampler
from safety_eval.engines._transformers.load import Loaded
from safety_eval.engines._transformers.work import BROKEN_ROW, Asked, Work
from safety_eval.torch_runtime.batches import Limit, in_batches, padded
from safety_eval.torch_runtime.onednn import matmul

Finished = tuple[list[int], str]
"""Generated tokens (the end token included) and 'eos', 'stop', 'length' or 'broken' (logits that are not finite)."""


class KeyedDraw(LogitsProcessor):
    """Leaves only the drawn token: generate's argmax then takes it. `broken`: row -> tokens of its answer when its
    logits were not finite for the first time."""

    def __init__(self, sampler: Sampler, keys: Tensor, prompt_length: int) -> None:
        self._sampler, self._keys, self._start = sampler, keys, prompt_length
        self.broken: dict[int, int] = {}

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        steps = torch.full_like(self._keys, input_ids.shape[1] - self._start)
        picked = self._sampler.pick(scores, self._keys, steps)
        for row in (picked == BROKEN).nonzero()[:, 0].tolist():
            self.broken.setdefault(row, int(steps[0]) + 1)
        picked = picked.clamp_min(0)
        return torch.full_like(scores, float("-inf")).scatter_(1, picked[:, None], 0.0)


class StopTexts(StoppingCriteria):
    """Ends a row when a stop string stands in its answer; `ended` says after how many tokens."""

    def __init__(self, works: Sequence[Work], stop: tuple[str, ...], reader: Reader, start: int) -> None:
        self._works, self._stop, self._reader, self._start = works, stop, reader, start
        self._risky = torch.tensor(reader.suspicious(stop))
        self.ended: dict[int, int] = {}

    def __call__(self, input_ids: Tensor, scores: Tensor, **kwargs: Any) -> Tensor:
        new = input_ids[:, self._start :].cpu()
        last = new[:, -1]
        risky = self._risky[last.clamp(max=len(self._risky) - 1)] | (last >= len(self._risky))
        for row in risky.nonzero()[:, 0].tolist():
            if row not in self.ended and has_stop(self._works[row], new[row].tolist(), self._reader, self._stop):
                self.ended[row] = new.shape[1]
        done = torch.zeros(input_ids.shape[0], dtype=torch.bool)
        done[list(self.ended)] = True
        return done.to(input_ids.device)


def has_stop(work: Work, ids: list[int], reader: Reader, stop: tuple[str, ...]) -> bool:
    """Whether a stop string stands in the answer so far; the reasoning channel is not searched."""
    text = reader.read(ids, work.opened)
    return text.closed and cut_at(text.answer, stop)[1]


def generate(loaded: Loaded, works: Sequence[Work], settings: Settings, reader: Reader) -> list[Finished]:
    """Answers of one left-padded batch, in its order. All rows must have the same `most`."""
    ids, mask = padded([w.ids for w in works], loaded.pad, left=True)
    width = ids.shape[1]
    keys = torch.tensor([w.draw for w in works], device=loaded.device)
    sampler = Sampler(settings.temperature, settings.top_p)
    draw = KeyedDraw(sampler, keys, width)
    stops = StopTexts(works, settings.stop, reader, width) if settings.stop else None
    with torch.inference_mode():
        out = loaded.model.generate(
            ids.to(loaded.device),
            attention_mask=mask.to(loaded.device),
            max_new_tokens=works[0].most,
            do_sample=False,
            logits_processor=LogitsProcessorList([draw]),
            stopping_criteria=StoppingCriteriaList([stops] if stops else []),
        )
    rows = out[:, width:].tolist()
    ended = stops.ended if stops else {}
    return [_finish(row, loaded.eos, ended.get(i), draw.broken.get(i)) for i, row in enumerate(rows)]


def _finish(row: list[int], eos: Sequence[int], stopped: int | None, broken: int | None) -> Finished:
    end = next((i + 1 for i, token in enumerate(row) if token in eos), None)
    ended = min(n for n in (end, stopped, len(row) + 1) if n is not None)
    if broken is not None and broken <= ended:
        return row[:broken], BROKEN_ROW
    if stopped is not None and (end is None or stopped < end):
        return row[:stopped], "stop"
    return (row[:end], "eos") if end is not None else (row, "length")


def choose(loaded: Loaded, asked: Sequence[Asked], limit: Limit, mode: str = "default") -> list[list[float] | None]:
    """Log-likelihood of every choice of every prompt, in padded batches; None = a choice alone does not fit."""
    flat = [(i, j) for i, a in enumerate(asked) for j in range(len(a.choices))]
    sequences = [asked[i].choices[j] for i, j in flat]

    def run(numbers: list[int]) -> list[float]:
        with matmul(mode):
            return likelihoods(loaded, [sequences[n] for n in numbers])

    values = dict(in_batches([len(ids) for ids, _ in sequences], limit, run))
    result: list[list[float] | None] = [[] for _ in asked]
    for n, (i, _) in enumerate(flat):
        row, value = result[i], values[n]
        if row is None or value is None:
            result[i] = None
        else:
            row.append(value)
    return result


def likelihoods(loaded: Loaded, sequences: Sequence[tuple[tuple[int, ...], int]]) -> list[float]:
    """Sum of the log-probabilities of ids[known:] for each (ids, known), in one right-padded batch."""
    ids, mask = padded([tokens[:-1] for tokens, _ in sequences], loaded.pad, left=False)
    width = ids.shape[1]
    first = min(known for _, known in sequences) - 1
    targets = torch.full((len(sequences), width - first), -1, dtype=torch.int64)
    for row, (tokens, known) in enumerate(sequences):
        targets[row, known - 1 - first : len(tokens) - 1 - first] = torch.tensor(tokens[known:])
    keep = torch.arange(first, width, device=loaded.device)
    with torch.inference_mode():
        logits = logits_at(loaded.model, ids.to(loaded.device), mask.to(loaded.device), keep)
        return _sums(logits, targets.to(loaded.device))


def logits_at(model: Any, ids: Tensor, mask: Tensor, keep: Tensor) -> Tensor:
    """Logits [rows, kept, vocabulary] of the places `keep`, of one pass without a cache."""
    if "logits_to_keep" in inspect.signature(model.forward).parameters:
        out = model(input_ids=ids, attention_mask=mask, use_cache=False, logits_to_keep=keep)
        return torch.as_tensor(out.logits)
    return torch.as_tensor(model(input_ids=ids, attention_mask=mask, use_cache=False).logits[:, keep])


def _sums(logits: Tensor, targets: Tensor) -> list[float]:
    sums = []
    # One row at a time: a float32 copy of all logits would be the largest tensor of the run.
    for row, target in zip(logits, targets, strict=True):
        real = target >= 0
        scores = row[real].float()
        picked = scores.gather(1, target[real][:, None])[:, 0] - scores.logsumexp(dim=-1)
        sums.append(float(picked.double().sum()))
    return sums
