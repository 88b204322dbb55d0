"""Hours and memory of a suite for models of 1 to 405 billion weights on 1 to 64 GPUs, by the formulae of
docs/explanation/scale.md; prints the table that stands there.

python benchmarks/speed/scale.py
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Model:
    """weights: how many. layers, heads, width: of keys and values. From the published config.json of each."""

    name: str
    weights: float
    layers: int
    heads: int
    width: int


@dataclass(frozen=True)
class Card:
    """A GPU by its maker's data sheet: dense bfloat16 operations and bytes a second, bytes of memory."""

    operations: float = 989e12
    bandwidth: float = 3.35e12
    memory: float = 80e9


MODELS = (
    Model("1B (Llama 3.2)", 1.24e9, 16, 8, 64),
    Model("8B (Llama 3.1)", 8.03e9, 32, 8, 128),
    Model("70B (Llama 3.1)", 70.6e9, 80, 8, 128),
    Model("405B (Llama 3.1)", 405.9e9, 126, 8, 128),
)
GPUS = (1, 8, 16, 64)
TOKENS_IN, TOKENS_OUT, ANSWERS = 1_565_000, 1_970_000, 30_965
"""Of the suite code-llama with smollm2's tokenizer and chat template: read, written at most, and answers."""
LENGTH = 128
"""Tokens that a sequence holds when its answer ends."""
USED_COMPUTE, USED_BANDWIDTH = 0.4, 0.6
"""Shares of the data sheet's figures that inference reaches."""
FREE = 0.9
"""Share of a card's memory that weights, keys and values may take."""
BYTES = 2
"""Of a weight, and of a key or value: bfloat16."""


def kept(model: Model) -> int:
    """Bytes of keys and values that a token leaves behind."""
    return 2 * model.layers * model.heads * model.width * BYTES


def least(model: Model, card: Card) -> int:
    """GPUs that hold the weights and one sequence: a power of two, as tensor parallelism wants it."""
    needed = (model.weights * BYTES + kept(model) * LENGTH) / (card.memory * FREE)
    return int(2 ** max(0, math.ceil(math.log2(needed))))


def hours(model: Model, gpus: int, card: Card) -> float | None:
    """Of the whole suite, by replicas of the least size; None where not even one fits."""
    group = least(model, card)
    if gpus < group:
        return None
    replicas = gpus // group
    speed = group * card.operations * USED_COMPUTE
    room = group * card.memory * FREE - model.weights * BYTES
    rows = max(1.0, min(256.0, room // (kept(model) * LENGTH), ANSWERS / replicas))
    read = 2 * model.weights * TOKENS_IN / speed
    moved = (model.weights * BYTES + rows * kept(model) * LENGTH) / (group * card.bandwidth * USED_BANDWIDTH)
    step = max(moved, 2 * model.weights * rows / speed)
    return (read + TOKENS_OUT / rows * step) / replicas / 3600


def table() -> Iterator[str]:
    """Rows of Markdown."""
    card = Card()
    yield "| weights | in bfloat16 | GPUs at least | " + " | ".join(f"{n} GPU{'s' * (n > 1)}" for n in GPUS) + " |"
    yield "|---" * (3 + len(GPUS)) + "|"
    for model in MODELS:
        cells = [_shown(hours(model, n, card)) for n in GPUS]
        size = f"{model.weights * BYTES / 1e9:,.0f} GB"
        yield f"| {model.name} | {size} | {least(model, card)} | " + " | ".join(cells) + " |"


def _shown(value: float | None) -> str:
    if value is None:
        return "does not fit"
    return f"{value:.1f} h" if value >= 1 else f"{value * 60:.0f} min" if value * 60 >= 1 else "under 1 min"


if __name__ == "__main__":
    print("\n".join(table()))
