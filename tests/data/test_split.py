import dataclasses

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.core.id_map import IdMap
from recsys.core.ragged import Ragged
from recsys.data.interactions import Interactions
from recsys.data.split import Holdout, leave_last_out, time_split
from recsys.errors import ConfigError, DataError, LeakageError
from tests.data.worlds import Event, events_lists, in_time_order, log_of, refused, small, timeless

Judged = dict[int, tuple[list[int], list[int]]]
"""User → (items of the history, items that are targets)."""


def judged(holdout: Holdout) -> Judged:
    items = holdout.items.ids.to_list()
    return {
        user: ([items[i] for i in history], [items[i] for i in targets])
        for user, history, targets in zip(
            holdout.users.to_ids(holdout.user_rows), holdout.histories.to_lists(), holdout.targets.to_lists(), strict=True
        )
    }


def items_of(log: Interactions) -> dict[int, list[int]]:
    items = log.items.ids.to_list()
    return {user: [items[i] for i in own] for user, own in zip(log.users.ids, log.histories.to_lists(), strict=True)}


def item_lists(events: list[Event]) -> dict[int, list[int]]:
    return {user: [item for _, item, _ in own] for user, own in in_time_order(events).items()}


@small
@given(events_lists, st.booleans())
def test_leave_last_out_cuts_each_history_into_train_validation_and_test(events, validation):
    whole = item_lists(events)
    held = 2 if validation else 1
    long = {user: own for user, own in whole.items() if len(own) > held}
    if not long:
        with pytest.raises(DataError):
            leave_last_out(log_of(events), validation=validation)
        return
    split = leave_last_out(log_of(events), validation=validation)
    assert judged(split.test) == {user: (own[:-1], own[-1:]) for user, own in long.items()}
    assert items_of(split.train) == {user: own[:-held] if user in long else own for user, own in whole.items()}
    if validation:
        assert judged(split.validation) == {user: (own[:-2], own[-2:-1]) for user, own in long.items()}
    else:
        assert split.validation is None


@small
@given(events_lists)
def test_leave_last_out_trains_on_no_event_that_it_judges(events):
    numbered = [(user, number, time) for number, (user, _, time) in enumerate(events)]
    log = log_of(numbered)
    if int(log.histories.lengths.max()) < 3:
        return
    split = leave_last_out(log)
    trained = {item for own in items_of(split.train).values() for item in own}
    for holdout in (split.validation, split.test):
        targets = {item for _, own in judged(holdout).values() for item in own}
        assert not targets & trained
    lost = set(range(len(events))) - trained
    assert lost == {
        item for holdout in (split.validation, split.test) for _, own in judged(holdout).values() for item in own
    }


def test_leave_last_out_of_tied_events_holds_out_the_last_in_the_file():
    split = leave_last_out(log_of([(1, 10, 5), (1, 11, 5), (1, 12, 5), (1, 13, 5)]))
    assert judged(split.test) == {1: ([10, 11, 12], [13])}
    assert judged(split.validation) == {1: ([10, 11], [12])}


def test_leave_last_out_keeps_times_and_weights_of_the_rest():
    frame = pl.DataFrame({"user_id": [1] * 4, "item_id": [1, 2, 3, 4], "timestamp": [4, 3, 2, 1], "weight": [4.0, 3, 2, 1]})
    train = leave_last_out(Interactions.from_frame(frame)).train
    assert train.frame().rows() == [(1, 4, 1, 1.0), (1, 3, 2, 2.0)]


def test_a_log_without_timestamps_leaves_histories_without_times():
    log = timeless(log_of([(1, 10, 0), (1, 11, 1), (1, 12, 2), (1, 13, 3)]))
    split = leave_last_out(log)
    assert (split.train.timestamps, split.test.histories.times, split.test.times) == (None, None, None)


def test_users_with_short_histories_are_trained_on_and_not_judged():
    split = leave_last_out(log_of([(1, 10, 0), (1, 11, 1), (2, 10, 0), (2, 11, 1), (2, 12, 2)]))
    assert list(judged(split.test)) == [2]
    assert items_of(split.train)[1] == [10, 11]


