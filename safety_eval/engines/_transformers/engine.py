"""The engine itself, above PyTorch: imported once a model is opened."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from transformers import GenerationConfig

from safety_eval.core.errors import UserError
from safety_eval.core.interfaces import ModelSpec, Settings
from safety_eval.core.records import Output, Prompt
from safety_eval.engines._transformers import template
from safety_eval.engines._transformers.answer import Reader, check_stop
from safety_eval.engines._transformers.beyond import CheckedBeyond, Path, alone_beyond
from safety_eval.engines._transformers.check import ALONE, FLAT, Way, choose_way
from safety_eval.engines._transformers.load import Loaded, load
from safety_eval.engines._transformers.paths import FlatPath, PlainPath
from safety_eval.engines._transformers.source import CAPABILITIES
from safety_eval.engines._transformers.work import Asked, Asking, Work, prepare, prepare_choices
from safety_eval.torch_runtime.batches import Limit, windows
from safety_eval.torch_runtime.native import keep_few_plans
from safety_eval.torch_runtime.onednn import matmul_mode, prepack

ANY_BATCH = "any"
"""Batch in an identity: answers are the same whatever the batch size."""
LOG = logging.getLogger(__name__)


class TransformersEngine:
    """One open model."""

    def __init__(self, loaded: Loaded, spec: ModelSpec) -> None:
        self._loaded: Loaded | None = loaded
        self._reader = Reader(loaded.tokenizer, spec.args.get("reasoning_parser", ""))
        limit = Limit.of(spec.batch_size, loaded.device, loaded.model.dtype)
        # Answers follow Settings alone: a checkpoint's own penalties, temperature or length limits are not
        # applied.
        loaded.model.generation_config = GenerationConfig(
            eos_token_id=list(loaded.eos) or None, pad_token_id=loaded.pad, do_sample=False
        )
        mode = matmul_mode(loaded.device, loaded.model.dtype)
        packed = prepack(loaded.model, mode)
        way = choose_way(loaded, mode, spec.args.get("path", "auto"))
        if way.reason:
            LOG.info("%s path: %s", way.kind, way.reason)
        if way.kind == ALONE:
            limit.rows = 1
        self._path = _path(way, loaded, self._reader, limit, mode)
        split = spec.args.get("split", "lm_eval")
        self._asking = Asking(loaded.tokenizer, loaded.context, loaded.rows, template.arguments(spec.template), split)
        self.identity: Mapping[str, Any] = {
            **loaded.identity,
            "split": split,
            **({"reasoning_parser": parser} if (parser := spec.args.get("reasoning_parser")) else {}),
            "path": str(way),
            "batch": _promised(loaded, way, spec),
            "matmul": mode + (", weights laid out once" if packed else ""),
        }
        self.capabilities = CAPABILITIES if loaded.tokenizer.chat_template else CAPABILITIES - {"chat_template"}

    def generate(self, prompts: Iterable[Prompt], settings: Settings) -> Iterator[Output]:
        """Answers as they finish. The text is the continuation alone: without the prompt and without its
        prefill.

        Raises:
            UserError: settings that mean nothing, or a chat template that the model does not have.
        """
        self._open()
        _check(settings)
        for block in windows(prompts):
            ready = prepare(self._asking, block, settings)
            yield from (r for r in ready if isinstance(r, Output))
            yield from self._path.answer([r for r in ready if isinstance(r, Work)], settings)

    def choose(self, prompts: Iterable[Prompt], settings: Settings) -> Iterator[Output]:
        """Log-likelihood of each choice after the prompt.

        Raises:
            UserError: a chat template that the model does not have.
        """
        self._open()
        for block in windows(prompts):
            ready = prepare_choices(self._asking, block, settings)
            yield from (r for r in ready if isinstance(r, Output))
            asked = [r for r in ready if isinstance(r, Asked)]
            yield from self._path.weigh(asked, settings)

    def _open(self) -> Loaded:
        if self._loaded is None:
            raise UserError("the engine is closed", "Build it again.")
        return self._loaded

    def close(self) -> None:
        """Free the model. Repeating it does nothing."""
        self._loaded = None
        vars(self).pop("_path", None)


def _path(way: Way, loaded: Loaded, reader: Reader, limit: Limit, mode: str) -> Path:
    make = FlatPath if way.kind == FLAT else PlainPath
    if not way.unprobed:
        return make(loaded, reader, limit, mode)
    inner = make(alone_beyond(loaded, way.unprobed), reader, limit, mode)
    return CheckedBeyond(inner, loaded, way.unprobed, mode)


def _promised(loaded: Loaded, way: Way, spec: ModelSpec) -> str:
    """'any' where answers are the same in any batch; else the batch size that was asked for, which a run keeps.

    In full precision the check at load has just shown, on this machine, that sequences in a batch get the numbers that
    they have alone. In half precision rounding depends on the number of rows and moves whole answers.
    """
    full = loaded.model.dtype in (torch.float32, torch.float64)
    return ANY_BATCH if full or way.kind == ALONE else spec.batch_size


def _check(settings: Settings) -> None:
    check_stop(settings.stop)
    if settings.max_new_tokens < 1:
        raise UserError(f"max_new_tokens is {settings.max_new_tokens}", "Ask for at least one token.")
    if not settings.temperature >= 0:
        raise UserError(f"temperature is {settings.temperature}", "Use 0 (greedy) or more.")
    if not 0 < settings.top_p <= 1:
        raise UserError(f"top_p is {settings.top_p}", "Use a number above 0, at most 1 (off).")


def opened(spec: ModelSpec) -> TransformersEngine:
    """Open the model of `spec`.

    Raises:
        UserError: no such model, no weights, a missing package, an unknown argument.
    """
    keep_few_plans()
    Limit.of(spec.batch_size, torch.device("cpu"))  # refuse a wrong batch size before minutes of loading
    return TransformersEngine(load(spec), spec)
