"""What a page carries is packed piece by piece: unpacked, it is what went in, whole and in order."""

from __future__ import annotations

import base64
import json
import random
import zlib

from safety_eval.report.packing import Column, packed_pieces


def test_a_long_list_that_was_packed_in_pieces_is_unpacked_as_it_was() -> None:
    column, rng = Column(), random.Random(1)
    values = [rng.getrandbits(64) for _ in range(10_000)]
    for value in values:
        column.add(value)
    column.fill(len(values) + 1)
    content = "".join(packed_pieces(column.json()))
    assert json.loads(zlib.decompress(base64.b64decode(content, validate=True))) == [*values, None]
