"""Settings of the libraries below PyTorch, made before they start."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

_SPINS = "10000"
"""Turns of a thread that waits before it sleeps, instead of OpenMP's 300,000. On two cores of their own smollm2's
answers take as long as with those (18% longer with 1,000); beside four busy processes choices take half the time."""
_SHAPES = "32"
"""Shapes of products whose plans are kept. A step of decoding uses about ten; prompts and ending answers bring ever
new ones, and a plan takes 100 KB or more."""


def keep_few_plans() -> None:
    """Bound what oneDNN and its binding in PyTorch keep for each shape of a product (1,024 plans each by default).

    They read the limit with their first product, and only there. What the user has set stays.
    """
    for name in ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY"):
        os.environ.setdefault(name, _SHAPES)


def share_processors(limits: Path = Path("/sys/fs/cgroup")) -> None:
    """Let OpenMP's threads wait in their sleep, and be no more than a container may use. To be called before PyTorch is
    imported: its OpenMP reads both then. What the user has set stays.

    By default a thread that waits for another spins for a millisecond, which is right where each has a processor to
    itself; where they share, a thread spins for one that cannot run, and a step takes many times as long.
    """
    if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & os.environ.keys():
        os.environ["GOMP_SPINCOUNT"] = _SPINS
    there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if 0 < (quota := _quota(limits)) < there:
        os.environ.setdefault("OMP_NUM_THREADS", str(quota))


def _quota(limits: Path) -> int:
    """Whole processors that control groups (version 2, else 1) allow; 0 = as many as there are."""
    with suppress(OSError, ValueError):
        allowed, period = (limits / "cpu.max").read_text(encoding="ascii").split()
        return 0 if allowed == "max" else max(1, int(allowed) // int(period))
    with suppress(OSError, ValueError):
        old = [int((limits / "cpu" / f"cpu.cfs_{name}_us").read_text(encoding="ascii")) for name in ("quota", "period")]
        return max(1, old[0] // old[1]) if old[0] > 0 else 0
    return 0
