"""Metrics beyond accuracy against values worked out by hand and against oracles of plain loops that share no code."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.errors import ConfigError, DataError
from recsys.evaluation import beyond_accuracy as beyond
from recsys.evaluation.metrics import hit_matrix
from tests.evaluation.beyond_oracles import (
    COMPUTED,
    N_CATEGORIES,
    N_ITEMS,
    N_USERS,
    NAN,
    RANGES,
    World,
    ints,
    matrix,
    oracle,
    rows,
    shares,
    worlds,
)


@pytest.mark.parametrize("name", COMPUTED)
@settings(deadline=None, max_examples=25)
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


@settings(deadline=None, max_examples=25)
@given(w=worlds(), data=st.data())
def test_a_list_with_the_shares_of_the_history_is_calibrated(w: World, data: st.DataObject) -> None:
    again = [data.draw(st.permutations(one)) for one in w.ranked]
    values = beyond.calibration(rows(w.ranked), rows(again), matrix(w.categories), N_ITEMS)
    expected = [0.0 if shares(one, w.categories) else NAN for one in w.ranked]
    assert values.tolist() == pytest.approx(expected, abs=1e-12, nan_ok=True)


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
    code = "import sys, recsys.evaluation.beyond_accuracy, recsys.evaluation.significance; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
