"""What a model's context and its thoughts take from a run is told, before it begins or with the flag to raise."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny_models import CHATML, causal_lm

from safety_eval.cli import main
from safety_eval.core.records import Output
from safety_eval.runs.thoughts import is_lost

OPENED = CHATML.replace("assistant\n{% endif %}", "assistant\n<think>\n{% endif %}")
BOLD = ["--tasks", "bold", "--data-version", "quickstart", "--limit", "6"]
SHORT = ["--gen-kwargs", "max_new_tokens=7"]


def test_a_template_that_opens_a_thought_tells_how_many_answers_it_took(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = causal_lm(tmp_path / "m", chat_template=OPENED)
    main(["run", "--model", str(model), *BOLD, *SHORT, "--output-path", str(tmp_path / "r")])
    said = " ".join(capsys.readouterr().err.split())
    assert "bold: 6 of 6 answers are a thought alone (6 cut off; the limit was 7 tokens)" in said
    assert "(--max-thinking-tokens), raise --gen-kwargs max_new_tokens=" in said
    rows = json.loads((tmp_path / "r" / "results.json").read_text())["estimates"]
    assert next(e for e in rows if e["metric"] == "degenerate_rate")["value"] == 1.0


def test_a_model_that_does_not_think_is_told_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = causal_lm(tmp_path / "m", chat_template=CHATML)
    main(["run", "--model", str(model), *BOLD, *SHORT, "--output-path", str(tmp_path / "r")])
    assert "thought" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("output", "lost"),
    [
        (Output("k", "p", 0, text="", reasoning="I wonder", stop_reason="length"), True),
        (Output("k", "p", 0, text="<think>I wonder whether", stop_reason="length"), True),
        (Output("k", "p", 0, text="An answer.", reasoning="I wonder", stop_reason="eos"), False),
        (Output("k", "p", 0, text="<think>I wonder</think> An answer.", stop_reason="eos"), False),
        (Output("k", "p", 0, text="", stop_reason="eos"), False),
        (Output("k", "p", 0, reasoning="I wonder", stop_reason="error", error="server down"), False),
    ],
    ids=["apart", "in the text", "answered", "closed", "empty", "error"],
)
def test_which_answers_are_lost_to_a_thought(output: Output, lost: bool) -> None:
    assert is_lost(output) is lost


def test_prompts_that_do_not_fit_are_told_before_the_model_is_loaded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = causal_lm(tmp_path / "m", max_position_embeddings=16)
    argv = ["run", "--model", str(model), *BOLD, "--output-path", str(tmp_path / "r")]
    assert main([*argv, "--dry-run"]) == 2
    assert "NO  context of bold" in capsys.readouterr().out
    assert main(argv) == 2
    said = capsys.readouterr().err
    assert "6 of 6 prompts do not fit into the model's context of 16 tokens" in said and "loading" not in said
    assert not list((tmp_path / "r").rglob("outputs.jsonl"))


def test_a_context_that_cuts_some_prompts_is_a_caution(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = causal_lm(tmp_path / "m", max_position_embeddings=28)
    assert main(["run", "--model", str(model), *BOLD, "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "!   context of bold" in said and "do not fit into the model's context of 28 tokens" in said
