"""Keyed Gumbel sampling: published vectors, the exact distribution, ties by token id."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from scipy import stats

from safety_eval.core import sampling


def test_published_vectors() -> None:
    words = sampling.mix(np.arange(2, dtype=np.uint64))
    assert [hex(int(w)) for w in words] == ["0xe220a8397b1dcdaf", "0x910a2dec89025cc1"]
    assert sampling.uniform(12345, 7, np.array([42]))[0] == 0.2291293070466341


def test_the_key_is_63_bits_of_sha256_over_length_prefixed_fields() -> None:
    fields = [b"0", b"bold", b"a\xc3\xa9", b"2"]
    data = b"".join(len(f).to_bytes(8, "big") + f for f in fields)
    expected = int(hashlib.sha256(data).hexdigest()[:16], 16) // 2
    assert sampling.draw_key(0, "bold", "aé", 2) == expected < 2**63


def test_fields_cannot_run_into_each_other() -> None:
    keys = {sampling.draw_key(*f) for f in ((1, "a", "b", 1), (1, "ab", "", 1), (1, "", "ab", 1), (11, "a", "b", 1))}
    assert len(keys) == 4


def test_uniforms_are_inside_the_open_interval_and_gumbel_is_finite() -> None:
    u = sampling.uniform(5, 0, np.arange(100_000))
    assert u.min() > 0 and u.max() < 1 and np.isfinite(sampling.gumbel(5, 0, np.arange(100_000))).all()
    assert stats.kstest(u, "uniform").pvalue > 1e-3


@pytest.mark.parametrize("across", ["keys", "steps"])
def test_draws_follow_the_softmax(across: str) -> None:
    logits = np.array([2.0, 1.0, 0.0, -1.0, 3.0])
    chance = np.exp(logits / 0.7) / np.exp(logits / 0.7).sum()
    pairs = [(k, 0) for k in range(8000)] if across == "keys" else [(99, s) for s in range(8000)]
    counts = np.bincount([sampling.draw(logits, 0.7, 1.0, k, s) for k, s in pairs], minlength=5)
    assert stats.chisquare(counts, chance * len(pairs)).pvalue > 1e-3


def test_neighbouring_keys_are_uncorrelated() -> None:
    u = np.array([sampling.uniform(k, 0, np.array([0]))[0] for k in range(8000)])
    assert abs(np.corrcoef(u[:-1], u[1:])[0, 1]) < 0.05


def test_the_nucleus_is_the_smallest_set_that_holds_p_and_ties_go_by_token_id() -> None:
    scaled = np.log(np.array([0.1, 0.4, 0.2, 0.2, 0.1]))
    assert sampling.nucleus(scaled, 0.39).tolist() == [1]
    assert sampling.nucleus(scaled, 0.5).tolist() == [1, 2]
    assert sampling.nucleus(scaled, 0.7).tolist() == [1, 2, 3]
    assert sampling.nucleus(scaled, 0.85).tolist() == [1, 2, 3, 0]
    assert sampling.nucleus(scaled, 1.0).tolist() == [1, 2, 3, 0, 4]
    assert sampling.nucleus(np.zeros(7), 0.01).tolist() == [0]


def test_greedy_takes_the_lowest_of_equals() -> None:
    assert sampling.draw(np.array([1.0, 3.0, 3.0]), 0.0, 0.9, 1, 1) == 1