@pytest.mark.parametrize(("validation", "needed"), [(True, 3), (False, 2)])
def test_a_log_of_short_histories_cannot_be_left_last_out(validation, needed):
    log = log_of([(1, 10, 0), (2, 10, 0), *([(1, 11, 1)] if validation else [])])
    with refused("leave-last-out", f"at least {needed} events"):
        leave_last_out(log, validation=validation)


def test_the_rows_of_every_part_are_those_of_the_whole_log():
    log = log_of([(1, 10, 0), (1, 11, 1), (1, 12, 2), (1, 13, 3)])
    for split in (leave_last_out(log), time_split(log, quantile=0.7)):
        for part in (split.train, split.validation, split.test):
            assert part.users.same(log.users)
            assert part.items.same(log.items)


def naive_cut(events: list[Event], quantile: float) -> tuple[list[Event], Judged]:
    """The events before the cut, and who is judged on what after it."""
    cut = np.quantile([time for _, _, time in events], quantile, method="higher")
    past, future = ([event for event in events if (event[2] < cut) == early] for early in (True, False))
    if not past:
        raise DataError
    seen = item_lists(past)
    fresh = {
        user: [item for item in dict.fromkeys(own) if item not in seen.get(user, [])]
        for user, own in item_lists(future).items()
    }
    found = {user: (seen[user], fresh[user]) for user in item_lists(events) if seen.get(user) and fresh.get(user)}
    if not found:
        raise DataError
    return past, found


@small
@given(events_lists, st.sampled_from([0.3, 0.5, 0.8]), st.booleans())
def test_time_split_is_one_cut_through_all_users(events, quantile, validation):
    try:
        past, tested = naive_cut(events, quantile)
        earlier, held = naive_cut(past, quantile) if validation else (past, None)
    except DataError:
        with pytest.raises(DataError):
            time_split(log_of(events), quantile=quantile, validation=validation)
        return
    split = time_split(log_of(events), quantile=quantile, validation=validation)
    assert judged(split.test) == tested
    assert {user: own for user, own in items_of(split.train).items() if own} == item_lists(earlier)
    if validation:
        assert judged(split.validation) == held
    else:
        assert split.validation is None


@small
@given(events_lists)
def test_time_split_trains_on_nothing_as_late_as_what_it_judges(events):
    numbered = [(user, number, time) for number, (user, _, time) in enumerate(events)]
    try:
        split = time_split(log_of(numbered), quantile=0.6)
    except DataError:
        return
    when = [time for _, _, time in numbered]
    latest = int(split.train.timestamps.max())
    for holdout in (split.validation, split.test):
        for history, targets in judged(holdout).values():
            assert max(when[item] for item in history) < min(when[item] for item in targets)
            assert min(when[item] for item in targets) > latest
    validated = {item for _, targets in judged(split.validation).values() for item in targets}
    known = {item for history, _ in judged(split.test).values() for item in history}
    users_tested = set(judged(split.test))
    assert {item for item in validated if numbered[item][0] in users_tested} <= known


def test_time_split_asks_only_for_items_that_are_new_to_the_user_and_once_each():
    events = [(1, 10, 0), (1, 11, 1), (2, 10, 2), (1, 10, 8), (1, 12, 8), (1, 12, 9), (2, 10, 9), (3, 12, 9)]
    split = time_split(log_of(events), quantile=0.4, validation=False)
    assert judged(split.test) == {1: ([10, 11], [12])}


def test_events_at_the_very_instant_of_the_cut_are_future():
    split = time_split(log_of([(1, 10, 0), (1, 11, 5), (1, 12, 5), (1, 13, 5)]), quantile=0.5, validation=False)
    assert judged(split.test) == {1: ([10], [11, 12, 13])}


@pytest.mark.parametrize("quantile", [0.0, 1.0, -0.1, 90, float("nan")])
def test_a_quantile_outside_zero_to_one_is_refused(quantile):
    with refused("quantile must lie between 0 and 1", f"not {quantile}", error=ConfigError):
        time_split(log_of([(1, 10, 0), (1, 11, 1)]), quantile=quantile)


def test_a_log_without_timestamps_cannot_be_cut_in_time():
    log = timeless(log_of([(1, 10, 0), (1, 11, 1), (1, 12, 2)]))
    with refused("a time split needs timestamps", "timestamp=", error=LeakageError):
        time_split(log)


def test_a_log_of_one_instant_cannot_be_cut_in_time():
    with refused("time split, test", "one side of the instant 7", "another quantile"):
        time_split(log_of([(1, 10, 7), (1, 11, 7)]))


