"""Splits by item and by user: what is cold or held out is nowhere trained on, and all else is where it was."""

from collections import Counter

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.data.item_split import item_split
from recsys.data.leakage import check_disjoint, check_leakage
from recsys.data.split import Holdout, leave_last_out
from recsys.data.user_split import user_split
from recsys.errors import ConfigError, DataError
from tests.data.test_rolling_splits import big_log, item_lists, judged
from tests.data.worlds import busy_logs, events_of, log_of, refused, small

seeds = st.integers(0, 3)


def targets_of(*holdouts: Holdout) -> Counter[tuple[int, int]]:
    return Counter((user, item) for one in holdouts for user, (_, own) in judged(one).items() for item in own)


# Cold items


@small
@given(busy_logs, seeds, st.sampled_from([0.2, 0.5]), st.booleans())
def test_item_split_takes_cold_items_out_of_all_but_the_cold_holdout(events, seed, share, validation):
    log = log_of(events)
    try:
        split = item_split(log, share=share, seed=seed, validation=validation)
    except DataError:
        return
    cold = set(log.items.to_ids(split.cold_rows))
    assert len(cold) == len(split.cold_rows) == round(share * len(log.items))
    assert split.train.items.same(log.items)
    assert split.train.users.same(log.users)
    hot = [split.hot, *([split.validation] if validation else [])]
    of_cold = Counter({pair: n for pair, n in events_of(log).items() if pair[1] in cold})
    assert events_of(split.train) + targets_of(*hot) + of_cold == events_of(log)
    for holdout in hot:
        assert not {item for seen, new in judged(holdout).values() for item in (*seen, *new)} & cold
    expected = {}
    for user, own in item_lists(events).items():
        first = next((place for place, item in enumerate(own) if item in cold), 0)
        if first:
            expected[user] = (own[:first], list(dict.fromkeys(item for item in own if item in cold)))
    assert judged(split.cold) == expected
    assert split.skipped == len({user for user, _ in of_cold}) - len(expected)
    check_leakage(split.train, split.cold)


@small
@given(busy_logs, seeds)
def test_the_hot_side_of_an_item_split_is_leave_last_out_without_the_cold_items(events, seed):
    log = log_of(events)
    try:
        split = item_split(log, share=0.3, seed=seed)
    except DataError:
        return
    rest = leave_last_out(log.select(~np.isin(log.histories.rows, split.cold_rows)))
    assert split.train.fingerprint == rest.train.fingerprint
    assert judged(split.hot) == judged(rest.test)
    assert judged(split.validation) == judged(rest.validation)


POPULAR_NINE = [
    *((1, 10, 0), (1, 11, 1), (1, 9, 2), (1, 12, 3), (1, 9, 4)),  # 9 comes in the middle, and again
    *((2, 9, 0), (2, 13, 1), (2, 14, 2)),  # nothing before it
    *((3, 15, 0), (3, 16, 1), (3, 17, 2), (3, 18, 3)),  # never
]


def test_item_split_by_hand():
    split = item_split(log_of(POPULAR_NINE), share=0.6, min_count=3)  # 9 is the only item of three events
    assert list(split.train.items.to_ids(split.cold_rows)) == [9]
    assert split.cold_rows.dtype == np.int32
    assert judged(split.cold) == {1: ([10, 11], [9])}
    assert split.skipped == 1
    assert judged(split.hot) == {1: ([10, 11], [12]), 3: ([15, 16, 17], [18])}
    assert judged(split.validation) == {1: ([10], [11]), 3: ([15, 16], [17])}
    assert events_of(split.train) == Counter([(1, 10), (2, 13), (2, 14), (3, 15), (3, 16)])
    names = [one.protocol for one in (split.validation, split.hot, split.cold)]
    assert names == ["item split, hot validation", "item split, hot test", "item split, cold"]


