"""Near-duplicates: prefix filtering finds exactly what comparing every pair finds."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from safety_eval.tasks._sources.loading import near_duplicates, wording

WORDS = st.lists(st.sampled_from(["a", "b", "c", "d", "e", "f", "g", "h"]), max_size=8).map(" ".join)


def by_every_pair(texts: list[str], share: float) -> list[int]:
    sets = [set(wording(t).split()) for t in texts]
    cluster = list(range(len(texts)))
    changed = True
    while changed:
        changed = False
        for i, a in enumerate(sets):
            for j, b in enumerate(sets):
                if a and b and len(a & b) >= share * len(a | b) and cluster[i] != cluster[j]:
                    cluster = [min(cluster[i], cluster[j]) if c in (cluster[i], cluster[j]) else c for c in cluster]
                    changed = True
    return cluster


@given(st.lists(WORDS, max_size=12), st.sampled_from([0.5, 0.8, 1.0]))
def test_clusters_are_those_of_comparing_every_pair(texts: list[str], share: float) -> None:
    assert near_duplicates(texts, share) == by_every_pair(texts, share)


def test_case_punctuation_and_excels_line_end_do_not_matter() -> None:
    assert near_duplicates(["Women can do anything!_x000D_", "something else", " women can do ANYTHING"]) == [
        0,
        1,
        0,
    ]
