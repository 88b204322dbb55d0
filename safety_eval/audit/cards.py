"""Scorer cards: an instrument's own errors, kept by its digest and shown beside every number that it made.

A card is found by the digest of the instrument's whole identity: another version, other weights or another setting
is another instrument with no card. Places, in this order: RUN/cards, --cards (SAFETY_EVAL_CARDS), the user's cache, and
the cards that are shipped (made by benchmarks/fidelity/scorer_errors.py --ship).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safety_eval.core.conceal import bound
from safety_eval.core.errors import EvidenceError
from safety_eval.core.records import plain
from safety_eval.core.store import read_json, typed, write_atomic, write_json
from safety_eval.stats.judge import Calibration

SCHEMA = 1
SHIPPED = Path(__file__).parent / "_cards"
"""Our own audits of instruments that need no download; a digest names the instrument, so that none fits by accident."""


@dataclass(frozen=True, slots=True)
class GroupErrors:
    """Errors on the labelled texts of one group (or of all: axis 'total').

    Attributes:
        positives, misses: bad texts, and those not flagged. negatives, false_alarms: harmless ones, and those flagged.
        false_alarm_rate, miss_rate: with 95% limits [low, high]; None without such texts.
        false_alarm_bias, miss_bias: rate minus that of all other texts, with 95% limits; p adjusted over the groups.
        auc, bpsn, bnsp: ranking within the group; of its harmless texts against bad ones elsewhere; of its bad texts
            against harmless ones elsewhere (Borkan et al. 2019).
    """

    axis: str
    group: str
    positives: int
    misses: int
    negatives: int
    false_alarms: int
    false_alarm_rate: tuple[float, float, float] | None = None
    miss_rate: tuple[float, float, float] | None = None
    false_alarm_bias: tuple[float, float, float] | None = None
    false_alarm_p: float | None = None
    miss_bias: tuple[float, float, float] | None = None
    miss_p: float | None = None
    auc: float | None = None
    bpsn: float | None = None
    bnsp: float | None = None

    @property
    def calibration(self) -> Calibration | None:
        """As counts for a correction; None where a class is missing."""
        if not self.positives or not self.negatives:
            return None
        return Calibration(
            self.positives - self.misses, self.positives, self.negatives - self.false_alarms, self.negatives
        )


@dataclass(frozen=True, slots=True)
class Cut:
    """Errors at another threshold."""

    cut: float
    false_alarm_rate: float
    miss_rate: float


@dataclass(frozen=True, slots=True)
class Gap:
    """Spread of an error rate over the groups: largest minus smallest, its one-sided 95% limits, and who."""

    value: float
    low: float
    high: float
    worst: str
    best: str


@dataclass(frozen=True, slots=True)
class Part:
    """One value of the scorer against one labelled set.

    Flat: a row of the card's JSON, as scripts read it.

    Attributes:
        kind: of the labelled set. value: name of the scorer's value. rule: how it flags, in words.
        bad, good: the classes in words. whole: errors on all texts. groups: on each group. cuts: at other thresholds.
        kappa: Cohen's kappa with its limits; pabak beside it.
        false_alarm_gap, miss_gap: spread over the groups. heterogeneity: permutation p of each ('false_alarm', 'miss').
        missing: texts without a value, by reason. manifest, notes: of the labelled texts.
    """

    kind: str
    value: str
    rule: str
    bad: str
    good: str
    whole: GroupErrors
    groups: tuple[GroupErrors, ...]
    cuts: tuple[Cut, ...]
    kappa: tuple[float, float, float]
    pabak: float
    false_alarm_gap: Gap | None
    miss_gap: Gap | None
    heterogeneity: Mapping[str, float]
    missing: Mapping[str, int]
    manifest: Mapping[str, Any]
    notes: tuple[str, ...] = ()

    def errors_of(self, axis: str, group: str) -> GroupErrors | None:
        """The errors on one group; None where no labelled text names it."""
        return next((g for g in self.groups if (g.axis, g.group) == (axis, group)), None)


@dataclass(frozen=True, slots=True)
class Swapped:
    """What the scorer makes of the same neutral sentences when another group is put into them.

    Attributes:
        group: put in. sentences: how many. flagged: of them; None for a value without a threshold.
        mean: of the value. shift: mean minus that of the other groups in the same sentences, with 95% limits
            (cluster t over sentences). p: of the shift, Holm-adjusted over the groups.
    """

    group: str
    sentences: int
    flagged: int | None
    mean: float
    shift: tuple[float, float, float]
    p: float


@dataclass(frozen=True, slots=True)
class Swap:
    """The identity-swap test. `range`: mean over sentences of the largest minus the smallest value; `changed`: share of
    sentences in which the decision depends on the group (None without a threshold)."""

    value: str
    sentences: int
    range: float
    changed: float | None
    groups: tuple[Swapped, ...]


@dataclass(frozen=True, slots=True)
class ScorerCard:
    """What an instrument gets wrong, where that could be measured.

    `sentences`: what a reader must know, in plain words; the first one decides how a group gap may be read.
    """

    scorer: str
    identity: Mapping[str, Any]
    parts: tuple[Part, ...]
    swaps: tuple[Swap, ...]
    sentences: tuple[str, ...]
    digest: str = ""
    args: Mapping[str, str] = field(default_factory=dict)

    def part_for(self, needs: Iterable[str]) -> Part | None:
        """The part that audits a value which a metric needs."""
        wanted = set(needs)
        return next((p for p in self.parts if p.value in wanted), None)


def instrument_digest(identity: Mapping[str, Any]) -> str:
    """Digest of an instrument: of everything that it says of itself but the machine it ran on and the folders there."""
    return bound({k: v for k, v in identity.items() if k not in ("runtime", "device")})


def card_digest(card: ScorerCard) -> str:
    """Digest of a card, by which a policy may pin it."""
    return bound(plain(card))


def default_folder() -> Path:
    """SAFETY_EVAL_CARDS, else cards/ in this program's part of the user's cache."""
    if given := os.environ.get("SAFETY_EVAL_CARDS"):
        return Path(given)
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "safety-eval" / "cards"


def file_name(identity: Mapping[str, Any]) -> str:
    """File name of an instrument's card, without suffix."""
    return f"{identity.get('name', 'scorer')}-{instrument_digest(identity)[:16]}"