def test_a_cut_after_which_nobody_finds_anything_new_is_refused():
    with refused("time split, test", "no user has a history before the instant 5 and a new item after it"):
        time_split(log_of([(1, 10, 0), (1, 10, 5), (2, 10, 5)]), quantile=0.5)


def test_splitting_twice_gives_the_same_parts():
    generator = np.random.default_rng(0)
    events = [(int(user), int(item), int(time)) for user, item, time in generator.integers(0, 20, (400, 3))]
    for cut in (leave_last_out, time_split):
        one, two = cut(log_of(events)), cut(log_of(events))
        assert one.train.fingerprint == two.train.fingerprint
        assert judged(one.validation) == judged(two.validation)
        assert judged(one.test) == judged(two.test)


def test_splitting_leaves_the_log_as_it_was():
    log = log_of([(1, 10, 0), (1, 11, 1), (1, 12, 2), (2, 10, 1), (2, 12, 3), (2, 13, 4)])
    before = log.frame().clone()
    leave_last_out(log)
    time_split(log, quantile=0.7, validation=False)
    assert log.frame().equals(before)


def holdout(histories: list[list[int]], targets: list[list[int]], user_rows: list[int] | None = None) -> Holdout:
    return Holdout(
        IdMap(pl.Series(["u", "v", "w"]), "user"),
        IdMap(pl.Series(range(9)), "item"),
        np.array(range(len(targets)) if user_rows is None else user_rows, dtype=np.int32),
        Ragged.from_lists(histories),
        Ragged.from_lists(targets),
        "by hand",
    )


@pytest.mark.parametrize(
    ("histories", "targets", "user_rows", "words"),
    [
        ([[1]], [[2], [3]], None, "one history and one list of targets per user"),
        ([[1], [2]], [[2], [3]], [0], "one history and one list of targets per user"),
        ([], [], None, "no user has anything held out"),
        ([[1], [2]], [[3], []], None, "a user without targets cannot be evaluated"),
        ([[1]], [[3, 4, 3]], None, "a target occurs twice for the same user"),
    ],
)
def test_a_holdout_that_cannot_be_judged_is_refused(histories, targets, user_rows, words):
    with refused(words):
        holdout(histories, targets, user_rows)


def test_two_users_may_have_the_same_target():
    assert len(holdout([[1], [2]], [[3], [3]])) == 2


def test_where_and_samples_keep_users_with_all_that_is_theirs():
    made = holdout([[1], [2, 3], []], [[4], [5], [6, 7]])
    assert judged(made.where(np.array([False, True, True]))) == {"v": ([2, 3], [5]), "w": ([], [6, 7])}
    everybody = judged(made)
    for seed in range(5):
        some = judged(made.sample(2, seed))
        assert len(some) == 2
        assert some.items() <= everybody.items()
    assert judged(made.sample(99)) == everybody
    with refused("by hand", "no user has anything held out"):
        made.where(np.zeros(3, dtype=bool))


def test_a_sample_of_users_is_drawn_from_all_of_them_and_is_the_same_every_time():
    made = holdout([[u % 5] for u in range(200)], [[5 + u % 3] for u in range(200)], list(range(200)))
    one, two = made.sample(50), made.sample(50)
    assert one.user_rows.tolist() == two.user_rows.tolist() == sorted(one.user_rows)
    assert 60 < one.user_rows.mean() < 140
    assert one.user_rows.tolist() != made.sample(50, seed=1).user_rows.tolist()


def test_fields_cannot_be_replaced():
    made = holdout([[1]], [[2]])
    split = leave_last_out(log_of([(1, 10, 0), (1, 11, 1), (1, 12, 2)]))
    for one, name in ((made, "targets"), (split, "train")):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(one, name, None)
    assert repr(made) == "Holdout(by hand: 1 users, 1 targets)"


def test_event_types_without_names_are_refused_in_a_holdout_too():
    made = holdout([[1, 2]], [[3]])
    typed = dataclasses.replace(made.histories, events=np.zeros(2, dtype=np.int8))
    with refused("event types and event_names go together"):
        dataclasses.replace(made, histories=typed)
    assert dataclasses.replace(made, histories=typed, event_names=("view",)).sample(1).event_names == ("view",)
