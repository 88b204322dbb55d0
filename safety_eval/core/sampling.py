"""Draws that do not depend on the batch: keyed Gumbel-max over an exact nucleus.

The noise of token v at step s is a pure function of (seed, task, prompt id, sample, s, v), never of the
model, the batch, the order or the machine, so an answer survives resume, sharding and another batch size,
and two releases share their noise, which sharpens paired comparisons. argmax of logit/T + Gumbel noise
over the nucleus is an exact draw from the softmax restricted to it (Gumbel 1954; Maddison et al. 2014,
arXiv:1411.0030).

This file is numpy and the reference; engines run the same integers on their own device.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

GAMMA = 0x9E3779B97F4A7C15
FIRST = 0xBF58476D1CE4E5B9
SECOND = 0x94D049BB133111EB
"""Constants of splitmix64 (Steele, Lea and Flood 2014)."""

Words = NDArray[np.uint64]
Floats = NDArray[np.float64]


def draw_key(seed: int, task: str, prompt_id: str, sample: int) -> int:
    """Key of an answer's random stream: the first 63 bits of SHA-256 over the four fields.

    Each field is its decimal or text form in UTF-8 behind its length in bytes (8 bytes, big-endian), so
    that no two different tuples are hashed from the same bytes. It also seeds engines that have a
    generator of their own.
    """
    hasher = hashlib.sha256()
    for field in (str(seed), task, prompt_id, str(sample)):
        data = field.encode("utf-8", "surrogatepass")
        hasher.update(len(data).to_bytes(8, "big") + data)
    return int.from_bytes(hasher.digest()[:8], "big") >> 1


def mix(words: Words) -> Words:
    """splitmix64 of each word: (0,) -> 0xe220a8397b1dcdaf."""
    with np.errstate(over="ignore"):
        x = words + np.uint64(GAMMA)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(FIRST)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(SECOND)
    return x ^ (x >> np.uint64(31))


def uniform(key: int, step: int, tokens: NDArray[np.int64]) -> Floats:
    """53-bit uniforms in (0, 1), one for each token id: u(12345, 7, 42) = 0.2291293070466341."""
    stream = mix(mix(np.array([key], dtype=np.uint64)) ^ np.uint64(step))
    words = mix(stream ^ np.asarray(tokens).astype(np.uint64))
    return ((words >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53


def gumbel(key: int, step: int, tokens: NDArray[np.int64]) -> Floats:
    """Standard Gumbel noise -log(-log u) for each token id; finite, because 0 < u < 1."""
    return -np.log(-np.log(uniform(key, step, tokens)))


def nucleus(scaled: Floats, top_p: float) -> NDArray[np.int64]:
    """Token ids of the nucleus, most likely first; equal logits are ordered by token id.

    A token belongs to it when the tokens before it hold less than `top_p` together (Holtzman et al. 2020),
    so the most likely one always does.

    Args:
        scaled: logits divided by the temperature, shape (vocabulary,).
        top_p: 0 < top_p <= 1.
    """
    order = np.lexsort((np.arange(scaled.size), -scaled))
    weights = np.exp(scaled[order] - scaled.max())
    before = np.cumsum(weights) - weights
    return order[before < top_p * weights.sum()] if top_p < 1 else order


def draw(logits: Floats, temperature: float, top_p: float, key: int, step: int) -> int:
    """The token id drawn from one row of logits; temperature 0 is greedy (ties: the lowest id)."""
    if temperature == 0:
        return int(np.argmax(logits))
    scaled = np.asarray(logits, dtype=np.float64) / temperature
    kept = np.sort(nucleus(scaled, top_p))
    return int(kept[np.argmax(scaled[kept] + gumbel(key, step, kept))])
