"""The rows of two runs that belong together: the same prompt, the same sample."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from safety_eval.core.errors import UserError
from safety_eval.core.records import key
from safety_eval.core.task import Measured
from safety_eval.runs.opened import RunFolder
from safety_eval.runs.rows import Prompts

Numbers = NDArray[np.int64]


def paired(
    run: RunFolder, baseline: RunFolder, task: str
) -> tuple[Sequence[Measured], Sequence[Measured], dict[str, int]]:
    """The rows of both runs in the order of the first, and how many had no partner.

    Raises:
        UserError: one id names two different prompts, or nothing can be paired.
    """
    new, old = (_Named(side.records(task).prompts) for side in (run, baseline))
    first, second = new.found_in(old)
    other = first[new.keys[first] != old.keys[second]]
    if len(other):
        raise UserError(
            f"{task}: the prompt '{new.prompts[int(other[0])].id}' is not the same prompt in the two runs",
            "Run both on the same data and version.",
        )
    counts = [side.file.tasks[task].samples for side in (run, baseline)]
    rows = [side.measured(task) for side in (run, baseline)]
    asked = np.arange(min(counts))
    both = [
        side.chosen((numbers[:, None] * count + asked).ravel())
        for side, numbers, count in zip(rows, (first, second), counts, strict=True)
    ]
    if not len(both[0]):
        raise UserError(f"{task}: the two runs have no prompt in common", "Run both on the same prompts.")
    alone = [len(side) - len(both[0]) for side in rows]
    lonely = {"only in the run": alone[0], "only in the baseline": alone[1]}
    return both[0], both[1], {why: count for why, count in lonely.items() if count}


class _Named:
    """Prompts by their ids and keys, of which hashes are held."""

    def __init__(self, prompts: Prompts) -> None:
        self.prompts = prompts
        ids, keys = array("q"), array("q")
        for prompt in prompts:
            ids.append(hash(prompt.id))
            keys.append(hash(key(prompt)))
        self.ids, self.keys = (np.array(hashes, np.int64) for hashes in (ids, keys))

    def found_in(self, other: _Named) -> tuple[Numbers, Numbers]:
        """Numbers of the prompts that are in both, in the order of this one."""
        order = np.argsort(other.ids, kind="stable")
        at = np.searchsorted(other.ids, self.ids, sorter=order)
        there = order[np.minimum(at, max(len(order) - 1, 0))] if len(order) else np.zeros(len(at), np.int64)
        same = other.ids[there] == self.ids if len(order) else np.zeros(len(at), bool)
        return np.flatnonzero(same), there[same]
