"""Metrics beyond accuracy against values worked out by hand and against oracles of plain loops that share no code."""

from __future__ import annotations

import math
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.data.row_lists import RowLists
from recsys.errors import ConfigError, DataError
from recsys.evaluation import beyond
from recsys.evaluation.metrics import hit_matrix

N_ITEMS, N_USERS, N_CATEGORIES = 10, 9, 4
NAN = math.nan
Lists = list[list[int]]


@dataclass
class World:
    """Ten items, some untouched, some without vector or category, and a few users."""

    ranked: Lists
    histories: Lists
    targets: Lists
    users: list[int]
    counts: list[int]
    vectors: list[list[int]]
    categories: list[set[int]]


@st.composite
def worlds(draw: st.DrawFn) -> World:
    n = draw(st.integers(0, 5))
    item = st.integers(0, N_ITEMS - 1)
    several = {"min_size": N_ITEMS, "max_size": N_ITEMS}
    return World(
        ranked=[draw(st.permutations(range(N_ITEMS)))[: draw(st.integers(0, N_ITEMS))] for _ in range(n)],
        histories=[draw(st.lists(item, max_size=8)) for _ in range(n)],
        targets=[draw(st.lists(item, max_size=5, unique=True)) for _ in range(n)],
        users=draw(st.lists(st.integers(0, N_USERS), **several)),
        counts=draw(st.lists(st.integers(0, 20), **several)),
        vectors=draw(st.lists(st.lists(st.integers(-3, 3), min_size=3, max_size=3), **several)),
        categories=draw(st.lists(st.sets(st.integers(0, N_CATEGORIES - 1)), **several)),
    )


def matrix(categories: list[set[int]], width: int = N_CATEGORIES) -> sp.csr_matrix:
    return sp.csr_matrix(np.array([[float(g in one) for g in range(width)] for one in categories]).reshape(-1, width))


def ints(values: list[int]) -> np.ndarray:
    return np.array(values, dtype=np.int64)


def rows(lists: Lists) -> RowLists:
    return RowLists.from_lists(lists)


COMPUTED = {
    "novelty": lambda w, k: beyond.novelty(rows(w.ranked), ints(w.users), N_USERS, k),
    "average_popularity": lambda w, k: beyond.average_popularity(rows(w.ranked), ints(w.counts), k),
    "popularity_lift": lambda w, k: beyond.popularity_lift(rows(w.ranked), rows(w.histories), ints(w.counts), k),
    "diversity": lambda w, k: beyond.diversity(rows(w.ranked), np.array(w.vectors, dtype=np.float32), k),
    "category_diversity": lambda w, k: beyond.category_diversity(rows(w.ranked), matrix(w.categories), k),
    "serendipity": lambda w, k: beyond.serendipity(
        rows(w.ranked), hit_matrix(rows(w.ranked), rows(w.targets), k), ints(w.users), k
    ),
    "calibration": lambda w, k: beyond.calibration(rows(w.ranked), rows(w.histories), matrix(w.categories), k),
}
RANGES = {
    "novelty": (0.0, math.log2(N_USERS)),
    "average_popularity": (0.0, 20.0),
    "popularity_lift": (-1.0, math.inf),
    "diversity": (0.0, 2.0),
    "category_diversity": (0.0, 1.0),
    "serendipity": (0.0, 1.0),
    "calibration": (0.0, math.log(100)),
}


def mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else NAN


def shares(items: list[int], categories: list[set[int]]) -> Counter[int]:
    total: Counter[int] = Counter()
    known = [item for item in items if categories[item]]
    for item in known:
        for category in categories[item]:
            total[category] += Fraction(1, len(categories[item]) * len(known))
    return total


