"""Prompts as token ids: chat template, system prompt, prefill; context and continuation of a choice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from types import SimpleNamespace
from typing import Any

from transformers.utils import chat_template_utils

from safety_eval.core.errors import UserError
from safety_eval.core.interfaces import Settings
from safety_eval.core.records import Prompt
from safety_eval.core.turns import plain_text, turns
from safety_eval.torch_runtime.tokens import token_ids


@dataclass(frozen=True, slots=True)
class Given:
    """What a chat template is given beside the turns: arguments of its own, and the time (None = the clock's)."""

    args: Mapping[str, Any] = field(default_factory=dict)
    now: datetime | None = None


@contextmanager
def told(now: datetime | None) -> Iterator[None]:
    """Let chat templates that ask for the time be told `now`: transformers reads it off this name of its module."""
    module: Any = chat_template_utils
    before = getattr(module, "datetime", None)
    if now is None or before is None:
        yield
        return
    module.datetime = SimpleNamespace(now=lambda *_: now)
    try:
        yield
    finally:
        module.datetime = before


@dataclass(frozen=True, slots=True)
class Rendered:
    """A prompt after templating: its text, and whether that text already holds the special tokens."""

    text: str
    templated: bool


def render(tokenizer: Any, prompt: Prompt, settings: Settings, given: Given | None = None) -> Rendered:
    """What the model reads, as text: the prompt through the chat template, or as it stands, plus its prefill.

    `given`: what the template is given beside the turns (`template.arguments`). Without a chat template a system prompt
    stands before the text and a blank line; chat turns are joined by blank lines.

    Raises:
        UserError: the tokenizer has no chat template although one is asked for.
        jinja2.TemplateError: the template refuses these turns (no system turn, roles that do not alternate).
    """
    if not settings.chat_template:
        return Rendered(plain_text(prompt, settings), False)
    if not tokenizer.chat_template:
        raise UserError(
            "the chat template was asked for, but this model's tokenizer has none",
            "Use --no-apply-chat-template, or an instruct model.",
        )
    given = given or Given()
    with told(given.now):
        text = tokenizer.apply_chat_template(
            turns(prompt, settings), tokenize=False, add_generation_prompt=True, **given.args
        )
    return Rendered(str(text) + prompt.prefill, True)


def encode(tokenizer: Any, rendered: Rendered) -> list[int]:
    """Token ids of a rendered prompt, never empty (an empty text becomes the model's first token).

    A template writes its own special tokens; a plain text gets those that the tokenizer puts before any
    text, but no end token after it.
    """
    return token_ids(tokenizer, rendered.text, special=not rendered.templated) or [_first(tokenizer)]


def _first(tokenizer: Any) -> int:
    for token in (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id):
        if token is not None:
            return int(token)
    return 0


def encode_choices(
    tokenizer: Any, rendered: Rendered, choices: tuple[str, ...], split: str = "lm_eval"
) -> list[tuple[list[int], int]]:
    """For each choice the ids of context + choice, and how many of them are the context.

    'lm_eval' is lm-eval's `_encode_pair`: the context is encoded by itself, and the choice is what the whole text's
    tokens have behind as many. 'whole' feeds the whole text's tokens instead. They differ where the tokenizer joins the
    end of the context with the choice. In both, blanks at the end of the context go to the choice, since most
    tokenizers join them with what follows. An empty context is the first token of the model alone.
    """
    context = rendered.text.rstrip()
    blanks = rendered.text[len(context) :]
    special = not rendered.templated
    start = token_ids(tokenizer, context, special)
    pairs = []
    for choice in choices:
        whole = token_ids(tokenizer, context + blanks + choice, special)
        if not start:
            pairs.append(([_first(tokenizer), *whole], 1))
        elif split == "whole":
            pairs.append((whole, len(start)))
        else:
            pairs.append((start + whole[len(start) :], len(start)))
    return pairs
