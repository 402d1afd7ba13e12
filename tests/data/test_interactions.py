import dataclasses
from collections import Counter, defaultdict
from datetime import datetime
from itertools import compress, product

import numpy as np
import polars as pl
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from recsys.data.interactions import Interactions
from recsys.errors import DataError
from tests.data.worlds import events_lists, in_time_order, log_of, refused, small

FRAME = pl.DataFrame(
    {
        "user_id": ["u", "v", "u", "u"],
        "item_id": ["a", "a", "b", "a"],
        "timestamp": [3, 1, 2, 4],
        "weight": [1.0, 2.0, 0.5, 0.25],
    }
)


def log(frame: pl.DataFrame = FRAME, **columns: object) -> Interactions:
    return Interactions.from_frame(frame.with_columns(**{name: pl.Series(values) for name, values in columns.items()}))


def same(one: Interactions, other: Interactions) -> bool:
    return one.frame().equals(other.frame()) and one.users.same(other.users) and one.items.same(other.items)


@small
@given(events_lists)
def test_histories_are_in_time_order_and_ties_keep_file_order(events):
    made = log_of(events)
    expected = in_time_order(events)
    assert made.users.ids.to_list() == list(expected)
    assert made.frame().rows() == [event for own in expected.values() for event in own]
    assert made.items.ids.to_list() == list(dict.fromkeys(item for _, item, _ in events))


def test_ties_keep_file_order_in_a_log_too_large_for_simple_sorting():
    numbers = np.arange(200_000)
    frame = pl.DataFrame({"user_id": numbers % 7, "item_id": numbers, "timestamp": numbers // 50_000})
    for user, own in enumerate(log(frame).histories.to_lists()):
        assert own == list(range(user, 200_000, 7))


def test_rows_follow_first_appearance_in_the_file_and_not_in_time():
    assert log().items.ids.to_list() == ["a", "b"]
    assert log().histories.to_lists() == [[1, 0, 0], [0]]


def test_times_and_weights_stay_with_their_event():
    assert log().timestamps.tolist() == [2, 3, 4, 1]
    assert log().weights.tolist() == [0.5, 1.0, 0.25, 2.0]
    assert log().timestamps.dtype == np.int64
    assert log().weights.dtype == np.float32


def test_a_frame_may_hold_dates():
    dates = [datetime(1970, 1, 1, 0, 0, second) for second in (3, 1, 2, 4)]
    assert same(log(timestamp=dates), log())


def test_a_frame_whose_order_is_text_is_sorted_by_its_numbers():
    assert log(order=["10", "1", "9", "11"]).histories.to_lists() == [[1, 0, 0], [0]]


@pytest.mark.parametrize("name", ["user_id", "item_id"])
def test_a_frame_needs_both_id_columns(name):
    with refused(f"no column {name!r}", "its columns are"):
        log(FRAME.drop(name))


def test_a_frame_without_rows_is_refused():
    with refused("no rows"):
        log(FRAME.clear())


@pytest.mark.parametrize("name", FRAME.columns)
def test_a_null_in_a_frame_is_refused_by_column(name):
    with refused(name):
        log(FRAME.with_columns(pl.when(pl.int_range(4) != 2).then(name).alias(name)))


@pytest.mark.parametrize(
    ("name", "values", "words"),
    [
        ("timestamp", ["x", "1", "2", "3"], "row 1 is 'x'"),
        ("timestamp", [0.5, 1.0, float("inf"), 3.0], "row 3 is inf"),
        ("weight", [1.0, float("nan"), 1.0, 1.0], "row 2 is nan"),
        ("order", [True] * 4, "Boolean"),
        ("user_id", [[1]] * 4, "List"),
        ("item_id", ["a", "", "b", "c"], "row 2"),
    ],
)
def test_a_value_of_the_wrong_kind_in_a_frame_is_refused(name, values, words):
    with refused(f"the frame, column {name!r}", words):
        log(**{name: values})


weighted = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(-8, 8).map(lambda n: n / 4)), min_size=1, max_size=20
)