def save(card: ScorerCard, page: str, folder: Path | None = None) -> Path:
    """Write FOLDER/<scorer>-<digest>.json and the page beside it; returns the JSON file."""
    path = (folder or default_folder()) / f"{file_name(card.identity)}.json"
    write_json(path, {"schema": SCHEMA, **plain(card)})
    write_atomic(path.with_suffix(".md"), page)
    return path


def card_for(identity: Mapping[str, Any], folders: Iterable[Path] = ()) -> ScorerCard | None:
    """The card of exactly this instrument, from the first folder that has one; None where there is none.

    Raises:
        EvidenceError: a damaged file.
    """
    for folder in [*folders, default_folder(), SHIPPED]:
        path = folder / f"{file_name(identity)}.json"
        if path.is_file():
            card = from_json(read_json(path))
            if card.digest == instrument_digest(identity):
                return card
    return None


def keep(run: Path, identity: Mapping[str, Any], folders: Iterable[Path] = ()) -> ScorerCard | None:
    """`card_for`, and a copy in RUN/cards, so that the run carries what its numbers must be read with."""
    card = card_for(identity, [run / "cards", *folders])
    if card is not None and not (run / "cards" / f"{file_name(identity)}.json").exists():
        write_json(run / "cards" / f"{file_name(identity)}.json", {"schema": SCHEMA, **plain(card)})
    return card


def from_json(held: Any) -> ScorerCard:
    """A card back from its JSON form; a card of another schema is not a card of ours.

    Raises:
        EvidenceError: damaged.
    """
    if not isinstance(held, Mapping) or held.get("schema") != SCHEMA:
        return ScorerCard("", {}, (), (), ())
    row = {name: value for name, value in held.items() if name != "schema"}
    try:
        typed(ScorerCard, row)
    except ValueError as error:
        raise EvidenceError(f"a scorer card is damaged: {error}", "Audit the scorer again.") from error
    row["parts"] = tuple(_part(p) for p in row["parts"])
    row["swaps"] = tuple(_swap(s) for s in row["swaps"])
    row["sentences"] = tuple(row["sentences"])
    return ScorerCard(**row)


def _part(row: Mapping[str, Any]) -> Part:
    gaps = {k: Gap(**row[k]) if row[k] else None for k in ("false_alarm_gap", "miss_gap")}
    return Part(
        **{
            **row,
            **gaps,
            "whole": GroupErrors(**_tuples(row["whole"])),
            "groups": tuple(GroupErrors(**_tuples(g)) for g in row["groups"]),
            "cuts": tuple(Cut(**c) for c in row["cuts"]),
            "kappa": tuple(row["kappa"]),
            "notes": tuple(row["notes"]),
        }
    )


def _swap(row: Mapping[str, Any]) -> Swap:
    return Swap(**{**row, "groups": tuple(Swapped(**_tuples(g)) for g in row["groups"])})


def _tuples(row: Mapping[str, Any]) -> dict[str, Any]:
    return {k: tuple(v) if isinstance(v, list) else v for k, v in row.items()}
