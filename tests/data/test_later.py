"""A newer log gives targets that the model cannot know, and histories as they were just before."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.data.interactions import Interactions
from recsys.data.later import Later, later_events
from recsys.data.split import time_split
from recsys.errors import DataError, LeakageError

KNOWN = [("ann", "a", 1), ("ann", "b", 2), ("bob", "a", 3), ("cat", "c", 5)]


def made(rows: list[tuple[str, str, int]]) -> Interactions:
    return Interactions.from_frame(pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row"))


def told(later: Later) -> dict[str, tuple[str, str]]:
    """User → items of the history, items to find, as texts of one-letter items."""
    held = later.holdout
    users = held.users.to_ids(held.user_rows)
    parts = [
        ["".join(held.items.to_ids(lists[row])) for row in range(len(held))] for lists in (held.histories, held.targets)
    ]
    return {user: (history, targets) for user, history, targets in zip(users, *parts, strict=True)}


def test_targets_come_after_all_that_is_known_and_new_users_bring_their_history() -> None:
    log = made([
        *KNOWN,  # the whole log again: known events are left out
        ("bob", "z", 4),  # too late for the model, too early to be judged
        ("dan", "a", 4), ("dan", "q", 9), ("dan", "q", 10),  # new, with a history in the log; an unknown item, twice
        ("eve", "a", 8),  # new, without a history
        ("ann", "c", 7), ("ann", "a", 8),  # one new item, one that she had
        ("cat", "c", 9),  # nothing new
    ])  # fmt: skip
    found = later_events(made(KNOWN), log)
    assert told(found) == {"ann": ("ab", "c"), "dan": ("a", "q")}
    assert found.holdout.times is not None
    assert found.holdout.times.tolist() == [7, 9]
    assert found.counts == {
        "early_events": 5,
        "later_repeats": 2,
        "later_users_without_history": 1,
        "later_users_without_new_items": 1,
    }
    kept = later_events(made(KNOWN), log, keep_seen=True)
    assert told(kept) == {"ann": ("ab", "ca"), "cat": ("c", "c"), "dan": ("a", "q")}


def test_events_before_the_chosen_time_go_into_the_histories() -> None:
    log = made([("ann", "c", 7), ("ann", "d", 9), ("bob", "b", 8), ("eve", "a", 8), ("eve", "b", 20)])
    assert told(later_events(made(KNOWN), log, since=9)) == {"ann": ("abc", "d"), "eve": ("a", "b")}


def test_what_may_have_been_learned_from_is_refused() -> None:
    log = made([*KNOWN, ("ann", "c", 7)])
    with pytest.raises(LeakageError, match="1970-01-01 00:00:05: 2 of 5 events would be judged that it may have learned"):
        later_events(made(KNOWN), log, since=3)
    with pytest.raises(DataError, match="no event of the log comes at or after 1970-01-01 00:00:06"):
        later_events(made(KNOWN), made(KNOWN))
    with pytest.raises(DataError, match="1 users without a history before, 1 who did nothing new"):
        later_events(made(KNOWN), made([("ann", "a", 9), ("eve", "a", 9)]))
    assert told(later_events(made(KNOWN), made([("ann", "c", 7)]), since=3)) == {"ann": ("ab", "c")}  # nothing leaks
    untimed = Interactions.from_frame(pl.DataFrame({"user_id": ["ann"], "item_id": ["a"]}))
    for one, other in ((untimed, log), (log, untimed)):
        with pytest.raises(LeakageError, match="needs timestamps"):
            later_events(one, other)


def test_types_of_events_are_read_by_name() -> None:
    typed = pl.DataFrame(
        {"user_id": ["ann", "ann"], "item_id": ["a", "b"], "timestamp": [1, 2], "event_type": ["buy", "view"]}
    )
    known = Interactions.from_frame(typed)
    more = pl.DataFrame({"user_id": ["ann"] * 2, "item_id": ["c", "d"], "timestamp": [3, 4]})
    with pytest.raises(DataError, match=r"reads the types of events \(buy, view\), and the log has none"):
        later_events(known, Interactions.from_frame(more), since=4)
    found = later_events(known, Interactions.from_frame(more.with_columns(event_type=pl.lit("view"))), since=4).holdout
    assert found.histories.events is not None
    assert found.histories.events.tolist() == [0, 1, 1]


@settings(max_examples=20)
@given(st.lists(st.tuples(st.sampled_from("abcde"), st.sampled_from("pqrst"), st.integers(0, 30)), min_size=6, max_size=40))
def test_the_whole_log_gives_what_a_split_in_time_holds_out(rows: list[tuple[str, str, int]]) -> None:
    log = made(rows)
    try:
        split = time_split(log, quantile=0.5, validation=False)
    except DataError:
        return
    found, wanted = later_events(split.train, log).holdout, split.test
    assert found.users.to_ids(found.user_rows).to_list() == wanted.users.to_ids(wanted.user_rows).to_list()
    for name in ("histories", "targets"):
        assert vars(found)[name].to_lists() == vars(wanted)[name].to_lists()
    assert found.times is not None
    assert found.times.tolist() == np.asarray(wanted.times).tolist()
