import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.data.interactions import Interactions
from recsys.data.item_split import ItemSplit, item_split
from recsys.data.leakage import check_disjoint, check_leakage
from recsys.data.rolling_splits import rolling_splits
from recsys.data.split import Holdout, Split, leave_last_out, time_split
from recsys.data.user_split import user_split
from recsys.errors import ConfigError, DataError, LeakageError
from tests.data.worlds import Event, busy_logs, events_of, in_time_order, log_of, refused, small, timeless

Judged = dict[int, tuple[list[int], list[int]]]
"""User → (items of the history, items that are targets)."""


def judged(holdout: Holdout) -> Judged:
    items = holdout.items.ids.to_list()
    lists = zip(holdout.histories.to_lists(), holdout.targets.to_lists(), strict=True)
    users = holdout.users.to_ids(holdout.user_rows)
    return {
        user: ([items[i] for i in seen], [items[i] for i in new]) for user, (seen, new) in zip(users, lists, strict=True)
    }


def item_lists(events: list[Event]) -> dict[int, list[int]]:
    return {user: [item for _, item, _ in own] for user, own in in_time_order(events).items()}


def big_log(n: int = 3000) -> Interactions:
    generator = np.random.default_rng(5)
    return log_of([(int(u), int(i), int(t)) for u, i, t in generator.integers(0, (60, 80, 500), (n, 3))])


SPLITS: dict[str, Callable[[Interactions, int], ItemSplit | Split]] = {
    "item": lambda log, seed: item_split(log, share=0.3, seed=seed),
    "user": lambda log, seed: user_split(log, users=0.2, seed=seed),
    "user at random": lambda log, seed: user_split(log, users=0.2, seed=seed, random=True),
}


def parts(split: ItemSplit | Split) -> list[object]:
    others = [split.hot, split.cold] if isinstance(split, ItemSplit) else [split.test]
    return [split.train.fingerprint, *(judged(one) for one in (split.validation, *others))]


# Backtests


@small
@given(busy_logs, st.integers(1, 3), st.one_of(st.integers(1, 3), st.sampled_from([0.1, 0.2])))
def test_rolling_windows_are_disjoint_and_each_is_trained_on_all_before_it(events, windows, horizon):
    log = log_of(events)
    try:
        splits = rolling_splits(log, windows=windows, horizon=horizon, min_train=0.01)
    except DataError:
        return
    assert len(splits) == windows
    times = sorted(time for _, _, time in events)
    if isinstance(horizon, int):
        starts = [times[-1] + 1 - back * horizon for back in range(windows, 0, -1)]
    else:
        starts = [int(np.quantile(times, 1 - back * horizon, method="higher")) for back in range(windows, 0, -1)]
    for number, (split, start) in enumerate(zip(splits, starts, strict=True)):
        end = starts[number + 1] if number + 1 < windows else times[-1] + 1
        before = [event for event in events if event[2] < start]
        assert events_of(split.train) == Counter((user, item) for user, item, _ in before)
        seen = item_lists(before)
        new = item_lists([event for event in events if start <= event[2] < end])
        fresh = {user: [i for i in dict.fromkeys(own) if i not in seen.get(user, [])] for user, own in new.items()}
        assert judged(split.test) == {u: (seen[u], fresh[u]) for u in item_lists(events) if seen.get(u) and fresh.get(u)}
        assert split.validation is None
        check_leakage(split.train, split.test, test_timestamps=log.timestamps[log.timestamps >= start])
    check_disjoint([split.test for split in splits])


def test_rolling_splits_by_hand():
    events = [
        *((1, 10, 0), (2, 20, 5), (3, 30, 9)),
        *((1, 11, 10), (1, 10, 12), (2, 20, 19), (4, 40, 19)),  # window 1: 2 finds nothing new, 4 has no history
        *((1, 11, 20), (1, 12, 20), (2, 21, 28), (4, 41, 29)),  # window 2: 11 is no longer new to 1
    ]
    first, second = rolling_splits(log_of(events), windows=2, horizon=10, min_train=0.2)
    assert judged(first.test) == {1: ([10], [11])}
    assert judged(second.test) == {1: ([10, 11, 10], [12]), 2: ([20, 20], [21]), 4: ([40], [41])}
    assert events_of(first.train) == Counter([(1, 10), (2, 20), (3, 30)])
    assert int(second.train.timestamps.max()) == 19
    assert [one.test.protocol for one in (first, second)] == [
        "rolling split, window 1 of 2",
        "rolling split, window 2 of 2",
    ]


def test_the_last_window_of_a_tenth_is_the_time_split_at_nine_tenths():
    log = big_log()
    last, single = rolling_splits(log)[-1], time_split(log, quantile=0.9, validation=False)
    assert judged(last.test) == judged(single.test)
    assert last.train.fingerprint == single.train.fingerprint


