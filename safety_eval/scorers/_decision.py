"""From logits to probabilities and labels: which numbers decide, and how far they are from deciding
otherwise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

Activation = Literal["sigmoid", "softmax"]


@dataclass(frozen=True, slots=True)
class Decision:
    """How labels are read off logits of shape [windows, outputs].

    Attributes:
        activation: 'sigmoid' = each output by itself, 'softmax' = all together.
        threshold: of a probability.
        columns: the outputs that are read, () = all.
    """

    activation: Activation
    threshold: float = 0.5
    columns: tuple[int, ...] = ()

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """Probabilities of all outputs, same shape, in double precision."""
        z = logits.astype(np.float64)
        if self.activation == "sigmoid":
            return np.exp(-np.logaddexp(0.0, -z))
        return np.exp(z - np.logaddexp.reduce(z, axis=-1, keepdims=True))

    def margin(self, logits: np.ndarray) -> float:
        """Distance of the nearest label change, in log-odds: of any output that is read from the threshold,
        and (softmax) of the two likeliest outputs from one another.
        """
        z = logits.astype(np.float64)
        at = float(np.log(self.threshold / (1.0 - self.threshold)))
        read = list(self.columns) or list(range(z.shape[-1]))
        if self.activation == "sigmoid":
            return float(np.abs(z[:, read] - at).min())
        others = [np.logaddexp.reduce(np.delete(z, i, axis=-1), axis=-1) for i in read]
        ranked = np.sort(z, axis=-1)
        gap = (ranked[:, -1] - ranked[:, -2]).min()
        return float(min(gap, *(np.abs(z[:, i] - o - at).min() for i, o in zip(read, others, strict=True))))

    def difference(self, one: np.ndarray, other: np.ndarray) -> float:
        """Largest change of any number that `margin` measures when `one` becomes `other`."""
        change = one.astype(np.float64) - other.astype(np.float64)
        if self.activation == "sigmoid":
            read = list(self.columns) or list(range(change.shape[-1]))
            return float(np.abs(change[:, read]).max())
        return float((change.max(axis=-1) - change.min(axis=-1)).max())
