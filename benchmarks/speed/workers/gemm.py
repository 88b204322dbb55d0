"""The limit: how long the matrix products alone take that a run cannot avoid, at this machine's speed."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from safety_eval.torch_runtime.onednn import matmul

ROWS = (1, 8, 16, 32, 64, 96, 128, 192, 256, 384, 512, 768, 1024)
Seen = Counter[tuple[int, int]]


@contextmanager
def count_products(model: Any) -> Iterator[Seen]:
    """Count (number of the layer, rows) of every nn.Linear that is called."""
    layers = linear_layers(model)
    seen: Seen = Counter()

    def note(number: int) -> Any:
        def hook(_: Any, given: tuple[torch.Tensor, ...]) -> None:
            seen[number, given[0].numel() // given[0].shape[-1]] += 1

        return hook

    hooks = [layer.register_forward_pre_hook(note(i)) for i, layer in enumerate(layers)]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def linear_layers(model: Any) -> list[torch.nn.Linear]:
    """The model's own layers, in the order of the model: distinct weights, as a pass meets them."""
    return [m for m in model.modules() if isinstance(m, torch.nn.Linear)]


def time_products(model: Any, seen: Seen, mode: str, repeats: int = 3) -> tuple[float, float]:
    """Seconds and floating-point operations of the counted products, each at the best of `repeats` passes over all
    layers with that many rows (rows between two measured ones: linear)."""
    layers = linear_layers(model)
    table = [_pass(layers, rows, mode, repeats, max(r for _, r in seen)) for rows in ROWS]
    seconds = flops = 0.0
    for (number, rows), count in seen.items():
        seconds += count * _between(table, number, rows)
        flops += count * 2.0 * rows * layers[number].weight.numel()
    return seconds, flops


def _between(table: list[list[float]], number: int, rows: int) -> float:
    at = bisect_left(ROWS, rows)
    if at >= len(ROWS):
        return table[-1][number] * rows / ROWS[-1]
    if ROWS[at] == rows or at == 0:
        return table[at][number]
    share = (rows - ROWS[at - 1]) / (ROWS[at] - ROWS[at - 1])
    return table[at - 1][number] * (1 - share) + table[at][number] * share


def _pass(layers: list[torch.nn.Linear], rows: int, mode: str, repeats: int, most: int) -> list[float]:
    """Seconds of each layer, alone and with `rows` rows, in a pass over all of them."""
    if rows > 2 * most:
        return [0.0] * len(layers)
    given = {layer.in_features: torch.randn((rows, layer.in_features), dtype=layer.weight.dtype) for layer in layers}
    best = [float("inf")] * len(layers)
    with torch.inference_mode(), matmul(mode):
        for _ in range(repeats + 1):
            for i, layer in enumerate(layers):
                start = time.perf_counter()
                layer(given[layer.in_features])
                best[i] = min(best[i], time.perf_counter() - start)
    return best
