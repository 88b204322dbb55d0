"""How many tokens prompts and choices take: counted by the model's own tokenizer and chat template, else estimated."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safety_eval.core.interfaces import Settings
from safety_eval.core.records import Prompt
from safety_eval.core.turns import plain_text, turns

BYTES_EACH = 4.0
"""Bytes of UTF-8 that a token stands for, where nobody can count: English text in vocabularies of 32,000 to 200,000."""
Count = Callable[[Sequence[str], bool], list[int]]


@dataclass(frozen=True, slots=True)
class Tokens:
    """Tokens of a task's prompts, asked once each.

    Attributes:
        prompts: what the model reads. choices: of its choices, 0 where it writes. counted: by the model's tokenizer.
        templated: the chat template's own tokens are among them.
    """

    prompts: int
    choices: int
    counted: bool
    templated: bool


def tokens(folder: Path | None, prompts: Sequence[Prompt], settings: Settings, chat: str) -> Tokens:
    """Tokens of a task's prompts.

    Args:
        folder: of the model, None = unknown. chat: 'on', 'off' or 'auto' (tasks that write, where there is a template).
    """
    tokenizer = _tokenizer(folder)
    wanted = chat == "on" or (chat == "auto" and not any(prompt.choices for prompt in prompts))
    templated = wanted and bool(getattr(tokenizer, "chat_template", None))
    texts = [_rendered(tokenizer, p, settings) if templated else plain_text(p, settings) for p in prompts]
    choices = [choice for prompt in prompts for choice in prompt.choices]
    count = _estimated if tokenizer is None else _counted(tokenizer)
    return Tokens(sum(count(texts, not templated)), sum(count(choices, False)), tokenizer is not None, templated)


def _tokenizer(folder: Path | None) -> Any:
    if folder is None or not (folder / "tokenizer.json").is_file():
        return None
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError, TypeError):
        return None  # preflight has said what is wrong with the model's files


def _rendered(tokenizer: Any, prompt: Prompt, settings: Settings) -> str:
    """Through the chat template; as plain text where it refuses these turns."""
    import jinja2

    given: Mapping[str, Any] = {"tokenize": False, "add_generation_prompt": True}
    try:
        return str(tokenizer.apply_chat_template(turns(prompt, settings), **given)) + prompt.prefill
    except jinja2.TemplateError:
        return plain_text(prompt, settings)


def _counted(tokenizer: Any) -> Count:
    def count(texts: Sequence[str], special: bool) -> list[int]:
        clean = [text.encode("utf-8", "replace").decode() for text in texts]
        return [len(ids) for ids in tokenizer(clean, add_special_tokens=special)["input_ids"]] if clean else []

    return count


def _estimated(texts: Sequence[str], special: bool) -> list[int]:
    return [max(1, round(len(text.encode("utf-8", "replace")) / BYTES_EACH)) for text in texts]
