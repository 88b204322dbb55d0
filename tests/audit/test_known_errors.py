"""What the package says of its own instruments is what an audit finds, and decides which of them are weak."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from safety_eval.audit.cards import ScorerCard
from safety_eval.audit.known_errors import EXACT, KNOWN, KnownErrors, Trust, known_errors, quality
from safety_eval.audit.scorer_audit import audit
from safety_eval.core import plugins

PAGE = Path(__file__).parents[2] / "docs" / "explanation" / "scorer-errors.md"
"""Made by benchmarks/fidelity/scorer_errors.py from audits; test_audit.py audits profanity_check and refusal again."""


@pytest.mark.parametrize("known", KNOWN, ids=lambda k: f"{k.scorer}-{'-'.join(k.settings.values())}")
def test_shipped_error_counts_are_those_of_our_published_audits(known: KnownErrors) -> None:
    args = ", ".join(f"{k}={v}" for k, v in known.settings.items() if v != "default")
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
    assert known in known_errors(known.scorer, known.settings)


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
    assert quality("truth_similarity", {}, ("bleu_acc",)).trust is Trust.UNAUDITED


def test_a_card_of_exactly_this_instrument_goes_before_what_is_shipped(data_dir: Path) -> None:
    card = audit("refusal", {"parser": "xstest_prefix"}, data_dir)
    ours = quality("refusal", {"parser": "default"}, ("status",), card)
    assert ours.miss_rate == pytest.approx(125 / 699)
    assert quality("refusal", {"parser": "default"}, ("status",), ScorerCard("", {}, (), (), ())).miss_rate == (
        pytest.approx(34 / 699)
    )


def test_every_scorer_that_is_spoken_of_exists() -> None:
    assert {*EXACT, *(k.scorer for k in KNOWN)} <= set(plugins.names("scorers"))
