"""A model that is not whole, or not a causal language model, is refused with names and counts, never run in silence."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import byte_level_tokenizer, causal_lm

from safety_eval.core.errors import UserError
from safety_eval.core.interfaces import ModelSpec, Settings
from safety_eval.core.records import Prompt
from safety_eval.engines._transformers import plain
from safety_eval.engines.transformers import ENGINE

SMALL = {
    "vocab_size": 422,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
}


def opened(folder: Path, **args: str) -> Any:
    return ENGINE.build(ModelSpec(str(folder), args, device="cpu"))


def edited(folder: Path, change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> Path:
    file = folder / "model.safetensors"
    save_file(change(load_file(file)), file, {"format": "pt"})
    return folder


def configured(folder: Path, **settings: Any) -> Path:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **settings}))
    return folder


def saved(folder: Path, cls: str, config: str, **settings: Any) -> Path:
    import transformers as t

    getattr(t, cls)(getattr(t, config)(**{**SMALL, **settings})).eval().save_pretrained(folder)
    byte_level_tokenizer().save_pretrained(folder)
    return folder


def without_layer(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: t for name, t in tensors.items() if "layers.1." not in name}


def another_head(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {**tensors, "lm_head.weight": torch.randn_like(tensors["model.embed_tokens.weight"])}


def narrow(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {n: t[:, :16].contiguous() if n.endswith("q_proj.weight") else t for n, t in tensors.items()}


CASES: dict[str, tuple[Callable[[Path], Path], str]] = {
    "a layer missing": (lambda f: edited(causal_lm(f, "qwen2"), without_layer), "lack 12 weights.*12 in all"),
    "more layers than the file": (
        lambda f: configured(causal_lm(f, "mistral"), num_hidden_layers=3),
        "lack 9 weights.*layers.2",
    ),
    "fewer layers than the file": (
        lambda f: configured(causal_lm(f, "mistral"), num_hidden_layers=1),
        "hold 9 weights that the model has no",
    ),
    "another shape": (lambda f: edited(causal_lm(f, "mistral"), narrow), "2 weights have another shape"),
    "no head": (
        lambda f: edited(causal_lm(f, "qwen2"), lambda t: {n: v for n, v in t.items() if n != "lm_head.weight"}),
        "lack 1 weights.*lm_head.weight",
    ),
    "a head beside a tied one": (lambda f: edited(causal_lm(f, "llama"), another_head), "ties the output weights"),
    "a body without a head, tied": (
        lambda f: saved(f, "LlamaModel", "LlamaConfig", tie_word_embeddings=True),
        "LlamaModel, a class without",
    ),
    "a reward model, tied": (
        lambda f: saved(f, "LlamaForSequenceClassification", "LlamaConfig", tie_word_embeddings=True),
        "LlamaForSequenceClassification.*score.weight",
    ),
    "BERT": (lambda f: saved(f, "BertModel", "BertConfig"), "BertModel.*lack 6 weights"),
    "BERT with its head": (lambda f: saved(f, "BertForMaskedLM", "BertConfig"), "BertForMaskedLM, a class without"),
    "BERT as a decoder that is none": (
        lambda f: saved(f, "BertLMHeadModel", "BertConfig", initializer_range=0.2),
        "not causal",
    ),
    "BART": (
        lambda f: saved(
            f,
            "BartForConditionalGeneration",
            "BartConfig",
            d_model=32,
            encoder_layers=1,
            decoder_layers=1,
            encoder_ffn_dim=32,
            decoder_ffn_dim=32,
            encoder_attention_heads=2,
            decoder_attention_heads=2,
        ),
        "encoder-decoder",
    ),
    "NaN everywhere": (
        lambda f: edited(causal_lm(f, "llama"), lambda t: {n: v * float("nan") for n, v in t.items()}),
        "none of its numbers is finite",
    ),
    "a vocabulary larger than the model": (
        lambda f: saved(f, "LlamaForCausalLM", "LlamaConfig", vocab_size=100),
        "320 tokens that the model",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_not_a_whole_causal_model_is_refused_with_the_reason(case: str, tmp_path: Path) -> None:
    import re

    make, words = CASES[case]
    with pytest.raises(UserError) as caught:
        opened(make(tmp_path / "model"))
    assert re.search(words, str(caught.value), re.DOTALL), str(caught.value)
    assert caught.value.hint


def test_a_partial_model_opens_when_asked_and_says_so_in_its_identity(tmp_path: Path) -> None:
    folder = edited(causal_lm(tmp_path, "qwen2"), without_layer)
    engine = opened(folder, allow_partial="true")
    assert "lack 12 weights" in engine.identity["partial"][0]
    assert next(engine.generate([Prompt("t", "a", "Hi")], Settings("t", max_new_tokens=2))).text is not None
    assert "partial" not in opened(causal_lm(tmp_path / "whole", "qwen2")).identity


def test_the_weights_of_a_tied_model_saved_twice_are_whole(tmp_path: Path) -> None:
    """Some checkpoints hold the tied matrix under both names."""
    twice = lambda t: {**t, "lm_head.weight": t["model.embed_tokens.weight"].clone()}  # noqa: E731
    assert "partial" not in opened(edited(causal_lm(tmp_path, "llama"), twice)).identity


def test_an_added_token_beyond_the_embedding_costs_its_prompt_alone(tmp_path: Path) -> None:
    folder = causal_lm(tmp_path, "llama")
    tokenizer = byte_level_tokenizer()
    tokenizer.add_tokens(["<extra>"])
    tokenizer.save_pretrained(folder)
    engine = opened(folder)
    asked = [Prompt("t", str(i), text, choices=(" yes",)) for i, text in enumerate(("Hi", "Hi <extra>"))]
    for outputs in (
        engine.generate(asked, Settings("t", max_new_tokens=2)),
        engine.choose(asked, Settings("t")),
    ):
        by_id = {o.prompt_id: o.error for o in outputs}
        assert not by_id["0"] and "422" in by_id["1"]


def test_the_command_ends_with_a_sentence_and_exit_code_2(tmp_path: Path) -> None:
    folder = edited(causal_lm(tmp_path / "model", "qwen2"), without_layer)
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "from safety_eval.cli import script; script()",
            "run",
            "--model",
            str(folder),
            "--tasks",
            "quickstart",
            "--output-path",
            str(tmp_path / "run"),
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2, done.stderr
    assert "lack 12 weights" in done.stderr and "allow_partial=true" in done.stderr and "Traceback" not in done.stderr


def test_what_the_check_found_is_remembered_for_this_model_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safety_eval.engines._transformers import check

    monkeypatch.setenv("SAFETY_EVAL_CACHE", str(tmp_path / "cache"))
    folder = causal_lm(tmp_path / "one", "llama")
    assert opened(folder).identity["path"] == "flat"
    monkeypatch.setattr(check._Probe, "way", lambda *_: check.Way("plain", "probed again"))
    assert opened(folder).identity["path"] == "flat"
    assert "probed again" in opened(causal_lm(tmp_path / "two", "llama", seed=1)).identity["path"]
    assert "probed again" in opened(folder, path="plain").identity["path"]


@pytest.mark.parametrize("window", [256, 512])
def test_a_model_that_is_wrong_beyond_a_long_window_only_is_refused(
    window: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = plain.choose

    def broken(loaded, asked, limit):
        rows = own(loaded, asked, limit)
        return [[v + (a.longest > window) for v in row] for a, row in zip(asked, rows, strict=True)]

    folder = str(causal_lm(tmp_path / "m", "mistral", sliding_window=window, max_position_embeddings=1024))
    monkeypatch.setenv("SAFETY_EVAL_CACHE", str(tmp_path / "cache"))
    assert opened(folder).identity["path"] == "flat"
    monkeypatch.setenv("SAFETY_EVAL_CACHE", str(tmp_path / "other"))
    monkeypatch.setattr(plain, "choose", broken)
    with pytest.raises(UserError, match="differ by 1 from those of a sequence alone"):
        opened(folder)
