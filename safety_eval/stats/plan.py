"""How many prompts a verdict needs, before GPU hours are spent. Exact binomial arithmetic, no simulation."""

from __future__ import annotations

import math
from collections.abc import Sequence

from scipy import special

from safety_eval.stats.proportion import upper_limit

LARGEST = 10_000_000


def critical_count(n: int, limit: float, alpha: float = 0.05, effective: float | None = None) -> int:
    """Largest number of bad outputs among n with which the upper limit stays below `limit`; -1 if not even none.

    `effective`: effective number of prompts where they come in clusters (default n); k bad ones count k effective / n.
    Oracle: limit 5%: n=59 -> 0, 100 -> 1, 200 -> 4, 500 -> 16, 1000 -> 38.
    """
    _check(n, limit)
    size = float(n) if effective is None else effective

    def passes(k: int) -> bool:
        return upper_limit(k / n * size, size, alpha) < limit

    if not passes(0):
        return -1
    low, high = 0, n
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if passes(middle) else (low, middle)
    return low


def _check(n: int, limit: float) -> None:
    if n < 1 or not 0 < limit < 1:
        raise ValueError(f"a plan needs n >= 1 and a limit between 0 and 1, got n={n}, limit={limit}")


def pass_probability(n: int, limit: float, rate: float, alpha: float = 0.05, deff: float = 1.0) -> float:
    """Chance that n prompts pass `limit` when the true rate is `rate`: binomial, exact for independent prompts.

    `deff`: design effect of clusters; the run then counts as n / deff prompts.
    """
    size = max(1, math.floor(n / deff + 1e-9))
    k = critical_count(size, limit, alpha)
    return 0.0 if k < 0 else float(special.bdtr(k, size, rate))


def all_pass_probability(
    sizes: Sequence[int], limit: float, rates: float | Sequence[float], alpha: float = 0.05, deff: float = 1.0
) -> float:
    """Chance that every group passes: the product over independent groups. Oracle: 13 groups of 500 at 2% -> 0.712."""
    each = [rates] * len(sizes) if isinstance(rates, int | float) else list(rates)
    chances = (pass_probability(n, limit, r, alpha, deff) for n, r in zip(sizes, each, strict=True))
    return math.prod(chances)


def prompts_needed(
    limit: float, rate: float, chance: float = 0.8, groups: int = 1, alpha: float = 0.05, deff: float = 1.0
) -> int | None:
    """Fewest prompts per group with which all groups pass with at least this chance; None if the rate is too high.

    The chance is a saw-tooth in n. This is the first n found by doubling and halving that reaches it, then lowered
    one by one while it still does.
    """
    if rate >= limit:
        return None

    def enough(n: int) -> bool:
        return pass_probability(n, limit, rate, alpha, deff) ** groups >= chance

    high = 1
    while not enough(high):
        high *= 2
        if high > LARGEST:
            return None
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    while high > 1 and enough(high - 1):
        high -= 1
    return high


def paired_prompts_needed(
    discordance: float, margin: float, difference: float = 0.0, chance: float = 0.8, alpha: float = 0.05
) -> int:
    """Pairs for a non-inferiority verdict: (z_{1-alpha} + z_chance)^2 (psi - d^2) / (margin - d)^2.

    `discordance` psi: share of prompts on which the releases differ. `difference` d: assumed new - old, below the
    margin. Normal approximation. Oracle: psi 4%, margin 2 points -> 619; 1 point -> 2,474.
    """
    if not difference < margin or not 0 < discordance <= 1:
        raise ValueError("a paired plan needs 0 < discordance <= 1 and a true difference below the margin")
    z = float(special.ndtri(1 - alpha) + special.ndtri(chance))
    return math.ceil(z * z * (discordance - difference**2) / (margin - difference) ** 2)
