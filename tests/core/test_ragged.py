import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.core.ragged import Ragged, contained, ragged_positions, stable_order
from tests.data.worlds import refused, small

some_lists = st.lists(st.lists(st.integers(0, 9), max_size=5), max_size=6)


@small
@given(some_lists)
def test_lists_come_back_as_they_went_in(lists):
    made = Ragged.from_lists(lists)
    assert made.to_lists() == lists
    assert [made[i].tolist() for i in range(len(made))] == lists
    assert len(made) == len(lists)
    assert made.lengths.tolist() == [len(one) for one in lists]
    assert made.list_index().tolist() == [i for i, one in enumerate(lists) for _ in one]


@small
@given(some_lists)
def test_offsets_and_rows_have_the_dtypes_they_promise(lists):
    made = Ragged.from_lists(lists)
    for one in (made, made.tail(2), made.merged(made), made.block(0, 2), made.where(np.ones(len(made.rows), dtype=bool))):
        assert one.offsets.dtype == np.int64
        assert one.rows.dtype == np.int32
        assert one.offsets[0] == 0
        assert one.offsets[-1] == len(one.rows)


@small
@given(some_lists, st.data())
def test_take_gives_the_lists_asked_for_in_that_order(lists, data):
    indices = data.draw(st.lists(st.integers(0, len(lists) - 1), max_size=8)) if lists else []
    taken = Ragged.from_lists(lists).take(np.array(indices, dtype=np.int64))
    assert taken.to_lists() == [lists[i] for i in indices]


@small
@given(some_lists, st.data())
def test_block_is_a_slice_of_the_lists(lists, data):
    start = data.draw(st.integers(0, len(lists)))
    stop = data.draw(st.integers(start, len(lists) + 2))
    assert Ragged.from_lists(lists).block(start, stop).to_lists() == lists[start:stop]


def test_block_copies_no_rows():
    made = Ragged.from_lists([[1], [2, 3], [4]])
    assert np.shares_memory(made.block(1, 3).rows, made.rows)


@small
@given(some_lists, st.data())
def test_head_keeps_the_first_of_each_list(lists, data):
    lengths = data.draw(st.lists(st.integers(0, 7), min_size=len(lists), max_size=len(lists)))
    headed = Ragged.from_lists(lists).head(np.array(lengths, dtype=np.int64))
    assert headed.to_lists() == [one[:length] for one, length in zip(lists, lengths, strict=True)]


@small
@given(some_lists, st.integers(0, 7))
def test_tail_keeps_the_last_of_each_list(lists, length):
    assert Ragged.from_lists(lists).tail(length).to_lists() == [one[len(one) - min(len(one), length) :] for one in lists]


@small
@given(some_lists, st.data())
def test_where_drops_elements_and_keeps_every_list(lists, data):
    made = Ragged.from_lists(lists)
    keep = data.draw(st.lists(st.booleans(), min_size=len(made.rows), max_size=len(made.rows)))
    flags = iter(keep)
    assert made.where(np.array(keep, dtype=bool)).to_lists() == [[row for row in one if next(flags)] for one in lists]


@small
@given(st.lists(st.tuples(st.lists(st.integers(0, 9), max_size=4), st.lists(st.integers(0, 9), max_size=4)), max_size=5))
def test_merged_puts_the_others_rows_after_its_own(pairs):
    ours, theirs = Ragged.from_lists([a for a, _ in pairs]), Ragged.from_lists([b for _, b in pairs])
    assert ours.merged(theirs).to_lists() == [a + b for a, b in pairs]


@small
@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 5)), max_size=6))
def test_ragged_positions_are_the_slices_one_after_the_other(slices):
    starts, lengths = (np.array([one[i] for one in slices], dtype=np.int64) for i in (0, 1))
    assert ragged_positions(starts, lengths).tolist() == [start + i for start, length in slices for i in range(length)]


def test_empty_lists_are_lists_too():
    assert Ragged.empty(3).to_lists() == [[], [], []]
    assert len(Ragged.empty(0)) == 0
    assert Ragged.empty(2).merged(Ragged.from_lists([[1], []])).to_lists() == [[1], []]


