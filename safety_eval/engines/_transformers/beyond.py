"""Prompts beyond a window that the check at load did not outgrow: alone, and after a check of their own.

A window of thousands of tokens takes minutes to outgrow on a processor, and most prompts never do. So the first one
that does is preceded by two greedy answers, one that crosses the window and one that begins beyond it: four passes of
about its own length. Where they are not those of a pass without a cache, every answer beyond the window is an error
with that reason. Choices need no check: weighed alone and without a cache they are what the check compares with.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Protocol

import torch

from safety_eval.core.interfaces import Settings
from safety_eval.core.records import Output, Prompt
from safety_eval.engines._transformers import plain
from safety_eval.engines._transformers.answer import Reader
from safety_eval.engines._transformers.check import NEW, allowed, greedy, some_tokens
from safety_eval.engines._transformers.load import Loaded
from safety_eval.engines._transformers.work import Asked, Work, failed
from safety_eval.torch_runtime.devices import out_of_memory
from safety_eval.torch_runtime.loading import first_line
from safety_eval.torch_runtime.onednn import matmul


class Path(Protocol):
    """A way through the model."""

    def answer(self, works: Sequence[Work], settings: Settings) -> Iterator[Output]: ...

    def weigh(self, asked: Sequence[Asked], settings: Settings) -> Iterator[Output]: ...


def alone_beyond(loaded: Loaded, window: int) -> Loaded:
    """The model with nothing beside a sequence that outgrows the window."""
    return replace(loaded, mixing=min(loaded.mixing or window, window))


class CheckedBeyond:
    """A path behind a check of what outgrows the window, which is made once and only when a prompt gets there."""

    def __init__(self, path: Path, loaded: Loaded, window: int, mode: str) -> None:
        self._path, self._loaded, self._window, self._mode = path, loaded, window, mode
        self._objection: str | None = None

    def weigh(self, asked: Sequence[Asked], settings: Settings) -> Iterator[Output]:
        return self._path.weigh(asked, settings)

    def answer(self, works: Sequence[Work], settings: Settings) -> Iterator[Output]:
        beyond = [w for w in works if len(w.ids) + w.most > self._window]
        if beyond and self._objection is None:
            self._objection = why_not(self._loaded, self._window, self._mode)
        if self._objection:
            yield from (failed(w.prompt, settings, self._objection, len(w.ids)) for w in beyond)
            works = [w for w in works if len(w.ids) + w.most <= self._window]
        yield from self._path.answer(works, settings)


def why_not(loaded: Loaded, window: int, mode: str) -> str:
    """Why answers that outgrow the window are not those of the model; '' = they are."""
    generator = torch.Generator().manual_seed(2)
    room = (loaded.context or 1 << 40) - NEW
    for length in dict.fromkeys(min(n, room) for n in (window - NEW // 2, window + 4)):
        try:
            gap = _gap(loaded, some_tokens(loaded, length, generator), mode)
        except Exception as error:
            if out_of_memory(error):
                return f"a prompt as long as the model's window of {window:,} tokens does not fit into memory"
            return (
                f"the model fails beyond its window of {window:,} tokens ({type(error).__name__}: {first_line(error)})"
            )
        if not gap <= allowed(loaded):
            told = f"answers beyond the model's window of {window:,} tokens differ from those of a pass without a cache"
            return f"{told} (by {gap:.2g})"
    return ""


def _gap(loaded: Loaded, ids: tuple[int, ...], mode: str) -> float:
    """How much likelier another token than one of a greedy answer is, by a single pass over prompt and answer."""
    work = Work(Prompt("probe", "beyond"), ids, NEW, 0, "")
    with matmul(mode), torch.inference_mode():
        ((answer, _),) = plain.generate(loaded, [work], greedy(), Reader(loaded.tokenizer))
        whole = torch.tensor([[*ids, *answer]], device=loaded.device)
        keep = torch.arange(len(ids) - 1, whole.shape[1] - 1, device=loaded.device)
        logits = plain.logits_at(loaded.model, whole, torch.ones_like(whole), keep)[0].float()
    chosen = logits.gather(1, whole[0, len(ids) :, None])[:, 0]
    return float((logits.amax(dim=-1) - chosen).max())
