"""Token ids -> answer: text, stop strings, and the reasoning channel."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Sequence
from typing import Any

from safety_eval.core.errors import UserError
from safety_eval.core.thoughts import BY_NAME, Text, family_of, marks, parted

_HEAD = 16
"""Tokens of an answer in which the mark of its first thought stands."""
_BYTE = re.compile(r"<0x[0-9A-Fa-f]{2}>")


class Reader:
    """Reads answers of one tokenizer. `family`: of thoughts, by name; '' = by their marks."""

    def __init__(self, tokenizer: Any, family: str = "") -> None:
        self._tokenizer = tokenizer
        # Decoded behind an anchor, so that sentencepiece does not drop the blank that an answer starts with.
        self._anchor: list[int] = list(tokenizer("a", add_special_tokens=False)["input_ids"])
        self._anchor_text = self._decode(self._anchor, skip=True)
        self._pieces: list[str] | None = None
        self._family = BY_NAME[family] if family else None
        special = zip(tokenizer.all_special_ids, tokenizer.all_special_tokens, strict=True)
        self._silent = frozenset(number for number, mark in special if not _marks_a_thought(mark))

    def _decode(self, ids: Sequence[int], skip: bool) -> str:
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=skip, clean_up_tokenization_spaces=False))

    def plain(self, ids: Sequence[int], skip: bool = True) -> str:
        """Text of an answer's tokens; special tokens are left out unless `skip` is False."""
        text = self._decode([*self._anchor, *ids], skip)
        if text.startswith(self._anchor_text):
            return text[len(self._anchor_text) :]
        return self._decode(ids, skip)

    def read(self, ids: Sequence[int], opened: str = "") -> Text:
        """Text and reasoning of an answer.

        Args:
            ids: tokens without the end token.
            opened: the opening mark, where the prompt itself ended with it (as some chat templates do).
        """
        family = self._family or family_of(self.plain(ids[:_HEAD], skip=False), opened)
        if family is None:
            return Text(self.plain(ids), "", True)
        return parted(self.plain(self._with_marks(ids), skip=False), family, opened)

    def thought(self, ids: Sequence[int], opened: str = "") -> int | None:
        """Tokens up to the end of the first thought: 0 without one, None while it is open."""
        family = self._family or family_of(self.plain(ids[:_HEAD], skip=False), opened)
        if family is None:
            return 0

        def ended(many: int) -> bool:
            text = self.plain(self._with_marks(ids[:many]), skip=False)
            return any(mark in text for mark in family.ends)

        if not opened and not any(mark in self.plain(self._with_marks(ids), skip=False) for mark in family.starts):
            return 0
        if not ended(len(ids)):
            return None
        return bisect_left(range(1, len(ids) + 1), True, key=ended) + 1

    def _with_marks(self, ids: Sequence[int]) -> list[int]:
        """The tokens without special ones that mark no thought."""
        return [i for i in ids if i not in self._silent]

    def suspicious(self, stop: Sequence[str]) -> list[bool]:
        """For each token id: can it complete one of the stop strings? Only then is an answer decoded and
        searched.

        It can when it holds the last character of one, or a part of a character (byte tokens).
        """
        last = {text[-1] for text in stop}
        return [self._risky(piece, last) for piece in self._vocabulary()]

    @staticmethod
    def _risky(piece: str, last: set[str]) -> bool:
        return not last.isdisjoint(piece) or "\ufffd" in piece or _BYTE.search(piece) is not None

    def _vocabulary(self) -> list[str]:
        """Each token as its text together with its raw form (blanks of sentencepiece as blanks)."""
        if self._pieces is None:
            size = len(self._tokenizer)
            raw = self._tokenizer.convert_ids_to_tokens(list(range(size)))
            texts = self._tokenizer.batch_decode([[i] for i in range(size)], skip_special_tokens=False)
            self._pieces = [f"{t}{(r or '').replace('▁', ' ')}" for t, r in zip(texts, raw, strict=True)]
        return self._pieces


def _marks_a_thought(mark: str) -> bool:
    return any(mark in known for known in marks())


def check_stop(stop: Sequence[str]) -> tuple[str, ...]:
    """The stop strings of a call.

    Raises:
        UserError: an empty one, which would end every answer at once.
    """
    if "" in stop:
        raise UserError("a stop string is empty", "Leave it out; without stop strings an answer ends by itself.")
    return tuple(stop)
