"""Twenty odd model folders, none of them made for the code that reads them: refused in a sentence, or measured right.

'Right' is judged by `architectures.compare`: transformers' own model on one sequence at a time, choices and answers.
"""

from __future__ import annotations

import json
import re
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
from safety_eval.core.records import Output, Prompt
from safety_eval.engines.transformers import ENGINE

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks" / "fidelity"))
import architectures  # noqa: E402

Tensors = dict[str, torch.Tensor]


def changed(folder: Path, change: Callable[[Tensors], Tensors]) -> Path:
    file = folder / "model.safetensors"
    save_file({n: t.contiguous() for n, t in change(load_file(file)).items()}, file, {"format": "pt"})
    return folder


def told(folder: Path, name: str = "config.json", **settings: Any) -> Path:
    path = folder / name
    path.write_text(json.dumps({**json.loads(path.read_text()), **settings}))
    return folder


def sharded(folder: Path) -> Path:
    """An index that names a second file, which is not there."""
    names = list(load_file(folder / "model.safetensors"))
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    places = {n: f"model-0000{1 + i % 2}-of-00002.safetensors" for i, n in enumerate(names)}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    return folder


def quantised_away(tensors: Tensors) -> Tensors:
    """Every matrix of the first layer as whole numbers, as an 8-bit file without its scales holds them."""
    return {n: t.to(torch.int8) if "layers.0." in n and t.dim() == 2 else t for n, t in tensors.items()}


def with_infinity(tensors: Tensors) -> Tensors:
    return {n: torch.full_like(t, float("inf")) if n == "model.norm.weight" else t for n, t in tensors.items()}


def renamed(tensors: Tensors) -> Tensors:
    return {n.replace("model.", "transformer.", 1): t for n, t in tensors.items()}


def half_a_layer(tensors: Tensors) -> Tensors:
    return {n: t for n, t in tensors.items() if n != "model.layers.1.mlp.down_proj.weight"}


def longer_embedding(folder: Path) -> Path:
    return causal_lm(folder, "qwen2", vocab_size=512)


REFUSED: dict[str, tuple[Callable[[Path], Path], str]] = {
    "half a layer": (lambda f: changed(causal_lm(f, "qwen2"), half_a_layer), "lack 1 weights.*down_proj"),
    "weights under other names": (lambda f: changed(causal_lm(f, "qwen2"), renamed), "lack .* weights"),
    "half the heads of keys": (
        lambda f: told(causal_lm(f, "qwen2"), num_key_value_heads=4),
        "weights have another shape",
    ),
    "another family's configuration": (
        lambda f: told(causal_lm(f, "llama"), model_type="gpt2", architectures=["GPT2LMHeadModel"]),
        "lack .* weights",
    ),
    "a family nobody knows": (lambda f: told(causal_lm(f), model_type="llamma"), "llamma"),
    "a shard that is not there": (lambda f: sharded(causal_lm(f)), "00002-of-00002"),
    "infinity in the last norm": (lambda f: changed(causal_lm(f), with_infinity), "finite"),
    "a narrower embedding than the file's": (
        lambda f: told(causal_lm(f, "qwen2"), vocab_size=300),
        "another shape|does not know",
    ),
    "negative layers": (lambda f: told(causal_lm(f), num_hidden_layers=-3), "cannot be loaded|hold .* weights"),
    "heads that do not divide": (lambda f: told(causal_lm(f), num_attention_heads=5), "cannot be loaded|shape"),
}

RIGHT: dict[str, Callable[[Path], Path]] = {
    "an embedding longer than the tokenizer": longer_embedding,
    "a window shorter than the prompts": lambda f: causal_lm(f, "mistral", sliding_window=8),
    "frequencies that follow the longest sequence": lambda f: causal_lm(
        f,
        "llama",
        max_position_embeddings=32,
        rope_parameters={"rope_type": "dynamic", "factor": 8.0, "rope_theta": 10000.0},
    ),
    "no key-value sharing, a head wider than its share": lambda f: causal_lm(
        f, "qwen3", num_key_value_heads=4, head_dim=16
    ),
    "one layer": lambda f: causal_lm(f, "llama", num_hidden_layers=1),
    "biases in attention, no tie": lambda f: causal_lm(f, "llama", attention_bias=True, tie_word_embeddings=False),
}


