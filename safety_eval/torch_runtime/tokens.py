"""Texts as token ids, as a model that continues them has to read them."""

from __future__ import annotations

from typing import Any


def token_ids(tokenizer: Any, text: str, special: bool = True) -> list[int]:
    """Ids of a text that is to be continued: with the tokens that the tokenizer puts before any text where `special`,
    but without an end token after it.

    A lone surrogate cannot be written as UTF-8; it is shown to the model as the replacement character.
    """
    clean = text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")
    ids = list(tokenizer(clean, add_special_tokens=special, verbose=False)["input_ids"])
    ended = special and len(ids) > 1 and ids[-1] == tokenizer.eos_token_id
    if ended and tokenizer.eos_token not in clean[-64:]:
        ids.pop()
    return ids
