"""Settings of the libraries below PyTorch, made before they start."""

from __future__ import annotations

import os

_SHAPES = "32"
"""Shapes of products whose plans are kept. A step of decoding uses about ten; prompts and ending answers bring ever
new ones, and a plan takes 100 KB or more."""


def keep_few_plans() -> None:
    """Bound what oneDNN and its binding in PyTorch keep for each shape of a product (1,024 plans each by default).

    They read the limit with their first product, and only there. What the user has set stays.
    """
    for name in ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY"):
        os.environ.setdefault(name, _SHAPES)