def opened(folder: Path) -> Any:
    return ENGINE.build(ModelSpec(str(folder), device="cpu"))


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.filterwarnings("ignore")
def test_it_is_refused_in_a_sentence(case: str, tmp_path: Path) -> None:
    make, words = REFUSED[case]
    with pytest.raises(UserError) as caught:
        opened(make(tmp_path / "model"))
    assert re.search(words, caught.value.message, re.DOTALL), caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize("case", RIGHT)
@pytest.mark.filterwarnings("ignore")
def test_it_is_measured_right(case: str, tmp_path: Path) -> None:
    folder = RIGHT[case](tmp_path / "model")
    asked = architectures.PROMPTS
    if case.startswith("frequencies"):
        # transformers' own generate goes on with the frequencies of the longest prompt so far: a new model each.
        asked = asked[:2]
    assert architectures.compare(folder, opened(folder), asked) == ""


def test_a_token_whose_embedding_is_nan_costs_the_prompts_that_hold_it(tmp_path: Path) -> None:
    tokenizer = byte_level_tokenizer()
    (bad,) = tokenizer("~")["input_ids"]

    def poison(tensors: Tensors) -> Tensors:
        tensors["model.embed_tokens.weight"][bad] = float("nan")
        return tensors

    engine = opened(changed(causal_lm(tmp_path, "qwen2"), poison))
    prompts = [Prompt("t", str(i), text, choices=(" a", " b")) for i, text in enumerate(("one", "a ~ b", "three"))]
    for outputs in (engine.generate(prompts, Settings("t", max_new_tokens=4)), engine.choose(prompts, Settings("t"))):
        by_id: dict[str, Output] = {o.prompt_id: o for o in outputs}
        assert "NaN or infinite" in str(by_id["1"].error)
        assert not by_id["0"].error and not by_id["2"].error, by_id


def test_a_model_without_an_end_token_answers_to_the_limit(tmp_path: Path) -> None:
    folder = told(told(causal_lm(tmp_path), eos_token_id=None), "generation_config.json", eos_token_id=None)
    told(folder, "tokenizer_config.json", eos_token=None)
    (output,) = opened(folder).generate([Prompt("t", "a", "The quick")], Settings("t", max_new_tokens=6))
    assert (output.stop_reason, output.output_tokens) == ("length", 6)


def test_a_context_of_sixteen_tokens_records_what_does_not_fit(tmp_path: Path) -> None:
    engine = opened(causal_lm(tmp_path, "gpt2", n_positions=16))
    prompts = [Prompt("t", "short", "Yes"), Prompt("t", "long", "What is the capital of France? " * 4)]
    answers = {o.prompt_id: o for o in engine.generate(prompts, Settings("t", max_new_tokens=4))}
    assert not answers["short"].error and "context is 16" in str(answers["long"].error)


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{% macro a() %}{{ a() }}{% endmacro %}{{ a() }}", "recursion"),
        ("{{ messages[7]['content'] }}", "undefined|no element"),
        ("{{ 1 / 0 }}", "division"),
        ("{% for m in messages %}{{ m['content'] }", "expected|unexpected"),
    ],
)
def test_a_template_that_breaks_is_an_error_of_each_prompt(template: str, words: str, tmp_path: Path) -> None:
    engine = opened(causal_lm(tmp_path, chat_template=template))
    (output,) = engine.generate([Prompt("t", "a", "Hi")], Settings("t", max_new_tokens=2, chat_template=True))
    assert re.search(f"chat template refuses this prompt: .*({words})", output.error), output.error
    (plain,) = engine.generate([Prompt("t", "a", "Hi")], Settings("t", max_new_tokens=2))
    assert not plain.error
