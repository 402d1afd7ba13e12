"""What a transition memory adds to scores, and how it changes with the items."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

from recsys.core.opened import Source
from recsys.core.ragged import Ragged
from recsys.errors import DataError
from recsys.transitions import io
from recsys.transitions.learn import Form
from recsys.transitions.memory import TransitionMemory
from tests.transitions.naive import score

N = 9


def memory_of(seed: int, window: int = 4, decay: float = 2.0, weight: float = 1.0) -> TransitionMemory:
    random = np.random.default_rng(seed)
    table = np.where(random.random((N, N)) < 0.4, random.random((N, N)), 0).astype(np.float32)
    return TransitionMemory(sp.csr_matrix(table), Form("counts", decay, window), weight)


def dense(memory: TransitionMemory, histories: Ragged) -> np.ndarray:
    found = memory.scores(histories)
    total = np.zeros((len(histories), len(memory)), dtype=np.float32)
    total[found.lists.list_index(), found.lists.rows] = found.scores
    assert all(np.all(np.diff(rows) > 0) for rows in found.lists.to_lists())
    return total


@given(st.integers(0, 99), st.lists(st.lists(st.integers(0, N - 1), max_size=8), min_size=1, max_size=6), st.integers(1, 6))
def test_scores_are_sums_over_the_newest_events(seed: int, lists: list[list[int]], window: int) -> None:
    memory = memory_of(seed, window, weight=3.0)
    found = dense(memory, Ragged.from_lists(lists))
    for row, history in zip(found, lists, strict=True):
        np.testing.assert_allclose(row, 3 * score(memory.table.toarray(), history, window, 2.0), rtol=1e-5)


@given(st.integers(0, 99), st.lists(st.lists(st.integers(0, N - 1), max_size=8), min_size=2, max_size=6))
def test_a_request_alone_has_the_very_scores_that_it_has_among_others(seed: int, lists: list[list[int]]) -> None:
    memory = memory_of(seed)
    together = memory.scores(Ragged.from_lists(lists))
    for at, history in enumerate(lists):
        alone = memory.scores(Ragged.from_lists([history]))
        np.testing.assert_array_equal(alone.scores, together.block(at, at + 1).scores)
        np.testing.assert_array_equal(alone.lists.rows, together.lists[at])


def test_scores_of_pairs_are_those_of_the_lists() -> None:
    memory, histories = memory_of(1), Ragged.from_lists([[0, 3], [], [5, 5, 1]])
    owners, rows = np.repeat(np.arange(3), N), np.tile(np.arange(N, dtype=np.int32), 3)
    np.testing.assert_array_equal(memory.pair_scores(histories, owners, rows).reshape(3, N), dense(memory, histories))


def test_items_that_it_does_not_know_lead_nowhere_and_age_the_others() -> None:
    memory = memory_of(1)
    expected = np.exp(-1 / 2.0) * memory.table.toarray()[3]
    np.testing.assert_allclose(dense(memory, Ragged.from_lists([[3, N + 4]]))[0], expected, rtol=1e-6)
    np.testing.assert_allclose(dense(memory, Ragged.from_lists([[3, -1]]))[0], expected, rtol=1e-6)


def test_new_items_have_no_entries_and_old_ones_keep_theirs() -> None:
    memory = memory_of(2)
    longer = memory.extended(N + 3)
    assert len(longer) == N + 3
    np.testing.assert_array_equal(longer.table.toarray()[:N, :N], memory.table.toarray())
    assert longer.table.nnz == memory.table.nnz


def test_dropped_items_take_their_entries_along() -> None:
    memory, rows = memory_of(3), np.array([0, 2, 3, 7], dtype=np.int32)
    np.testing.assert_array_equal(memory.shortened(rows).table.toarray(), memory.table.toarray()[np.ix_(rows, rows)])


@pytest.mark.parametrize(
    ("table", "weight", "told"),
    [(np.ones((2, 3)), 1.0, "square"), (-np.ones((2, 2)), 1.0, "not positive"), (np.ones((2, 2)), 0.0, "weight")],
)
def test_what_cannot_be_a_memory_is_refused(table: np.ndarray, weight: float, told: str) -> None:
    with pytest.raises(DataError, match=told):
        TransitionMemory(sp.csr_matrix(table.astype(np.float32)), Form(), weight)


@pytest.mark.parametrize("columns", [np.uint16, np.int32])
def test_a_saved_table_is_read_back_as_are_those_of_older_versions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, columns: type[np.generic]
) -> None:
    memory = memory_of(1, weight=2.0)
    monkeypatch.setattr(io, "column_type", lambda _: columns)
    io.write(memory, tmp_path)
    again = io.read(Source.of(tmp_path), N)
    assert again is not None
    assert again.weight == 2.0
    assert again.table.indices.dtype == np.int32
    assert (again.table.toarray() == memory.table.toarray()).all()
