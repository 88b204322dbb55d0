"""A sequence classifier behind one call: texts, or pairs of them, in any number -> logits, batched by length under a
token budget.

Truncation is recorded, never silent: each Reading says how many tokens did not fit. `long="windows"` reads
a long text in windows that overlap by a quarter instead.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from safety_eval.torch_runtime.batches import ALONE, Limit, in_batches

Batch = Mapping[str, torch.Tensor]
Forward = Callable[[Batch], torch.Tensor]
"""Padded batch (input_ids, attention_mask ...; shape [texts, tokens]) -> logits [texts, labels]."""

Text = str | tuple[str, str]
"""What is read: a text, or a premise and a hypothesis (of which the longer one is cut)."""
Window = dict[str, list[int]]
"""Token ids (and token types) of one window of a text, special tokens included."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What the classifier says of one text: logits [windows, labels] (one window unless `long="windows"`), how many
    tokens of the text it did not see, and why there are no logits ('' = there are).
    """

    logits: np.ndarray
    cut: int
    error: str = ""


@dataclass(frozen=True, slots=True)
class Network:
    """A loaded classifier: the model (float32, evaluation mode), its tokenizer, and a limit of tokens, if
    any.
    """

    model: Any
    tokenizer: Any
    max_length: int | None = None


class TextClassifier:
    """Texts -> Readings.

    Args:
        forward: the network (see `Forward`), on `device`.
        max_length: tokens that fit, special ones included.
        budget: tokens of one padded batch; None = 512 on a processor (little padding, and as fast a token as
            more), 32768 on a GPU.
        long: 'truncate' or 'windows'.
    """

    def __init__(
        self,
        forward: Forward,
        tokenizer: Any,
        max_length: int,
        device: torch.device,
        budget: int | None = None,
        long: str = "truncate",
    ) -> None:
        self._forward, self._tokenizer, self._device = forward, tokenizer, device
        self._max_length, self._long = max_length, long
        self._limit = Limit(device, tokens=budget or (512 if device.type == "cpu" else 32768))

    def read(self, texts: Sequence[Text]) -> list[Reading]:
        """One Reading for each text, in order. One that does not fit into memory alone has an error in it.

        Raises:
            ValueError, TypeError: a text cannot be encoded (lone surrogates).
        """
        if not texts:
            return []
        encoded = self._encode(texts)
        windows = [(i, window) for i, (parts, _) in enumerate(encoded) for window in parts]

        def run(numbers: list[int]) -> list[np.ndarray]:
            batch = self._pad([windows[n][1] for n in numbers])
            logits = self._forward(batch)
            exact = logits if logits.dtype == torch.float64 else logits.float()
            return list(exact.cpu().numpy())

        rows = dict(in_batches([len(w["input_ids"]) for _, w in windows], self._limit, run))
        logits: list[list[np.ndarray | None]] = [[] for _ in texts]
        for n, (i, _) in enumerate(windows):
            logits[i].append(rows[n])
        return [_reading(own, cut) for own, (_, cut) in zip(logits, encoded, strict=True)]

    def _encode(self, texts: Sequence[Text]) -> list[tuple[list[Window], int]]:
        """The windows of each text, and how many of its tokens are in none of them."""
        whole = self._tokenizer(list(texts), truncation=False, return_attention_mask=False, verbose=False)
        fields = [name for name in whole if name in ("input_ids", "token_type_ids")]
        encoded: list[tuple[list[Window], int]] = []
        for i, text in enumerate(texts):
            window = {name: whole[name][i] for name in fields}
            length = len(window["input_ids"])
            if length <= self._max_length:
                encoded.append(([window], 0))
                continue
            parts = self._split(text, fields)
            encoded.append((parts, 0 if self._long == "windows" else length - self._max_length))
        return encoded

    def _split(self, text: Text, fields: Sequence[str]) -> list[Window]:
        """The windows of a text that is too long; the first one only unless `long="windows"`."""
        stride = {"stride": self._max_length // 4} if self._long == "windows" else {}
        parts = self._tokenizer(
            [text],
            truncation=True,
            max_length=self._max_length,
            return_attention_mask=False,
            return_overflowing_tokens=bool(stride),
            **stride,
        )
        return [{name: parts[name][j] for name in fields} for j in range(len(parts["input_ids"]))]

    def _pad(self, windows: Sequence[Window]) -> Batch:
        width = max(len(w["input_ids"]) for w in windows)
        left = self._tokenizer.padding_side == "left"
        fill = {
            "input_ids": int(self._tokenizer.pad_token_id or 0),
            "token_type_ids": int(getattr(self._tokenizer, "pad_token_type_id", 0)),
        }

        def padded(row: list[int], value: int) -> list[int]:
            gap = [value] * (width - len(row))
            return gap + row if left else row + gap

        batch = {name: torch.tensor([padded(w[name], fill[name]) for w in windows]) for name in windows[0]}
        masks = [padded([1] * len(w["input_ids"]), 0) for w in windows]
        batch["attention_mask"] = torch.tensor(masks)
        return {name: tensor.to(self._device, non_blocking=True) for name, tensor in batch.items()}


def _reading(rows: Sequence[np.ndarray | None], cut: int) -> Reading:
    own = [row for row in rows if row is not None]
    if len(own) < len(rows):
        return Reading(np.zeros((0, 0)), cut, ALONE)
    return Reading(np.stack(own), cut)


def torch_forward(model: Any) -> Forward:
    """The plain forward pass of a transformers model."""

    @torch.inference_mode()
    def forward(batch: Batch) -> torch.Tensor:
        logits: torch.Tensor = model(**batch).logits
        return logits

    return forward
