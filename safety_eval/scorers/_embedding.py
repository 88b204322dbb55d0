"""Sentence embeddings of a BERT-like encoder in the sentence-transformers folder form: pooled, of unit length.

Computed in float64, since float32 vectors change in the seventh digit with the batch that a text shares (two batchings
of 547 TruthfulQA references: up to 1.6e-7 apart; in float64 3e-16), and a run that was resumed has other batches. It
takes 1.6 times as long; each text in a pass of its own takes 4 times as long and still depends on the threads.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from safety_eval.core.errors import UserError
from safety_eval.scorers._text_classifier import Batch, Forward, TextClassifier
from safety_eval.torch_runtime.devices import device_of
from safety_eval.torch_runtime.loading import load_model, load_tokenizer, longest_input
from safety_eval.torch_runtime.weights import Weights, find


class Embedder:
    """Texts -> unit vectors [texts, dimensions]; a long text is cut at the model's limit, as published."""

    def __init__(self, reader: TextClassifier) -> None:
        self._reader = reader

    def embed(self, texts: Sequence[str]) -> list[np.ndarray | None]:
        """Vectors in order, each of length 1 (a product compares them); None for a text that memory does not hold."""
        if not texts:
            return []
        valid = [text.encode("utf-8", "replace").decode() for text in texts]  # lone surrogates have no tokens
        return [None if r.error else _unit(r.logits[0]) for r in self._reader.read(valid)]


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / max(float(np.linalg.norm(vector)), 1e-12)


def load_embedder(model: str, revision: str, device: str, budget: int | None, hint: str) -> tuple[Embedder, Weights]:
    """An embedder and what its weights are.

    Raises:
        UserError: no such model, or a folder whose modules are more than an encoder, pooling and
            normalisation.
    """
    weights = find(model, revision, hint)
    pooling = _pooling(weights.folder)
    network = load_model(weights, "AutoModel", torch.float64).to(where := device_of(device))
    tokenizer = load_tokenizer(weights)
    asked = _json(weights.folder / "sentence_bert_config.json").get("max_seq_length")
    longest = longest_input(tokenizer, network.config, asked)
    return Embedder(TextClassifier(_pooled(network, pooling), tokenizer, longest, where, budget)), weights


def _pooled(network: Any, pooling: str) -> Forward:
    @torch.inference_mode()
    def forward(batch: Batch) -> torch.Tensor:
        hidden: torch.Tensor = network(**batch).last_hidden_state
        if pooling == "cls":
            return hidden[:, 0]
        mask = batch["attention_mask"].unsqueeze(-1).to(hidden.dtype)
        return (hidden * mask).sum(1) / mask.sum(1).clamp(min=1e-9)

    return forward


def _pooling(folder: Path) -> str:
    """'mean' or 'cls', as the folder says; mean where it says nothing."""
    settings = _json(folder / "1_Pooling" / "config.json")
    kinds = [str(m.get("type", "")).rsplit(".", 1)[-1] for m in _modules(folder)]
    chosen = [name for name, on in settings.items() if name.startswith("pooling_mode_") and on is True]
    names = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls"}
    if set(kinds) - {"Transformer", "Pooling", "Normalize"} or len(chosen) > 1 or set(chosen) - set(names):
        raise UserError(
            f"{folder}: this kind of embedding model is not supported ({', '.join(kinds + chosen)})",
            "Give one that pools an encoder by mean or first token, such as all-MiniLM-L6-v2.",
        )
    return names[chosen[0]] if chosen else "mean"


def _modules(folder: Path) -> Sequence[Mapping[str, Any]]:
    path = folder / "modules.json"
    return json.loads(path.read_text()) if path.is_file() else ()


def _json(path: Path) -> Mapping[str, Any]:
    return json.loads(path.read_text()) if path.is_file() else {}
