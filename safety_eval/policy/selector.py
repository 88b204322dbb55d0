"""Which numbers a rule is about: its `group`, read once. all | macro | macro/NAME | AXIS/NAME | every AXIS."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

EVERY = "every "
PATTERN = r"^(all|macro(/.+)?|every [^/]+|[^/]+/.+)$"


@dataclass(frozen=True, slots=True)
class Selector:
    """The cells of a task and metric that a rule looks at.

    Attributes:
        axis, group: as in an Estimate; group '' = whichever the axis has.
        every: each group of the axis has to meet the rule, not only one of them.
    """

    axis: str
    group: str = ""
    every: bool = False

    def holds(self, axis: str, group: str) -> bool:
        """Whether a cell is one of them."""
        return axis == self.axis and self.group in ("", group)


@lru_cache(maxsize=512)
def selector(written: str) -> Selector:
    """What a rule's `group` says."""
    if written == "all":
        return Selector("total", "all")
    if written.startswith(EVERY):
        return Selector(written.removeprefix(EVERY), every=True)
    axis, _, group = written.partition("/")
    return Selector(axis, group)
