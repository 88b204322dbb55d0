"""Densities on [0, 1]: worked numbers, mass one, bands, equality with scipy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import integrate, stats

from safety_eval.stats import density as d

THREE = np.array([0.0, 0.1, 0.9])


def test_worked_numbers():
    got = d.reflected_density(THREE, [0.0, 0.5, 1.0], 0.1)
    assert got == pytest.approx((4.272753, 0.000902153, 1.613138), abs=1e-6)
    plain = stats.norm.cdf((1 - THREE) / 0.1) - stats.norm.cdf(-THREE / 0.1)
    assert plain.mean() == pytest.approx(0.727563, abs=1e-6)
    assert d.dkw(200) == pytest.approx(0.096032, abs=1e-6)


def test_mass_is_one_and_equal_to_three_mirrored_kernels():
    x = np.random.default_rng(0).beta(0.6, 3, 200)
    grid, h = np.linspace(0, 1, 2001), d.silverman(x)
    mirrored = np.r_[x, -x, 2 - x]
    library = 3 * stats.gaussian_kde(mirrored, bw_method=h / mirrored.std(ddof=1))(grid)
    ours = d.reflected_density(x, grid, h)
    assert ours == pytest.approx(library)
    assert integrate.simpson(ours, x=grid) == pytest.approx(1, abs=1e-4)
    assert h == pytest.approx(stats.gaussian_kde(x, "silverman").factor * x.std(ddof=1))


def test_the_published_figure_form_leaks():
    x = np.random.default_rng(0).beta(0.6, 3, 200)
    grid = np.linspace(-0.2, 1.2, 1401)
    shown = d.paper_density(x, grid)
    assert integrate.simpson(shown[grid < 0], x=grid[grid < 0]) > 0.05


def test_compared_curves_share_a_bandwidth():
    rng = np.random.default_rng(1)
    x, y = rng.beta(1, 3, 100), rng.beta(3, 1, 150)
    assert min(d.silverman(x), d.silverman(y)) <= d.shared_bandwidth([x, y]) <= max(d.silverman(x), d.silverman(y))
    assert d.silverman([0.5, 0.5]) > 0


def test_spikes_at_the_ends_are_named():
    assert d.point_masses([0, 0, 0.5, 1]) == {0.0: 0.5, 1.0: 0.25}
    assert d.point_masses(np.linspace(0.1, 0.9, 50)) == {}


def test_band_is_simultaneous_and_seeded():
    x = np.random.default_rng(2).beta(2, 3, 200)
    grid = np.linspace(0, 1, 81)
    one = d.band(x, grid, 0.08)
    assert one.critical > 2.3 and np.all(one.low <= one.density) and np.all(one.density <= one.high)
    assert np.array_equal(one.high, d.band(x, grid, 0.08).high)
    doubled = d.band(np.tile(x, 2), grid, 0.08, clusters=np.tile(np.arange(200), 2))
    assert doubled.high == pytest.approx(one.high)


def test_band_covers_the_smoothed_truth():
    grid, h = np.linspace(0, 1, 41), 0.1
    truth = d.reflected_density(stats.beta.ppf((np.arange(4000) + 0.5) / 4000, 2, 3), grid, h)
    hits = 0
    for seed in range(100):
        got = d.band(np.random.default_rng(seed).beta(2, 3, 150), grid, h, repeats=200, seed=seed)
        hits += bool(np.all((got.low <= truth) & (truth <= got.high)))
    assert hits >= 84


def test_ecdf_counts_at_or_below():
    assert d.ecdf([0.1, 0.2, 0.2, 0.9], [0.0, 0.2, 1.0]) == pytest.approx([0, 0.75, 1])


@pytest.mark.parametrize(
    "call", [lambda: d.silverman([]), lambda: d.silverman([1.2]), lambda: d.band([0.5], [0.5], 0.1)]
)
def test_bad_scores_are_refused(call):
    with pytest.raises(ValueError):
        call()
