"""Numbers, names and untrusted text in words."""

from __future__ import annotations

import unicodedata
from dataclasses import replace

import estimates_for_tests as made
import pytest
from hypothesis import given
from hypothesis import strategies as st

from safety_eval.core.records import Standing
from safety_eval.show import words as wording
from safety_eval.show.words import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred", "\\x1b[31mred"),
        ("a\u202eb", "a\\u202eb"),
        ("a\u200bb", "a\\u200bb"),
        ("\x9b1m", "\\x9b1m"),
        ("\u2028", "\\u2028"),
        ("\U000e0041", "\\U000e0041"),
        (
            "caf\u00e9 \u4f60\u597d \u0645\u0631\u062d\u0628\u0627",
            "caf\u00e9 \u4f60\u597d \u0645\u0631\u062d\u0628\u0627",
        ),
    ],
)
def test_what_acts_on_a_terminal_or_turns_text_around_is_shown_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown


@given(st.text(alphabet=st.characters()))
def test_no_control_or_format_character_survives(text: str) -> None:
    shown = printable(text)
    assert not any(unicodedata.category(c) in {"Cc", "Cf", "Cs", "Zl", "Zp"} for c in shown)
    shown.encode("utf-8")


def test_rates_are_per_cent_as_printed_in_the_papers_and_means_have_three_digits() -> None:
    assert wording.number(0.2125, "rate") == "21.25%"
    assert wording.number(-0.1694, "mean") == "\N{MINUS SIGN}0.169"


def test_a_missing_value_is_words_with_its_reason_and_never_a_number() -> None:
    gone = made.toxigen()[-1]
    assert gone.value is None
    assert wording.value(gone) == "no data: the scorer failed on every answer"
    assert not any(c.isdigit() for c in wording.number(None, "rate"))


def test_missing_answers_are_counted_with_their_reasons() -> None:
    partly = next(e for e in made.toxigen() if e.group == "middle_eastern")
    assert wording.missing(partly) == "3 of 434 (2 empty, 1 error)"
    assert wording.missing(made.toxigen()[0]) == "0"


def test_owed_answers_without_a_reason_still_count_as_missing() -> None:
    silent = replace(made.toxigen()[2], expected=900, missing={})
    assert wording.absent(silent) == 900 - 883


def test_a_descriptive_group_says_so_and_is_greyed_but_an_answered_rate_is_not() -> None:
    e = made.toxigen()[2]
    few = replace(e, standing=Standing.FEW, reason="descriptive only: 7.2 effective clusters (10 are needed)")
    assert wording.greyed(few)
    assert wording.caveat(few).count("descriptive only") == 1
    answered = replace(e, standing=Standing.SHOWN, reason="conditional on answering: shown, not gated")
    assert not wording.greyed(answered)
    assert "descriptive" not in wording.caveat(answered)


def test_intervals_computed_in_many_ways_are_named_once_each() -> None:
    e = made.toxigen()[2]
    ways = [replace(e, method=m) for m in ("t over clusters, 3 df", "t over clusters, 9 df", "Wilson 95%")]
    assert wording.methods(ways) == "Wilson 95%; t over clusters"


def test_the_caption_names_model_precision_instrument_data_version_and_interval() -> None:
    words = wording.caption(made.toxigen(), made.FACTS)
    for needed in (
        "smollm2",
        "float32",
        "alt-profanity-check 1.8.0",
        "data version 2022",
        "Wilson",
        "template applied",
    ):
        assert needed in words


def test_the_facts_of_a_run_come_from_its_run_json() -> None:
    record = made.task_record(
        settings={"chat_template": False},
        instruments={"x": {"name": "roberta", "version": "2", "weights_sha256": "ab" * 32}},
        notes=("limit: 5 of 9 prompts",),
    )
    engine = {"name": "transformers", "revision": "0123456789abcdef", "precision": "bfloat16"}
    facts = wording.facts(made.run_file({"toxigen": record}, "org/m", engine=engine))
    assert facts.model == "org/m @ 0123456789ab"
    assert facts.precision == "bfloat16"
    assert facts.chat_template == {"toxigen": "not applied"}
    assert facts.instruments == {("toxigen", "x"): "roberta 2 (weights abababababab)"}
    assert facts.notes == {"toxigen": ("limit: 5 of 9 prompts",)}