def test_item_split_without_validation_draws_the_same_items_and_trains_on_more():
    log = big_log()
    one, other = item_split(log, seed=3), item_split(log, seed=3, validation=False)
    assert other.validation is None
    assert one.cold_rows.tolist() == other.cold_rows.tolist()
    assert judged(one.cold) == judged(other.cold)
    assert judged(one.hot) == judged(other.hot)
    assert events_of(one.train) + targets_of(one.validation) == events_of(other.train)


def test_items_that_nobody_touched_are_never_cold():
    log = log_of(POPULAR_NINE).with_items(pl.Series(range(100, 200)))
    split = item_split(log, share=0.3, seed=2)
    assert len(split.cold_rows) == 3
    assert set(log.items.to_ids(split.cold_rows)) <= set(range(9, 20))


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, 10, float("nan")])
def test_a_share_of_items_outside_zero_to_one_is_refused(share):
    with refused("share must lie between 0 and 1", f"not {share}", error=ConfigError):
        item_split(log_of(POPULAR_NINE), share=share)


@pytest.mark.parametrize(
    ("events", "options", "words"),
    [
        (POPULAR_NINE, {"share": 0.01}, ["share of 0.01 of the 10 items", "makes 0 of 10 items cold"]),
        (POPULAR_NINE, {"min_count": 4}, ["the 0 items with 4 or more events"]),
        ([(1, 9, 0), (1, 8, 1), (1, 8, 2)], {"share": 0.9}, ["makes 2 of 2 items cold", "another share"]),
        (
            [(1, 9, 0), (1, 9, 1), (1, 8, 2)],
            {"share": 0.6, "min_count": 2},
            ["no user has an event before one of the 1 cold"],
        ),
        ([(1, 8, 0), (1, 9, 1), (1, 9, 2)], {"share": 0.6, "min_count": 2}, ["leave-last-out", "at least 3 events"]),
    ],
)
def test_a_log_from_which_no_items_can_be_split_is_refused(events, options, words):
    with refused(*words):
        item_split(log_of(events), **options)


def test_min_count_is_at_least_one():
    with refused("min_count must be at least 1, not 0", error=ConfigError):
        item_split(log_of(POPULAR_NINE), min_count=0)


# Held-out users


@small
@given(busy_logs, seeds, st.booleans(), st.booleans(), st.sampled_from([0.5, 0.8]))
def test_held_out_users_are_never_trained_on(events, seed, at_random, validation, fold_in):
    log, whole = log_of(events), item_lists(events)
    try:
        split = user_split(log, users=1, fold_in=fold_in, seed=seed, random=at_random, validation=validation)
    except DataError:
        return
    holdouts = [split.test, *([split.validation] if validation else [])]
    held = {user for one in holdouts for user in judged(one)}
    assert len(held) == len(holdouts)
    assert events_of(split.train) == Counter({pair: n for pair, n in events_of(log).items() if pair[0] not in held})
    assert split.train.items.same(log.items)
    assert split.train.users.same(log.users)
    for holdout in holdouts:
        for user, (seen, new) in judged(holdout).items():
            own = whole[user]
            shown = min(max(len(own) - int((1 - fold_in) * len(own) + 1e-9), 1), len(own) - 1)
            assert len(seen) == shown
            assert set(new) == set(own) - set(seen)  # what else is in the rest repeats a target or the history
            if not at_random:
                assert seen == own[:shown]
                assert new == [item for item in dict.fromkeys(own[shown:]) if item not in seen]
        check_leakage(split.train, holdout)
    check_disjoint(holdouts)


@pytest.mark.parametrize(
    ("n", "fold_in", "shown"), [(5, 0.8, 4), (9, 0.8, 8), (10, 0.8, 8), (3, 0.8, 2), (100, 0.55, 55), (2, 0.1, 1)]
)
@pytest.mark.parametrize("at_random", [False, True])
def test_the_rest_of_a_history_is_rounded_down_as_published_but_never_to_nothing(n, fold_in, shown, at_random):
    log = log_of([(user, 100 * user + number, number) for user in (1, 2) for number in range(n)])
    split = user_split(log, users=1, fold_in=fold_in, random=at_random, validation=False)
    assert (len(split.test.histories.rows), len(split.test.targets.rows)) == (shown, n - shown)


