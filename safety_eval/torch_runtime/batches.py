"""The one way to run many texts through a model: longest first, as many as fit, fewer when memory runs out.

Every scorer and engine that loads a model uses `in_batches`. Memory that runs out halves the batch, down to one
row; one row that does not fit is reported, not raised, and the rest goes on.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch

from safety_eval.core.errors import UserError
from safety_eval.torch_runtime.devices import free_memory, give_back, out_of_memory

LOG = logging.getLogger(__name__)
Item = TypeVar("Item")
Result = TypeVar("Result")

WINDOW = 4096
"""Prompts that are held and sorted at a time: memory does not grow with the number of prompts."""

ALONE = "out of memory with this text alone"
"""Why a text has no result although every other one has."""

_ROWS = {"cpu": 128, "cuda": 512}
"""Rows beyond which a step of decoding in float32 gains nothing on either kind of machine."""


def windows(items: Iterable[Item], size: int = WINDOW) -> Iterator[list[Item]]:
    """The stream in lists of at most `size`; a source that fails fails at its own place."""
    stream = iter(items)
    while block := list(itertools.islice(stream, size)):
        yield block


@dataclass(slots=True)
class Limit:
    """How much one pass may hold, and never again what once did not fit.

    Attributes:
        device: where the rows live.
        rows: most rows of a pass. tokens: most padded cells (rows x longest); one row may exceed them.
    """

    device: torch.device
    rows: int = 1 << 40
    tokens: int = 1 << 40

    @classmethod
    def of(cls, asked: str, device: torch.device, dtype: torch.dtype = torch.float32) -> Limit:
        """Rows from `--batch-size`: 'auto' or a number of at least 1.

        Raises:
            UserError: neither.
        """
        if asked == "auto":
            # On a processor products of half precision are so fast that they need twice the rows; the keys and values
            # of these take the same room.
            twice = device.type == "cpu" and dtype.itemsize < 4
            return cls(device, _ROWS.get(device.type, 64) * (2 if twice else 1))
        if not asked.isdigit() or int(asked) < 1:
            raise UserError(f"batch size '{asked}' is neither 'auto' nor a number of at least 1", "Use auto.")
        return cls(device, int(asked))

    def count(self, longest: int, bytes_each: int = 0) -> int:
        """Rows of up to `longest` tokens that a pass may hold, at least 1; where the bytes of one are known, as many
        as fit into half of the free memory."""
        fit = min(self.rows, self.tokens // max(longest, 1))
        if bytes_each:
            fit = min(fit, free_memory(self.device) // 2 // bytes_each)
        return max(1, fit)

    def shrink(self, rows: int, longest: int) -> None:
        """Remember that `rows` rows of `longest` tokens did not fit."""
        if self.tokens < 1 << 40:
            self.tokens = max(1, rows * longest // 2)
        else:
            self.rows = max(1, rows // 2)
        LOG.warning("out of memory with %d rows of %d tokens; going on with half of it", rows, longest)


def longest_first(lengths: Sequence[int]) -> list[int]:
    """Numbers of the items by falling length; equal lengths stay in order. The first batch is the likeliest to fail."""
    return sorted(range(len(lengths)), key=lambda i: -lengths[i])


def packs(lengths: Sequence[int], limit: Limit) -> list[list[int]]:
    """Numbers of items in packs within the limit (one item may exceed it), longest first, like with like."""
    order = longest_first(lengths)
    parts: list[list[int]] = []
    at = 0
    while at < len(order):
        part = order[at : at + limit.count(lengths[order[at]])]
        parts.append(part)
        at += len(part)
    return parts


def in_batches(
    lengths: Sequence[int],
    limit: Limit,
    run: Callable[[list[int]], Sequence[Result]],
    bytes_of: Callable[[int], int] | None = None,
) -> Iterator[tuple[int, Result | None]]:
    """Run items batch by batch, the longest first: (number, result) as they finish.

    Args:
        lengths: tokens of each item.
        limit: what a pass may hold; it shrinks, for good, when memory runs out.
        run: numbers of items -> a result for each, in their order.
        bytes_of: tokens of a row -> bytes that it takes, where that is known.

    A result is None where the item alone does not fit into memory.
    """
    order = longest_first(lengths)
    at = 0
    while at < len(order):
        longest = lengths[order[at]]
        part = order[at : at + limit.count(longest, bytes_of(longest) if bytes_of else 0)]
        results = _attempt(run, part)
        if results is None:
            give_back(limit.device)
            if len(part) > 1:
                limit.shrink(len(part), longest)
                continue
        at += len(part)
        yield from zip(part, results if results is not None else [None], strict=True)


def _attempt(run: Callable[[list[int]], Sequence[Result]], part: list[int]) -> Sequence[Result] | None:
    """The results of a batch, None where memory ran out (the failed pass's tensors are freed on return)."""
    try:
        return run(part)
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        return None


def padded(rows: Sequence[Sequence[int]], fill: int, left: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids (rows, longest) filled up on one side, and the mask that is 1 where a token is real."""
    width = max(len(ids) for ids in rows)
    tokens = torch.full((len(rows), width), fill, dtype=torch.int64)
    mask = torch.zeros_like(tokens)
    for row, ids in enumerate(rows):
        place = slice(width - len(ids), width) if left else slice(0, len(ids))
        tokens[row, place] = torch.tensor(ids, dtype=torch.int64)
        mask[row, place] = 1
    return tokens, mask
