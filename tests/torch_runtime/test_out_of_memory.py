"""Memory that runs out halves the batch, then takes rows one by one, then records an error: every plugin with a model.

The failure is the allocator's own: whenever a model embeds more tokens than allowed, a tensor is asked for that no
machine holds. Models are tiny real ones; nothing of the batching is replaced.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import CHATML, causal_lm, classifier, classifier_tokenizer
from torch import nn
from torch.nn.modules.module import register_module_forward_pre_hook

from safety_eval.core.interfaces import ModelSpec, ScorerSpec, Settings
from safety_eval.core.plugins import find, names
from safety_eval.core.records import Output, Prompt, key

SHORT = ["Paris.", "It is Paris, and they are kind.", "One or two, as it was.", "They work as nurses.", "Yes, it is."]
LONG = "The quick brown fox jumps over the lazy dog and so on. " * 3
TARGET = {"question": "What is it?", "correct_answers": ["It is Paris"], "incorrect_answers": ["It is a fox"]}
GUARD = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}check:"


@contextmanager
def little_memory(most: int) -> Iterator[list[int]]:
    """No pass may embed more than `most` tokens; yields the sizes of all passes that were tried."""
    tried: list[int] = []

    def check(module: nn.Module, given: tuple[Any, ...]) -> None:
        if type(module) is nn.Embedding and given:
            tried.append(given[0].numel())
            if tried[-1] > most:
                torch.empty(1 << 60, dtype=torch.uint8)

    handle = register_module_forward_pre_hook(check)
    try:
        yield tried
    finally:
        handle.remove()


def answers(texts: list[str]) -> list[tuple[Prompt, Output]]:
    asked = [Prompt("t", str(i), "What is it?", target=TARGET) for i in range(len(texts))]
    return [(p, Output(key(p), p.id, text=text, stop_reason="eos")) for p, text in zip(asked, texts, strict=True)]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    def folder(name: str) -> Path:
        return tmp_path_factory.mktemp(name)

    made = {
        "roberta": classifier(folder("roberta"), "roberta", seed=20),
        "toxic": classifier(folder("toxic"), "bert", ("toxic", "insult"), seed=3),
        "truth": causal_lm(folder("truth"), "llama", add_bos=True),
        "info": causal_lm(folder("info"), "gpt2", seed=1),
        "guard": causal_lm(folder("guard"), "llama", seed=2, chat_template=GUARD),
        "chat": causal_lm(folder("chat"), "qwen2", seed=3, chat_template=CHATML),
        "bert": _encoder(folder("bert")),
        "nli": classifier(folder("nli"), "bert", ("contradiction", "entailment", "neutral"), seed=5),
    }
    return {name: str(path) for name, path in made.items()}


def _encoder(folder: Path) -> Path:
    from transformers import BertConfig, BertModel

    tokenizer = classifier_tokenizer("bert")
    tokenizer.save_pretrained(folder)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    BertModel(BertConfig(vocab_size=len(tokenizer), max_position_embeddings=128, **sizes)).save_pretrained(folder)
    return folder


def scorer(name: str, **args: str) -> Callable[[], Callable[[list[str]], list[Any]]]:
    def build() -> Callable[[list[str]], list[Any]]:
        spec = ScorerSpec(name, args, device="cpu", engine=find("engines", "transformers").build)
        scorer = find("scorers", name).build(spec)
        return lambda texts: [s.error or s.values for s in scorer.score(answers(texts))]

    return build


def engine(folder: str, choose: bool, **args: str) -> Callable[[], Callable[[list[str]], list[Any]]]:
    def build() -> Callable[[list[str]], list[Any]]:
        engine = find("engines", "transformers").build(ModelSpec(folder, args, device="cpu"))

        def ask(texts: list[str]) -> list[Any]:
            asked = [Prompt("t", str(i), text, choices=(" yes", " no, not")) for i, text in enumerate(texts)]
            call = engine.choose if choose else engine.generate
            outputs = {o.prompt_id: o for o in call(asked, Settings("t", max_new_tokens=4))}
            return [outputs[p.id].error or outputs[p.id].choice_logprobs or outputs[p.id].text for p in asked]

        return ask

    return build


CASES: dict[str, tuple[str, Callable[[dict[str, str]], Any], int]] = {
    "hf_classifier": ("hf_classifier", lambda f: scorer("hf_classifier", model=f["roberta"], index="1"), 40),
    "hf_classifier in half precision": (
        "hf_classifier",
        lambda f: scorer("hf_classifier", model=f["roberta"], index="1", dtype="bfloat16"),
        40,
    ),
    "detoxify": ("detoxify", lambda f: scorer("detoxify", checkpoint=f["toxic"]), 40),
    "truth_judge": ("truth_judge", lambda f: scorer("truth_judge", truth=f["truth"], info=f["info"]), 60),
    "truth_judge through an engine": (
        "truth_judge",
        lambda f: scorer("truth_judge", truth=f["truth"], info=f["info"], engine="yes"),
        80,
    ),
    "risk_judge": (
        "risk_judge",
        lambda f: scorer("risk_judge", recipe="llama_guard_3", model=f["guard"], probe="no"),
        60,
    ),
    "truth_similarity": ("truth_similarity", lambda f: scorer("truth_similarity", embedding=f["bert"]), 40),
    "truth_entailment": ("truth_entailment", lambda f: scorer("truth_entailment", model=f["nli"]), 40),
    "refusal by a judge": ("refusal", lambda f: scorer("refusal", judge=f["chat"], reading="qwen3guard"), 80),
    "engine, answers, fast": ("transformers", lambda f: engine(f["chat"], False), 40),
    "engine, answers, plain": ("transformers", lambda f: engine(f["chat"], False, path="plain"), 40),
    "engine, choices, fast": ("transformers", lambda f: engine(f["chat"], True), 40),
    "engine, choices, plain": ("transformers", lambda f: engine(f["chat"], True, path="plain"), 40),
}
"""Name -> plugin, how it is built, and tokens that hold each of SHORT alone, but not LONG."""


def same(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return set(one) == set(other) and all(same(value, other[name]) for name, value in one.items())
    if isinstance(one, tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == pytest.approx(other, abs=1e-3)) if isinstance(one, float) else bool(one == other)


@pytest.mark.parametrize("case", CASES)
def test_batches_get_smaller_and_nothing_changes(case: str, folders: dict[str, str]) -> None:
    ask = CASES[case][1](folders)()
    expected = ask(SHORT)
    with little_memory(1 << 30) as tried:
        assert len(ask(SHORT)) == len(SHORT)
    most = max(tried) - 1
    assert most > 1, "nothing was run as a batch"
    with little_memory(most) as tried:
        values = ask(SHORT)
    assert max(tried) > most, "memory never ran out"
    assert min(tried) <= most
    assert all(map(same, values, expected)), (values, expected)


@pytest.mark.parametrize("case", CASES)
def test_a_text_that_memory_does_not_hold_alone_is_an_error_and_the_rest_goes_on(
    case: str, folders: dict[str, str]
) -> None:
    ask = CASES[case][1](folders)()
    expected = ask(SHORT)
    most = CASES[case][2]
    with little_memory(most):
        values = ask([*SHORT[:2], LONG, *SHORT[2:]])
    assert isinstance(values[2], str) and "out of memory" in values[2], values[2]
    assert all(map(same, [*values[:2], *values[3:]], expected)), (values, expected)


ELSEWHERE = {
    "openai_server": "the model is the server's",
    "ray": "each replica holds an engine that is tested by itself",
    "vllm": "vLLM reserves its memory when it starts and queues what does not fit",
}
"""Plugins whose model somebody else keeps in memory."""


@pytest.mark.parametrize("kind", ["scorers", "engines"])
def test_every_plugin_that_loads_a_model_is_among_the_cases(kind: str) -> None:
    """What imports torch, or asks for an engine of its own, loads a model."""
    tested = {plugin for plugin, *_ in CASES.values()}
    code = (
        "import importlib, os, sys\n"
        f"for name in {names(kind)}:\n"
        "    if not (child := os.fork()):\n"
        f"        importlib.import_module('safety_eval.{kind}.' + name)\n"
        "        print(name, 'torch' in sys.modules, flush=True)\n"
        "        os._exit(0)\n"
        "    assert os.waitpid(child, 0)[1] == 0\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    imports = dict(line.split() for line in done.stdout.splitlines())
    for name in names(kind):
        source = Path(sys.modules["safety_eval"].__file__ or "").parent / kind / f"{name}.py"
        loads = imports[name] == "True" or ".engine" in source.read_text()
        told = name in tested or name in ELSEWHERE
        assert not loads or told, f"{name} loads a model and is not tested for memory that runs out"
