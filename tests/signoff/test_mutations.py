"""Signed evidence and its redacted copy, changed in every way that the long script knows: a small version of it."""

from __future__ import annotations

import random
from pathlib import Path

import mutations
import pytest

from safety_eval import api


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, list[Path]]]:
    home = tmp_path_factory.mktemp("mutations")
    folder, keys = mutations.make(home)
    return {"bundle": (folder, keys), "redacted": (api.redact(folder, home / "sealed"), keys)}


@pytest.mark.parametrize("which", ["bundle", "redacted"])
def test_no_mutation_survives_but_the_harmless_and_none_turns_the_verdict(made, which: str) -> None:
    counts = mutations.run(*made[which], count=120, seed=1)
    assert not +mutations.bad(counts), counts
    assert sum(c.survived for c in counts.values()) == sum(counts[kind].tried for kind in mutations.HARMLESS)


@pytest.mark.parametrize("kind", mutations.KINDS)
def test_every_kind_of_mutation_is_noticed(made, kind: str) -> None:
    folder, keys = made["bundle"]
    files = {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    bundle = mutations.Bundle(folder, files)
    for seed in range(2 if kind in mutations.HARMLESS else 12):
        count = mutations.one(bundle, kind, random.Random(seed), keys, "approved with waivers")
        assert (count.turned, count.crashed) == (0, 0) and count.survived == (kind in mutations.HARMLESS)