def oracle(name: str, w: World, user: int, k: int) -> float:
    """One metric of one user by its definition."""
    shown, history = w.ranked[user][:k], w.histories[user]
    if name == "novelty":
        return mean([-math.log2(max(1, w.users[item]) / N_USERS) for item in shown])
    if name == "average_popularity":
        return mean([w.counts[item] for item in shown])
    if name == "popularity_lift":
        before = mean([w.counts[item] for item in history])
        return (mean([w.counts[item] for item in shown]) - before) / before if before else NAN
    if name == "diversity":
        vectors = [w.vectors[item] for item in shown if any(w.vectors[item])]
        return mean(
            [
                1 - sum(a * b for a, b in zip(one, other, strict=True)) / math.hypot(*one) / math.hypot(*other)
                for one, other in combinations(vectors, 2)
            ]
        )
    if name == "category_diversity":
        sets = [w.categories[item] for item in shown if w.categories[item]]
        return mean([1 - len(one & other) / len(one | other) for one, other in combinations(sets, 2)])
    if name == "serendipity":
        levels = sorted(set(w.users), reverse=True)
        gains = []
        for place, item in enumerate(shown, start=1):
            by_user = (N_ITEMS + 1 - place) / N_ITEMS
            by_any = (N_ITEMS + 1 - (levels.index(w.users[item]) + 1)) / N_ITEMS if w.users[item] else 0.0
            gains.append(max(by_user - by_any, 0.0) * (item in w.targets[user]))
        return mean(gains)
    assert name == "calibration"
    wanted, given_ = shares(history, w.categories), shares(shown, w.categories)
    if not wanted or not given_:
        return NAN
    smooth = {g: Fraction(99, 100) * given_[g] + Fraction(1, 100) * wanted[g] for g in wanted}
    return sum(float(wanted[g]) * math.log(wanted[g] / smooth[g]) for g in wanted)


@pytest.mark.parametrize("name", COMPUTED)
@settings(deadline=None, max_examples=70)
@given(w=worlds(), k=st.integers(1, 12))
def test_it_agrees_with_plain_loops(name: str, w: World, k: int) -> None:
    expected = [oracle(name, w, user, k) for user in range(len(w.ranked))]
    values = COMPUTED[name](w, k)
    assert values.dtype == np.float64
    assert values.tolist() == pytest.approx(expected, abs=1e-9, nan_ok=True)


@pytest.mark.parametrize("name", COMPUTED)
@settings(deadline=None, max_examples=25)
@given(w=worlds(), k=st.integers(1, 12))
def test_it_stays_in_its_range(name: str, w: World, k: int) -> None:
    low, high = RANGES[name]
    values = COMPUTED[name](w, k)
    defined = values[~np.isnan(values)]
    assert ((low - 1e-12 <= defined) & (defined <= high + 1e-12)).all()


@pytest.mark.parametrize("name", COMPUTED)
@settings(deadline=None, max_examples=15)
@given(w=worlds(), k=st.integers(1, 12), data=st.data())
def test_the_order_of_users_only_orders_the_values(name: str, w: World, k: int, data: st.DataObject) -> None:
    order = data.draw(st.permutations(range(len(w.ranked))))
    direct = COMPUTED[name](w, k)
    for field in ("ranked", "histories", "targets"):
        setattr(w, field, [getattr(w, field)[i] for i in order])
    np.testing.assert_array_equal(COMPUTED[name](w, k), direct[list(order)])


