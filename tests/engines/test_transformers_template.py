"""Chat templates: the run's day instead of the clock, and no template that is endless, huge or different each time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tiny_models import CHATML, byte_level_tokenizer, causal_lm

from safety_eval import run
from safety_eval.core.errors import UserError
from safety_eval.core.interfaces import ModelSpec, Settings
from safety_eval.core.records import Prompt
from safety_eval.engines._transformers import template
from safety_eval.engines._transformers.render import Rendered, encode_choices, render
from safety_eval.engines.transformers import ENGINE

DATED = "Today is {{ strftime_now('%d %B %Y') }}.\n" + CHATML
SECONDS = "{{ strftime_now('%H:%M:%S %f') }} " + CHATML
NESTED = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}" + CHATML
HUGE = "{% for i in range(90000) %}{{ 'xxxxxxxxxxxxxxxxxxxxxxxxx' }}{% endfor %}" + CHATML
ENORMOUS = "{{ 'x' * 99999999999 }}" + CHATML
RANDOM = "{{ lipsum() }}" + CHATML


def opened(folder: Path, text: str, **given: str) -> Any:
    if not (folder / "config.json").exists():
        causal_lm(folder, chat_template=text)
    return ENGINE.build(ModelSpec(str(folder), device="cpu", template=given))


def test_a_template_that_tells_the_day_is_told_the_runs(tmp_path: Path) -> None:
    early, late = (opened(tmp_path, DATED, date=day) for day in ("2024-02-29", "2026-11-26"))
    assert early.identity["template_date"] == "2024-02-29" != late.identity["template_date"]
    text = render(
        byte_level_tokenizer(chat_template=DATED),
        Prompt("t", "a", "Hi"),
        Settings("t", chat_template=True),
        early._asking.given,
    ).text
    assert text.startswith("Today is 29 February 2024.\n<|im_start|>user\nHi")


def test_a_template_without_the_day_says_nothing_of_it(tmp_path: Path) -> None:
    assert "template_date" not in opened(tmp_path, CHATML, date="2024-02-29").identity


def test_arguments_reach_the_template_and_the_identity(tmp_path: Path) -> None:
    asks = CHATML + "{% if thinking is false %}<think>\n\n</think>{% endif %}{{ effort }}"
    engine = opened(tmp_path, asks, thinking="false", effort="low")
    assert engine.identity["template_args"] == {"thinking": "false", "effort": "low"}
    tokenizer, settings = engine._open().tokenizer, Settings("t", chat_template=True)
    rendered = render(tokenizer, Prompt("t", "a", "Hi"), settings, engine._asking.given)
    assert rendered.text.endswith("<think>\n\n</think>low")


@pytest.mark.parametrize(
    ("text", "words"),
    [(NESTED, "does not end"), (HUGE, "2,250,0"), (ENORMOUS, "does not end"), (RANDOM, "another text each time")],
)
def test_a_template_that_cannot_be_used_is_refused(
    text: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(template, "_SECONDS", 2)
    with pytest.raises(UserError, match=words):
        opened(tmp_path, text)


def test_a_date_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="YYYY-MM-DD"):
        opened(tmp_path, DATED, date="tomorrow")


def test_a_run_keeps_its_day_when_it_is_resumed_later(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    causal_lm(tmp_path / "model", chat_template=SECONDS, add_bos=True)
    asked: dict[str, Any] = {
        "model": str(tmp_path / "model"),
        "tasks": ("xstest",),
        "data_version": "quickstart",
        "output_path": folder,
        "limit": 6,
        "predict_only": True,
        "generation": {"max_new_tokens": 2},
        "device": "cpu",
    }
    run(**asked)
    outputs = folder / "xstest" / "outputs.jsonl"
    whole = sorted(outputs.read_text().splitlines())
    facts = json.loads((folder / "run.json").read_text())
    assert facts["engine"]["template_date"] == facts["started"][:10]
    kept = outputs.read_text().splitlines()[:3]
    outputs.write_text("\n".join(kept) + "\n")
    run(**asked)
    assert sorted(outputs.read_text().splitlines()) == whole


def test_the_split_decides_what_is_fed_where_the_tokenizer_joins_context_and_choice() -> None:
    tokenizer = byte_level_tokenizer()
    joined = next(
        (a, b)
        for a, b in (("nur", "ses"), ("the", "y"), ("Pari", "s"), ("wom", "en"), ("th", "e"), ("i", "n"))
        if len(tokenizer(a + b)["input_ids"]) < len(tokenizer(a)["input_ids"]) + len(tokenizer(b)["input_ids"])
        and tokenizer(a + b)["input_ids"][: len(tokenizer(a)["input_ids"])] != tokenizer(a)["input_ids"]
    )
    context, choice = joined[0], f"{joined[1]} and so on"
    start, whole = (tokenizer(text)["input_ids"] for text in (context, context + choice))
    ((ids, known),) = encode_choices(tokenizer, Rendered(context, False), (choice,))
    assert (ids, known) == (start + whole[len(start) :], len(start)) and ids != whole
    ((ids, known),) = encode_choices(tokenizer, Rendered(context, False), (choice,), "whole")
    assert (ids, known) == (whole, len(start))


def test_the_split_is_chosen_by_an_argument_and_stands_in_the_identity(tmp_path: Path) -> None:
    causal_lm(tmp_path)
    for given, split in (({}, "lm_eval"), ({"split": "whole"}, "whole")):
        engine = ENGINE.build(ModelSpec(str(tmp_path), given, device="cpu"))
        assert engine.identity["split"] == split == engine._asking.split
    with pytest.raises(UserError, match="split"):
        ENGINE.build(ModelSpec(str(tmp_path), {"split": "half"}, device="cpu"))