@pytest.mark.parametrize(
    ("options", "words", "error"),
    [
        ({"windows": 0}, ["windows must be at least 1", "not 0"], ConfigError),
        ({"windows": 10**9, "horizon": 1}, ["at most the 3000 events, not 1000000000"], ConfigError),
        ({"horizon": 0}, ["horizon must be at least 1 second", "not 0"], ConfigError),
        ({"horizon": 1.0}, ["horizon", "between 0 and 1", "not 1.0"], ConfigError),
        ({"horizon": 86400.0}, ["horizon", "whole numbers are seconds", "not 86400.0"], ConfigError),
        ({"min_train": 0.0}, ["min_train must lie between 0 and 1, not 0.0"], ConfigError),
        ({"min_train": 1.0}, ["min_train must lie between 0 and 1, not 1.0"], ConfigError),
        ({"windows": 10, "horizon": 0.1}, ["10 windows of 0.1 are more than the whole log"], ConfigError),
        ({"windows": 6, "horizon": 0.1}, ["6 windows of 0.1 leave", "below min_train=0.5", "fewer or shorter"], DataError),
        ({"windows": 4, "horizon": 100}, ["4 windows of 100 leave", "below min_train=0.5"], DataError),
        ({"windows": 9, "horizon": 10**20}, ["leave 0.0% of the events"], DataError),
        (
            {"windows": 9, "horizon": 0.0001},
            ["rolling split, window", "of 9", "no user", "another quantile or horizon"],
            DataError,
        ),
    ],
)
def test_windows_that_the_log_cannot_hold_are_refused(options, words, error):
    with refused(*words, error=error):
        rolling_splits(big_log(), **options)


def test_a_log_without_timestamps_cannot_be_rolled():
    with refused("a rolling split needs timestamps", "timestamp=", error=LeakageError):
        rolling_splits(timeless(big_log()))


# Seeds


@pytest.mark.parametrize("name", SPLITS)
def test_a_split_follows_from_its_seed_alone(name):
    log, made = big_log(), []
    for state in (1, 2):
        np.random.seed(state)  # noqa: NPY002
        random.seed(state)
        before = (random.getstate(), np.random.get_state()[1].tolist())  # noqa: NPY002
        made.append(parts(SPLITS[name](log, 7)))
        assert before == (random.getstate(), np.random.get_state()[1].tolist())  # noqa: NPY002
    assert made[0] == made[1]
    different = [parts(SPLITS[name](log, seed)) for seed in range(5)]
    assert all(one != other for place, one in enumerate(different) for other in different[:place])


@pytest.mark.parametrize("name", SPLITS)
def test_a_seed_below_zero_is_refused(name):
    with refused("seed must be at least 0, not -1", error=ConfigError):
        SPLITS[name](big_log(), -1)


PINNED_ITEMS = [2, 9, 16, 18]
PINNED_USERS: Judged = {2: ([2, 4, 5, 6], [3]), 9: ([9, 10, 11, 12], [13]), 16: ([16, 17, 18, 19], [0])}


def test_what_a_seed_draws_does_not_change_from_release_to_release():
    log = log_of([(user, (user + step) % 20, step) for user in range(20) for step in range(5)])
    assert item_split(log, share=0.2, seed=1).cold_rows.tolist() == PINNED_ITEMS
    drawn = user_split(log, users=3, seed=1, random=True)
    assert judged(drawn.test) == PINNED_USERS
    assert item_split(log, share=0.2, seed=2**70).cold_rows.tolist() != PINNED_ITEMS


def test_splitting_leaves_the_log_as_it_was():
    log = big_log(300)
    before = log.frame().clone()
    for split in SPLITS.values():
        split(log, 0)
    rolling_splits(log)
    assert log.frame().equals(before)


# Times and event types of histories

EVERY_SPLIT: dict[str, Callable[[Interactions], list[Holdout]]] = {
    "leave last out": lambda log: holdouts_of(leave_last_out(log)),
    "time": lambda log: holdouts_of(time_split(log, quantile=0.7)),
    "rolling": lambda log: [one for split in rolling_splits(log) for one in holdouts_of(split)],
    **{name: lambda log, make=make: holdouts_of(make(log, 0)) for name, make in SPLITS.items()},
}


def holdouts_of(split: ItemSplit | Split) -> list[Holdout]:
    tested = [split.hot, split.cold] if isinstance(split, ItemSplit) else [split.test]
    return tested if split.validation is None else [split.validation, *tested]


def told_log(n: int = 900) -> Interactions:
    """Each event is on an item of its own, from which its time and type follow."""
    users = np.random.default_rng(3).integers(0, 25, n)
    numbers = np.arange(n)
    kinds = np.array(["view", "cart", "buy"])[numbers % 3]
    frame = {"user_id": users, "item_id": numbers, "timestamp": numbers * 7, "event_type": kinds}
    return Interactions.from_frame(pl.DataFrame(frame))


def assert_histories_tell_times_and_types(holdout: Holdout) -> None:
    items = holdout.items.to_ids(holdout.histories.rows).to_numpy()
    assert len(items)
    assert holdout.event_names == ("buy", "cart", "view")
    assert holdout.histories.times.tolist() == (items * 7).tolist()
    assert holdout.histories.events.tolist() == np.array([2, 1, 0])[items % 3].tolist()
    assert (holdout.targets.times, holdout.targets.events) == (None, None)
    assert holdout.times.tolist() == (holdout.items.to_ids(holdout.targets.rows).to_numpy() * 7).tolist()


@pytest.mark.parametrize("name", EVERY_SPLIT)
def test_histories_tell_when_and_what_kind_each_event_was_and_targets_do_not(name):
    for holdout in EVERY_SPLIT[name](told_log()):
        assert_histories_tell_times_and_types(holdout)
        assert_histories_tell_times_and_types(holdout.sample(3))
        assert_histories_tell_times_and_types(holdout.where(np.arange(len(holdout)) % 2 == 0))


@pytest.mark.parametrize("name", EVERY_SPLIT)
def test_event_types_change_nothing_else_in_a_split(name):
    log = told_log()
    bare = replace(log, histories=replace(log.histories, events=None), event_names=())
    for one, other in zip(EVERY_SPLIT[name](log), EVERY_SPLIT[name](bare), strict=True):
        assert judged(one) == judged(other)
        assert other.histories.events is None
        assert other.event_names == ()
