"""The two ways through the model, with back-off when memory runs out: plain, and flat (fast)."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from safety_eval.core.interfaces import Settings
from safety_eval.core.records import Output
from safety_eval.engines._transformers import plain
from safety_eval.engines._transformers.answer import Reader
from safety_eval.engines._transformers.attention import Unsupported
from safety_eval.engines._transformers.flat import read_prefix
from safety_eval.engines._transformers.generation import Loop, groups_of_like_length
from safety_eval.engines._transformers.likelihood import Forest, budget_of
from safety_eval.engines._transformers.load import Loaded
from safety_eval.engines._transformers.shape import cache_bytes
from safety_eval.engines._transformers.tree import shared_prefix
from safety_eval.engines._transformers.work import BROKEN_ROW, Asked, Work, answered, chosen, failed
from safety_eval.torch_runtime.batches import ALONE, Limit, in_batches, longest_first, windows
from safety_eval.torch_runtime.devices import give_back, out_of_memory
from safety_eval.torch_runtime.onednn import matmul

LOG = logging.getLogger(__name__)
CHOICE_ROWS = 8
"""Most choices of a padded batch: a batch's logits are its largest memory by far."""


class PlainPath:
    """transformers' own generate, and padded batches of context + choice."""

    def __init__(self, loaded: Loaded, reader: Reader, limit: Limit, mode: str) -> None:
        self._loaded, self._reader, self._limit, self._mode = loaded, reader, limit, mode
        self._choices = Limit(loaded.device, min(limit.rows, CHOICE_ROWS))
        self._single = Limit(loaded.device, 1)

    def answer(self, works: Sequence[Work], settings: Settings) -> Iterator[Output]:
        mixing = self._loaded.mixing or 1 << 40
        for work in works:
            if len(work.ids) + work.most > mixing:
                yield from self._answer([work], work.most, settings)
        works = [w for w in works if len(w.ids) + w.most <= mixing]
        # Rows near the end of the context have a limit of their own and do not share a batch with others.
        for most in sorted({w.most for w in works}, reverse=True):
            yield from self._answer([w for w in works if w.most == most], most, settings)

    def _answer(self, works: Sequence[Work], most: int, settings: Settings) -> Iterator[Output]:
        def run(numbers: list[int]) -> list[plain.Finished]:
            with matmul(self._mode):
                return plain.generate(self._loaded, [works[i] for i in numbers], settings, self._reader)

        lengths = [len(w.ids) for w in works]
        for i, done in in_batches(lengths, self._limit, run, lambda n: row_bytes(self._loaded, n + most)):
            if done is None:
                yield failed(works[i].prompt, settings, ALONE)
            elif done[1] == BROKEN_ROW and len(works) > 1:
                # Numbers that are not finite may have come from another row: asked again alone, the answer is its own.
                yield from self._answer([works[i]], most, settings)
            else:
                yield answered(works[i], *done, self._reader, settings)

    def weigh(self, asked: Sequence[Asked], settings: Settings) -> Iterator[Output]:
        order = longest_first([a.longest for a in asked])
        for block in windows((asked[i] for i in order), max(self._limit.rows, 1)):
            mixed = self._loaded.mixing is None or block[0].longest <= self._loaded.mixing
            values = plain.choose(self._loaded, block, self._choices if mixed else self._single, self._mode)
            for one, logprobs in zip(block, values, strict=True):
                if logprobs is not None and not all(map(math.isfinite, logprobs)):
                    (logprobs,) = plain.choose(self._loaded, [one], self._single, self._mode)
                if logprobs is None:
                    yield failed(one.prompt, settings, ALONE)
                else:
                    yield chosen(one, logprobs, settings)


