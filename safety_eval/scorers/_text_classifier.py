"""A sequence classifier behind one call: texts in any number -> logits, batched by length under a token
budget.

Truncation is recorded, never silent: each Reading says how many tokens did not fit. `long="windows"` reads
a long text in windows that overlap by a quarter instead.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError

from safety_eval.core.errors import UserError
from safety_eval.scorers._weights import Weights

Batch = Mapping[str, torch.Tensor]
Forward = Callable[[Batch], torch.Tensor]
"""Padded batch (input_ids, attention_mask ...; shape [texts, tokens]) -> logits [texts, labels]."""

Window = dict[str, list[int]]
"""Token ids (and token types) of one window of a text, special tokens included."""

_VOCABULARY = ("tokenizer.json", "vocab.*", "*.model", "*.tiktoken")


@dataclass(frozen=True, slots=True)
class Reading:
    """What the classifier says of one text: logits [windows, labels] (one window unless `long="windows"`),
    and how many tokens of the text it did not see.
    """

    logits: np.ndarray
    cut: int


@dataclass(frozen=True, slots=True)
class Network:
    """A loaded classifier: the model (float32, evaluation mode), its tokenizer, and a limit of tokens, if
    any.
    """

    model: Any
    tokenizer: Any
    max_length: int | None = None


def device_of(wish: str) -> torch.device:
    """The device for 'auto', 'cpu', 'cuda', 'cuda:1' ...

    Raises:
        UserError: there is no such device.
    """
    if wish == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(wish)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(
            f"no device '{wish}': {str(error).splitlines()[0]}", "Use --device cpu or auto."
        ) from error
    return device


def load_model(weights: Weights, kind: str, dtype: Any, **settings: Any) -> Any:
    """A transformers model from a folder, in evaluation mode: no remote code, no pickles, no head made up.

    Args:
        kind: name of the transformers Auto class. dtype: of torch, or 'auto' = as saved.
        settings: overrides of the configuration.

    Raises:
        UserError: it cannot be loaded, or the folder lacks weights that the class needs.
    """
    import transformers

    try:
        model, report = getattr(transformers, kind).from_pretrained(
            weights.folder, dtype=dtype, local_files_only=True, trust_remote_code=False,
            output_loading_info=True, weights_only=True, **settings,
        )  # fmt: skip
    except (OSError, ValueError, RuntimeError, KeyError, EOFError, SafetensorError) as error:
        raise UserError(
            f"{weights.folder} cannot be loaded as {kind}: {str(error).strip().splitlines()[0]}",
            "Is it complete, and a model of this kind? Models that need their own code are not loaded.",
        ) from error
    lacking = sorted({*report["missing_keys"], *(str(k) for k in report.get("mismatched_keys", ()))})
    if lacking:
        raise UserError(
            f"{weights.folder} lacks weights that {kind} needs ({lacking[0]}, {len(lacking)} in all)",
            "They would be random numbers. Give the folder of a model that was trained for this.",
        )
    return model.eval()


def load_tokenizer(weights: Weights) -> Any:
    """The folder's tokenizer.

    Raises:
        UserError: there is none. (transformers makes one without any words where the files are missing.)
    """
    from transformers import AutoTokenizer

    if not any(found for pattern in _VOCABULARY for found in weights.folder.glob(pattern)):
        raise UserError(
            f"{weights.folder} holds no tokenizer", "Put tokenizer.json and tokenizer_config.json beside it."
        )

    try:
        tokenizer = AutoTokenizer.from_pretrained(
            weights.folder, local_files_only=True, trust_remote_code=False
        )
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise UserError(
            f"{weights.folder} holds no tokenizer: {str(error).strip().splitlines()[0]}",
            "Put tokenizer.json and tokenizer_config.json beside the weights.",
        ) from error
    return tokenizer


def longest_input(tokenizer: Any, config: Any, asked: int | None) -> int:
    """Tokens that fit into the model: the least of what was asked, the tokenizer's limit and the position
    table.

    RoBERTa's kinds lose padding_idx + 1 positions (514 positions hold 512 tokens).
    """
    limits = [int(tokenizer.model_max_length)]
    positions = int(getattr(config, "max_position_embeddings", 0) or 0)
    if positions:
        offset = getattr(config, "model_type", "") in (
            "roberta",
            "xlm-roberta",
            "camembert",
            "xlm-roberta-xl",
        )
        limits.append(positions - (int(config.pad_token_id or 0) + 1 if offset else 0))
    if asked:
        limits.append(asked)
    return min(limits)


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
        self, forward: Forward, tokenizer: Any, max_length: int, device: torch.device,
        budget: int | None = None, long: str = "truncate",
    ) -> None:  # fmt: skip
        self._forward, self._tokenizer, self._device = forward, tokenizer, device
        self._max_length, self._long = max_length, long
        self._budget = budget or (512 if device.type == "cpu" else 32768)

    def read(self, texts: Sequence[str]) -> list[Reading]:
        """One Reading for each text, in order.

        Raises:
            ValueError, TypeError: a text cannot be encoded (lone surrogates).
            UserError: not enough memory for a single text.
        """
        if not texts:
            return []
        encoded = self._encode(texts)
        windows = [(i, window) for i, (parts, _) in enumerate(encoded) for window in parts]
        rows = self._logits([window for _, window in windows])
        found: list[list[np.ndarray]] = [[] for _ in texts]
        for (i, _), row in zip(windows, rows, strict=True):
            found[i].append(row)
        return [Reading(np.stack(f), cut) for f, (_, cut) in zip(found, encoded, strict=True)]

    def _encode(self, texts: Sequence[str]) -> list[tuple[list[Window], int]]:
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

    def _split(self, text: str, fields: Sequence[str]) -> list[Window]:
        """The windows of a text that is too long; the first one only unless `long="windows"`."""
        stride = {"stride": self._max_length // 4} if self._long == "windows" else {}
        parts = self._tokenizer(
            [text], truncation=True, max_length=self._max_length, return_attention_mask=False,
            return_overflowing_tokens=bool(stride), **stride,
        )  # fmt: skip
        return [{name: parts[name][j] for name in fields} for j in range(len(parts["input_ids"]))]

    def _logits(self, windows: list[Window]) -> list[np.ndarray]:
        rows: list[np.ndarray] = [np.empty(0)] * len(windows)
        queue = sorted(range(len(windows)), key=lambda i: -len(windows[i]["input_ids"]))
        while queue:
            count = max(1, self._budget // len(windows[queue[0]]["input_ids"]))
            taken = queue[:count]
            try:
                logits = self._forward(self._pad([windows[i] for i in taken]))
            except torch.OutOfMemoryError as error:
                self._back_off(len(taken), error)
                continue
            for i, row in zip(taken, logits.float().cpu().numpy(), strict=True):
                rows[i] = row
            queue = queue[len(taken) :]
        return rows

    def _back_off(self, count: int, error: Exception) -> None:
        """Halve the budget after running out of memory; one text that does not fit ends the run."""
        if count == 1:
            raise UserError(
                "not enough memory to classify a single text", "Use --device cpu, or a smaller max_length."
            ) from error
        torch.cuda.empty_cache()
        self._budget //= 2

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


def torch_forward(model: Any) -> Forward:
    """The plain forward pass of a transformers model."""

    @torch.inference_mode()
    def forward(batch: Batch) -> torch.Tensor:
        logits: torch.Tensor = model(**batch).logits
        return logits

    return forward
