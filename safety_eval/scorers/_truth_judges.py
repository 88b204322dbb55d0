"""The judges of `truth_judge`, above PyTorch or behind the run's engine."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import version
from typing import Any

import torch

from safety_eval.core.errors import UserError
from safety_eval.core.interfaces import Answer, ScorerSpec, Settings
from safety_eval.core.records import Prompt, Score
from safety_eval.scorers._answers import Measured, chunks, score_of, trim_answer
from safety_eval.scorers._arguments import DTYPES, choice, whole, yes
from safety_eval.scorers._judge_engine import Asked, Through
from safety_eval.scorers._truth_questions import ELSE, JUDGES, YES, judge_prompt, ways
from safety_eval.torch_runtime.batches import ALONE, Limit, in_batches, padded
from safety_eval.torch_runtime.devices import device_of
from safety_eval.torch_runtime.loading import load_model, load_tokenizer
from safety_eval.torch_runtime.tokens import token_ids
from safety_eval.torch_runtime.weights import Weights, find

_CHUNK = 4096
"""Answers judged by one judge before the next is loaded: TruthfulQA fits, so each is loaded once."""


class TruthJudge:
    """Asks each judge about every answer, one judge after the other."""

    def __init__(self, spec: ScorerSpec) -> None:
        self._spec, self._trim = spec, yes(spec.args, "trim", True)
        choice({"dtype": spec.dtype}, "dtype", DTYPES, "auto")
        self._budget = whole(spec.args, "batch_tokens")
        self._device = device_of(spec.device)
        reached = ways(spec.args)
        if not reached:
            raise UserError("truth_judge has no judge left", "Give truth=MODEL or info=MODEL, not both 'none'.")
        self._judges = {name: self._judge_of(name, way) for name, way in reached.items()}
        self.identity: Mapping[str, Any] = {
            "name": "truth_judge",
            "package": "transformers",
            "version": version("transformers"),
            "judges": {name: self._identity_of(judge) for name, judge in self._judges.items()},
            "settings": {
                "trim": self._trim,
                "value": "P(' yes') of the next token",
                "prompts": {n: judge_prompt(JUDGES[n], "{question}", "{answer}") for n in reached},
            },
            "runtime": {"runtime": "torch", "device": self._device.type},
        }
        if engines := {way.engine for way in reached.values() if way}:
            self.identity = {**self.identity, "runtime": {"runtime": "engine", "engines": sorted(engines)}}

    def _judge_of(self, name: str, way: Through | None) -> Asked | Weights:
        if way is not None:
            return Asked(self._spec, way, "choose", Settings("truth_judge"))
        judge, given = JUDGES[name], self._spec.args.get(name, "")
        return find(given or judge.model, "" if given else judge.revision, hint=ELSE)

    def _identity_of(self, judge: Asked | Weights) -> Mapping[str, Any]:
        if isinstance(judge, Weights):
            return _identity(judge, self._spec.dtype)
        try:
            return judge.identity()
        finally:
            if len(self._judges) > 1:
                judge.close()

    def score(self, answers: Iterable[Answer]) -> Iterator[Score]:
        for taken in chunks(answers, _CHUNK):
            asked = [p.target.get("question") for p, _ in taken]
            pairs = [
                (str(q), trim_answer(o.text or "") if self._trim else o.text or "")
                for q, (_, o) in zip(asked, taken, strict=True)
                if q is not None and not o.error
            ]
            unique = list(dict.fromkeys(pairs))
            found = self._judge(unique)
            for question, (_, output) in zip(asked, taken, strict=True):
                yield score_of(self._spec.name, output, self._measured(question, output, found))

    def _measured(self, question: Any, output: Any, found: Mapping[tuple[str, str], Measured]) -> Measured:
        if output.error:
            return f"no answer: {output.error}"
        if question is None:
            return "the prompt has no question in its target"
        text = output.text or ""
        return found[str(question), trim_answer(text) if self._trim else text]

    def _judge(self, pairs: list[tuple[str, str]]) -> dict[tuple[str, str], Measured]:
        """Values of every (question, answer), by all judges; one that fails leaves a reason."""
        values: list[dict[str, float | str]] = [{} for _ in pairs]
        errors = [""] * len(pairs)
        for name, model in self._judges.items() if pairs else ():
            judge = JUDGES[name]
            prompts = [judge_prompt(judge, *pair) for pair in pairs]
            for i, p in enumerate(self._probabilities(model, prompts)):
                if isinstance(p, str):
                    errors[i] = p
                else:
                    values[i][judge.value] = p
        return {pair: e or v for pair, v, e in zip(pairs, values, errors, strict=True)}

    def _probabilities(self, judge: Asked | Weights, prompts: list[str]) -> list[float | str]:
        if isinstance(judge, Weights):
            return _Local(judge, self._spec.dtype, self._device, self._budget).probabilities(prompts)
        try:
            return _ask(judge, prompts)
        finally:
            if len(self._judges) > 1:
                judge.close()

    def close(self) -> None:
        for judge in self._judges.values():
            if isinstance(judge, Asked):
                judge.close()


def _ask(judge: Asked, prompts: list[str]) -> list[float | str]:
    """P(' yes') of each prompt by an engine's log-likelihood of ' yes'."""
    made = [Prompt("truth_judge", str(i), text, choices=(YES,)) for i, text in enumerate(prompts)]
    found: list[float | str] = ["the judge gave no log-likelihood"] * len(prompts)
    for output in judge.ask(made):
        if output.choice_logprobs:
            found[int(output.prompt_id)] = math.exp(output.choice_logprobs[0])
        elif output.error:
            found[int(output.prompt_id)] = f"the judge failed: {output.error}"
    return found