class FlatPath:
    """Shared prefixes, answer trees, slots. What the model turns out not to support goes to the plain path."""

    def __init__(self, loaded: Loaded, reader: Reader, limit: Limit, mode: str) -> None:
        self._loaded, self._reader, self._limit, self._mode = loaded, reader, limit, mode
        self._plain = PlainPath(loaded, reader, limit, mode)
        self._passes = Limit(loaded.device, tokens=budget_of(loaded))
        # Beyond its window a model's own masks decide, which the fast path does not draw.
        self._reach = loaded.reach

    def weigh(self, asked: Sequence[Asked], settings: Settings) -> Iterator[Output]:
        beyond = [a for a in asked if a.longest > self._reach]
        yield from self._plain.weigh(beyond, settings)
        asked = [a for a in asked if a.longest <= self._reach]
        owed = set(range(len(asked)))
        try:
            with matmul(self._mode), _prefix_fits():
                forest = Forest(self._loaded, asked)

            def run(numbers: list[int]) -> list[list[float]]:
                with matmul(self._mode):
                    return forest.weigh(numbers)

            for i, values in in_batches(forest.sizes(), self._passes, run):
                owed.discard(i)
                if values is None:
                    yield failed(asked[i].prompt, settings, ALONE)
                elif not all(map(math.isfinite, values)):
                    yield from self._plain.weigh([asked[i]], settings)
                else:
                    yield chosen(asked[i], values, settings)
        except Unsupported as error:
            LOG.warning("plain path instead of the fast one: %s", error)
            yield from self._plain.weigh([asked[i] for i in sorted(owed)], settings)

    def answer(self, works: Sequence[Work], settings: Settings) -> Iterator[Output]:
        beyond = [w for w in works if len(w.ids) + w.most > self._reach]
        yield from self._plain.answer(beyond, settings)
        works = [w for w in works if len(w.ids) + w.most <= self._reach]
        ordered = [works[i] for i in longest_first([len(w.ids) for w in works])]
        prefix = shared_prefix((w.ids for w in ordered), min((len(w.ids) for w in ordered), default=1) - 1)
        owed = {id(w): w for w in ordered}
        try:
            with matmul(self._mode), _prefix_fits():
                kept = read_prefix(self._loaded.model, prefix, self._loaded.device)
            loop = Loop(self._loaded, settings, self._reader, kept, len(prefix))
            for group in groups_of_like_length(ordered):
                yield from self._group(loop, group, owed, settings, len(prefix))
        except Unsupported as error:
            LOG.warning("plain path instead of the fast one: %s", error)
            yield from self._plain.answer(list(owed.values()), settings)

    def _group(
        self, loop: Loop, group: list[Work], owed: dict[int, Work], settings: Settings, start: int
    ) -> Iterator[Output]:
        while group:
            longest = max(len(w.ids) - start + w.most for w in group)
            rows = self._limit.count(longest, row_bytes(self._loaded, longest))
            try:
                steps = loop.run(group, rows, self._passes)
                while (done := self._next(steps)) is not None:
                    work, ids, reason = done
                    del owed[id(work)]
                    if reason == BROKEN_ROW:
                        yield from self._plain.answer([work], settings)
                    else:
                        yield answered(work, ids, reason, self._reader, settings)
                return
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
            loop.forget()
            give_back(self._loaded.device)
            group = [w for w in group if id(w) in owed]
            if rows > 1 and len(group) > 1:
                self._limit.shrink(min(rows, len(group)), longest)
                continue
            work = group[0]
            del owed[id(work)]
            group = group[1:]
            yield failed(work.prompt, settings, ALONE)

    def _next(self, steps: Iterator[Any]) -> Any:
        # The setting of the products is the process's: never left on while a caller holds an Output.
        with matmul(self._mode):
            return next(steps, None)


@contextmanager
def _prefix_fits() -> Iterator[None]:
    """A shared prefix too large for memory is no reason to fail: without it each prompt stands for itself."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        raise Unsupported("the shared prefix of the prompts does not fit into memory") from error


def row_bytes(loaded: Loaded, tokens: int) -> int:
    """Memory of one row: keys and values twice (growing a cache copies it), logits with their working copies."""
    return 2 * tokens * cache_bytes(loaded.model) + 16 * loaded.rows