@pytest.mark.parametrize("name", COMPUTED)
def test_the_size_of_a_block_cannot_change_a_value(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(4)
    world = World(
        ranked=[rng.permutation(N_ITEMS)[: rng.integers(0, N_ITEMS)].tolist() for _ in range(50)],
        histories=rng.integers(0, N_ITEMS, (50, 6)).tolist(),
        targets=[rng.permutation(N_ITEMS)[:3].tolist() for _ in range(50)],
        users=rng.integers(0, N_USERS, N_ITEMS).tolist(),
        counts=rng.integers(0, 20, N_ITEMS).tolist(),
        vectors=rng.integers(-99, 99, (N_ITEMS, 7)).tolist(),
        categories=[set(rng.integers(0, N_CATEGORIES, rng.integers(0, 4)).tolist()) for _ in range(N_ITEMS)],
    )
    together = COMPUTED[name](world, 8)
    for cells in (1, 300):
        monkeypatch.setattr(beyond, "_CELLS", cells)
        np.testing.assert_array_equal(COMPUTED[name](world, 8), together)


@pytest.mark.parametrize("name", COMPUTED)
@settings(deadline=None, max_examples=15)
@given(w=worlds())
def test_a_k_beyond_the_end_changes_nothing(name: str, w: World) -> None:
    np.testing.assert_array_equal(COMPUTED[name](w, 10**6), COMPUTED[name](w, N_ITEMS))


@pytest.mark.parametrize("name", COMPUTED)
def test_an_empty_list_has_no_value_and_no_user_none(name: str) -> None:
    one = World([[]], [[0]], [[0]], [1] * N_ITEMS, [1] * N_ITEMS, [[1, 0, 0]] * N_ITEMS, [{0}] * N_ITEMS)
    assert np.isnan(COMPUTED[name](one, 3)).tolist() == [True]
    one.ranked = one.histories = one.targets = []
    assert COMPUTED[name](one, 3).tolist() == []


# RecTools' own example: u1 .. u3, items 1 .. 3 by users 3, 1, 0.
def test_novelty_of_the_example_of_rectools() -> None:
    ranked = rows([[2], [1, 2], [0, 1]])
    assert beyond.novelty(ranked, ints([3, 1, 0]), 3, 1) == pytest.approx([math.log2(3), math.log2(3), 0.0])
    assert beyond.novelty(ranked, ints([3, 1, 0]), 3, 3) == pytest.approx([math.log2(3), math.log2(3), math.log2(3) / 2])


def test_serendipity_of_the_example_of_rectools() -> None:
    ranked, targets = rows([[0, 1], [1, 2], [2], [1, 2]]), rows([[0, 1], [1, 2], [1], [1]])
    users = ints([3, 2, 0, 0])
    for k, expected in ((1, [0, 0.25, 0, 0.25]), (2, [0, 0.5, 0, 0.125])):
        assert beyond.serendipity(ranked, hit_matrix(ranked, targets, k), users, k).tolist() == expected


def test_popularity_of_the_example_of_rectools() -> None:
    ranked = rows([[0, 1], [2, 0, 1], [2, 1]])
    assert beyond.average_popularity(ranked, ints([3, 2, 1]), 1).tolist() == [3, 1, 1]
    assert beyond.average_popularity(ranked, ints([3, 2, 1]), 3).tolist() == [2.5, 2, 1.5]


def test_an_item_that_nobody_touched_is_as_novel_as_one_that_one_user_touched() -> None:
    assert beyond.novelty(rows([[0], [1]]), ints([0, 1]), 8, 1).tolist() == [3.0, 3.0]


def test_popularity_lift_by_hand() -> None:
    lift = beyond.popularity_lift(rows([[2, 1], [0], [0]]), rows([[0, 0, 1], [0], [3]]), ints([10, 5, 1, 0]), 2)
    assert lift == pytest.approx([(3 - 25 / 3) / (25 / 3), 0.0, NAN], nan_ok=True)


def test_diversity_by_hand() -> None:
    vectors = np.array([[2, 0], [0, 5], [-1, 0], [0, 0]], dtype=np.float32)
    values = beyond.diversity(rows([[0, 1, 2], [0, 2], [0, 1], [0, 3], [0]]), vectors, 3)
    assert values == pytest.approx([4 / 3, 2.0, 1.0, NAN, NAN], nan_ok=True)


def test_equal_vectors_have_no_diversity_and_never_less() -> None:
    vectors = np.full((50, 3), 0.1, dtype=np.float32)
    value = beyond.diversity(rows([list(range(50))]), vectors, 50)[0]
    assert 0.0 <= value < 1e-12


def test_the_length_of_a_vector_does_not_matter() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(8, 5)).astype(np.float32)
    scaled = vectors * (2.0 ** rng.integers(-60, 60, (8, 1))).astype(np.float32)
    lists = rows([[0, 3, 5], [7, 1, 2, 6, 4]])
    np.testing.assert_allclose(beyond.diversity(lists, scaled, 5), beyond.diversity(lists, vectors, 5), rtol=1e-12)


def test_category_diversity_by_hand() -> None:
    table = matrix([{0}, {0, 1}, {2}, set(), {0}])
    values = beyond.category_diversity(rows([[0, 1, 2], [0, 4], [0, 2], [0, 3], [3, 0, 3, 2]]), table, 4)
    assert values == pytest.approx([2.5 / 3, 0.0, 1.0, NAN, 1.0], nan_ok=True)


@pytest.mark.parametrize("metric", ["category_diversity", "calibration"])
def test_the_form_of_the_category_matrix_does_not_matter_and_it_is_left_as_it_was(metric: str) -> None:
    plain = matrix([{0}, {0, 1}, {1, 2}])
    stored = (np.array([2.0, 0.0, 3.0, 0.5, 0.25, 7.0, 0.0]), np.array([0, 2, 1, 0, 1, 2, 3]), np.array([0, 2, 4, 7]))
    odd = sp.csr_matrix((*stored,), shape=(3, 4))
    before = odd.data.copy(), odd.indices.copy()
    lists = (rows([[0, 1, 2]]),) if metric == "category_diversity" else (rows([[0]]), rows([[1, 2]]))
    function = getattr(beyond, metric)
    expected = function(*lists, plain, 3).tolist()
    assert [function(*lists, form, 3).tolist() for form in (plain.astype(bool), odd)] == [expected] * 2
    np.testing.assert_array_equal(odd.data, before[0])
    np.testing.assert_array_equal(odd.indices, before[1])


