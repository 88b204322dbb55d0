"""Do a task's prompts fit into the model's context? Counted with the model's own tokenizer, before it is loaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safety_eval.core.records import Prompt
from safety_eval.preflight.checks import Check, Kind, State
from safety_eval.preflight.hub import config_of

_LIMITS = ("max_position_embeddings", "n_positions", "max_seq_len", "n_ctx", "seq_length")


def context(folder: Path, task: str, prompts: Sequence[Prompt], answer_tokens: int) -> list[Check]:
    """How the prompts of a task fit; [] where the model's files do not say.

    Prompts that do not fit become data ('prompt too long'), so some of them are a caution; when none fits, the task
    cannot be asked. A chat template adds to what is counted here.
    """
    config = config_of(folder)
    limit = _limit(config) if config is not None else None
    if limit is None:
        return []
    state, detail, advice = State.READY, f"fits into {limit} tokens", ""
    too_long = sum(1 for count in _long_ones(folder, prompts, limit) if count >= limit)
    if too_long:
        state = State.CAUTION if too_long < len(prompts) else State.MISSING
        detail = f"{too_long} of {len(prompts)} prompts do not fit into the model's context of {limit} tokens"
        advice = "They will count as missing." if too_long < len(prompts) else "Leave the task out."
    elif answer_tokens >= limit:
        state, advice = State.CAUTION, "Ask for fewer: --gen-kwargs max_new_tokens=."
        detail = f"answers may have {answer_tokens} tokens, the model's context has {limit}: they will be cut"
    return [Check(Kind.CONTEXT, f"context of {task}", state, detail, advice, used_by=(task,))]


def _limit(config: Mapping[str, Any]) -> int | None:
    inner = config.get("text_config") or config
    named = (inner.get(name) for name in _LIMITS)
    return next((value for value in named if isinstance(value, int) and value > 0), None)


def _long_ones(folder: Path, prompts: Sequence[Prompt], limit: int) -> list[int]:
    """Token counts of the prompts that might be too long: a token is at least one byte, so shorter texts fit."""
    texts = [prompt.asked + prompt.prefill for prompt in prompts]
    texts = [text for text in texts if len(text.encode("utf-8", "replace")) >= limit]
    file = folder / "tokenizer.json"
    if not texts or not file.is_file():
        return []
    from tokenizers import Tokenizer

    counts = Tokenizer.from_file(str(file)).encode_batch([t.encode("utf-8", "replace").decode() for t in texts])
    return [len(encoding.ids) for encoding in counts]
