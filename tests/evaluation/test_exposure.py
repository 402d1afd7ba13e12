"""What a catalogue is shown of, its thirds by popularity and the quality of lists: by hand and against plain loops."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.evaluation import beyond_accuracy as beyond
from tests.evaluation.beyond_oracles import N_ITEMS, NAN, Lists, World, ints, rows, worlds


@settings(deadline=None, max_examples=25)
@given(w=worlds(), k=st.integers(1, 12))
def test_exposure_and_what_follows_from_it_agree_with_plain_loops(w: World, k: int) -> None:
    shown = beyond.exposure(rows(w.ranked), N_ITEMS, k)
    times = Counter(item for one in w.ranked for item in one[:k])
    assert shown.dtype == np.int64
    assert shown.tolist() == [times[item] for item in range(N_ITEMS)]
    assert beyond.catalog_coverage(shown) == len(times) / N_ITEMS
    total = sum(times.values())
    gaps = sum(abs(times[a] - times[b]) for a in range(N_ITEMS) for b in range(N_ITEMS))
    assert beyond.gini(shown) == pytest.approx(gaps / (2 * N_ITEMS * total) if total else NAN, nan_ok=True)
    groups = [item % 3 for item in range(N_ITEMS)]
    held = [sum(times[item] for item in range(N_ITEMS) if groups[item] == group) for group in range(4)]
    expected = [one / total if total else NAN for one in held]
    assert beyond.exposure_share(shown, ints(groups), 4).tolist() == pytest.approx(expected, nan_ok=True)


@settings(deadline=None, max_examples=25)
@given(w=worlds(), k=st.integers(1, 12))
def test_a_longer_cut_shows_more_and_leaves_more_short(w: World, k: int) -> None:
    short, long = (beyond.exposure(rows(w.ranked), N_ITEMS, cut) for cut in (k, k + 1))
    assert (short <= long).all()
    assert beyond.catalog_coverage(short) <= beyond.catalog_coverage(long)
    fewer, more = (beyond.quality(rows(w.histories), 7, cut) for cut in (k, k + 1))
    assert all(fewer[name] <= more[name] for name in fewer)


@pytest.mark.parametrize("n", [1, 2, 7, 1000])
def test_gini_is_0_for_equal_exposure_and_largest_where_one_item_takes_all(n: int) -> None:
    assert beyond.gini(np.full(n, 3)) == 0.0
    assert beyond.gini(ints([0] * (n - 1) + [5])) == pytest.approx(1 - 1 / n)


def test_gini_of_a_hand_example() -> None:
    assert beyond.gini(ints([3, 0, 1])) == pytest.approx((2 * 0 * 1 + 2 * 1 * 2 + 2 * 3 * 3 - 4 * 4) / (3 * 4))


def test_shares_of_exposure_add_up_and_grow_with_the_labels() -> None:
    share = beyond.exposure_share(ints([5, 0, 3, 2]), np.array([2, 0, 0, 1], dtype=np.int8))
    assert share.tolist() == [0.3, 0.2, 0.5]


@settings(deadline=None, max_examples=40)
@given(lists=st.lists(st.lists(st.integers(-3, 12), max_size=8), max_size=5), k=st.integers(1, 9))
def test_quality_agrees_with_plain_loops(lists: Lists, k: int) -> None:
    shown = [one[:k] for one in lists]
    assert beyond.quality(rows(lists), N_ITEMS, k) == {
        "users_with_fewer_than_k": sum(len(one) < k for one in shown),
        "users_with_none": sum(not one for one in shown),
        "repeated_items": sum(item in one[:place] for one in shown for place, item in enumerate(one)),
        "unknown_items": sum(not 0 <= item < N_ITEMS for one in shown for item in one),
    }


def test_thirds_by_hand() -> None:
    assert beyond.popularity_thirds(ints([5, 5, 1, 0, 4])).tolist() == [0, 1, 2, 3, 2]
    assert beyond.popularity_thirds(ints([1, 1, 1])).tolist() == [0, 1, 2]
    assert beyond.popularity_thirds(ints([1, 98, 1])).tolist() == [2, 0, 2]
    assert beyond.popularity_thirds(ints([0, 0])).tolist() == [3, 3]
    assert beyond.popularity_thirds(ints([])).tolist() == []


@settings(deadline=None, max_examples=40)
@given(counts=st.lists(st.integers(0, 6), max_size=20))
def test_thirds_agree_with_plain_loops(counts: list[int]) -> None:
    expected, ahead = [3] * len(counts), 0
    for item in sorted(range(len(counts)), key=lambda item: (-counts[item], item)):
        if counts[item]:
            expected[item] = min(2, int(Fraction(3 * ahead, sum(counts))))
        ahead += counts[item]
    labels = beyond.popularity_thirds(ints(counts))
    assert labels.dtype == np.int8
    assert labels.tolist() == expected


def test_the_head_holds_a_third_and_would_not_without_its_last_item() -> None:
    counts = np.random.default_rng(2).zipf(1.6, 500).astype(np.int64)
    head = counts[beyond.popularity_thirds(counts) == 0]
    assert 3 * head.sum() >= counts.sum() > 3 * (head.sum() - head.min())