def test_a_very_long_list_is_cut_like_any_other():
    long = Ragged.from_lists([np.arange(300_000), np.arange(2)])
    assert [one.tolist() for one in (long.tail(3)[0], long.tail(3)[1])] == [[299_997, 299_998, 299_999], [0, 1]]


def test_fields_cannot_be_replaced():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Ragged.empty(1).rows = np.zeros(1, dtype=np.int32)


def test_repr_counts_lists_and_rows():
    assert repr(Ragged.from_lists([[1, 2], [3]])) == "Ragged(2 lists, 3 rows)"


asked_and_held = st.tuples(st.lists(st.integers(0, 5), max_size=3), st.lists(st.integers(0, 5), max_size=6))


@small
@given(st.lists(asked_and_held, max_size=6), st.booleans())
def test_contained_is_membership_in_the_list_at_the_same_index(pairs, single):
    if single:
        pairs = [(asked[:1] or [0], held) for asked, held in pairs]
    found = contained(Ragged.from_lists([a for a, _ in pairs]), Ragged.from_lists([b for _, b in pairs]), 6)
    assert found.tolist() == [row in held for asked, held in pairs for row in asked]


# Times and event types.


def timed(lengths: list[int], first: int = 0) -> Ragged:
    """Lists of rows that are all different, the time and the type of each following from its row."""
    rows = np.arange(first, first + sum(lengths), dtype=np.int32)
    return Ragged.from_lengths(
        np.array(lengths, dtype=np.int64), rows, rows.astype(np.int64) * 10, (rows % 3).astype(np.int8)
    )


def assert_still_fit(lists: Ragged) -> None:
    assert lists.times.tolist() == (lists.rows.astype(np.int64) * 10).tolist()
    assert lists.events.tolist() == (lists.rows % 3).tolist()
    assert (lists.times.dtype, lists.events.dtype) == (np.int64, np.int8)


some_lengths = st.lists(st.integers(0, 5), max_size=6)


@small
@given(some_lengths, st.data())
def test_times_and_events_stay_with_their_row_in_whatever_is_selected(lengths, data):
    made = timed(lengths)
    numbers = st.integers(0, 7)
    indices = data.draw(st.lists(st.integers(0, len(lengths) - 1), max_size=8)) if lengths else []
    kept = data.draw(st.lists(numbers, min_size=len(lengths), max_size=len(lengths)))
    mask = data.draw(st.lists(st.booleans(), min_size=len(made.rows), max_size=len(made.rows)))
    start = data.draw(st.integers(0, len(lengths)))
    selections = {
        "take": lambda lists: lists.take(np.array(indices, dtype=np.int64)),
        "block": lambda lists: lists.block(start, start + 2),
        "head": lambda lists: lists.head(np.array(kept, dtype=np.int64)),
        "tail": lambda lists: lists.tail(2),
        "where": lambda lists: lists.where(np.array(mask, dtype=bool)),
    }
    for name, select in selections.items():
        chosen = select(made)
        assert_still_fit(chosen)
        assert chosen.to_lists() == select(made.without_events()).to_lists(), name
        assert (select(made.without_events()).times, select(made.without_events()).events) == (None, None), name


@small
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), max_size=5))
def test_times_and_events_are_merged_with_their_rows(pairs):
    ours, theirs = timed([a for a, _ in pairs]), timed([b for _, b in pairs], first=100)
    merged = ours.merged(theirs)
    assert_still_fit(merged)
    assert merged.to_lists() == ours.without_events().merged(theirs.without_events()).to_lists()


@pytest.mark.parametrize(
    ("gone", "word"), [({"times": None}, "times"), ({"events": None}, "events")], ids=["times", "events"]
)
def test_lists_of_which_only_one_has_times_or_events_are_not_merged(gone, word):
    whole, part = timed([1, 2]), dataclasses.replace(timed([2, 1]), **gone)
    for one, other in ((whole, part), (part, whole)):
        with refused(f"lists with {word} cannot be merged with lists that have none", "without_events()"):
            one.merged(other)
    assert part.merged(part).to_lists() == [[0, 1, 0, 1], [2, 2]]


def test_block_copies_neither_times_nor_events():
    made = timed([1, 2, 1])
    assert np.shares_memory(made.block(1, 3).times, made.times)
    assert np.shares_memory(made.block(1, 3).events, made.events)


