"""Distances between distributions against values by hand and of scipy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon

from recsys.evaluation.drift import Bins, jensen_shannon, popularity_bins, psi


def test_the_index_of_stability_by_hand() -> None:
    bins = Bins.of(np.arange(100))
    assert len(bins) == 10
    assert bins.count(np.arange(100)).tolist() == [10] * 10
    assert len(Bins.of(np.ones(50))) <= 2
    equal, moved = bins.count(np.arange(100)), bins.count(np.arange(100) / 10)
    assert psi(equal, equal) == 0
    p, q = (equal + 0.5) / 105, (moved + 0.5) / 105
    assert psi(equal, moved) == pytest.approx(sum((b - a) * math.log(b / a) for a, b in zip(p, q, strict=True)))
    assert psi(equal, moved) > 2
    assert math.isnan(psi(equal, np.zeros(10, dtype=np.int64)))


def test_jensen_shannon_is_that_of_scipy() -> None:
    random = np.random.default_rng(0)
    for size in (2, 7, 40):
        one, other = random.integers(0, 9, size), random.integers(0, 9, size)
        one[0] = other[-1] = 5
        one[-1] = 0  # a bin that only one of them has
        assert jensen_shannon(one, other) == pytest.approx(jensenshannon(one, other, base=2), abs=1e-12)
    assert jensen_shannon(one, one) == 0
    assert math.isnan(jensen_shannon(one, np.zeros_like(one)))


def test_bins_of_popularity_hold_about_as_many_events_each() -> None:
    counts = np.random.default_rng(0).zipf(1.4, 5000).clip(max=400)
    bins = popularity_bins(counts)
    held = np.bincount(bins, weights=counts)
    assert len(held) == 10
    assert held.max() - held.min() <= 2 * counts.max()
    assert counts[bins == 0].min() >= counts[bins == 1].max()
    assert popularity_bins(np.zeros(4, dtype=np.int64)).tolist() == [9, 9, 9, 9]
