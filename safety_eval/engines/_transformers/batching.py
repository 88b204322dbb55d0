"""Which prompts share a forward pass: windows of a stream, longest first, a row limit that remembers."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

from safety_eval.core.errors import UserError

Item = TypeVar("Item")

WINDOW = 4096
"""Prompts that are held and sorted at a time: memory does not grow with the number of prompts."""

_ROWS = {"cpu": 128, "cuda": 512}
"""Rows beyond which a step of decoding in float32 gains nothing on either kind of machine."""


def windows(items: Iterable[Item], size: int = WINDOW) -> Iterator[list[Item]]:
    """The stream in lists of at most `size`; a source that fails fails at its own place."""
    stream = iter(items)
    while block := list(itertools.islice(stream, size)):
        yield block


def out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory ran out, on a GPU or on the processor."""
    text = str(error)
    return (
        isinstance(error, (torch.OutOfMemoryError, MemoryError))
        or "can't allocate memory" in text
        or "out of memory" in text.lower()
    )


def free_memory(device: torch.device) -> int:
    """Bytes that can still be used on the device."""
    if device.type == "cuda":
        # What PyTorch holds without using it is free for us as well.
        idle = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + idle
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return 4 << 30


def cache_bytes(model: Any) -> int:
    """Bytes of keys and values that one token of one row holds."""
    config = model.config.get_text_config() if hasattr(model.config, "get_text_config") else model.config
    layers = int(getattr(config, "num_hidden_layers", 0) or 1)
    hidden = int(getattr(config, "hidden_size", 0) or 1)
    heads = int(getattr(config, "num_attention_heads", 0) or 1)
    kept = int(getattr(config, "num_key_value_heads", None) or heads)
    width = int(getattr(config, "head_dim", None) or max(hidden // heads, 1))
    return 2 * layers * kept * width * model.dtype.itemsize


@dataclass(slots=True)
class RowLimit:
    """How many rows a batch may have: as asked, or as measured memory allows, and never again what failed.

    Attributes:
        most: the limit that is in force.
        device: where the rows live.
    """

    most: int
    device: torch.device

    @classmethod
    def of(cls, asked: str, device: torch.device, dtype: torch.dtype = torch.float32) -> RowLimit:
        """From `--batch-size`: 'auto' or a number of at least 1.

        Raises:
            UserError: neither.
        """
        if asked == "auto":
            # On a processor products of half precision are so fast that they need twice the rows; the keys and values
            # of these take the same room.
            twice = device.type == "cpu" and dtype.itemsize < 4
            return cls(_ROWS.get(device.type, 64) * (2 if twice else 1), device)
        if not asked.isdigit() or int(asked) < 1:
            raise UserError(f"batch size '{asked}' is neither 'auto' nor a number of at least 1", "Use auto.")
        return cls(int(asked), device)

    def rows(self, bytes_each: int) -> int:
        """Rows of `bytes_each` bytes that fit into half of the free memory, at least 1."""
        return max(1, min(self.most, free_memory(self.device) // 2 // max(bytes_each, 1)))

    def shrink(self, failed: int) -> None:
        """Remember that `failed` rows did not fit."""
        self.most = max(1, failed // 2)
        if self.device.type == "cuda":
            torch.cuda.empty_cache()


def longest_first(items: Sequence[Item], lengths: Sequence[int]) -> list[Item]:
    """Items by falling length; equal lengths stay in order. The first batch is the likeliest to fail."""
    order = sorted(range(len(items)), key=lambda i: -lengths[i])
    return [items[i] for i in order]
