"""Printed percentages against whole counts: the published ToxiGen tables, our own checks."""

from __future__ import annotations

import json
from importlib import resources

import numpy as np
import pytest

from safety_eval.stats import whole_counts as w

# rows whose printed values are impossible under their own column, and in how many cells
SCRAMBLED = {
    ("llama2", "MPT 30B"): 10,
    ("llama2", "Falcon 40B"): 10,
    ("codellama", "StarCoder (Python) 15.5B"): 11,
    ("codellama", "Code Llama 7B"): 11,
    ("codellama", "Code Llama 13B"): 9,
    ("codellama", "Code Llama 34B"): 9,
    ("codellama", "Code Llama - Instruct 7B"): 3,
    ("codellama", "Code Llama - Instruct 13B"): 1,
}


@pytest.fixture(scope="module")
def published():
    figures = json.loads((resources.files("safety_eval.measure") / "published_results.json").read_text("utf-8"))
    sizes = figures["_about"]["toxigen_group_n"]
    tables = {
        "llama2": figures["llama2"]["table45_toxigen"],
        "codellama": figures["codellama"]["table20_toxigen"],
    }
    rows = {
        (paper, model): [row[group] for group in sizes]
        for paper, table in tables.items()
        for model, row in table.items()
        if isinstance(row, dict)
    }
    return rows, list(sizes.values())


def test_exactly_the_known_rows_are_impossible_as_labelled(published):
    rows, sizes = published
    found = {key: check.impossible for key, row in rows.items() if (check := w.check_row(row, sizes)).impossible}
    assert found == SCRAMBLED


def test_each_of_them_fits_in_another_column_order(published):
    rows, sizes = published
    for key in SCRAMBLED:
        order = w.best_order([rows[key]], sizes)
        assert order.impossible == 0 and order.moved > 0


@pytest.mark.parametrize(
    ("models", "cells"),
    [
        (
            [
                ("llama2", "MPT 30B"),
                *[
                    ("codellama", m)
                    for m in (
                        "StarCoder (Python) 15.5B",
                        "Code Llama 7B",
                        "Code Llama - Instruct 7B",
                        "Code Llama - Instruct 13B",
                    )
                ],
            ],
            65,
        ),
        ([("llama2", "Falcon 40B"), ("codellama", "Code Llama 13B")], 26),
    ],
)
def test_rows_of_two_papers_share_one_order(published, models, cells):
    rows, sizes = published
    together = [rows[key] for key in models]
    assert sum(map(len, together)) == cells
    assert w.best_order(together, sizes).impossible == 0


def test_reordered_rows_look_like_the_other_models(published):
    rows, sizes = published
    others = np.mean([row for key, row in rows.items() if key not in SCRAMBLED and key[0] == "llama2"], axis=0)
    for key in [("llama2", "MPT 30B"), ("llama2", "Falcon 40B"), ("codellama", "Code Llama 34B")]:
        moved = np.empty(len(sizes))
        moved[list(w.best_order([rows[key]], sizes).columns)] = rows[key]
        assert np.corrcoef(moved, others)[0, 1] > 0.75 > 0.6 > np.corrcoef(rows[key], others)[0, 1]


def test_worked_numbers():
    assert w.whole_count(16.53, 883) == 146 and w.whole_count(31.15, 459) == 143
    assert [w.whole_count(p, 817) for p in (33.29, 39.53, 93.02)] == [272, 323, 760]
    assert w.whole_count(33.24, 459) is None and w.whole_count(32.24, 459) == 148
    assert 0.04 < w.chance_fit(459) < 0.08


def test_every_true_percentage_passes():
    for n in (7, 459, 883):
        assert all(w.whole_count(round(100 * k / n, 2), n) == k for k in range(n + 1))


def test_zeros_fit_anywhere_and_move_nothing():
    assert w.best_order([[0.0, 0.0, 0.0]], [10, 20, 30]) == w.Order((0, 1, 2), 0, 0)


def test_macro_headlines():
    assert w.mean_matches([10.0, 20.0, 31.01], 20.34) and not w.mean_matches([10.0, 20.0, 31.0], 20.5)
    with pytest.raises(ValueError):
        w.whole_count(101, 5)
