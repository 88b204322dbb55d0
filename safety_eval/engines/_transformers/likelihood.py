"""Log-likelihood of choices: the shared prefix once, each prompt once, its choices as branches behind it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from safety_eval.engines._transformers.attention import KeyValue, Packed
from safety_eval.engines._transformers.flat import forward_in_parts, read_prefix
from safety_eval.engines._transformers.load import Loaded
from safety_eval.engines._transformers.tree import choices_prefix, grow, pack
from safety_eval.engines._transformers.work import Asked
from safety_eval.torch_runtime.batches import Limit, in_batches

BUDGET = {"cpu": 768, "cuda": 16384}
"""Tokens of one pass: where the matrix products of either kind of machine are near their best."""

LOGITS = {"cpu": 3_200_000, "cuda": 256_000_000}
"""Logits that are held at a time. On a processor what its caches hold: parts of twice the size take three times as
long in some calls, and the sums that follow read them from memory."""


class Forest:
    """Choices of many prompts that share a prefix."""

    def __init__(self, loaded: Loaded, asked: Sequence[Asked]) -> None:
        self._loaded = loaded
        prefix = choices_prefix(asked)
        with torch.inference_mode():
            self._prefix: list[KeyValue] = read_prefix(loaded.model, prefix, loaded.device)
        self._start = len(prefix)
        self._asked = asked
        vocabulary = loaded.rows
        self._part = max(16, LOGITS.get(loaded.device.type, LOGITS["cpu"]) // vocabulary // 16 * 16)

    def sizes(self) -> list[int]:
        """Nodes of each prompt's tree, at most: what its choices share is not subtracted."""
        return [a.choices[0][1] - self._start + sum(len(ids) - known for ids, known in a.choices) for a in self._asked]

    def weigh(self, numbers: Sequence[int]) -> list[list[float]]:
        """Log-likelihood of every choice of the numbered prompts, in one forward pass."""
        trees = [grow(self._asked[i], self._start) for i in numbers]
        model, device = self._loaded.model, self._loaded.device
        row = pack(trees)
        plan = Packed(row.sizes, row.allowed, self._prefix, device, model.dtype)
        # What a branch sees lies on its own way to the root, not on the other branches.
        plan.reach = int(row.positions.max()) + 1
        rows, targets = row.rows.to(device), row.targets.to(device)
        values = torch.empty(len(targets), dtype=torch.float64, device=device)
        with torch.inference_mode():
            first = 0
            for logits in forward_in_parts(
                model, row.tokens.to(device), row.positions.to(device), plan, row.asked_at.to(device), self._part
            ):
                here = ((rows >= first) & (rows < first + len(logits))).nonzero()[:, 0]
                values[here] = _logprobs(logits, rows[here] - first, targets[here])
                first += len(logits)
        logprobs = values.tolist()
        result, start = [], 0
        for tree in trees:
            result.append([sum(logprobs[start + i] for i in numbers) for numbers in tree.sums])
            start += len(tree.asks)
        return result


def _logprobs(logits: Tensor, rows: Tensor, targets: Tensor) -> Tensor:
    """Log-probability in float64 of each target after its row of logits."""
    found = logits[rows, targets].double()
    norms = []
    # A few rows at a time stay in the processor's cache; whole-matrix passes over logits are memory-bound. In place:
    # nobody reads the logits again.
    for part in logits.split(16):
        exact = part.float()
        top = exact.amax(dim=-1, keepdim=True)
        norms.append(exact.sub_(top).exp_().sum(dim=-1).log_().add_(top[:, 0]))
    return found - torch.cat(norms)[rows].double()


def budget_of(loaded: Loaded) -> int:
    """Tokens of one pass on this machine."""
    return BUDGET.get(loaded.device.type, 2048)


def weigh_all(loaded: Loaded, asked: Sequence[Asked], budget: int) -> list[list[float]]:
    """Log-likelihood of every choice of every prompt (for checks and small calls)."""
    forest = Forest(loaded, asked)
    values = dict(in_batches(forest.sizes(), Limit(loaded.device, tokens=budget), forest.weigh))
    return [values[i] or [] for i in range(len(asked))]