def test_renaming_changes_the_rows_alone():
    made = timed([2, 1])
    renamed = made.remap(np.array([7, 5, 9], dtype=np.int32))
    assert renamed.to_lists() == [[7, 5], [9]]
    assert (renamed.times.tolist(), renamed.events.tolist()) == (made.times.tolist(), made.events.tolist())
    assert made.without_events().remap(np.array([7, 5, 9], dtype=np.int32)).times is None


def test_bare_lists_have_the_same_rows_and_nothing_else():
    assert timed([2, 1]).without_events().to_lists() == [[0, 1], [2]]
    assert (timed([2, 1]).without_events().times, timed([2, 1]).without_events().events) == (None, None)


def test_event_types_are_put_into_the_codes_of_another_list_of_names():
    made = timed([2, 2])  # types 0 1 2 0
    assert made.recoded(["a", "b", "c"], ["x", "c", "b", "a"]).events.tolist() == [3, 2, 1, 3]
    assert made.recoded(["a", "b", "c"], ["x", "c", "b", "a"]).events.dtype == np.int8
    assert made.without_events().recoded(["a"], ["b"]).events is None


def test_only_event_types_that_occur_must_be_known():
    assert timed([2]).recoded(["a", "b", "never"], ["b", "a"]).events.tolist() == [1, 0]
    with refused("events of type 'b' are not among the known event types (a, c)", "leave them out"):
        timed([2]).recoded(["a", "b", "never"], ["a", "c"])


def test_times_or_events_that_are_not_one_per_row_are_refused():
    with refused("1 times do not fit 2 rows"):
        Ragged.from_lengths(np.array([2]), np.zeros(2, dtype=np.int32), times=np.zeros(1, dtype=np.int64))
    with refused("3 events do not fit 2 rows"):
        Ragged.from_lengths(np.array([2]), np.zeros(2, dtype=np.int32), events=np.zeros(3, dtype=np.int8))


def test_repr_tells_what_is_known_of_each_row():
    assert repr(timed([1, 2])) == "Ragged(2 lists, 3 rows, times, events)"


@pytest.mark.parametrize("most", [3, 300, 2**40, 2**63])
@pytest.mark.parametrize("n", [0, 1, 50, 5_000])
def test_events_are_sorted_by_owner_and_key_and_ties_keep_their_order(n, most):
    random = np.random.default_rng(n)
    owners = random.integers(0, max(n // 3, 1), n).astype(np.int32)
    keys = random.integers(-most, most, n, dtype=np.int64)
    assert stable_order(owners, keys).tolist() == np.lexsort((keys, owners)).tolist()
    assert stable_order(owners, keys / 7).tolist() == np.lexsort((keys / 7, owners)).tolist()
    assert stable_order(owners, np.sort(keys)).tolist() == np.lexsort((np.sort(keys), owners)).tolist()
    assert stable_order(owners, None).tolist() == np.argsort(owners, kind="stable").tolist()


@pytest.mark.parametrize("most", [1, 2**20, 2**50])
def test_many_events_are_sorted_in_blocks_as_by_lexsort(most):
    random = np.random.default_rng(most)
    few, gaps = random.integers(0, 4, 150_000), random.integers(0, 300_000, 50_000)
    owners = np.concatenate([few, gaps, np.full(90_000, 7)]).astype(
        np.int32
    )  # some of more events than a block, many of none
    random.shuffle(owners)
    keys = random.integers(0, most, len(owners))
    expected = np.lexsort((keys, owners))
    np.testing.assert_array_equal(stable_order(owners, keys), expected)
    np.testing.assert_array_equal(stable_order(owners, keys.astype(np.float64) / 8), expected)
    np.testing.assert_array_equal(stable_order(owners, None), np.argsort(owners, kind="stable"))


def test_few_events_of_owners_with_large_numbers_are_sorted():
    owners = np.array([2_000_000_000, 5, 2_000_000_000, 5], dtype=np.int32)
    assert stable_order(owners, np.array([2, 1, 1, 1])).tolist() == [1, 3, 2, 0]
    assert stable_order(owners, None).tolist() == [1, 3, 0, 2]
