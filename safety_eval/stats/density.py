"""Densities of scores in [0, 1] that respect the bounds, with a band; decisions rest on what needs no bandwidth."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray

from safety_eval.stats.proportion import codes

Floats = NDArray[np.float64]
MASS = 0.05
PLACES = 2048
"""Different scores up to which a curve is made of each as it is."""


def silverman(x: ArrayLike) -> float:
    """Silverman's rule-of-thumb bandwidth of the scores as they are (not mirrored): sd (3n/4)^(-1/5).

    Oracle: scipy `gaussian_kde(..., "silverman")`. Scores without spread have none: 0.05 is used.
    """
    values = _scores(x)
    spread = float(values.std(ddof=1)) if values.size > 1 else 0.0
    return spread * (values.size * 3 / 4) ** -0.2 if spread > 0 else 0.05


def shared_bandwidth(curves: Sequence[ArrayLike]) -> float:
    """One bandwidth for all compared curves: root mean square of each one's Silverman bandwidth."""
    return math.sqrt(float(np.mean([silverman(x) ** 2 for x in curves])))


def _scores(x: ArrayLike) -> Floats:
    values = np.asarray(x, float)
    if values.ndim != 1 or values.size == 0 or values.min() < 0 or values.max() > 1:
        raise ValueError("a density needs a non-empty vector of scores in [0, 1]")
    return values


def _kernel(values: Floats, grid: Floats, bandwidth: float) -> Floats:
    """Each score's own curve on the grid, reflected at 0 and 1, shape (n, grid)."""

    def bump(centre: Floats) -> Floats:
        return np.exp(-0.5 * ((grid[None, :] - centre[:, None]) / bandwidth) ** 2)

    total = bump(values) + bump(-values) + bump(2 - values)
    return np.asarray(total / (bandwidth * math.sqrt(2 * math.pi)))


@dataclass(frozen=True, slots=True)
class _Binned:
    """Scores at few places: score i is `1 - upper[i]` at place `below[i]` and `upper[i]` at the next one."""

    places: Floats
    below: NDArray[np.intp]
    upper: Floats | None

    def weights(self, of_each: Floats) -> Floats:
        """What lies at each place, where each score weighs so much."""
        if self.upper is None:
            return np.asarray(np.bincount(self.below, of_each, self.places.size), float)
        low = np.bincount(self.below, of_each * (1 - self.upper), self.places.size)
        return np.asarray(low + np.bincount(self.below + 1, of_each * self.upper, self.places.size), float)


def _binned(values: Floats) -> _Binned:
    """Equal scores put together. More different ones than PLACES are shared out to the two nearest of so many places:
    linear binning (Wand and Jones 1995, appendix D), which moves a curve by far less than its line is wide."""
    different, place = np.unique(values, return_inverse=True)
    if different.size <= PLACES:
        return _Binned(different, place, None)
    at = values * (PLACES - 1)
    below = np.minimum(at.astype(np.intp), PLACES - 2)
    return _Binned(np.linspace(0.0, 1.0, PLACES), below, at - below)


def reflected_density(x: ArrayLike, grid: ArrayLike, bandwidth: float) -> Floats:
    """Kernel density of scores in [0, 1], reflected at both ends so that no mass leaks out.

    f(u) = 1/(n h) sum phi((u-x)/h) + phi((u+x)/h) + phi((u-2+x)/h). Source: Silverman 1986, section 2.10. Oracle: 3
    times scipy `gaussian_kde` on [x, -x, 2-x]; x=[0, .1, .9], h=.1 -> f(0) = 4.272753.
    """
    values = _scores(x)
    binned = _binned(values)
    shares = binned.weights(np.full(values.size, 1 / values.size))
    return np.asarray(shares @ _kernel(binned.places, np.asarray(grid, float), bandwidth))


def paper_density(x: ArrayLike, grid: ArrayLike) -> Floats:
    """Plain Gaussian kernel density (scipy's default bandwidth), as Code Llama Fig. 7 draws it, from -0.2 to 1.2.

    Only to stand beside the published figure: it puts mass outside [0, 1]. Needs two different scores or more.
    """
    values = _scores(x)
    return np.asarray(scipy.stats.gaussian_kde(values)(np.asarray(grid, float)))


def point_masses(x: ArrayLike) -> dict[float, float]:
    """Shares of scores that are exactly 0 or 1, where above 5%: a density hides them, draw them as spikes."""
    values = _scores(x)
    return {end: share for end in (0.0, 1.0) if (share := float((values == end).mean())) > MASS}


@dataclass(frozen=True, slots=True)
class Band:
    """A density with a simultaneous band on a grid. `critical`: its factor on the pointwise error (a pointwise band
    has 1.96). The band covers sampling of the clusters, not the smoothing.
    """

    grid: Floats
    density: Floats
    low: Floats
    high: Floats
    critical: float
    bandwidth: float


def band(
    x: ArrayLike,
    grid: ArrayLike,
    bandwidth: float,
    clusters: Iterable[Hashable] | None = None,
    level: float = 0.95,
    repeats: int = 500,
    seed: int = 0,
) -> Band:
    """Simultaneous sup-t band of a reflected density: clusters are resampled, the bandwidth is fixed.

    Source: Montiel Olea and Plagborg-Moller 2019 (sup-t). Needs two clusters or more.
    """
    values, points = _scores(x), np.asarray(grid, float)
    member = np.arange(values.size) if clusters is None else codes(clusters)
    count = int(member.max()) + 1
    if count < 2:
        raise ValueError("a band needs two clusters or more")
    binned = _binned(values)
    kernel = _kernel(binned.places, points, bandwidth)
    rng, replicas = np.random.default_rng(seed), np.empty((repeats, points.size))
    for replica in replicas:
        # One draw at a time: all of them at once would hold 500 numbers for each cluster.
        weights = rng.multinomial(count, np.full(count, 1 / count))[member].astype(float)
        replica[:] = binned.weights(weights) @ kernel / weights.sum()
    density = binned.weights(np.full(values.size, 1 / values.size)) @ kernel
    error = replicas.std(axis=0, ddof=1)
    safe = np.where(error > 1e-12 * max(1.0, float(density.max())), error, np.inf)
    critical = float(np.quantile((np.abs(replicas - density) / safe).max(axis=1), level))
    low, high = np.maximum(0.0, density - critical * error), density + critical * error
    return Band(points, density, low, high, critical, bandwidth)


def dkw(n: int, level: float = 0.95) -> float:
    """Half-width of a simultaneous band of the distribution function of n independent scores.

    Source: Dvoretzky, Kiefer and Wolfowitz 1956 with Massart's constant. Oracle: n=200 -> 0.096032.
    """
    return math.sqrt(math.log(2 / (1 - level)) / (2 * n))


def ecdf(x: ArrayLike, grid: ArrayLike) -> Floats:
    """Share of scores at or below each grid point."""
    values = np.sort(np.asarray(x, float))
    return np.asarray(np.searchsorted(values, np.asarray(grid, float), "right") / values.size)
