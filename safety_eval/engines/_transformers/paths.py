"""The two ways through the model, with back-off when memory runs out: plain, and flat (fast)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from safety_eval.core.interfaces import Settings
from safety_eval.core.records import Output
from safety_eval.engines._transformers import plain
from safety_eval.engines._transformers.answer import Reader
from safety_eval.engines._transformers.attention import Unsupported
from safety_eval.engines._transformers.batching import RowLimit, cache_bytes, longest_first, out_of_memory
from safety_eval.engines._transformers.check import matmul
from safety_eval.engines._transformers.flat import read_prefix
from safety_eval.engines._transformers.generation import Loop, groups_of_like_length
from safety_eval.engines._transformers.likelihood import Forest, budget_of
from safety_eval.engines._transformers.load import Loaded
from safety_eval.engines._transformers.tree import shared_prefix
from safety_eval.engines._transformers.work import Asked, Work, answered, chosen, failed

LOG = logging.getLogger(__name__)
_ALONE = "out of memory with this prompt alone"


class PlainPath:
    """transformers' own generate, and padded batches of context + choice."""

    def __init__(self, loaded: Loaded, reader: Reader, limit: RowLimit, mode: str) -> None:
        self._loaded, self._reader, self._limit, self._mode = loaded, reader, limit, mode

    def answer(self, works: Sequence[Work], settings: Settings) -> Iterator[Output]:
        def run(batch: Sequence[Work]) -> list[Output]:
            with matmul(self._mode):
                done = plain.generate(self._loaded, batch, settings, self._reader)
            return [
                answered(work, ids, reason, self._reader, settings)
                for work, (ids, reason) in zip(batch, done, strict=True)
            ]

        ordered = longest_first(works, [len(w.ids) for w in works])
        # Rows near the end of the context have a limit of their own and do not share a batch with others.
        for most in sorted({w.most for w in ordered}, reverse=True):
            same = [w for w in ordered if w.most == most]
            each = row_bytes(self._loaded, max(len(w.ids) for w in same) + most)
            yield from self._batches(same, each, run, settings)

    def weigh(self, asked: Sequence[Asked], settings: Settings) -> Iterator[Output]:
        def run(batch: Sequence[Asked]) -> list[Output]:
            with matmul(self._mode):
                values = plain.choose(self._loaded, batch, rows=min(self._limit.most, 8))
            return [chosen(a, v, settings) for a, v in zip(batch, values, strict=True)]

        ordered = longest_first(asked, [max(len(ids) for ids, _ in a.choices) for a in asked])
        yield from self._batches(ordered, row_bytes(self._loaded, 0), run, settings)

    def _batches(
        self,
        items: Sequence[Any],
        bytes_each: int,
        run: Callable[[Sequence[Any]], list[Output]],
        settings: Settings,
    ) -> Iterator[Output]:
        """Run items batch by batch; what does not fit into memory is halved, and the limit remembered."""
        at = 0
        while at < len(items):
            batch = items[at : at + self._limit.rows(bytes_each)]
            try:
                outputs = run(batch)
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
                if len(batch) > 1:
                    self._limit.shrink(len(batch))
                    continue
                outputs = [failed(batch[0].prompt, settings, _ALONE)]
            at += len(batch)
            yield from outputs


class FlatPath:
    """Shared prefixes, answer trees, slots. What the model turns out not to support goes to the plain path."""

    def __init__(self, loaded: Loaded, reader: Reader, limit: RowLimit, mode: str) -> None:
        self._loaded, self._reader, self._limit, self._mode = loaded, reader, limit, mode
        self._plain = PlainPath(loaded, reader, limit, mode)
        self._budget = budget_of(loaded)

    def weigh(self, asked: Sequence[Asked], settings: Settings) -> Iterator[Output]:
        owed = set(range(len(asked)))
        try:
            with matmul(self._mode):
                forest = Forest(self._loaded, asked)
            waiting = forest.packs(range(len(asked)), self._budget)
            while waiting:
                numbers = waiting.pop()
                try:
                    with matmul(self._mode):
                        values = forest.weigh(numbers)
                    outputs = [chosen(asked[i], v, settings) for i, v in zip(numbers, values, strict=True)]
                except (RuntimeError, MemoryError) as error:
                    if not out_of_memory(error):
                        raise
                    if len(numbers) > 1:
                        waiting = self._smaller(forest, [*waiting, numbers])
                        continue
                    outputs = [failed(asked[numbers[0]].prompt, settings, _ALONE)]
                owed.difference_update(numbers)
                yield from outputs
        except Unsupported as error:
            LOG.warning("plain path instead of the fast one: the model asks its attention for %s", error)
            yield from self._plain.weigh([asked[i] for i in sorted(owed)], settings)

    def _smaller(self, forest: Forest, waiting: list[list[int]]) -> list[list[int]]:
        self._budget = max(1, self._budget // 2)
        LOG.warning("out of memory; going on with %d tokens in a pass", self._budget)
        return forest.packs([i for numbers in waiting for i in numbers], self._budget)

    def answer(self, works: Sequence[Work], settings: Settings) -> Iterator[Output]:
        ordered = longest_first(works, [len(w.ids) for w in works])
        prefix = shared_prefix((w.ids for w in ordered), min((len(w.ids) for w in ordered), default=1) - 1)
        owed = {id(w): w for w in ordered}
        try:
            with matmul(self._mode):
                kept = read_prefix(self._loaded.model, prefix, self._loaded.device)
            loop = Loop(self._loaded, settings, self._reader, kept, len(prefix))
            for group in groups_of_like_length(ordered):
                yield from self._group(loop, group, owed, settings, len(prefix))
        except Unsupported as error:
            LOG.warning("plain path instead of the fast one: the model asks its attention for %s", error)
            yield from self._plain.answer(list(owed.values()), settings)

    def _group(
        self, loop: Loop, group: list[Work], owed: dict[int, Work], settings: Settings, start: int
    ) -> Iterator[Output]:
        while group:
            each = row_bytes(self._loaded, max(len(w.ids) - start + w.most for w in group))
            rows = self._limit.rows(each)
            try:
                steps = loop.run(group, rows, self._budget)
                while (done := self._next(steps)) is not None:
                    work, ids, reason = done
                    del owed[id(work)]
                    yield answered(work, ids, reason, self._reader, settings)
                return
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
                group = [w for w in group if id(w) in owed]
                if rows > 1 and len(group) > 1:
                    self._limit.shrink(min(rows, len(group)))
                    LOG.warning("out of memory; going on with %d rows", self._limit.most)
                    continue
                work = group[0]
                del owed[id(work)]
                group = group[1:]
                yield failed(work.prompt, settings, _ALONE)

    def _next(self, steps: Iterator[Any]) -> Any:
        # The setting of the products is the process's: never left on while a caller holds an Output.
        with matmul(self._mode):
            return next(steps, None)


def row_bytes(loaded: Loaded, tokens: int) -> int:
    """Memory of one row: keys and values twice (growing a cache copies it), logits with their working copies."""
    vocabulary = int(loaded.model.get_input_embeddings().weight.shape[0])
    return 2 * tokens * cache_bytes(loaded.model) + 16 * vocabulary
