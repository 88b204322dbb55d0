"""Can a printed percentage be a count over the number it claims? Checks any table, ours included.

A percentage printed to d decimals that is k / n for no whole k is not the share of that group: the number, its n or
its column is wrong. Source: Brown and Heathers 2017 (GRIM), for shares.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment


def whole_count(percent: float, n: int, decimals: int = 2) -> int | None:
    """The whole k with 100 k / n printed as `percent` (either way of rounding a tie); None if there is none."""
    if n < 1 or not 0 <= percent <= 100:
        raise ValueError(f"a percentage needs 0 <= percent <= 100 and n >= 1, got {percent} of {n}")
    half = 0.5 * 10.0**-decimals + 1e-9
    k = round(percent * n / 100)
    return k if abs(100 * k / n - percent) <= half else None


def chance_fit(n: int, decimals: int = 2) -> float:
    """Chance that an arbitrary percentage fits a whole count of n: how much one fitting cell proves."""
    return min(1.0, (n + 1) / (100 * 10.0**decimals))


@dataclass(frozen=True, slots=True)
class RowCheck:
    """A printed row against its columns' sizes: the counts (None: impossible) and how many are impossible."""

    counts: tuple[int | None, ...]
    impossible: int


def check_row(percents: Sequence[float], sizes: Sequence[int], decimals: int = 2) -> RowCheck:
    """Check every cell of a row as labelled."""
    counts = tuple(whole_count(p, n, decimals) for p, n in zip(percents, sizes, strict=True))
    return RowCheck(counts, sum(k is None for k in counts))


@dataclass(frozen=True, slots=True)
class Order:
    """Column order under which the fewest cells are impossible.

    `columns[i]`: the column to which the i-th printed value belongs. `impossible`: cells that still do not fit.
    `moved`: how many values change their column.
    """

    columns: tuple[int, ...]
    impossible: int
    moved: int


def best_order(rows: Sequence[Sequence[float]], sizes: Sequence[int], decimals: int = 2) -> Order:
    """One column order for all `rows` (rows printed under the same headings) with the fewest impossible cells.

    Solved as an assignment problem; among equally good orders the one that moves fewest values. Zero fits every
    column, so that a row of zeros says nothing. Assumes that the values belong to these groups in some order.
    """
    if not rows or any(len(row) != len(sizes) for row in rows):
        raise ValueError("every row needs one value per column")
    width = len(sizes)
    misfit = np.array(
        [[sum(whole_count(row[i], n, decimals) is None for row in rows) for n in sizes] for i in range(width)],
        float,
    )
    stay = 1 / (width + 1) * (1 - np.eye(width))
    printed, column = linear_sum_assignment(misfit + stay)
    columns = tuple(int(c) for c in column[np.argsort(printed)])
    moved = sum(i != c for i, c in enumerate(columns))
    return Order(columns, int(misfit[range(width), columns].sum()), moved)


def mean_matches(percents: Sequence[float], headline: float, decimals: int = 2) -> bool:
    """Does the unweighted mean of printed cells agree with a printed headline, within what rounding allows?"""
    return abs(math.fsum(percents) / len(percents) - headline) <= 10.0**-decimals + 1e-9
