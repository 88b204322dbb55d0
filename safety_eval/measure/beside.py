"""Published figures that stand beside a run's own: which rows, in whose units, and what is wrong with them.

A published row never enters an estimate. Rows whose printed group labels are suspect keep their total and
lose their groups; what was left out is said.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from safety_eval.core.records import Estimate

WHOLE = "all"
"""The headline's place in a published row."""
_LIKELY = ("Llama 2 7B", "Llama 2 Chat 7B", "Llama 2-Chat 7B", "Code Llama - Instruct 7B", "Falcon 7B")


@dataclass(frozen=True, slots=True)
class Beside:
    """Published rows for one metric of a task.

    Attributes:
        metric: our metric that they can be compared with.
        rows: model -> group (`WHOLE` for the headline) -> value in the estimate's unit (rates 0..1).
        sources: model -> where it is printed.
        suspect: models whose group values are printed under labels that the counts contradict.
        note: one or two sentences: source, and what was left out.
        kind: 'rate' or 'mean', as of the metric.
    """

    metric: str = ""
    rows: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    sources: Mapping[str, str] = field(default_factory=dict)
    suspect: frozenset[str] = frozenset()
    note: str = ""
    kind: str = "rate"

    def whole(self, model: str) -> float | None:
        """The headline of a published row; None where none was printed."""
        return self.rows[model].get(WHOLE)

    def groups(self, model: str) -> Mapping[str, float]:
        """Group values that may be compared: none for a suspect row."""
        if model in self.suspect:
            return {}
        return {group: value for group, value in self.rows[model].items() if group != WHOLE}


def few(beside: Beside, estimates: Iterable[Estimate], most: int = 3) -> dict[str, Mapping[str, float]]:
    """At most `most` published rows for a chart: those that share groups with ours, the best known first."""
    ours = {e.group for e in estimates if e.axis not in ("total", "macro")}
    able = [m for m in beside.rows if ours & set(beside.groups(m))]
    order = {m: i for i, m in enumerate(_LIKELY)}
    chosen = sorted(able, key=lambda m: (order.get(m, len(order)), able.index(m)))[:most]
    return {m: beside.groups(m) for m in chosen}