class _Local:
    """A judge in this process: batches by length, ' yes' read off the logits behind each prompt."""

    def __init__(self, weights: Weights, dtype: str, device: torch.device, budget: int | None) -> None:
        self._tokenizer = load_tokenizer(weights)
        precision = "auto" if dtype == "auto" else getattr(torch, dtype)
        self._model = load_model(weights, "AutoModelForCausalLM", precision).to(device)
        self._device = device
        self._limit = Limit(device, tokens=budget or (1024 if device.type == "cpu" else 8192))
        positions = getattr(self._model.config, "max_position_embeddings", None)
        self._longest = min(int(self._tokenizer.model_max_length), int(positions or 1 << 30))

    def probabilities(self, prompts: list[str]) -> list[float | str]:
        """P(' yes') behind each prompt, or a reason (longer than the judge's context, or than memory holds)."""
        encoded = [self._encode(p) for p in prompts]
        lengths = [len(ids) for ids, _ in encoded]
        fit = [i for i, length in enumerate(lengths) if length <= self._longest]
        values: list[float | str] = [f"{n} tokens, the judge reads at most {self._longest}" for n in lengths]

        def run(numbers: list[int]) -> list[float]:
            return self._forward([encoded[fit[n]] for n in numbers])

        for n, p in in_batches([lengths[i] for i in fit], self._limit, run):
            values[fit[n]] = ALONE if p is None else p
        return values

    def _encode(self, prompt: str) -> tuple[list[int], int]:
        """Tokens of the prompt with ' yes' behind it, and how many of them are ' yes'."""
        whole, before = (token_ids(self._tokenizer, text) for text in (prompt + YES, prompt))
        return whole, max(1, len(whole) - len(before))

    @torch.inference_mode()
    def _forward(self, encoded: list[tuple[list[int], int]]) -> list[float]:
        tokens, mask = padded([ids for ids, _ in encoded], 0, left=False)
        logits = self._model(
            input_ids=tokens.to(self._device), attention_mask=mask.to(self._device), use_cache=False
        ).logits
        values = []
        for row, (ids, count) in enumerate(encoded):
            at = logits[row, len(ids) - 1 - count : len(ids) - 1].float().log_softmax(-1)
            wanted = torch.tensor(ids[-count:], device=at.device)
            values.append(float(at.gather(1, wanted[:, None]).sum().exp()))
        return values


def _identity(model: Weights, dtype: str) -> Mapping[str, str]:
    saved = json.loads((model.folder / "config.json").read_text())
    published = str(saved.get("dtype") or saved.get("torch_dtype") or "float32")
    return {**model.identity(), "precision": published if dtype == "auto" else dtype}
