"""Half precision where it decides nothing: texts near a decision are read again in float32, so no label
changes.

How near is near is measured, not assumed: the first texts are read both ways, and the band around every
decision is three times the largest difference seen. Every text that is read again widens the band if it has
to. Should a difference turn up later that is larger than the margin of a text trusted before, the log says
so.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np

from safety_eval.scorers._decision import Decision
from safety_eval.scorers._text_classifier import Reading, TextClassifier

_LOG = logging.getLogger(__name__)
CALIBRATION = 64
"""Texts that are read both ways before any is trusted in half precision."""
_SAFETY = 3.0


class MixedReader:
    """Texts -> Readings: float32 ones near a decision, half-precision ones elsewhere.

    Attributes:
        band: half-width in log-odds around a decision within which float32 is used; 0 before the first text.
        exact_count, count: texts read in float32, and all texts.
    """

    def __init__(self, half: TextClassifier, exact: TextClassifier, decision: Decision) -> None:
        self._half, self._exact, self._decision = half, exact, decision
        self._largest, self._trusted = 0.0, float("inf")
        self.band = 0.0
        self.exact_count = self.count = 0

    def read(self, texts: Sequence[str]) -> list[Reading]:
        """One Reading for each text, in order (see TextClassifier.read)."""
        found = self._half.read(texts)
        # A text without logits (memory) is far from any decision: there is none.
        margins = np.array([np.inf if r.error else self._decision.margin(r.logits) for r in found])
        todo, done = self._first(texts) | self._near(margins), set[int]()
        while todo:
            indices = sorted(todo)
            for i, exact in zip(indices, self._exact.read([texts[i] for i in indices]), strict=True):
                if not (exact.error or found[i].error):
                    self._observe(self._decision.difference(found[i].logits, exact.logits))
                found[i] = exact
            done |= todo
            todo = self._near(margins) - done
        self.count += len(texts)
        self.exact_count += len(done)
        kept = [float(m) for i, m in enumerate(margins) if i not in done]
        self._trusted = min([self._trusted, *kept])
        return found

    def _first(self, texts: Sequence[str]) -> set[int]:
        """Texts of all lengths for the calibration, as many as it still needs."""
        wanted = min(max(0, CALIBRATION - self.exact_count), len(texts))
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        return {order[int(j)] for j in np.linspace(0, len(texts) - 1, wanted)} if wanted else set()

    def _near(self, margins: np.ndarray) -> set[int]:
        return {int(i) for i in np.flatnonzero(~(margins > self.band))}

    def _observe(self, difference: float) -> None:
        self._largest = max(self._largest, difference)
        self.band = max(self.band, _SAFETY * self._largest)
        if difference > self._trusted:
            _LOG.warning(
                "half precision differs by %.3g here, more than the margin %.3g of a text trusted before; "
                "use dtype=float32 to be sure of every label",
                difference,
                self._trusted,
            )
            self._trusted = float("inf")
