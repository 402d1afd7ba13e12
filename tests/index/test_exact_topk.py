"""top_k against a sort in plain Python: ties, exclusions and short lists."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.core.ragged import Ragged, mask_of
from recsys.errors import ConfigError, DataError
from recsys.index.exact.topk import top_k

Lists = list[list[int]]


def oracle(scores: list[list[float]], k: int, exclude: Lists) -> Lists:
    """Every row's columns by falling score, then by column; neither excluded ones nor those of minus infinity."""
    answer = []
    for row, gone in zip(scores, exclude, strict=True):
        eligible = [column for column in range(len(row)) if column not in gone and row[column] > -math.inf]
        answer.append(sorted(eligible, key=lambda column: (-row[column], column))[:k])
    return answer


@st.composite
def tied_scores(draw: st.DrawFn) -> tuple[list[list[float]], Lists]:
    """Scores of very few distinct values, infinities among them, and columns to exclude (also twice, also all)."""
    n, width = draw(st.integers(1, 5)), draw(st.integers(1, 9))
    value = st.sampled_from([-math.inf, -1.0, -0.0, 0.0, 1.0, math.inf])
    scores = draw(st.lists(st.lists(value, min_size=width, max_size=width), min_size=n, max_size=n))
    columns = st.lists(st.integers(0, width - 1), max_size=2 * width)
    return scores, draw(st.lists(columns, min_size=n, max_size=n))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@settings(deadline=None)
@given(case=tied_scores(), k=st.integers(1, 12))
def test_top_k_is_a_sort_by_score_then_column(dtype: torch.dtype, case: tuple[list[list[float]], Lists], k: int) -> None:
    scores, exclude = case
    ranked = top_k(torch.tensor(scores, dtype=dtype), k, Ragged.from_lists(exclude))
    expected = oracle(scores, k, exclude)
    assert ranked.lists.to_lists() == expected
    assert ranked.scores.tolist() == [scores[row][column] for row, one in enumerate(expected) for column in one]
    assert ranked.scores.dtype == np.float32


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 10_000), k=st.sampled_from([1, 3, 50, 400]), distinct=st.sampled_from([1, 3, 1000]))
def test_top_k_is_a_sort_also_on_wide_rows(seed: int, k: int, distinct: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, distinct, (3, 700)).astype(np.float32)
    exclude = [rng.integers(0, 700, size).tolist() for size in (0, 5, 690)]
    expected = oracle(scores.tolist(), k, exclude)
    assert top_k(torch.from_numpy(scores), k, Ragged.from_lists(exclude)).lists.to_lists() == expected


def test_equal_scores_come_in_column_order_across_the_kth_place() -> None:
    assert top_k(torch.tensor([[1.0, 2.0, 1.0, 1.0, 1.0]]), 3).lists.to_lists() == [[1, 0, 2]]


def test_the_tie_at_the_kth_place_is_settled_among_what_is_not_excluded() -> None:
    ranked = top_k(torch.ones(1, 5), 2, Ragged.from_lists([[0, 2]]))
    assert ranked.lists.to_lists() == [[1, 3]]


def test_excluded_columns_do_not_return_where_fewer_than_k_are_left() -> None:
    ranked = top_k(torch.tensor([[5.0, 4.0, 3.0], [5.0, 4.0, 3.0]]), 3, Ragged.from_lists([[0, 2], [0, 1, 2]]))
    assert ranked.lists.to_lists() == [[1], []]
    assert ranked.scores.tolist() == [4.0]


def test_an_exclusion_holds_for_its_own_row_only() -> None:
    ranked = top_k(torch.tensor([[2.0, 1.0], [2.0, 1.0]]), 1, Ragged.from_lists([[0], []]))
    assert ranked.lists.to_lists() == [[1], [0]]


def test_very_low_scores_are_not_taken_for_excluded_ones() -> None:
    lowest = float(np.finfo(np.float32).min)
    assert top_k(torch.tensor([[lowest, 0.0, lowest]]), 3, Ragged.from_lists([[1]])).lists.to_lists() == [[0, 2]]


def test_a_k_above_the_width_gives_the_whole_width() -> None:
    assert top_k(torch.tensor([[1.0, 3.0, 2.0]]), 100).lists.to_lists() == [[1, 2, 0]]


def test_no_rows_give_no_lists() -> None:
    assert len(top_k(torch.empty(0, 4), 2, Ragged.empty(0))) == 0


@pytest.mark.parametrize("column", [0, 4, 9])
def test_a_score_that_is_not_a_number_is_refused(column: int) -> None:
    scores = torch.arange(20.0).reshape(2, 10)
    scores[1, column] = torch.nan
    with pytest.raises(DataError, match="a score is not a number"):
        top_k(scores, 2)


@pytest.mark.parametrize("k", [0, -1])
def test_a_k_below_1_is_refused(k: int) -> None:
    with pytest.raises(ConfigError, match=f"k must be at least 1, not {k}"):
        top_k(torch.ones(1, 3), k)


@pytest.mark.parametrize("lists", [1, 3])
def test_exclusions_that_are_not_one_list_per_row_are_refused(lists: int) -> None:
    with pytest.raises(ConfigError, match=f"exclude has {lists} lists for 2 requests"):
        top_k(torch.ones(2, 3), 1, Ragged.empty(lists))


def test_a_row_has_the_same_answer_alone_and_in_a_large_batch() -> None:
    rng = np.random.default_rng(2)
    scores = rng.integers(0, 6, (1500, 40)).astype(np.float32)
    exclude = Ragged.from_lists([rng.integers(0, 40, rng.integers(0, 60)) for _ in range(1500)])
    together = top_k(torch.from_numpy(scores.copy()), 7, exclude)
    for row in range(0, 1500, 50):
        alone = top_k(torch.from_numpy(scores[row : row + 1].copy()), 7, exclude.block(row, row + 1))
        assert alone.lists.to_lists() == [together.lists[row].tolist()]
        assert alone.scores.tolist() == together.take(np.array([row])).scores.tolist()


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(-2, 2), min_size=1, max_size=12), st.integers(1, 15), st.data())
def test_only_candidates_come_back_in_the_order_they_would_have_among_all(
    values: list[int], k: int, data: st.DataObject
) -> None:
    chosen = sorted(data.draw(st.sets(st.integers(0, len(values) - 1))))
    gone = sorted(data.draw(st.sets(st.integers(0, len(values) - 1))))
    eligible = mask_of(np.array(chosen, dtype=np.int64), len(values))
    found = top_k(torch.tensor([values], dtype=torch.float32), k, Ragged.from_lists([gone]), eligible)
    wanted = sorted((-values[column], column) for column in chosen if column not in gone)[:k]
    assert found.lists.to_lists() == [[column for _, column in wanted]]
