import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.core.id_map import IdMap
from recsys.core.ragged import Ragged
from recsys.data.leakage import check_disjoint, check_leakage, check_time_order
from recsys.data.split import Holdout, leave_last_out
from recsys.errors import LeakageError
from tests.data.worlds import busy_logs, events_of, log_of, refused, small


def asked(pairs: list[tuple[object, object]], users: list[object], items: list[object], name: str = "by hand") -> Holdout:
    """One judged user a pair, in id maps of their own."""
    user_ids, item_ids = IdMap(pl.Series(users), "user"), IdMap(pl.Series(items), "item")
    rows = user_ids.to_rows([user for user, _ in pairs])
    targets = Ragged.from_lists([[row] for row in item_ids.to_rows([item for _, item in pairs])])
    return Holdout(user_ids, item_ids, rows, Ragged.empty(len(pairs)), targets, name)


TRAIN = [(1, 10, 0), (1, 11, 1), (2, 12, 2), (3, 10, 3), (3, 12, 4)]


def test_a_pair_that_is_trained_on_and_judged_is_leakage():
    train = log_of(TRAIN)
    check_leakage(train, asked([(1, 12), (2, 10), (3, 11)], [1, 2, 3], [10, 11, 12]))
    leaky = asked([(1, 12), (2, 12), (3, 10)], [1, 2, 3], [10, 11, 12])
    with refused("by hand: 2 of 3 held-out pairs are in training too", "user 2 with item 12;", "take", error=LeakageError):
        check_leakage(train, leaky)


def test_the_named_pair_is_found_behind_users_of_several_targets():
    train = log_of(TRAIN)
    targets = Ragged.from_lists([[2], [0, 1], [1, 2]])
    held = Holdout(train.users, train.items, np.array([0, 1, 2], dtype=np.int32), Ragged.empty(3), targets, "by hand")
    with refused("1 of 5", "user 3 with item 12", error=LeakageError):
        check_leakage(train, held)


def test_leakage_is_found_by_name_in_whatever_order_and_type_the_ids_are():
    train = log_of(TRAIN)
    clean = asked([("3", "11"), ("new", "10"), ("1", "other")], ["new", "3", "2", "1"], ["other", "12", "11", "10"])
    check_leakage(train, clean)
    leaky = asked([("3", "11"), ("2", "12")], ["new", "3", "2", "1"], ["other", "12", "11", "10"])
    with refused("1 of 2", "user '2' with item '12'", error=LeakageError):
        check_leakage(train, leaky)


def test_ids_unknown_to_training_match_nothing():
    train = log_of(TRAIN)  # its last item is 12, its last user 3
    check_leakage(train, asked([(3, 99), (98, 12), (98, 99), (97, 10)], [3, 98, 97], [12, 99, 10]))


@small
@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, unique=True),
    st.lists(st.integers(0, 4), min_size=1),
)
def test_leaking_pairs_are_counted_as_a_loop_would_count_them(pairs, trained):
    train = log_of([(item % 3, item, 0) for item in trained])
    count = len(set(pairs) & set(events_of(train)))
    held = asked(pairs, [4, 3, 2, 1, 0], [4, 3, 2, 1, 0])
    if count == 0:
        check_leakage(train, held)
        return
    with refused(f"{count} of {len(pairs)} held-out pairs", error=LeakageError):
        check_leakage(train, held)


def test_a_target_that_the_history_shows_openly_is_a_repeat_and_no_leak():
    split = leave_last_out(log_of([(1, 10, 0), (1, 11, 1), (1, 12, 2), (1, 10, 3)]))
    check_leakage(split.train, split.test)
    check_leakage(split.train, split.validation)


def test_test_events_before_training_events_are_leakage():
    check_time_order(np.array([1, 9, 3]), np.array([9, 10]))
    check_time_order(np.array([5]), np.array([], dtype=np.int64))
    check_time_order(np.array([], dtype=np.int64), np.array([5]))
    words = ["2 of 3 test events come before", "the first at instant 4", "that one at 9", "time_split"]
    with refused(*words, error=LeakageError):
        check_time_order(np.array([1, 9, 3]), np.array([8, 20, 4]))


@pytest.mark.parametrize(("train", "test"), [(None, np.array([1])), (np.array([1]), None)])
def test_order_cannot_be_checked_without_timestamps(train, test):
    with refused("no timestamps", "timestamp=", error=LeakageError):
        check_time_order(train, test)


def test_check_leakage_looks_at_times_where_they_are_given():
    train, held = log_of(TRAIN), asked([(1, 12)], [1], [12])
    check_leakage(train, held, test_timestamps=np.array([4, 5]))
    with refused("1 of 2 test events", error=LeakageError):
        check_leakage(train, held, test_timestamps=np.array([3, 5]))


def test_holdouts_that_share_a_pair_are_not_disjoint():
    one = asked([(1, 10), (2, 11)], [1, 2], [10, 11], "one")
    other = asked([("2", "10"), ("x", "11")], ["x", "2"], ["11", "y", "10"], "other")
    third = asked([(7, 10), (2, 11), (1, 10)], [7, 1, 2], [11, 10], "third")
    for fine in ([], [one], [one, other]):
        check_disjoint(fine)
    words = ["third: 2 of 3 held-out pairs are in 'one' too", "user 2 with item 11", "one of the two only"]
    with refused(*words, error=LeakageError):
        check_disjoint([one, other, third])
    with refused("are in 'other' too", "user 'x' with item 11", error=LeakageError):
        check_disjoint([third, other, asked([("x", "11")], ["x"], ["11"])])


@small
@given(busy_logs)
def test_the_parts_of_leave_last_out_without_repeats_are_disjoint(events):
    once = list({(user, item): (user, item, time) for user, item, time in events}.values())
    log = log_of(once)
    if int(log.histories.lengths.max()) < 3:
        return
    split = leave_last_out(log)
    check_disjoint([split.validation, split.test])
    for holdout in (split.validation, split.test):
        check_leakage(split.train, holdout)
