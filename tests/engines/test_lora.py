"""LoRA adapters: merged at load, part of the identity, refused where they do not belong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from engine_conformance import by_id
from tiny_models import causal_lm
from transformers import AutoModelForCausalLM

from safety_eval.core.errors import UserError
from safety_eval.core.interfaces import ModelSpec, Settings
from safety_eval.core.records import Prompt
from safety_eval.engines import transformers
from safety_eval.engines._transformers.adapter import CONFIG, WEIGHTS, adapter_of, layers

peft = pytest.importorskip("peft", reason="needs safety-eval[lora]")
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")  # what PEFT still calls by an old name
SETTINGS = Settings("lora", max_new_tokens=8)
PROMPTS = [Prompt("lora", f"p{i}", text=text, choices=(" yes", " no")) for i, text in enumerate(["It is", "The nurse"])]


def adapter(model: Path, folder: Path, **config: object) -> Path:
    """A LoRA adapter of random weights for a model, as PEFT saves it."""
    torch.manual_seed(3)
    asked = {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj", "down_proj"], "init_lora_weights": False}
    held = peft.get_peft_model(AutoModelForCausalLM.from_pretrained(model), peft.LoraConfig(**asked | config))
    held.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return causal_lm(tmp_path_factory.mktemp("lora") / "tiny", "llama", seed=1)


@pytest.fixture(scope="module")
def lora(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return adapter(tiny, tmp_path_factory.mktemp("lora") / "adapter")


def opened(model: Path, **args: str) -> transformers.TransformersEngine:
    return transformers.build(ModelSpec(str(model), args, dtype="float32", device="cpu"))


def test_it_answers_as_peft_does_and_says_so(tiny: Path, lora: Path) -> None:
    base, tuned = opened(tiny), opened(tiny, lora=str(lora))
    plain, ours = (by_id(engine.choose(PROMPTS, SETTINGS)) for engine in (base, tuned))
    held = peft.PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny), lora).eval()
    tokenizer = tuned._loaded.tokenizer  # type: ignore[union-attr]
    for prompt in PROMPTS:
        for choice, found in zip(prompt.choices, ours[prompt.id].choice_logprobs, strict=True):
            start = tokenizer(prompt.text, add_special_tokens=False)["input_ids"]
            ids = [*start, *tokenizer(choice, add_special_tokens=False)["input_ids"]]
            logs = torch.log_softmax(held(torch.tensor([ids])).logits[0], -1)
            expected = sum(float(logs[at - 1, ids[at]]) for at in range(len(start), len(ids)))
            assert found == pytest.approx(expected, abs=1e-4)
        assert plain[prompt.id].choice_logprobs != pytest.approx(ours[prompt.id].choice_logprobs, abs=1e-2)
    assert tuned.identity["lora"]["base"] == base.identity["weights"] != tuned.identity["weights"]
    assert "lora" not in base.identity


def test_another_adapter_is_another_model(tiny: Path, lora: Path, tmp_path: Path) -> None:
    other = adapter(tiny, tmp_path / "other", lora_alpha=2)
    assert opened(tiny, lora=str(lora)).identity["weights"] != opened(tiny, lora=str(other)).identity["weights"]


@pytest.mark.filterwarnings("ignore:Setting `save_embedding_layers`")
def test_the_last_layer_may_be_changed_too(tmp_path: Path) -> None:
    """PEFT saves the layer beside what changes it, and says so in a warning."""
    model = causal_lm(tmp_path / "untied", "llama", seed=1, tie_word_embeddings=False)
    lora = adapter(model, tmp_path / "head", target_modules=["q_proj", "lm_head"])
    held = peft.PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(model), lora).eval()
    ids = torch.tensor([[5, 6, 7, 8]])
    engine = opened(model, lora=str(lora))
    ours = engine._loaded.model(ids).logits  # type: ignore[union-attr]
    assert torch.allclose(ours, held(ids).logits, atol=1e-4)
    found = adapter_of({"lora": str(lora)}, str(model))
    assert found is not None and layers(found) == {"q_proj", "lm_head"}


def renamed(folder: Path) -> None:
    said = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps({**said, "base_model_name_or_path": "meta-llama/Llama-2-7b-hf"}))


def of_another_kind(folder: Path) -> None:
    said = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps({**said, "peft_type": "IA3"}))


def pickled(folder: Path) -> None:
    (folder / WEIGHTS).rename(folder / "adapter_model.bin")


def torn(folder: Path) -> None:
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-100])


def emptied(folder: Path) -> None:
    (folder / CONFIG).unlink()


@pytest.mark.parametrize(
    ("spoil", "naming"),
    [
        (renamed, "is for meta-llama/Llama-2-7b-hf"),
        (of_another_kind, "not a plain LoRA adapter"),
        (pickled, "pickled weights are not read"),
        (torn, "does not fit the model"),
        (emptied, "no LoRA adapter in"),
    ],
)
def test_a_wrong_adapter_is_refused(spoil: Callable[[Path], None], naming: str, tiny: Path, tmp_path: Path) -> None:
    folder = adapter(tiny, tmp_path / "adapter")
    spoil(folder)
    with pytest.raises(UserError, match=naming):
        opened(tiny, lora=str(folder))


@pytest.mark.parametrize("config", [{"hidden_size": 64}, {"num_hidden_layers": 4}, {"num_hidden_layers": 1}], ids=str)
def test_an_adapter_of_another_shape_is_refused(config: dict[str, int], tiny: Path, tmp_path: Path) -> None:
    """More layers are left over in silence, fewer are made up: neither is this model with its adapter."""
    other = causal_lm(tmp_path / "tiny", "llama", seed=1, **config)
    with pytest.raises(UserError, match="does not fit the model"):
        opened(tiny, lora=str(adapter(other, tmp_path / "adapter")))