def test_user_split_by_hand():
    own = {1: [10, 11, 10, 12, 12, 10], 2: [20, 21]}
    log = log_of([(user, item, time) for user, items in own.items() for time, item in enumerate(items)] + [(3, 10, 0)])
    split = user_split(log, users=1, fold_in=0.5, validation=False)
    (held,) = judged(split.test)
    assert judged(split.test)[held] == {1: ([10, 11, 10], [12]), 2: ([20], [21])}[held]
    assert events_of(split.train) == Counter([(3, 10), *((3 - held, item) for item in own[3 - held])])
    assert split.validation is None
    assert split.test.protocol == "user split, first 50% shown, test"


def test_users_with_nothing_to_find_are_trained_on_and_never_drawn():
    events = [(user, 10 * user + time, time) for user in range(5) for time in range(3)] + [(7, 1, 0), (8, 1, 0), (8, 1, 1)]
    for seed in range(20):
        split = user_split(log_of(events), users=2, seed=seed)
        assert len(split.test) == len(split.validation) == 2
        assert {7, 8} <= {user for user, _ in events_of(split.train)}


def test_a_random_fold_in_shows_every_place_of_a_history_equally_often_and_keeps_time_order():
    log = log_of([(user, 10 * user + place, place) for user in range(400) for place in range(5)])
    split = user_split(log, users=300, fold_in=0.6, random=True, validation=False)
    assert split.test.protocol == "user split, random 60% shown, test"
    places = [[item % 10 for item in seen] for seen, _ in judged(split.test).values()]
    assert all(own == sorted(own) for own in places)
    shown = Counter(place for own in places for place in own)
    assert all(150 < shown[place] < 210 for place in range(5))  # 180 expected, deviation 8.5
    everyone = user_split(log, users=300, fold_in=0.6, validation=False).test
    assert everyone.user_rows.tolist() == split.test.user_rows.tolist()


def test_a_share_of_users_is_one_of_those_who_can_be_judged_and_a_number_a_number():
    log = log_of([(user, 10 * user + time, time) for user in range(20) for time in range(3)] + [(99, 1, 0)] * 30)
    for asked, held in ((0.1, 2), (0.24, 5), (3, 3), (np.int64(3), 3)):
        split = user_split(log, users=asked)
        assert len(split.test) == len(split.validation) == held
    one, other = user_split(log, users=3), user_split(log, users=3, validation=False)
    assert judged(one.test) == judged(other.test)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"users": 0.0}, ["users (a share; whole numbers count) must lie between 0 and 1", "not 0.0"]),
        ({"users": 1.0}, ["users", "between 0 and 1", "not 1.0"]),
        ({"users": 0}, ["users must be at least 1", "not 0"]),
        ({"fold_in": 0.0}, ["fold_in must lie between 0 and 1", "not 0.0"]),
        ({"fold_in": 1}, ["fold_in must lie between 0 and 1", "not 1"]),
    ],
)
def test_a_share_of_users_or_events_outside_zero_to_one_is_refused(options, words):
    with refused(*words, error=ConfigError):
        user_split(big_log(), **options)


@pytest.mark.parametrize(("users", "held"), [(3, 3), (0.5, 2), (0.1, 0), (2, 2)])
def test_too_few_users_are_refused(users, held):
    log = log_of([(user, 10 * user + time, time) for user in range(4) for time in range(3)])
    with refused(f"users={users} holds out 2 x {held} of the 4 users", "choose another number"):
        user_split(log, users=users)


def test_users_of_one_event_each_cannot_be_split():
    with refused("no user has two different items"):
        user_split(log_of([(1, 10, 0), (2, 10, 0), (3, 11, 0), (3, 11, 1)]))