def test_calibration_by_hand() -> None:
    table = matrix([{0}, {0, 1}, {1}, set()], 2)
    value = beyond.calibration(rows([[2, 3]]), rows([[0, 1, 3]]), table, 2)
    by_hand = 0.75 * math.log(0.75 / (0.01 * 0.75)) + 0.25 * math.log(0.25 / (0.99 + 0.01 * 0.25))
    assert value == pytest.approx([by_hand])


def test_calibration_is_worst_where_the_list_has_nothing_of_the_history() -> None:
    assert beyond.calibration(rows([[1]]), rows([[0]]), matrix([{0}, {1}]), 1) == pytest.approx([math.log(100)])


@settings(deadline=None, max_examples=60)
@given(w=worlds(), data=st.data())
def test_a_list_with_the_shares_of_the_history_is_calibrated(w: World, data: st.DataObject) -> None:
    again = [data.draw(st.permutations(one)) for one in w.ranked]
    values = beyond.calibration(rows(w.ranked), rows(again), matrix(w.categories), N_ITEMS)
    expected = [0.0 if shares(one, w.categories) else NAN for one in w.ranked]
    assert values.tolist() == pytest.approx(expected, abs=1e-12, nan_ok=True)


@settings(deadline=None, max_examples=60)
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


@settings(deadline=None, max_examples=40)
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


@settings(deadline=None, max_examples=80)
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


@settings(deadline=None, max_examples=80)
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


@pytest.mark.parametrize("name", COMPUTED)
def test_a_k_below_1_and_a_row_outside_the_catalogue_are_refused(name: str) -> None:
    one = World([[0]], [[0]], [[0]], [1] * N_ITEMS, [1] * N_ITEMS, [[1, 0, 0]] * N_ITEMS, [{0}] * N_ITEMS)
    with pytest.raises(ConfigError, match="k must be at least 1, not 0"):
        COMPUTED[name](one, 0)
    for wrong in (-1, N_ITEMS):
        one.ranked = [[0, wrong]]
        with pytest.raises(DataError, match=f"row {wrong} is not among the {N_ITEMS} items"):
            COMPUTED[name](one, 2)
    one.ranked, one.histories = [[0]], [[0, N_ITEMS]]
    if name in {"popularity_lift", "calibration"}:
        with pytest.raises(DataError, match=f"row {N_ITEMS} is not among"):
            COMPUTED[name](one, 2)
    with pytest.raises(DataError, match=f"row {N_ITEMS} "):
        beyond.exposure(rows([[N_ITEMS]]), N_ITEMS, 1)


def test_arguments_that_clash_are_refused_with_both_values() -> None:
    ranked, counts = rows([[0], [1]]), ints([1, 1])
    with pytest.raises(ConfigError, match="3 histories for 2 lists"):
        beyond.popularity_lift(ranked, rows([[0]] * 3), counts, 1)
    with pytest.raises(ConfigError, match="1 histories for 2 lists"):
        beyond.calibration(ranked, rows([[0]]), matrix([{0}, {1}]), 1)
    with pytest.raises(ConfigError, match=r"shape \(3, 1\), not \(2, 1\)"):
        beyond.serendipity(ranked, np.zeros((3, 1), dtype=bool), counts, 1)
    with pytest.raises(ConfigError, match=r"shape \(1, 1\), not \(1, 2\)"):
        beyond.serendipity(rows([[0, 1]]), np.zeros((1, 1), dtype=bool), counts, 2)
    with pytest.raises(ConfigError, match="exposure is of 2 items, groups of 3"):
        beyond.exposure_share(counts, ints([0, 1, 2]))
    with pytest.raises(DataError, match="an item has 5 users, yet n_users is 4"):
        beyond.novelty(ranked, ints([5, 1]), 4, 1)
    with pytest.raises(DataError, match="at least 0, not -2"):
        beyond.popularity_thirds(ints([1, -2]))


def test_nothing_here_imports_torch() -> None:
    code = "import sys, recsys.evaluation.beyond, recsys.evaluation.inference; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
