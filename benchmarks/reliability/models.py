"""Disturbances of a real model in the transformers engine: memory limits, NaN, a model that ends at once or never."""

from __future__ import annotations

from typing import Any

MODEL_KINDS: dict[str, tuple[Any, int]] = {}
