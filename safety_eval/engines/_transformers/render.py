"""Prompts as token ids: chat template, system prompt, prefill; context and continuation of a choice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from safety_eval.core.errors import UserError
from safety_eval.core.interfaces import Settings
from safety_eval.core.records import Prompt


@dataclass(frozen=True, slots=True)
class Rendered:
    """A prompt after templating: its text, and whether that text already holds the special tokens."""

    text: str
    templated: bool


def render(tokenizer: Any, prompt: Prompt, settings: Settings) -> Rendered:
    """What the model reads, as text: the prompt through the chat template, or as it stands, plus its prefill.

    Without a chat template a system prompt stands before the text and a blank line; chat turns are joined by
    blank lines.

    Raises:
        UserError: the tokenizer has no chat template although one is asked for.
        jinja2.TemplateError: the template refuses these turns (no system turn, roles that do not alternate).
    """
    if not settings.chat_template:
        system = f"{settings.system_prompt}\n\n" if settings.system_prompt is not None else ""
        return Rendered(system + prompt.asked + prompt.prefill, False)
    if not tokenizer.chat_template:
        raise UserError(
            "the chat template was asked for, but this model's tokenizer has none",
            "Use --no-apply-chat-template, or an instruct model.",
        )
    text = tokenizer.apply_chat_template(turns(prompt, settings), tokenize=False, add_generation_prompt=True)
    return Rendered(str(text) + prompt.prefill, True)


def turns(prompt: Prompt, settings: Settings) -> list[dict[str, str]]:
    """Chat turns of a prompt. The run's system prompt comes first; a prompt's own system turn joins it."""
    if prompt.messages:
        chat = [{"role": m.role, "content": m.content} for m in prompt.messages]
    else:
        chat = [{"role": "user", "content": settings.chat_prefix + prompt.text}]
    if settings.system_prompt is None:
        return chat
    if chat[0]["role"] == "system":
        own = chat[0]["content"]
        return [{"role": "system", "content": f"{settings.system_prompt}\n\n{own}"}, *chat[1:]]
    return [{"role": "system", "content": settings.system_prompt}, *chat]


def encode(tokenizer: Any, rendered: Rendered) -> list[int]:
    """Token ids of a rendered prompt, never empty (an empty text becomes the model's first token).

    A template writes its own special tokens; a plain text gets those that the tokenizer puts before any
    text, but no end token after it.
    """
    return _encode(tokenizer, rendered.text, special=not rendered.templated) or [_first(tokenizer)]


def _encode(tokenizer: Any, text: str, special: bool) -> list[int]:
    # A lone surrogate cannot be written as UTF-8; it is shown to the model as the replacement character.
    clean = text.encode("utf-8", "replace").decode("utf-8") if _has_surrogate(text) else text
    ids = list(tokenizer(clean, add_special_tokens=special, verbose=False)["input_ids"])
    if (
        special
        and len(ids) > 1
        and ids[-1] == tokenizer.eos_token_id
        and tokenizer.eos_token not in text[-64:]
    ):
        ids.pop()
    return ids


def _has_surrogate(text: str) -> bool:
    return any("\ud800" <= c <= "\udfff" for c in text) if not text.isascii() else False


def _first(tokenizer: Any) -> int:
    for token in (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id):
        if token is not None:
            return int(token)
    return 0


def encode_choices(
    tokenizer: Any, rendered: Rendered, choices: tuple[str, ...]
) -> list[tuple[list[int], int]]:
    """For each choice the ids of context + choice, and how many of them are the context.

    The split is lm-eval's (`_encode_pair`): both texts are encoded and the tail is the choice; blanks at
    the end of the context go to the choice, since most tokenizers join them with what follows. An empty
    context is the first token of the model alone.
    """
    context = rendered.text.rstrip()
    blanks = rendered.text[len(context) :]
    special = not rendered.templated
    start = _encode(tokenizer, context, special)
    split = []
    for choice in choices:
        whole = _encode(tokenizer, context + blanks + choice, special)
        ids, known = (whole, len(start)) if start else ([_first(tokenizer), *whole], 1)
        split.append((ids, known))
    return split
