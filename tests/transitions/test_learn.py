"""Tables of the transition memory against their definitions."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.baselines import EASE
from recsys.core.ragged import Ragged
from recsys.data.split import Split
from recsys.transitions import pairs
from recsys.transitions.learn import Form, learn, pruned, relearn, touched_items
from recsys.transitions.pairs import pair_sums
from tests.transitions.naive import positions

N = 7
HISTORIES = st.lists(st.lists(st.integers(0, N - 1), max_size=9), min_size=1, max_size=6).map(Ragged.from_lists)


@given(HISTORIES, st.integers(1, 5), st.floats(0.5, 10))
def test_sums_of_pairs_are_what_the_events_say(histories: Ragged, window: int, decay: float) -> None:
    x, y = positions(histories, N, window, decay)
    sums = pair_sums(histories, N, window, decay)
    np.testing.assert_allclose(sums.cross.toarray(), x.T @ y, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(sums.gram.toarray(), x.T @ x, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(sums.squares, np.diag(x.T @ x), rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(sums.targets, y.sum(axis=0))


@pytest.mark.parametrize("decay", [2.0, np.inf])
def test_parts_of_histories_are_summed_in_order_whoever_computes_them(
    decay: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = np.random.default_rng(0)
    histories = Ragged.from_lists([random.integers(0, N, random.integers(0, 9)) for _ in range(60)])
    whole = pair_sums(histories, N, 4, decay)
    monkeypatch.setattr(pairs, "_EVENTS_AT_ONCE", 20)
    jobs = list[object]()

    def elsewhere(function, given):
        for job in given:
            jobs.append(job)
            yield pickle.loads(pickle.dumps(function(pickle.loads(pickle.dumps(job)))))

    parts = [pair_sums(histories, N, 4, decay)]
    monkeypatch.setattr(pairs, "each", lambda: elsewhere)
    parts.append(pair_sums(histories, N, 4, decay))
    assert len(jobs) > 9
    for one in parts:
        np.testing.assert_allclose(one.cross.toarray(), whole.cross.toarray(), rtol=1e-6)
        np.testing.assert_allclose(one.gram.toarray(), whole.gram.toarray(), rtol=1e-6)
        np.testing.assert_allclose(one.squares, whole.squares, rtol=1e-6)
        np.testing.assert_array_equal(one.targets, whole.targets)
    assert np.array_equal(parts[0].cross.data, parts[1].cross.data)
    assert np.array_equal(parts[0].gram.data, parts[1].gram.data)


@given(HISTORIES, st.floats(0.5, 50))
def test_ridge_is_the_regression_from_recent_events_to_the_next(histories: Ragged, strength: float) -> None:
    x, y = positions(histories, N, 3, 2.0)
    expected = np.linalg.solve(x.T @ x + strength * np.eye(N), x.T @ y)
    expected[np.diag(x.T @ x) == 0] = 0
    found = learn(histories, N, Form("ridge", 2.0, 3, strength, entries=N))
    np.testing.assert_allclose(found.toarray(), np.maximum(expected, 0), rtol=1e-3, atol=1e-4)


def test_rows_of_rare_items_follow_from_those_of_frequent_ones() -> None:
    random = np.random.default_rng(0)
    histories = Ragged.from_lists([random.zipf(1.3, 12) % 40 for _ in range(200)])
    x, y = positions(histories, 40, 3, 2.0)
    gram, cross = x.T @ x, x.T @ y
    often = np.sort(np.argsort(-np.diag(gram), kind="stable")[:8])
    rest = np.setdiff1d(np.arange(40), often)
    rows = np.linalg.solve(gram[np.ix_(often, often)] + 5 * np.eye(8), cross[often])
    others = (cross[rest] - gram[np.ix_(rest, often)] @ np.maximum(rows, 0)) / (np.diag(gram)[rest] + 5)[:, None]
    found = learn(histories, 40, Form("ridge", 2.0, 3, 5.0, entries=40, solved=8)).toarray()
    np.testing.assert_allclose(found[often], np.maximum(rows, 0), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(found[rest], np.maximum(others, 0), rtol=1e-3, atol=1e-4)


@given(HISTORIES)
def test_counts_are_divided_by_how_often_both_items_occur(histories: Ragged) -> None:
    x, y = positions(histories, N, 4, 3.0)
    expected = x.T @ y / np.sqrt(np.outer(np.diag(x.T @ x) + 10, y.sum(axis=0) + 10))
    found = learn(histories, N, Form("counts", 3.0, 4, entries=N))
    np.testing.assert_allclose(found.toarray(), expected, rtol=1e-4, atol=1e-6)


def test_without_an_order_ridge_is_ease(ring_split: Split) -> None:
    train = ring_split.train
    ease = EASE(regularisation=50.0).fit(train)
    form = Form("ridge", np.inf, 500, 50.0, entries=len(train.items))
    found = learn(train.histories, len(train.items), form)
    np.testing.assert_allclose(found.toarray(), np.maximum(ease._weights, 0), atol=1e-5)


def test_columns_are_divided_by_a_power_of_their_items_events(ring_split: Split) -> None:
    train, n = ring_split.train, len(ring_split.train.items)
    form = Form("ridge", np.inf, 500, 50.0, entries=n, debias=0.3)
    plain, lighter = (learn(train.histories, n, one).toarray() for one in (replace(form, debias=0.0), form))
    sums = pair_sums(train.histories, n, 500, np.inf)
    events = sums.targets.astype(np.float64)
    np.testing.assert_allclose(lighter, plain * ((10 + events.mean()) / (10 + events)) ** 0.3, rtol=1e-5)
    again = relearn(sums, form, learn(train.histories, n, form), np.arange(n) % 2 == 0)
    np.testing.assert_allclose(again.toarray(), lighter, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("order", [slice(None), slice(None, None, -1)])
def test_without_an_order_none_is_read(order: slice) -> None:
    lists = [[0, 1, 2], [2, 3], [1, 3, 0]]
    turned = Ragged.from_lists([one[order] for one in lists])
    same = learn(Ragged.from_lists(lists), 4, Form("counts", np.inf, 500))
    np.testing.assert_array_equal(learn(turned, 4, Form("counts", np.inf, 500)).toarray(), same.toarray())


@given(st.integers(0, 2**32 - 1), st.integers(1, 9))
def test_pruning_keeps_the_largest_positive_entries_of_each_row(seed: int, entries: int) -> None:
    import scipy.sparse as sp

    random = np.random.default_rng(seed)
    dense = np.where(random.random((12, 20)) < random.random((12, 1)), random.normal(size=(12, 20)), 0).astype(np.float32)
    found = pruned(sp.csr_matrix(dense), entries).toarray()
    for row, kept in zip(dense, found, strict=True):
        best = np.sort(row[row > 0])[::-1][:entries]
        np.testing.assert_array_equal(np.sort(kept[kept > 0])[::-1], best)
        assert set(np.flatnonzero(kept)) <= set(np.flatnonzero(row > 0))


def test_solving_in_parts_changes_nothing(monkeypatch: pytest.MonkeyPatch, ring_split: Split) -> None:
    histories, n = ring_split.train.histories, len(ring_split.train.items)
    for decay in (2.0, np.inf):
        form = Form("ridge", decay, 4, 5.0, entries=6, solved=11)
        whole = learn(histories, n, form)
        with monkeypatch.context() as patch:
            patch.setattr("recsys.transitions.learn._COLUMNS_AT_ONCE", 7)
            patch.setattr("recsys.transitions.learn._ENTRIES_AT_ONCE", 30)
            parts = learn(histories, n, form)
        np.testing.assert_allclose(parts.toarray(), whole.toarray(), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("decay", [2.0, np.inf])
def test_relearning_solves_the_rows_that_new_events_touch_and_keeps_the_others(decay: float) -> None:
    random = np.random.default_rng(0)
    lists = [list(random.zipf(1.4, 9) % 30) for _ in range(150)]
    old = Ragged.from_lists(lists)
    longer = [*lists[:-3], *([*one, 31, one[0]] for one in lists[-3:]), [2, 31]]
    histories = Ragged.from_lists(longer)
    new = np.concatenate([np.arange(len(one)) >= (9 if place < 150 else 0) for place, one in enumerate(longer)])
    form = Form("ridge", decay, 3 if decay == 2.0 else 500, 5.0, entries=40, solved=12)
    touched = touched_items(histories, new, 32, form.window if decay == 2.0 else np.inf)
    read = 3 if decay == 2.0 else 9
    assert set(np.flatnonzero(touched)) == {31, 2, *(int(item) for one in lists[-3:] for item in [*one[-read:], one[0]])}
    sums = pair_sums(histories, 32, form.window, decay)
    before = learn(old, 32, form).toarray()
    whole = learn(histories, 32, form).toarray()
    found = relearn(sums, form, learn(old, 32, form), touched).toarray()
    frequent = np.argsort(-sums.squares, kind="stable")[:12]
    solved = np.intersect1d(frequent, np.flatnonzero(touched))
    np.testing.assert_allclose(found[solved], whole[solved], rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(found[~touched], before[~touched])
    np.testing.assert_allclose(relearn(sums, form, learn(old, 32, form), np.ones(32, dtype=bool)).toarray(), whole)
    assert np.abs(found - whole).sum() < 0.5 * np.abs(before - whole).sum()
