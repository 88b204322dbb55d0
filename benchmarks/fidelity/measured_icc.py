"""How strongly answers of one cluster (an article, a template, a trigger word) correlate in runs that were measured:
what a policy's `icc` may take for granted.

    python benchmarks/fidelity/measured_icc.py RUN ...        prints a row for each task, metric and run

The intra-class correlation is that of an analysis of variance of unequal clusters, within the groups of the limit axis,
so that a difference between groups is not taken for one between articles (Donner 1986). Its 95% interval: clusters
drawn again 2,000 times. Between answers that hardly ever differ nothing can be seen, and the interval says so.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from safety_eval import open_run
from safety_eval.measure.metrics import columns
from safety_eval.measure.table import Column

Floats = NDArray[np.float64]
DRAWS = 2000


def correlation(sums: Floats, squares: Floats, sizes: Floats, groups: NDArray[np.int64]) -> float:
    """Intra-class correlation from each cluster's sum, sum of squares, size and group; shape (clusters,) each."""
    n, total = np.bincount(groups, sizes), np.bincount(groups, sums)
    within = float((squares - sums**2 / sizes).sum())
    between = float((sums**2 / sizes).sum() - (total[n > 0] ** 2 / n[n > 0]).sum())
    many, freedom = float(n.sum()), float(sizes.size - (n > 0).sum())
    if freedom <= 0 or many <= sizes.size:
        return float("nan")
    spread = (many - float((np.bincount(groups, sizes**2)[n > 0] / n[n > 0]).sum())) / freedom
    a, w = between / freedom, within / (many - sizes.size)
    return (a - w) / (a + (spread - 1) * w) if a + (spread - 1) * w > 0 else float("nan")


def row(column: Column, axis: str) -> tuple[float, float, float, int, float] | None:
    """Correlation, its interval, clusters, and the mean; None where no cluster has two answers."""
    known = ~np.isnan(column.y)
    y, codes = column.y[known], np.unique(column.clusters[known], return_inverse=True)[1]
    names = [g.get(axis, ("",))[0] for g, k in zip(column.groups, known, strict=True) if k]
    of_row = np.unique(names, return_inverse=True)[1]
    sizes, sums = np.bincount(codes).astype(float), np.bincount(codes, y)
    squares, groups = np.bincount(codes, y**2), np.zeros(codes.max() + 1, dtype=np.int64)
    groups[codes] = of_row
    if sizes.max() < 2:
        return None
    rng = np.random.default_rng(0)
    drawn = [rng.integers(0, sizes.size, sizes.size) for _ in range(DRAWS)]
    seen = np.array([correlation(sums[i], squares[i], sizes[i], groups[i]) for i in drawn])
    low, high = np.nanquantile(seen, [0.025, 0.975])
    return correlation(sums, squares, sizes, groups), float(low), float(high), int(sizes.size), float(y.mean())


def table(folder: Path) -> Iterator[str]:
    run = open_run(folder)
    for name in run.tasks:
        task = run.task(name)
        for column in columns(task, run.measured(name), "", run.drawn(name)):
            made = None if column.part else row(column, task.limit_axis)
            if made is not None:
                icc, low, high, clusters, mean = made
                where = f"{name} {column.metric.name}"
                yield (
                    f"| {where} | {run.file.config.model} | {len(column.y):,} in {clusters:,} | {mean:.3f} | "
                    f"{icc:.3f} | [{low:.3f}, {high:.3f}] |"
                )


if __name__ == "__main__":
    print("| number | model | answers | mean | correlation | 95% |\n|---|---|---|---|---|---|")
    for folder in sys.argv[1:]:
        print("\n".join(table(Path(folder))))
