"""The choices of a prompt as one tree of tokens, and several trees packed into one forward pass."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain

import torch
from torch import Tensor

from safety_eval.engines._transformers.work import Asked

SHORTEST_PREFIX = 8
"""Tokens below which a shared prefix is not worth a pass of its own."""


def shared_prefix(sequences: Iterable[Sequence[int]], most: int) -> tuple[int, ...]:
    """The tokens that all sequences begin with, at most `most`; () where they are too few to be worth it."""
    common: list[int] | None = None
    for ids in sequences:
        if common is None:
            common = list(ids[: max(most, 0)])
            continue
        differs = (i for i, (a, b) in enumerate(zip(common, ids, strict=False)) if a != b)
        del common[next(differs, len(ids)) :]
    return tuple(common) if common and len(common) >= SHORTEST_PREFIX else ()


def choices_prefix(asked: Sequence[Asked]) -> tuple[int, ...]:
    """Shared prefix of all choices of all prompts; each keeps the token that predicts its first answer token."""
    sequences = (ids for a in asked for ids, _ in a.choices)
    return shared_prefix(sequences, min((known for a in asked for _, known in a.choices), default=1) - 1)


@dataclass(slots=True)
class Tree:
    """One prompt: its context as the stem, its choices as branches, shared beginnings once.

    Attributes:
        tokens, parents, depths: of each node; a parent stands before its children, -1 = the shared prefix.
        asks: (node, token): how likely is this token after this node?
        sums: for each choice, the numbers of its asks.
    """

    tokens: list[int] = field(default_factory=list)
    parents: list[int] = field(default_factory=list)
    depths: list[int] = field(default_factory=list)
    asks: list[tuple[int, int]] = field(default_factory=list)
    sums: list[list[int]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.tokens)

    def sees(self) -> Tensor:
        """(nodes, nodes): a node sees itself and what lies on its way to the root."""
        seen = torch.eye(len(self), dtype=torch.bool)
        table = seen.numpy()
        for node, parent in enumerate(self.parents):
            if parent >= 0:
                table[node] |= table[parent]
        return seen


def grow(asked: Asked, start: int) -> Tree:
    """The tree of a prompt behind a prefix of `start` tokens."""
    tree = Tree()
    children: dict[tuple[int, int], int] = {}
    known_asks: dict[tuple[int, int], int] = {}
    for ids, known in asked.choices:
        node, numbers = -1, []
        # The last token is asked for, never read.
        for depth in range(start, len(ids) - 1):
            step = (node, ids[depth])
            if step not in children:
                children[step] = len(tree)
                tree.tokens.append(ids[depth])
                tree.parents.append(node)
                tree.depths.append(depth)
            node = children[step]
            if depth + 1 >= known:
                ask = (node, ids[depth + 1])
                numbers.append(known_asks.setdefault(ask, len(known_asks)))
        tree.sums.append(numbers)
    tree.asks = list(known_asks)
    return tree


@dataclass(frozen=True, slots=True)
class Pack:
    """Trees side by side in one flat row.

    Attributes:
        tokens, positions: of the row. sizes: nodes of each tree. allowed: as `attention.Packed` takes it.
        asked_at: nodes (of the row) that are asked anything, in order.
        rows, targets: for each ask of each tree in order: which of `asked_at`, and which token.
    """

    tokens: Tensor
    positions: Tensor
    sizes: list[int]
    allowed: Tensor
    asked_at: Tensor
    rows: Tensor
    targets: Tensor


def pack(trees: Sequence[Tree]) -> Pack:
    """Put trees into one row."""
    sizes = [len(t) for t in trees]
    longest = max(sizes)
    allowed = torch.zeros((len(trees), longest, longest), dtype=torch.bool)
    for i, tree in enumerate(trees):
        allowed[i, : len(tree), : len(tree)] = tree.sees()
    starts = [sum(sizes[:i]) for i in range(len(sizes))]
    asks = [(start + node, token) for start, tree in zip(starts, trees, strict=True) for node, token in tree.asks]
    nodes = sorted({node for node, _ in asks})
    row_of = {node: i for i, node in enumerate(nodes)}
    return Pack(
        tokens=torch.tensor(list(chain.from_iterable(t.tokens for t in trees))),
        positions=torch.tensor(list(chain.from_iterable(t.depths for t in trees))),
        sizes=sizes,
        allowed=allowed,
        asked_at=torch.tensor(nodes),
        rows=torch.tensor([row_of[node] for node, _ in asks]),
        targets=torch.tensor([token for _, token in asks]),
    )
