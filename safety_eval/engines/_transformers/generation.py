"""The generation loop: a shared prefix once, a static cache of slots, slots refilled as answers end.

One step is one forward pass of transformers' own model for every slot that is in use, one draw, and one transfer of
the drawn tokens to the host. Rows in use are kept together at the front of the cache, so that no product is spent on
an answer that has ended.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from safety_eval.core.interfaces import Settings
from safety_eval.engines._transformers.answer import Reader
from safety_eval.engines._transformers.attention import KeyValue, Packed, Slots
from safety_eval.engines._transformers.draw import BROKEN, Sampler
from safety_eval.engines._transformers.flat import forward
from safety_eval.engines._transformers.load import Loaded
from safety_eval.engines._transformers.plain import has_stop
from safety_eval.engines._transformers.work import BROKEN_ROW, Work, within
from safety_eval.torch_runtime.batches import Limit, packs

_LOOK = 16
"""Tokens between two looks at whether a thought has ended, or has used up its limit: reading an answer takes time."""
Done = tuple[Work, list[int], str]
"""A finished answer: its work, its tokens (the end token included), and 'eos', 'stop' or 'length'."""


@dataclass(slots=True)
class Row:
    """One answer in progress. `held`: tokens that its slot holds (own prompt and answer, without the newest)."""

    work: Work
    held: int
    ids: list[int] = field(default_factory=list)


class Loop:
    """Answers the works of one call that share a prefix.

    Args:
        works: longest first. prefix: keys and values of the first `start` tokens of all of them.
        rows: slots. passes: what one pass over prompts may hold.
    """

    def __init__(self, loaded: Loaded, settings: Settings, reader: Reader, prefix: list[KeyValue], start: int) -> None:
        self._loaded, self._settings, self._reader = loaded, settings, reader
        self._prefix, self._start = prefix, start
        self._sampler = Sampler(settings.temperature, settings.top_p)
        self._risky = reader.suspicious(settings.stop) if settings.stop else []
        self._eos = frozenset(loaded.eos)
        self._memory: list[KeyValue] = []
        self._cache: list[KeyValue] = []
        self._rows: list[Row] = []

    def run(self, works: Sequence[Work], rows: int, passes: Limit) -> Iterator[Done]:
        """Finished answers as they come. A slot is refilled when an eighth of them is free."""
        waiting = list(works)[::-1]
        rows = min(rows, len(waiting))
        self._memory, self._rows, capacity = [], [], 0
        while waiting or self._rows:
            free = rows - len(self._rows)
            if waiting and (not self._rows or free >= max(1, rows // 8)):
                if not self._rows:
                    # The first works are the longest: later ones fit into a part of the same memory.
                    self._cache, capacity = [], max(len(w.ids) - self._start + w.most for w in waiting)
                fresh = [waiting.pop() for _ in range(min(free, len(waiting)))]
                yield from self._admit(fresh, rows, capacity, passes)
            if self._rows:
                yield from self._advance()

    def forget(self) -> None:
        """Free the slots: after memory ran out nothing of them is of use."""
        self._memory, self._cache, self._rows = [], [], []

    @torch.inference_mode()
    def _admit(self, works: list[Work], rows: int, capacity: int, passes: Limit) -> list[Done]:
        """Read prompts into the next slots and draw their first tokens."""
        first = len(self._rows)
        for numbers in packs([len(w.ids) - self._start for w in works], passes):
            part = [works[i] for i in numbers]
            logits = self._read(part, rows, capacity)
            fresh = [Row(w, len(w.ids) - self._start) for w in part]
            self._rows += fresh
            self._draw(logits, fresh)
        return self._sweep(first)

    def _read(self, works: list[Work], rows: int, capacity: int) -> Tensor:
        """Logits after each prompt; its keys and values go to the next slots."""
        model, device = self._loaded.model, self._loaded.device
        own = [w.ids[self._start :] for w in works]
        sizes = [len(ids) for ids in own]
        plan = Packed(sizes, None, self._prefix, device, model.dtype)
        tokens = torch.tensor([t for ids in own for t in ids], device=device)
        places = torch.tensor([p for n in sizes for p in range(n)])
        ends = torch.tensor(sizes).cumsum(0) - 1
        logits = forward(model, tokens, (places + self._start).to(device), plan, ends.to(device))
        if not self._memory:
            self._memory = [_room(pair, rows * capacity) for pair in plan.captured]
        if not self._cache:
            self._cache = [_laid_out(pair, rows, capacity) for pair in self._memory]
        slots = torch.tensor([len(self._rows) + i for i, n in enumerate(sizes) for _ in range(n)])
        for (keys, values), (key, value) in zip(self._cache, plan.captured, strict=True):
            at, place = slots.to(keys.device), places.to(keys.device)
            keys[at, :, :, place] = key.transpose(0, 1)
            values[at, :, place] = value.transpose(0, 1)
        return logits

    @torch.inference_mode()
    def _advance(self) -> list[Done]:
        """One more token for every row in use."""
        device = self._loaded.device
        held = [row.held for row in self._rows]
        tokens = torch.tensor([row.ids[-1] for row in self._rows], device=device)
        positions = torch.tensor([self._start + n for n in held], device=device)
        plan = Slots(self._cache, self._prefix, held)
        keep = torch.arange(len(held), device=device)
        logits = forward(self._loaded.model, tokens, positions, plan, keep)
        for row in self._rows:
            row.held += 1
        self._draw(logits, self._rows)
        return self._sweep(0)

    def _draw(self, logits: Tensor, rows: list[Row]) -> None:
        keys = torch.tensor([row.work.draw for row in rows], device=logits.device)
        steps = torch.tensor([len(row.ids) for row in rows], device=logits.device)
        # The one synchronisation of a step.
        for row, token in zip(rows, self._sampler.pick(logits, keys, steps).tolist(), strict=True):
            row.ids.append(token)

    def _sweep(self, first: int) -> list[Done]:
        """Take out the rows from `first` on that have ended, and close the gaps with rows from the end."""
        reasons = [self._ended(row) if i >= first else "" for i, row in enumerate(self._rows)]
        done = [(row.work, row.ids, reason) for row, reason in zip(self._rows, reasons, strict=True) if reason]
        if not done:
            return []
        broken = [i for i, reason in enumerate(reasons) if reason == BROKEN_ROW]
        for layer in self._cache if broken else ():
            for memory in layer:  # the next answer in this slot must not meet a NaN behind its mask
                memory[broken] = 0
        left = len(self._rows) - len(done)
        gaps = [i for i in range(left) if reasons[i]]
        movers = [i for i in range(left, len(self._rows)) if not reasons[i]]
        for gap, mover in zip(gaps, movers, strict=True):
            self._rows[gap] = self._rows[mover]
        if gaps:
            for keys, values in self._cache:
                to, source = torch.tensor(gaps, device=keys.device), torch.tensor(movers, device=keys.device)
                keys[to] = keys[source]
                values[to] = values[source]
        del self._rows[left:]
        return done

    def _ended(self, row: Row) -> str:
        token = row.ids[-1]
        if token == BROKEN:
            return BROKEN_ROW
        if token in self._eos:
            return "eos"
        risky = self._risky and (token >= len(self._risky) or self._risky[token])
        if risky and has_stop(row.work, row.ids, self._reader, self._settings.stop):
            return "stop"
        many = len(row.ids)
        if self._settings.max_thinking_tokens and many % _LOOK == 0:
            kept = within(row.work, row.ids, self._reader, self._settings)
            return "length" if len(kept) < many or many >= row.work.most else ""
        return "length" if many >= row.work.most else ""


def _room(like: KeyValue, tokens: int) -> KeyValue:
    """Memory for so many tokens of one layer whose keys and values (heads, tokens, width) are as `like`; values may be
    narrower than keys, and layers differ."""
    key, value = (t.new_zeros((t.shape[0], t.shape[2], tokens)) for t in like)
    return key, value


def _laid_out(memory: KeyValue, rows: int, capacity: int) -> KeyValue:
    """The front of a layer's memory as slots of `capacity` tokens, without gaps: see `Slots`."""
    keys, values = (m.view(-1)[: m.shape[0] * m.shape[1] * rows * capacity] for m in memory)
    (heads, wide, _), (kept, width, _) = (m.shape for m in memory)
    # The product with the queries reads float32 keys fastest as (width, tokens); in half precision it does not mind,
    # and a new key is one piece of memory instead of `width`.
    halves = keys.element_size() < 4
    return (
        keys.view(rows, heads, capacity, wide).transpose(2, 3) if halves else keys.view(rows, heads, wide, capacity),
        values.view(rows, kept, capacity, width),
    )


def groups_of_like_length(works: Sequence[Work]) -> Iterator[list[Work]]:
    """Works (longest first) in groups whose slots waste at most half of their room."""
    group: list[Work] = []
    for work in works:
        if group and 2 * (len(work.ids) + work.most) < len(group[0].ids) + group[0].most:
            yield group
            group = []
        group.append(work)
    if group:
        yield group
