"""The transformers engine on tiny real models: the contract for several architectures, and its own rules."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from engine_conformance import EngineContract, by_id, prompts, with_choices
from tiny_models import CHATML, causal_lm, classifier

from safety_eval.core.errors import UserError
from safety_eval.core.interfaces import Engine, ModelSpec, Settings
from safety_eval.core.records import Message, Output, Prompt
from safety_eval.engines._transformers.engine import TransformersEngine
from safety_eval.engines._transformers.render import encode_choices, render
from safety_eval.engines.transformers import ENGINE


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    made: dict[str, Path] = {}

    def get(kind: str) -> Path:
        if kind not in made:
            made[kind] = causal_lm(tmp_path_factory.mktemp(kind), kind, chat_template=CHATML)
        return made[kind]

    return get


def open_engine(path: Path | str, batch_size: str = "auto", /, **args: str) -> TransformersEngine:
    engine = ENGINE.build(ModelSpec(str(path), args=args, batch_size=batch_size, device="cpu"))
    assert isinstance(engine, TransformersEngine)
    return engine


class TransformersContract(EngineContract):
    kind = ""
    path: Path
    too_long = "far too long a text " * 200
    tolerance = 1e-4

    @pytest.fixture(scope="class")
    @classmethod
    def engine(cls, folder: Callable[[str], Path]) -> Iterator[Engine]:
        cls.path = folder(cls.kind)
        engine = cls.build("auto")
        yield engine
        engine.close()

    @classmethod
    def build(cls, batch_size: str) -> Engine:
        return open_engine(cls.path, batch_size)

    def test_closing_twice_is_harmless_and_then_it_answers_no_more(self, engine: Engine) -> None:  # type: ignore[override]
        super().test_closing_twice_is_harmless_and_then_it_answers_no_more()


class TestLlama(TransformersContract):
    kind = "llama"


class TestGpt2(TransformersContract):
    kind = "gpt2"


class TestGptNeoX(TransformersContract):
    kind = "gpt_neox"


class TestQwen2(TransformersContract):
    kind = "qwen2"


class TestGemma2(TransformersContract):
    """Sliding windows and soft-capped logits."""

    kind = "gemma2"


class TestBloom(TransformersContract):
    """No positions: a bias in the attention, and no limit of length."""

    kind, too_long = "bloom", None  # type: ignore[assignment]


class TestMamba(TransformersContract):
    """No attention at all."""

    kind, too_long = "mamba", None  # type: ignore[assignment]


@pytest.fixture(scope="module")
def llama(folder: Callable[[str], Path]) -> TransformersEngine:
    return open_engine(folder("llama"))


def ask(engine: Engine, prompt: Prompt, **settings: Any) -> Output:
    (output,) = engine.generate([prompt], Settings("t", **{"max_new_tokens": 12, **settings}))
    return output


def test_greedy_answers_are_those_of_plain_generate(folder: Callable[[str], Path], llama: TransformersEngine) -> None:
    import transformers as t

    model, tokenizer = t.AutoModelForCausalLM.from_pretrained(folder("llama")), llama._open().tokenizer
    for prompt in prompts():
        ids = tokenizer(prompt.text or "<s>", return_tensors="pt")["input_ids"]
        out = model.generate(ids, max_new_tokens=12, do_sample=False)[0, ids.shape[1] :]
        text = tokenizer.decode(out, skip_special_tokens=True)
        assert ask(llama, prompt).text == text


def test_likelihoods_are_those_of_one_forward_pass_with_lm_evals_split(llama: TransformersEngine) -> None:
    loaded = llama._open()
    for prompt in with_choices():
        (output,) = llama.choose([prompt], Settings("t"))
        text = prompt.text.rstrip()
        moved = prompt.text[len(text) :]
        for choice, value in zip(prompt.choices, output.choice_logprobs, strict=True):
            whole = loaded.tokenizer(text + moved + choice)["input_ids"]
            known = len(loaded.tokenizer(text)["input_ids"])
            ids = torch.tensor([whole if known else [1, *whole]])
            known = known or 1
            with torch.inference_mode():
                scores = loaded.model(input_ids=ids).logits[0].log_softmax(-1)
            expected = sum(float(scores[i - 1, ids[0, i]]) for i in range(known, ids.shape[1]))
            assert value == pytest.approx(expected, abs=1e-3)


def test_blanks_at_the_end_of_the_context_belong_to_the_choice(llama: TransformersEngine) -> None:
    tokenizer = llama._open().tokenizer
    rendered = render(tokenizer, Prompt("t", "a", text="Is it? \n"), Settings("t"))
    ((ids, known),) = encode_choices(tokenizer, rendered, ("yes",))
    assert tokenizer.decode(ids[:known]) == "Is it?" and tokenizer.decode(ids) == "Is it? \nyes"


def test_a_choice_without_tokens_is_data(llama: TransformersEngine) -> None:
    (output,) = llama.choose([Prompt("t", "a", text="x", choices=(" yes", ""))], Settings("t"))
    assert "choice 1" in output.error


def test_the_chat_template_carries_system_prompt_prefix_turns_and_prefill(llama: TransformersEngine) -> None:
    tokenizer, chat = llama._open().tokenizer, Settings("t", chat_template=True, system_prompt="Be kind.")
    text = render(tokenizer, Prompt("t", "a", text="Hi", prefill="Sure"), replace(chat, chat_prefix="Go on: ")).text
    assert text == (
        "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nGo on: Hi<|im_end|>\n<|im_start|>assistant\nSure"
    )
    turns = (Message("system", "Own."), Message("user", "Hi"))
    text = render(tokenizer, Prompt("t", "a", messages=turns), chat).text
    assert "system\nBe kind.\n\nOwn.<|im_end|>" in text and "Go on" not in text
    bare = render(tokenizer, Prompt("t", "a", text="Hi", prefill="!"), replace(chat, chat_template=False)).text
    assert bare == "Be kind.\n\nHi!"


def test_a_template_adds_no_second_begin_token(tmp_path: Path) -> None:
    template = "<s>" + CHATML
    engine = open_engine(causal_lm(tmp_path, chat_template=template, add_bos=True))
    plain, chat = (
        ask(engine, Prompt("t", "a", text="Hi")),
        ask(engine, Prompt("t", "a", text="Hi"), chat_template=True),
    )
    tokenizer = engine._open().tokenizer
    assert plain.prompt_tokens == len(tokenizer("Hi")["input_ids"])
    rendered = render(tokenizer, Prompt("t", "a", text="Hi"), Settings("t", chat_template=True)).text
    assert chat.prompt_tokens == len(tokenizer(rendered, add_special_tokens=False)["input_ids"])


def test_a_template_that_refuses_is_data_and_a_missing_one_is_an_error(tmp_path: Path) -> None:
    refusing = "{{ raise_exception('no system turn, please') }}"
    engine = open_engine(causal_lm(tmp_path / "a", chat_template=refusing))
    assert "no system turn" in ask(engine, Prompt("t", "a", text="Hi"), chat_template=True).error
    engine = open_engine(causal_lm(tmp_path / "b"))
    assert "chat_template" not in engine.capabilities
    with pytest.raises(UserError, match="no(ne| chat template)"):
        ask(engine, Prompt("t", "a", text="Hi"), chat_template=True)


def test_the_context_shortens_the_last_answers_and_nothing_crosses_it(tmp_path: Path) -> None:
    engine = open_engine(causal_lm(tmp_path, "gpt2", n_positions=24))
    found = by_id(engine.generate(prompts(("x", "x y z " * 2, "x y z " * 30)), Settings("t", max_new_tokens=20)))
    assert found["p0"].output_tokens == 20
    assert 0 < found["p1"].output_tokens == 24 - found["p1"].prompt_tokens < 20
    assert found["p1"].stop_reason == "length"
    assert "24" in found["p2"].error and str(found["p2"].prompt_tokens) in found["p2"].error


def test_end_tokens_of_the_checkpoint_end_answers_and_its_sampling_defaults_do_not_apply(
    tmp_path: Path,
) -> None:
    path = causal_lm(tmp_path)
    engine = open_engine(path)
    first = ask(engine, Prompt("t", "a", text="Hello"))
    start = engine._open().tokenizer("Hello", return_tensors="pt")["input_ids"]
    ids = engine._open().model.generate(start, max_new_tokens=12)[0, start.shape[1] :].tolist()
    config = json.loads((path / "generation_config.json").read_text())
    config |= {"eos_token_id": [2, ids[3]], "repetition_penalty": 3.0, "do_sample": True, "temperature": 9.0}
    (path / "generation_config.json").write_text(json.dumps(config))
    second = ask(open_engine(path), Prompt("t", "a", text="Hello"))
    assert second.stop_reason == "eos" and first.text.startswith(second.text) and second.text != first.text


def test_out_of_memory_halves_the_batch_remembers_and_goes_on(folder: Callable[[str], Path]) -> None:
    engine = open_engine(folder("llama"), path="plain")
    model, seen = engine._open().model, []
    forward = model.forward

    def limited(*args: Any, **kwargs: Any) -> Any:
        rows = kwargs["input_ids"].shape[0]
        seen.append(rows)
        if rows > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(*args, **kwargs)

    expected = by_id(engine.generate(prompts(), Settings("t", max_new_tokens=5)))
    model.forward = limited
    assert by_id(engine.generate(prompts(), Settings("t", max_new_tokens=5))) == expected
    assert max(seen) == 8
    seen.clear()
    assert by_id(engine.generate(prompts(), Settings("t", max_new_tokens=5))) == expected
    assert max(seen) == 2


def test_one_prompt_that_does_not_fit_alone_is_data(folder: Callable[[str], Path]) -> None:
    engine = open_engine(folder("llama"), path="plain")
    model = engine._open().model
    forward = model.forward

    def limited(*args: Any, **kwargs: Any) -> Any:
        if kwargs["input_ids"].shape[1] > 40:
            raise MemoryError
        return forward(*args, **kwargs)

    model.forward = limited
    found = by_id(engine.generate(prompts(("short", "long " * 60)), Settings("t", max_new_tokens=5)))
    assert not found["p0"].error and "out of memory" in found["p1"].error


def test_identity_names_weights_precision_and_versions(folder: Callable[[str], Path], tmp_path: Path) -> None:
    path = folder("llama")
    identity = open_engine(path).identity
    assert identity["weights"] == hashlib.sha256((path / "model.safetensors").read_bytes()).hexdigest()
    assert identity["dtype"] == "float32" and identity["device"].startswith("cpu")
    assert identity["versions"]["torch"] == torch.__version__
    half = causal_lm(tmp_path, dtype="bfloat16")
    assert open_engine(half).identity["dtype"] == "bfloat16"
    assert (identity["batch"], open_engine(half).identity["batch"]) == ("any", "auto")
    widened = ENGINE.build(ModelSpec(str(half), dtype="float32", device="cpu"))
    assert widened.identity["dtype"] == "float32"
    assert widened.identity["weights"] == open_engine(half).identity["weights"] != identity["weights"]


def test_reasoning_is_split_off_and_not_searched_for_stops(tmp_path: Path) -> None:
    opened = CHATML.replace("assistant\n{% endif %}", "assistant\n<think>\n{% endif %}")
    engine = open_engine(causal_lm(tmp_path, chat_template=opened))
    output = ask(engine, Prompt("t", "a", text="Hi"), chat_template=True, stop=("e", "a", " "))
    assert output.text == "" and output.reasoning and output.stop_reason == "length"


@pytest.mark.parametrize(
    ("answer", "opened", "text", "reasoning", "closed"),
    [
        ("<think>because 12</think>\n\nThe answer", "", "The answer", "because 12", True),
        ("because 12</think>The answer", "<think>", "The answer", "because 12", True),
        ("[THINK]hm[/THINK]Yes", "", "Yes", "hm", True),
        ("<think>never ends", "", "", "never ends", False),
        ("no <think> at its start</think>", "", "no <think> at its start</think>", "", True),
        (" Paris is\u00a0big 🙂", "", " Paris is\u00a0big 🙂", "", True),
    ],
)
def test_reading(llama: TransformersEngine, answer: str, opened: str, text: str, reasoning: str, closed: bool) -> None:
    ids = llama._open().tokenizer(answer)["input_ids"]
    read = llama._reader.read(ids, opened)
    assert (read.answer, read.reasoning, read.closed) == (text, reasoning, closed)


def test_settings_that_mean_nothing_are_refused(llama: TransformersEngine) -> None:
    wrong: list[dict[str, Any]] = [
        {"max_new_tokens": 0},
        {"temperature": -1.0},
        {"temperature": float("nan")},
        {"top_p": 0.0},
        {"top_p": 1.1},
        {"stop": ("",)},
    ]
    for settings in wrong:
        with pytest.raises(UserError):
            ask(llama, Prompt("t", "a", text="x"), **settings)


def test_bad_models_are_user_errors_with_a_way_out(
    folder: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file.txt").write_text("x")
    bare = causal_lm(tmp_path / "bare")
    (bare / "config.json").unlink()
    classifier(tmp_path / "classifier")
    cases = [
        (ModelSpec(str(tmp_path / "empty")), "no weights"),
        (ModelSpec(str(tmp_path / "file.txt")), "not a .gguf"),
        (ModelSpec(str(bare)), "no config.json"),
        (ModelSpec(str(tmp_path / "nowhere")), "no such folder"),
        (ModelSpec("smolm2"), "smollm2"),
        (ModelSpec(str(folder("llama")), args={"revison": "x"}), "revision"),
        (ModelSpec(str(folder("llama")), args={"trust_remote_code": "maybe"}), "true"),
        (ModelSpec(str(folder("llama")), dtype="float33"), "float32"),
        (ModelSpec(str(folder("llama")), device="gpu"), "cuda"),
        (ModelSpec(str(folder("llama")), batch_size="0"), "auto"),
    ]
    for spec, word in cases:
        with pytest.raises(UserError) as caught:
            ENGINE.build(spec)
        assert word in str(caught.value), str(caught.value)


def test_torn_weights_are_a_user_error(tmp_path: Path) -> None:
    path = causal_lm(tmp_path)
    data = (path / "model.safetensors").read_bytes()
    (path / "model.safetensors").write_bytes(data[: len(data) // 2])
    with pytest.raises(UserError, match="cannot be loaded"):
        open_engine(path)


def test_pickles_with_code_are_not_executed(tmp_path: Path) -> None:
    path = causal_lm(tmp_path / "model")
    (path / "model.safetensors").unlink()
    mark = tmp_path / "executed"

    class Evil:
        def __reduce__(self) -> Any:
            return (Path.touch, (mark,))

    torch.save({"model.embed_tokens.weight": Evil()}, path / "pytorch_model.bin")
    with pytest.raises(UserError):
        open_engine(path)
    assert not mark.exists()


def test_tensors_in_pytorch_files_are_read(tmp_path: Path, folder: Callable[[str], Path]) -> None:
    from safetensors.torch import load_file

    path = causal_lm(tmp_path)
    tensors = load_file(path / "model.safetensors")
    (path / "model.safetensors").unlink()
    torch.save(tensors, path / "pytorch_model.bin")
    assert ask(open_engine(path), prompts()[0]).text == ask(open_engine(folder("llama")), prompts()[0]).text


def test_code_in_a_model_folder_runs_only_when_asked(tmp_path: Path) -> None:
    path, mark = causal_lm(tmp_path / "model"), tmp_path / "executed"
    config = json.loads((path / "config.json").read_text())
    config |= {"model_type": "strange", "auto_map": {"AutoConfig": "strange.StrangeConfig"}}
    (path / "config.json").write_text(json.dumps(config))
    (path / "strange.py").write_text(f"open({str(mark)!r}, 'w').close()")
    with pytest.raises(UserError) as caught:
        open_engine(path)
    assert not mark.exists() and "trust_remote_code=true" in str(caught.value)


def test_memory_of_prompts_is_bounded_and_answers_come_before_the_stream_ends(
    llama: TransformersEngine,
) -> None:
    from safety_eval.torch_runtime.batches import WINDOW

    taken = 0

    def stream() -> Any:
        nonlocal taken
        while True:
            taken += 1
            yield Prompt("t", f"p{taken}", text="x")

    with warnings.catch_warnings():
        output = next(iter(llama.generate(stream(), Settings("t", max_new_tokens=1))))
    assert output.text is not None and taken <= WINDOW
