"""Windows of a log as a service lives through them, against loops that say the same slowly."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from recsys.data.interactions import Interactions
from recsys.data.live_windows import clock_of, each_event
from recsys.errors import DataError


@pytest.fixture(scope="module")
def log() -> Interactions:
    random = np.random.default_rng(0)
    users, items = random.integers(0, 12, 300), random.integers(0, 15, 300)
    frame = pl.DataFrame({"user_id": users, "item_id": items, "timestamp": random.integers(1, 60, 300) * 1000})
    return Interactions.from_frame(frame)


def without_times(log: Interactions) -> Interactions:
    return Interactions.from_frame(log.frame().drop("timestamp"))


@pytest.mark.parametrize("keep_seen", [False, True])
def test_each_event_is_asked_of_all_that_its_user_did_before(log: Interactions, keep_seen: bool) -> None:
    assert log.timestamps is not None
    judged = log.timestamps >= 40_000
    held = each_event(log, judged, "some", keep_seen=keep_seen)
    expected = []
    for user, (start, stop) in enumerate(zip(log.histories.offsets[:-1], log.histories.offsets[1:], strict=True)):
        for event in range(start + 1, stop):
            before = log.histories.rows[start:event].tolist()
            if judged[event] and (keep_seen or log.histories.rows[event] not in before):
                expected.append((user, before, [int(log.histories.rows[event])], int(log.timestamps[event])))
    assert held.times is not None
    asked = zip(held.user_rows, held.histories.to_lists(), held.targets.to_lists(), held.times, strict=True)
    assert [(int(user), before, target, int(time)) for user, before, target, time in asked] == expected


def test_draws_are_of_all_events_and_bounded_by_user(log: Interactions) -> None:
    judged = np.ones(len(log), dtype=np.bool_)
    whole = each_event(log, judged, "all")
    some = each_event(log, judged, "some", most=40, per_user=5, seed=1)
    assert len(some) == 40
    assert np.bincount(some.user_rows).max() == 5
    assert np.bincount(each_event(log, judged, "some", per_user=5).user_rows).min() == 5
    pairs = set(zip(whole.user_rows.tolist(), whole.targets.rows.tolist(), strict=True))
    assert pairs > set(zip(some.user_rows.tolist(), some.targets.rows.tolist(), strict=True))
    again, other = (each_event(log, judged, "some", most=40, seed=seed) for seed in (1, 2))
    assert again.targets.rows.tolist() != other.targets.rows.tolist()
    with pytest.raises(DataError, match="nothing: no event comes after another"):
        each_event(log, ~judged, "nothing")


def test_without_times_the_clock_runs_over_each_history_and_new_events_come_after_all(log: Interactions) -> None:
    untimed = without_times(log)
    clock = clock_of(untimed)
    for start, stop in zip(untimed.histories.offsets[:-1], untimed.histories.offsets[1:], strict=True):
        assert (np.diff(clock[start:stop]) > 0).all()
    assert clock.min() >= 0
    assert clock.max() < 1
    last = np.zeros(len(untimed), dtype=np.bool_)
    last[untimed.histories.offsets[1:] - 1] = True
    later = clock_of(untimed, last)
    assert later[last].min() >= 1 > later[~last].max()
    assert log.timestamps is not None
    assert (clock_of(log) == log.timestamps).all()
