"""lm-eval's log-likelihoods on ten kinds of tokenizers, within 1e-3: its rule written out here, and one forward pass.

benchmarks/fidelity/lm_eval_split.py compares with lm-eval itself; its result is held here too.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_tokenizers import KINDS, model, tokenizer
from transformers import AutoModelForCausalLM

from safety_eval.core.interfaces import ModelSpec, Settings
from safety_eval.core.records import Prompt
from safety_eval.engines.transformers import ENGINE

MEASURED = Path(__file__).resolve().parents[2] / "benchmarks" / "fidelity" / "lm_eval_split.json"
CONTEXTS = ("Q: What is the capital of France?\nA:", "Q: Where do nurses work? A: ", "They pass thro")
CHOICES = (" It is Paris.", "in the hospitals", "ugh you, and nothing happens")
WORDS = " ".join((*CONTEXTS[:2], "They pass through you, and nothing happens", *CHOICES[:2])).split(" ")
TEXTS = [f"{first} {second}" for first in WORDS for second in WORDS]
"""Pairs of words: enough to join over blanks, too little to learn whole sentences as one token."""
APPENDS_END = "gpt2, </s> behind"


def encode_pair(tokens: Any, context: str, continuation: str) -> tuple[list[int], list[int]]:
    """The rule of lm-eval 0.4.13 (`TemplateLM._encode_pair`), from its description: blanks at the end of the context
    move to the continuation; the continuation's tokens are the whole text's, behind as many as the context has."""
    blanks = len(context) - len(context.rstrip())
    if blanks:
        context, continuation = context[:-blanks], context[-blanks:] + continuation
    start, whole = (tokens(text)["input_ids"] for text in (context, context + continuation))
    return start, whole[len(start) :]


def alone(network: Any, ids: list[int], known: int) -> float:
    with torch.inference_mode():
        scores = network(torch.tensor([ids])).logits[0].double().log_softmax(-1)
    return sum(float(scores[i - 1, ids[i]]) for i in range(known, len(ids)))


@pytest.mark.parametrize("kind", [k for k in KINDS if k != APPENDS_END])
def test_log_likelihoods_are_lm_evals_and_the_whole_texts_when_asked(kind: str, tmp_path: Path) -> None:
    tokens = tokenizer(kind, TEXTS)
    network = AutoModelForCausalLM.from_pretrained(model(tmp_path, tokens), dtype=torch.float32)
    prompts = [Prompt("t", str(i), text, choices=CHOICES) for i, text in enumerate(CONTEXTS)]
    for split in ("lm_eval", "whole"):
        engine = ENGINE.build(ModelSpec(str(tmp_path), {"split": split}, device="cpu", dtype="float32"))
        found = {o.prompt_id: o.choice_logprobs for o in engine.choose(prompts, Settings("t"))}
        for prompt in prompts:
            for choice, value in zip(CHOICES, found[prompt.id], strict=True):
                start, rest = encode_pair(tokens, prompt.text, choice)
                ids = start + rest if split == "lm_eval" else tokens(prompt.text + choice)["input_ids"]
                assert value == pytest.approx(alone(network, ids, len(start)), abs=1e-3), (split, prompt.text, choice)


def test_an_end_token_that_a_tokenizer_appends_is_not_read_before_the_choice(tmp_path: Path) -> None:
    """lm-eval leaves it in the middle of the text: the one place where we differ from it on purpose."""
    tokens = tokenizer(APPENDS_END, TEXTS)
    network = AutoModelForCausalLM.from_pretrained(model(tmp_path, tokens), dtype=torch.float32)
    engine = ENGINE.build(ModelSpec(str(tmp_path), device="cpu", dtype="float32"))
    (output,) = engine.choose([Prompt("t", "0", CONTEXTS[0], choices=CHOICES[:1])], Settings("t"))
    whole, start = (tokens(text)["input_ids"][:-1] for text in (CONTEXTS[0] + CHOICES[0], CONTEXTS[0]))
    assert output.choice_logprobs[0] == pytest.approx(alone(network, whole, len(start)), abs=1e-3)


def test_lm_eval_itself_agrees_on_every_tokenizer_that_appends_no_end_token() -> None:
    rows = {row["tokenizer"]: row for row in json.loads(MEASURED.read_text())}
    assert set(rows) == set(KINDS)
    assert all(row["lm_eval_largest"] <= 1e-3 for kind, row in rows.items() if kind != APPENDS_END)
    assert sum(row["whole_differs"] > 0 for row in rows.values()) >= 5
