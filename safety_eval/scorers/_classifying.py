"""What detoxify and hf_classifier share: from a loaded network to values, by the arguments that both take.

Arguments: text=answer|prompt_and_answer, long=truncate|windows (a long text's value is its worst window's),
max_length, batch_tokens (padded tokens of a batch), dtype=auto|float32|bfloat16|float16 (half precision
runs again in float32 near the threshold, so that no label changes), runtime=auto|torch|onednn,
threshold (0.5).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from safety_eval.core.interfaces import Answer, ScorerSpec
from safety_eval.core.records import Score
from safety_eval.scorers._answers import TEXTS, Measured, score_texts
from safety_eval.scorers._arguments import choice, share
from safety_eval.scorers._decision import Activation, Decision
from safety_eval.scorers._runtimes import LONG, reader
from safety_eval.scorers._text_classifier import Network, Reading


@dataclass(frozen=True, slots=True)
class Reads:
    """What is read off a network.

    Attributes:
        activation, columns: see Decision.
        values: probabilities [windows, outputs] -> values.
        prefix: the value '<prefix>_cut' counts the tokens of a text that did not fit.
    """

    activation: Activation
    columns: tuple[int, ...]
    values: Callable[[np.ndarray], dict[str, float | str]]
    prefix: str


class ClassifierScorer:
    """A scorer made of a network; `identity` is the instrument's, settings, precision and runtime are
    added.
    """

    def __init__(self, spec: ScorerSpec, network: Network, reading: Reads, identity: Mapping[str, Any]) -> None:
        self._name, self._reads = spec.name, reading
        text = choice(spec.args, "text", TEXTS, "answer")
        threshold = share(spec.args, "threshold", 0.5)
        self._text = TEXTS[text]
        self._decision = Decision(reading.activation, threshold, reading.columns)
        self._reader, ran = reader(spec, network, self._decision)
        settings = {
            "text": text,
            "threshold": threshold,
            "activation": reading.activation,
            "long": choice(spec.args, "long", LONG, LONG[0]),
            **ran.settings,
        }
        self.identity: Mapping[str, Any] = {
            **identity,
            "settings": settings,
            "precision": ran.precision,
            "runtime": dict(ran.runtime),
        }

    def score(self, answers: Iterable[Answer]) -> Iterator[Score]:
        yield from score_texts(self._name, answers, self._text, self._measure)

    def _measure(self, texts: Sequence[str]) -> list[Measured]:
        return [self._values_of(reading) for reading in self._reader.read(texts)]

    def _values_of(self, reading: Reading) -> Measured:
        if reading.error:
            return reading.error
        if not np.isfinite(reading.logits).all():
            return "the classifier gave a number that is not finite"
        values = self._reads.values(self._decision.probabilities(reading.logits))
        return {**values, f"{self._reads.prefix}_cut": float(reading.cut)}

    def close(self) -> None:
        pass