@small
@given(weighted, st.booleans())
def test_matrix_sums_the_weights_of_each_pair(events, with_weights):
    frame = pl.DataFrame(events, schema=["user_id", "item_id", "weight"], orient="row")
    made = Interactions.from_frame(frame if with_weights else frame.drop("weight"))
    naive: dict[tuple[int, int], float] = defaultdict(float)
    for user, item, weight in events:
        naive[user, item] += weight if with_weights else 1.0
    before = made.fingerprint
    matrix = made.matrix()
    assert matrix.shape == (len(made.users), len(made.items))
    assert matrix.dtype == np.float32
    assert matrix.nnz == len(naive)
    assert matrix.has_sorted_indices
    found = matrix.tocoo()
    users, items = made.users.ids.to_list(), made.items.ids.to_list()
    assert {(users[u], items[i]): w for u, i, w in zip(found.row, found.col, found.data, strict=True)} == dict(naive)
    assert dataclasses.replace(made).fingerprint == before


def test_item_counts_count_events():
    assert log().item_counts.tolist() == [3, 1]
    assert log().with_items(pl.Series(["new"])).item_counts.tolist() == [3, 1, 0]


def test_with_items_appends_and_leaves_the_log_alone():
    wider = log().with_items(pl.Series(["c", "b", "d"]))
    assert wider.items.ids.to_list() == ["a", "b", "c", "d"]
    assert wider.frame().equals(log().frame())
    assert log().items.ids.to_list() == ["a", "b"]


def test_select_keeps_events_and_both_id_maps():
    part = log().select(np.array([True, False, False, True]))
    assert part.frame().rows() == [("u", "b", 2, 0.5), ("v", "a", 1, 2.0)]
    assert part.users.same(log().users)
    assert part.items.same(log().items)


def test_compact_drops_those_without_events_and_keeps_the_order():
    part = log().with_items(pl.Series(["c"])).select(np.array([False, True, True, False])).compact()
    assert part.users.ids.to_list() == ["u"]
    assert part.items.ids.to_list() == ["a"]
    assert part.frame().rows() == [("u", "a", 3, 1.0), ("u", "a", 4, 0.25)]


def is_core(events: list[tuple], user_min: int, item_min: int) -> bool:
    users, items = Counter(event[0] for event in events), Counter(event[1] for event in events)
    return all(n >= user_min for n in users.values()) and all(n >= item_min for n in items.values())


def naive_core(events: list[tuple], user_min: int, item_min: int) -> list[tuple]:
    """Take out one offending event at a time."""
    left = list(events)
    while not is_core(left, user_min, item_min):
        users, items = Counter(event[0] for event in left), Counter(event[1] for event in left)
        left.remove(next(event for event in left if users[event[0]] < user_min or items[event[1]] < item_min))
    return left


def core_events(events: list[tuple], user_min: int, item_min: int) -> Counter:
    try:
        return Counter(log_of(events).k_core(user_min=user_min, item_min=item_min).frame().rows())
    except DataError:
        return Counter()


limits = st.tuples(st.integers(1, 3), st.integers(1, 3))


@small
@given(events_lists, limits)
def test_k_core_is_what_a_naive_loop_leaves(events, limit):
    assert core_events(events, *limit) == Counter(naive_core(events, *limit))


@small
@given(events_lists, limits)
def test_k_core_is_a_fixed_point(events, limit):
    core = list(core_events(events, *limit).elements())
    assume(core)
    assert is_core(core, *limit)
    made = log_of(events).k_core(user_min=limit[0], item_min=limit[1])
    assert same(made.k_core(user_min=limit[0], item_min=limit[1]), made)
    assert (made.histories.lengths > 0).all()
    assert (made.item_counts > 0).all()


@small
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2), st.just(0)), min_size=1, max_size=7), limits)
def test_k_core_is_the_largest_part_that_there_is(events, limit):
    parts = (list(compress(events, keep)) for keep in product([False, True], repeat=len(events)))
    largest = max(len(part) for part in parts if is_core(part, *limit))
    assert core_events(events, *limit).total() == largest


def test_k_core_of_nothing_is_refused():
    with refused("no interaction is left in the 5/2-core"):
        log().k_core(user_min=5, item_min=2)


def test_fields_cannot_be_replaced():
    made = log()
    for name in ("users", "items", "histories", "timestamps", "weights", "event_names"):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(made, name, None)


def test_nothing_done_with_a_log_changes_it():
    made = log()
    before = made.frame().clone()
    made.matrix().data[:] = 0
    made.select(np.zeros(4, dtype=bool))
    made.with_items(pl.Series(["z"]))
    made.k_core(user_min=1, item_min=1)
    assert made.frame().equals(before)
    assert dataclasses.replace(made).fingerprint == log().fingerprint


def test_length_and_repr_count_events_users_and_items():
    assert len(log()) == 4
    assert repr(log()) == "Interactions(4 by 2 users on 2 items)"
