"""How much is read of a file that anybody may have written: its size is looked at before anything in it is parsed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

JSON_BYTES = 256 << 20
"""A whole JSON file; results.json of every benchmark takes some 20 MB."""
LINE_BYTES = 16 << 20
"""A line of a record file: one prompt, one answer or one score."""
TEXT_BYTES = 1 << 20
"""A policy or a configuration."""
_BLOCK = 1 << 20
VALUES = 4_000_000
"""Values of a JSON text: parsed, so many take less than half a gigabyte."""
YAML_VALUES = 100_000
"""Values of a YAML text with every alias written out."""


def content(path: Path, most: int, plain: bool = True) -> bytes:
    """The bytes of a file, if it is no larger than `most` bytes. `plain`: a pipe or a device is refused.

    Raises:
        ValueError: it is larger, or no plain file. OSError: it cannot be read.
    """
    if plain and path.exists() and not path.is_file():
        raise ValueError("it is not a plain file")
    blocks, left = [], most
    with path.open("rb") as file:
        # One read of `most` bytes would first ask for as much memory, however small the file is.
        while block := file.read(min(left, _BLOCK) + 1):
            blocks.append(block)
            left -= len(block)
            if left < 0:
                raise ValueError(f"it is larger than {most >> 20} MB, more than any of ours")
    return b"".join(blocks)


def refuse_many(text: bytes) -> None:
    """Refuse a JSON text that may hold more than VALUES values.

    Raises:
        ValueError: it may.
    """
    if text.count(b",") + text.count(b"[") + text.count(b"{") > VALUES:
        raise ValueError(f"it may hold more than {VALUES:,} values, more than any of ours")


def yaml_value(text: str, loader: type[yaml.SafeLoader] = yaml.SafeLoader) -> Any:
    """The value of a YAML text whose aliases stand for no more than YAML_VALUES values.

    Raises:
        ValueError, yaml.YAMLError, RecursionError: it is no such text.
    """
    reading = loader(text)
    try:
        node = reading.get_single_node()
        if node is None:
            return None
        _count(node, {})
        return reading.construct_document(node)
    finally:
        reading.dispose()


def _count(node: yaml.Node, known: dict[int, int]) -> int:
    """Values below a node, those behind an alias counted each time that it stands there."""
    if id(node) in known:
        if not known[id(node)]:
            raise ValueError("an alias stands inside of what it stands for")
        return known[id(node)]
    known[id(node)] = 0
    inside: list[yaml.Node] = []
    if isinstance(node, yaml.SequenceNode):
        inside = node.value
    elif isinstance(node, yaml.MappingNode):
        inside = [one for pair in node.value for one in pair]
    known[id(node)] = 1 + sum(_count(one, known) for one in inside)
    if known[id(node)] > YAML_VALUES:
        raise ValueError(f"with its aliases written out it holds more than {YAML_VALUES:,} values")
    return known[id(node)]
