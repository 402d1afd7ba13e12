"""A table of counts takes events one by one, and is then the one that all events together make."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.core.ragged import Ragged
from recsys.errors import DataError, UnsupportedError
from recsys.transitions.learn import Form, learn_from
from recsys.transitions.memory import TransitionMemory
from recsys.transitions.pairs import pair_sums
from recsys.transitions.update import Counted

N = 7
LISTS = st.lists(st.tuples(st.lists(st.integers(0, N - 1), max_size=9), st.integers(0, 9)), min_size=1, max_size=6)


def learned(histories: Ragged, form: Form) -> TransitionMemory:
    sums = pair_sums(histories, N, form.window, form.decay)
    return TransitionMemory(learn_from(sums, form), form, 1.0, Counted(sums.squares, sums.targets))


@given(LISTS, st.integers(1, 5), st.sampled_from([0.7, 3.0, np.inf]))
def test_events_added_to_a_table_are_as_if_learned_with_it(
    lists: list[tuple[list[int], int]], window: int, decay: float
) -> None:
    histories = Ragged.from_lists([one for one, _ in lists])
    new = np.minimum([number for _, number in lists], histories.lengths)
    form = Form("counts", decay, 500 if np.isinf(decay) else window, entries=N)
    whole = learned(histories, form)
    found = learned(histories.head(histories.lengths - new), form).updated(histories, new)
    np.testing.assert_allclose(found.table.toarray(), whole.table.toarray(), rtol=1e-4, atol=1e-5)
    assert found.counted is not None
    assert whole.counted is not None
    np.testing.assert_allclose(found.counted.squares, whole.counted.squares, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.counted.targets, whole.counted.targets, atol=1e-5)


def test_one_click_makes_a_new_item_follow() -> None:
    memory = learned(Ragged.from_lists([[0, 1, 2]] * 5), Form("counts", entries=3)).extended(N + 1)
    after = memory.updated(Ragged.from_lists([[0, N]]), np.array([1]))
    assert after.table[0, N] > 0
    assert memory.table[0, N] == 0  # the old one stays
    assert np.diff(after.table.indptr).max() <= 3


def test_what_cannot_take_events_says_so() -> None:
    histories = Ragged.from_lists([[0, 1]])
    memory = learned(histories, Form("counts"))
    ridge = TransitionMemory(memory.table, Form("ridge"), 1.0)
    with pytest.raises(UnsupportedError, match="fit with transitions='counts'"):
        ridge.updated(histories, np.array([1]))
    with pytest.raises(DataError, match="from 0 to their lengths"):
        memory.updated(histories, np.array([3]))
    with pytest.raises(DataError, match="extend it first"):
        memory.updated(Ragged.from_lists([[0, N]]), np.array([1]))
