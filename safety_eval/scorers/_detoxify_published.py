"""Detoxify's published checkpoints: where each lies, what it is made of, and where it is kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

CLASSES = {
    "original": ("toxicity", "severe_toxicity", "obscene", "threat", "insult", "identity_attack"),
    "unbiased": (
        "toxicity",
        "severe_toxicity",
        "obscene",
        "identity_attack",
        "insult",
        "threat",
        "sexual_explicit",
    ),
}
"""Labels of the two training sets (Jigsaw 2018 and 2019), under the names that Detoxify gives them."""

_RELEASES = "https://github.com/unitaryai/detoxify/releases/download"
BASES = {
    "bert-base-uncased": "86b5e0934494bd15c9632b12f734a8a67f723594",
    "roberta-base": "e2da8e2f811d1448a5b465c236feacd80ffbac7b",
    "xlm-roberta-base": "e73636d4f797dec63c3081bb6ed5c7b0bb3f2089",
    "albert-base-v2": "8e2f239c5f8a2c0f253781ca60135db913e5c80c",
}
"""Hub revisions of the base models whose configuration and tokenizer the checkpoints use."""


@dataclass(frozen=True, slots=True)
class Published:
    """A checkpoint: its file, the model whose configuration and tokenizer it uses, and its bytes."""

    url: str
    base: str
    bytes: int


VARIANTS: Mapping[str, Published] = {
    "original": Published(f"{_RELEASES}/v0.1-alpha/toxic_original-c1212f89.ckpt", "bert-base-uncased", 438_000_000),
    "unbiased": Published(f"{_RELEASES}/v0.3-alpha/toxic_debiased-c7548aa0.ckpt", "roberta-base", 498_000_000),
    "multilingual": Published(
        f"{_RELEASES}/v0.4-alpha/multilingual_debiased-0b549669.ckpt", "xlm-roberta-base", 1_100_000_000
    ),
    "original-small": Published(f"{_RELEASES}/v0.1.2/original-albert-0e1d6498.ckpt", "albert-base-v2", 46_000_000),
    "unbiased-small": Published(f"{_RELEASES}/v0.1.2/unbiased-albert-c8519128.ckpt", "albert-base-v2", 46_000_000),
}
"""As `detoxify.detoxify.MODEL_URLS`, which cannot be read without importing PyTorch."""
ELSE = (
    "Give local weights (--scorer-args detoxify:checkpoint=FILE,folder=DIR) or choose another scorer by name "
    "(--scorer TASK=profanity_check, hf_classifier)."
)


def labels_of(variant: str) -> tuple[str, ...]:
    """The labels of a published variant."""
    return CLASSES["original" if variant.startswith("original") else "unbiased"]


def kept(url: str) -> Path:
    """Where the package keeps a checkpoint that it has fetched."""
    import torch

    return Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[1]
