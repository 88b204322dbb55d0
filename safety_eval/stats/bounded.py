"""One-sided limit of the mean of bounded scores that holds for any shape: what Clopper-Pearson is for a rate.

A sample without one of the rare high scores cannot know of them, so t and bootstrap limits of a skewed score cover far
less than they say (docs/explanation/coverage.md). Here one more observation is put at the end of the range, and the
weights of all are drawn uniformly over the simplex.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

Floats = NDArray[np.float64]
_LEAST = 1e-12
"""Share of the range below which a limit is the end of the range."""
_STEP, _AT_ONCE, _MOST = 0.08, 32, 512
"""Trapezoid rule: step, points at a time, most points. It converges geometrically: 1e-10 at this step."""


def mean_upper(y: Floats, counts: Floats, highest: float, alpha: float = 0.05) -> float:
    """Upper limit at level 1 - alpha of the mean of values that cannot exceed `highest`.

    Args:
        y: one value per independent observation (cluster mean), shape (n,). counts: how many observations each stands
            for, shape (n,), all positive; ones when all weigh the same. alpha: at most 0.1.

    The (1 - alpha) quantile of sum D_i y_i + D_0 highest with D ~ Dirichlet(counts, 1). For 0/1 values it is exactly
    Clopper-Pearson; raising any value never lowers it. Sources: Gaffke 2005; Learned-Miller and Thomas 2019 (the bound
    holds in every case that was tried; a general proof is open). Oracle: scipy `beta.ppf`, and drawn weights.
    """
    # Weights of equal values add up to one Dirichlet weight, so each value is there once; and a run asks for the same
    # limit again when it is shown, judged and signed.
    values, place = np.unique(y, return_inverse=True)
    return _upper(values.tobytes(), np.bincount(place, weights=counts).tobytes(), float(highest), float(alpha))


def mean_lower(y: Floats, counts: Floats, lowest: float, alpha: float = 0.05) -> float:
    """Lower limit of the mean of values that cannot fall below `lowest`: the mirror image of `mean_upper`."""
    return -mean_upper(-y, counts, -lowest, alpha)


@lru_cache(maxsize=4096)
def _upper(values: bytes, counts: bytes, highest: float, alpha: float) -> float:
    """`mean_upper` of different values, both arrays as the bytes of their numbers."""
    below = np.append(highest - np.frombuffer(values), 0.0)
    shapes = np.append(np.frombuffer(counts), 1.0)
    width = float(below.max())
    if not (0 < alpha <= 0.1 and np.all(shapes > 0) and float(below.min()) >= 0):
        raise ValueError(f"a limit needs 0 < alpha <= 0.1, positive counts and no value above {highest}")
    if width <= 1e-12 * max(1.0, abs(highest)):
        return highest
    below, total = below / width, shapes.sum()
    mean = float(np.dot(shapes, below) / total)
    spread = float(np.sqrt(np.dot(shapes, np.square(below - mean)) / (total * (total + 1))))

    def off(room: float) -> float:
        return math.log(max(_exceeds(room - below, shapes), 1e-300) / alpha)

    start = max(mean - 0.5 * spread, mean / 2)
    if off(_LEAST) >= 0:
        return highest
    while off(start) < 0 and mean - start > 1e-6 * spread:
        # One heavy, outlying value: less than alpha of the weights lie half a spread from the mean.
        start = (start + mean) / 2
    return highest - width * float(optimize.brentq(off, _LEAST, start, xtol=1e-13))


def _exceeds(apart: Floats, shapes: Floats) -> float:
    """P(sum g_i apart_i > 0) for independent g_i ~ Gamma(shapes_i), where that sum is negative on average.

    Inversion of the cumulant function K(z) = -sum shapes_i log(1 - z apart_i) along the vertical line through its
    saddle point (Daniels 1954): there the integrand falls fastest and does not oscillate. y = scale sinh(u) reaches
    the tail, which is a power for few observations.
    """
    edge = 1 / float(apart.max())
    saddle = optimize.brentq(
        lambda z: float(np.dot(shapes, apart / (1 - z * apart))), 0.0, edge * (1 - 1e-13), xtol=edge * 1e-13
    )
    left = 1 - saddle * apart
    ratio = apart / left
    scale = float(np.dot(shapes, np.square(ratio))) ** -0.5
    height = -float(np.dot(shapes, np.log(left)))
    found = 0.0
    for start in range(0, _MOST, _AT_ONCE):
        u = (start + np.arange(_AT_ONCE)) * _STEP
        y = scale * np.sinh(u)
        turn = y[:, None] * ratio
        log = height - 0.5 * (np.log1p(np.square(turn)) @ shapes) + 1j * (np.arctan(turn) @ shapes)
        part = (np.exp(log) / (saddle + 1j * y)).real * scale * np.cosh(u)
        found += float(part.sum()) - (0.5 * float(part[0]) if start == 0 else 0.0)
        if abs(part[-1]) < 1e-13 * abs(found):
            break
    return found * _STEP / np.pi
