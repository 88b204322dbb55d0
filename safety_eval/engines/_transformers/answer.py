"""Token ids -> answer: text, stop strings, and the reasoning channel."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from safety_eval.core.errors import UserError

CHANNELS = (
    ("<think>", "</think>"),
    ("[THINK]", "[/THINK]"),
    ("<|channel|>analysis<|message|>", "<|channel|>final<|message|>"),
)
"""How reasoning channels open and close: DeepSeek and Qwen; Magistral; gpt-oss (harmony)."""

_BYTE = re.compile(r"<0x[0-9A-Fa-f]{2}>")


@dataclass(frozen=True, slots=True)
class Text:
    """What an answer says. `closed` is False while its reasoning channel is open."""

    answer: str
    reasoning: str
    closed: bool


class Reader:
    """Reads answers of one tokenizer."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        # Decoded behind an anchor, so that sentencepiece does not drop the blank that an answer starts with.
        self._anchor: list[int] = list(tokenizer("a", add_special_tokens=False)["input_ids"])
        self._anchor_text = self._decode(self._anchor, skip=True)
        self._pieces: list[str] | None = None

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
        channel = self._channel(ids, opened)
        if channel is None:
            return Text(self.plain(ids), "", True)
        start, end = channel
        if end not in self.plain(ids, skip=False):
            return Text("", self._reasoning(ids, start), False)
        cut = next(k for k in range(1, len(ids) + 1) if end in self.plain(ids[:k], skip=False))
        head, _, rest = self.plain(ids[:cut], skip=False).partition(end)
        answer = rest + self._after(ids, cut)
        return Text(answer.lstrip("\n"), head.strip().removeprefix(start).strip(), True)

    def _after(self, ids: Sequence[int], cut: int) -> str:
        return self.plain(ids[cut:]) if cut < len(ids) else ""

    def _reasoning(self, ids: Sequence[int], start: str) -> str:
        return self.plain(ids, skip=False).strip().removeprefix(start).strip()

    def _channel(self, ids: Sequence[int], opened: str) -> tuple[str, str] | None:
        if opened:
            return next(c for c in CHANNELS if c[0] == opened)
        head = self.plain(ids[:16], skip=False).lstrip()
        return next((c for c in CHANNELS if head.startswith(c[0])), None)

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


def opened_by(rendered: str) -> str:
    """The opening mark that a rendered prompt ends with, '' for none."""
    end = rendered.rstrip()
    return next((start for start, _ in CHANNELS if end.endswith(start)), "")


def check_stop(stop: Sequence[str]) -> tuple[str, ...]:
    """The stop strings of a call.

    Raises:
        UserError: an empty one, which would end every answer at once.
    """
    if "" in stop:
        raise UserError("a stop string is empty", "Leave it out; without stop strings an answer ends by itself.")
    return tuple(stop)
