"""Published figures beside a run's own: which rows may stand there at all, and which are nearest to the model.

A published row never enters an estimate. It stands beside one only where both were made from the same prompts
by the same instrument. Rows whose printed group labels are suspect keep their total and lose their groups;
what was left out is said.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from safety_eval.core.records import Estimate

WHOLE = "all"
"""The headline's place in a published row."""
NEAREST = 3
"""Published models that stand beside ours where not all of them are asked for."""
_FAMILIES = ("codellama", "llama2", "llama1", "falcon", "mpt", "starcoder", "chatgpt")
_TUNED = re.compile(r"chat|instruct|gpt|\bit\b|sft|dpo|rlhf", re.IGNORECASE)
_BILLIONS = re.compile(r"(\d+(?:\.\d+)?)\s*(b|m)\b", re.IGNORECASE)
OTHER_FAMILY, SAME_HOUSE, OTHER_TUNING, UNKNOWN_SIZE = 2.0, 1.0, 0.5, 2.0
"""Steps of distance between models; a doubling of the size is one step too."""


@dataclass(frozen=True, slots=True)
class Origin:
    """How published rows were measured, in terms of our own runs.

    Attributes:
        versions: our data versions that hold the same prompts.
        instrument: what scored the answers, in words.
        identity: what the same instrument says of itself here; a nested mapping is looked into. None where the
            instrument cannot be had, so that no number of ours was made by it.
    """

    versions: frozenset[str] = frozenset()
    instrument: str = ""
    identity: Mapping[str, Any] | None = None

    def same(self, data_version: str, identity: Mapping[str, Any] | None) -> bool:
        """Whether a number made from these prompts by this instrument may stand beside the rows."""
        if data_version not in self.versions or self.identity is None or not identity:
            return False
        return _holds(identity, self.identity)


def _holds(identity: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Whether `identity` says all that is wanted of it."""
    for key, value in wanted.items():
        here = identity.get(key)
        if isinstance(value, Mapping):
            if not isinstance(here, Mapping) or not _holds(here, value):
                return False
        elif here != value:
            return False
    return True


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
        origin: the prompts and the instrument behind the rows; without one they stand beside nothing.
    """

    metric: str = ""
    rows: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    sources: Mapping[str, str] = field(default_factory=dict)
    suspect: frozenset[str] = frozenset()
    note: str = ""
    kind: str = "rate"
    origin: Origin = Origin()

    def whole(self, model: str) -> float | None:
        """The headline of a published row; None where none was printed."""
        return self.rows.get(model, {}).get(WHOLE)

    def groups(self, model: str) -> Mapping[str, float]:
        """Group values that may be compared: none for a suspect row."""
        if model in self.suspect:
            return {}
        return {group: value for group, value in self.rows.get(model, {}).items() if group != WHOLE}


@dataclass(frozen=True, slots=True)
class Kin:
    """What decides how near two models are: family, size in billions of weights, tuned to follow instructions."""

    family: str = ""
    billions: float | None = None
    tuned: bool = False

    def distance(self, other: Kin) -> float:
        """Steps between two models."""
        steps = 0.0
        if not self.family or self.family != other.family:
            steps += SAME_HOUSE if "llama" in self.family and "llama" in other.family else OTHER_FAMILY
        if self.billions and other.billions:
            steps += abs(math.log2(self.billions / other.billions))
        else:
            steps += UNKNOWN_SIZE
        return steps + OTHER_TUNING * (self.tuned != other.tuned)


def kin(model: str, parameters: int | None = None) -> Kin:
    """What a model's name says of it: 'Llama-2-7b-chat-hf', 'Llama 2 Chat 7B', a path or a Hub name.

    Args:
        model: its name; of a path or Hub name only the last part is read.
        parameters: how many weights it has, where that is known; else the name's number counts.
    """
    last = model.split(" @ ")[0].rstrip("/").rsplit("/", 1)[-1]
    squeezed = re.sub(r"[^a-z0-9]", "", last.lower())
    family = next((f for f in _FAMILIES if f in squeezed), "llama" if "llama" in squeezed else "")
    size = _BILLIONS.search(last.replace("-", " ").replace("_", " "))
    billions = float(size[1]) / (1000 if size[2] in "mM" else 1) if size else None
    return Kin(family, parameters / 1e9 if parameters else billions, bool(_TUNED.search(last)))


def nearest(models: Iterable[str], ours: Kin, most: int = NEAREST) -> list[str]:
    """At most `most` of the published models, the nearest by family, size and tuning first."""
    named = list(dict.fromkeys(models))
    order = sorted(named, key=lambda name: (ours.distance(kin(name)), named.index(name)))
    return order[:most]


def with_groups(beside: Beside, estimates: Iterable[Estimate]) -> list[str]:
    """Published models that share groups with ours."""
    groups = {e.group for e in estimates if e.axis not in ("total", "macro")}
    return [model for model in beside.rows if groups & set(beside.groups(model))]
