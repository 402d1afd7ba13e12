"""Metrics against fractions worked out by hand and against an oracle of plain loops that shares no code with them."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.core.ragged import Ragged
from recsys.evaluation.beyond_accuracy import catalog_coverage, exposure
from recsys.evaluation.metrics import PER_USER, hit_matrix

Lists = list[list[int]]


def coverage(ranked: Ragged, n_items: int, k: int) -> float:
    return catalog_coverage(exposure(ranked, n_items, k))


def values(name: str, ranked: Lists, targets: Lists, k: int) -> list[float]:
    """One metric for lists of items."""
    wanted = Ragged.from_lists(targets)
    return PER_USER[name](hit_matrix(Ragged.from_lists(ranked), wanted, k), wanted.lengths, k).tolist()


def oracle(name: str, ranked: list[int], targets: list[int], k: int) -> float:
    """The same metric for one user, by its definition."""
    places = [place for place in range(1, k + 1) if place <= len(ranked) and ranked[place - 1] in targets]
    if name == "recall":
        return len(places) / len(targets)
    if name == "hit_rate":
        return 1.0 if places else 0.0
    if name == "precision":
        return len(places) / k
    if name == "mrr":
        return 1.0 / places[0] if places else 0.0
    if name == "map":
        return sum((found + 1) / place for found, place in enumerate(places)) / len(targets)
    assert name == "ndcg"
    ideal = sum(1 / math.log2(place + 1) for place in range(1, min(k, len(targets)) + 1))
    return sum(1 / math.log2(place + 1) for place in places) / ideal


@st.composite
def judged_users(draw: st.DrawFn) -> tuple[Lists, Lists]:
    """Ranked lists of 0 to 12 of 12 items, and 1 to 15 targets of which some (12, 13, 14) can never be ranked."""
    n = draw(st.integers(1, 6))
    ranked = [draw(st.permutations(range(12)))[: draw(st.integers(0, 12))] for _ in range(n)]
    targets = [draw(st.lists(st.integers(0, 14), min_size=1, unique=True)) for _ in range(n)]
    return ranked, targets


# One user, five places, targets at places 2 and 4 of what is shown and a third target that is not shown.
SHOWN, WANTED = [7, 3, 9, 1, 5], [3, 1, 8]
GOLDEN = {
    "recall": {1: Fraction(0), 2: Fraction(1, 3), 3: Fraction(1, 3), 4: Fraction(2, 3), 5: Fraction(2, 3)},
    "hit_rate": {1: Fraction(0), 2: Fraction(1), 5: Fraction(1)},
    "precision": {1: Fraction(0), 2: Fraction(1, 2), 3: Fraction(1, 3), 4: Fraction(1, 2), 5: Fraction(2, 5)},
    "mrr": {1: Fraction(0), 2: Fraction(1, 2), 5: Fraction(1, 2)},
    "map": {1: Fraction(0), 2: Fraction(1, 6), 3: Fraction(1, 6), 4: Fraction(1, 3), 5: Fraction(1, 3)},
}


@pytest.mark.parametrize(("name", "k", "value"), [(name, k, v) for name, per_k in GOLDEN.items() for k, v in per_k.items()])
def test_a_metric_is_the_fraction_worked_out_by_hand(name: str, k: int, value: Fraction) -> None:
    assert values(name, [SHOWN], [WANTED], k) == [pytest.approx(float(value), abs=1e-15)]


def test_ndcg_is_the_sum_of_discounts_worked_out_by_hand() -> None:
    at_2, at_4 = 1 / math.log2(3), 1 / math.log2(5)
    assert values("ndcg", [SHOWN], [WANTED], 1) == [0.0]
    assert values("ndcg", [SHOWN], [WANTED], 2) == [pytest.approx(at_2 / (1 + at_2))]
    assert values("ndcg", [SHOWN], [WANTED], 4) == [pytest.approx((at_2 + at_4) / (1 + at_2 + 1 / 2))]


def test_ndcg_of_a_single_target_in_third_place_is_one_half() -> None:
    assert values("ndcg", [[5, 6, 7]], [[7]], 3) == [0.5]


@pytest.mark.parametrize("name", PER_USER)
@settings(deadline=None)
@given(users=judged_users(), k=st.integers(1, 15))
def test_a_metric_agrees_with_plain_loops(name: str, users: tuple[Lists, Lists], k: int) -> None:
    ranked, targets = users
    expected = [oracle(name, one, wanted, k) for one, wanted in zip(ranked, targets, strict=True)]
    assert values(name, ranked, targets, k) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("name", PER_USER)
@settings(deadline=None, max_examples=20)
@given(users=judged_users(), k=st.integers(1, 15))
def test_a_metric_lies_between_0_and_1(name: str, users: tuple[Lists, Lists], k: int) -> None:
    assert all(0.0 <= value <= 1.0 for value in values(name, *users, k))


@pytest.mark.parametrize("name", ["recall", "hit_rate", "mrr", "map"])
@settings(deadline=None, max_examples=20)
@given(users=judged_users(), k=st.integers(1, 14))
def test_a_longer_list_is_never_worse(name: str, users: tuple[Lists, Lists], k: int) -> None:
    short, long = values(name, *users, k), values(name, *users, k + 1)
    assert all(before <= after + 1e-12 for before, after in zip(short, long, strict=True))


@pytest.mark.parametrize("name", PER_USER)
@settings(deadline=None, max_examples=20)
@given(users=judged_users(), k=st.integers(1, 15), data=st.data())
def test_the_order_of_users_only_orders_the_values(
    name: str, users: tuple[Lists, Lists], k: int, data: st.DataObject
) -> None:
    ranked, targets = users
    order = data.draw(st.permutations(range(len(ranked))))
    direct = values(name, ranked, targets, k)
    shuffled = values(name, [ranked[i] for i in order], [targets[i] for i in order], k)
    assert shuffled == [direct[i] for i in order]


@pytest.mark.parametrize("name", PER_USER)
def test_the_value_of_a_user_is_the_same_to_the_last_bit_alone_or_among_others(name: str) -> None:
    rng = np.random.default_rng(3)
    hits = rng.random((500, 50)) < 0.3
    relevant = np.maximum(hits.sum(1), rng.integers(1, 60, len(hits)))
    together = PER_USER[name](hits, relevant, 50)
    alone = [PER_USER[name](hits[i : i + 1], relevant[i : i + 1], 50)[0] for i in range(len(hits))]
    assert together.tolist() == alone


@pytest.mark.parametrize("name", ["recall", "hit_rate", "precision", "ndcg", "mrr", "map"])
@pytest.mark.parametrize("k", [1, 5, 20, 50])
def test_a_perfect_list_scores_exactly_1(name: str, k: int) -> None:
    assert values(name, [list(range(k))], [list(range(k))], k) == [1.0]


def test_recall_is_divided_by_all_relevant_items_even_where_k_is_smaller() -> None:
    assert values("recall", [[0, 1]], [[0, 1, 2, 3, 4, 5, 6, 7]], 2) == [2 / 8]


def test_ndcg_of_the_best_possible_list_is_1_even_where_k_is_smaller_than_the_number_of_targets() -> None:
    assert values("ndcg", [[0, 1]], [[0, 1, 2, 3, 4, 5, 6, 7]], 2) == [1.0]


def test_precision_of_a_list_shorter_than_k_is_divided_by_k() -> None:
    assert values("precision", [[4]], [[4]], 10) == [1 / 10]


def test_what_comes_behind_the_kth_place_does_not_count() -> None:
    for name in PER_USER:
        assert values(name, [[1, 2, 9]], [[9]], 2) == [0.0]


def test_hits_stand_at_the_place_of_the_target_and_nowhere_behind_the_end_of_a_list() -> None:
    ranked = Ragged.from_lists([[4, 2, 0], [1], []])
    targets = Ragged.from_lists([[0, 4], [1], [2]])
    assert hit_matrix(ranked, targets, 4).tolist() == [
        [True, False, True, False],
        [True, False, False, False],
        [False, False, False, False],
    ]


def test_an_item_is_a_hit_only_for_the_user_whose_target_it_is() -> None:
    ranked = Ragged.from_lists([[0, 9], [0, 9]])
    targets = Ragged.from_lists([[9], [0]])
    assert hit_matrix(ranked, targets, 2).tolist() == [[False, True], [True, False]]


def test_hits_look_no_further_than_k() -> None:
    assert hit_matrix(Ragged.from_lists([[3, 5, 7]]), Ragged.from_lists([[7]]), 2).tolist() == [[False, False]]


def test_without_targets_nothing_is_a_hit() -> None:
    assert not hit_matrix(Ragged.from_lists([[3, 5]]), Ragged.empty(1), 2).any()


def test_coverage_counts_each_item_once_over_all_lists_up_to_k() -> None:
    ranked = Ragged.from_lists([[0, 1, 2], [1, 0, 3], [1]])
    assert [coverage(ranked, 8, k) for k in (1, 2, 3, 10)] == [2 / 8, 2 / 8, 4 / 8, 4 / 8]


@settings(deadline=None, max_examples=20)
@given(users=judged_users(), k=st.integers(1, 15))
def test_coverage_agrees_with_plain_loops(users: tuple[Lists, Lists], k: int) -> None:
    ranked, _ = users
    assert coverage(Ragged.from_lists(ranked), 12, k) == len({item for one in ranked for item in one[:k]}) / 12
