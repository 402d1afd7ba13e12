"""Event types stay with their event whatever is done with the log, and give it weights where they are told."""

import dataclasses
from collections import Counter
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.data.interactions import Interactions
from recsys.errors import ConfigError
from tests.data.test_interactions import FRAME, log
from tests.data.worlds import in_time_order, refused, small

KINDS = FRAME.with_columns(event_type=pl.Series(["view", "buy", "cart", "buy"]))


def test_event_types_are_known_by_their_place_in_sorted_order():
    made = log(KINDS)
    assert made.event_names == ("buy", "cart", "view")
    assert made.events.tolist() == [1, 2, 0, 0]
    assert made.events.dtype == np.int8
    assert log(KINDS.reverse()).event_names == made.event_names


def test_a_log_without_event_types_names_none():
    assert log().events is None
    assert log().event_names == ()


kinds_lists = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 4), st.integers(0, 6), st.sampled_from(["view", "cart", "buy"])),
    min_size=1,
    max_size=25,
)


@small
@given(kinds_lists)
def test_event_types_stay_with_their_event_whatever_is_done_with_the_log(events):
    frame = pl.DataFrame(events, schema=["user_id", "item_id", "timestamp", "event_type"], orient="row")
    made = Interactions.from_frame(frame)
    ordered = [event for own in in_time_order(events).values() for event in own]
    assert made.frame().rows() == ordered
    half = np.arange(len(made)) % 2 == 0
    part = made.select(half)
    assert part.frame().rows() == ordered[::2]
    assert part.compact().frame().rows() == ordered[::2]
    assert made.with_items(pl.Series([99])).frame().rows() == ordered
    assert Counter(made.k_core(user_min=1, item_min=1).frame().rows()) == Counter(events)
    assert part.event_names == part.compact().event_names == made.event_names


def test_a_null_event_type_in_a_frame_is_refused_by_row():
    with refused("the frame, column 'event_type'", "1 of 4 rows", "row 3"):
        log(KINDS, event_type=["view", "buy", None, "buy"])


def test_as_many_event_types_as_a_byte_tells_apart_are_taken_and_no_more():
    frame = pl.DataFrame({"user_id": ["u"] * 127, "item_id": ["i"] * 127, "event_type": [f"{n:03}" for n in range(127)]})
    made = log(frame)
    assert made.events.tolist() == list(range(127))
    assert made.frame()["event_type"].to_list() == frame["event_type"].to_list()
    more = pl.concat([frame, pl.DataFrame({"user_id": ["u"], "item_id": ["i"], "event_type": ["one more"]})])
    with refused("128 different values, at most 127", "view, cart and buy"):
        log(more)


def test_saved_event_types_come_back_even_where_none_of_their_events_is_left(tmp_path: Path):
    made = log(KINDS).select(np.array([True, True, False, False]))
    made.save(tmp_path / "saved")
    loaded = Interactions.load(tmp_path / "saved")
    assert loaded.event_names == ("buy", "cart", "view")
    assert loaded.events.tolist() == [1, 2]
    assert loaded.events.dtype == np.int8
    assert loaded.fingerprint == made.fingerprint


def test_saved_events_without_the_file_of_their_types_are_refused(tmp_path: Path):
    log(KINDS).save(tmp_path / "saved")
    (tmp_path / "saved" / "events.npy").unlink()
    with refused(tmp_path / "saved", "does not hold saved interactions"):
        Interactions.load(tmp_path / "saved")


def test_the_fingerprint_of_a_log_without_event_types_is_that_of_earlier_versions():
    assert log().fingerprint == "fdec3b774d44a4970a90dcc0d090bc031285623622b0b608399b41e5c9ce4fc2"
    bare = FRAME.select("user_id", "item_id")
    assert log(bare).fingerprint == "662d8bdbb1be0df1518f4db4ab8d553c518bf69fcbf370d8d92c07357204b73d"


def test_event_types_are_part_of_the_fingerprint():
    variants = [log(), log(KINDS), log(KINDS, event_type=["view", "buy", "cart", "cart"]), log(KINDS, event_type=["a"] * 4)]
    renamed = log(KINDS.with_columns(pl.col("event_type").replace("view", "watch")))
    assert renamed.events.tolist() == log(KINDS).events.tolist()
    assert len({one.fingerprint for one in [*variants, renamed]}) == 5
    assert log(KINDS).fingerprint == log(KINDS.clone()).fingerprint


def test_event_types_without_names_and_names_without_types_are_refused():
    made = log(KINDS)
    with refused("event types and event_names go together"):
        dataclasses.replace(made, event_names=())
    with refused("event types and event_names go together"):
        dataclasses.replace(made, histories=made.histories.without_events())


def test_events_are_weighted_by_their_type():
    plain = log(KINDS.drop("weight"))
    weighted = plain.weighted_by_event({"view": 1, "buy": 5, "cart": 2.5})
    assert weighted.weights.tolist() == [2.5, 1.0, 5.0, 5.0]
    assert weighted.weights.dtype == np.float32
    assert plain.weights is None


@pytest.mark.parametrize(
    ("frame", "weights", "words"),
    [
        (FRAME.drop("weight"), {"view": 1}, ["need event types", "--event"]),
        (KINDS, {"view": 1, "buy": 5, "cart": 3}, ["has weights already", "either weight= or event_weights="]),
        (KINDS.drop("weight"), {"view": 1, "buy": 5}, ["no weight for the event type 'cart'", "buy, cart, view"]),
        (KINDS.drop("weight"), {"view": 1, "buy": 5, "cart": 3, "cat": 1}, ["the event type 'cat', which no event has"]),
        (KINDS.drop("weight"), {"view": 1, "buy": 5, "cart": float("nan")}, ["'cart' must be a finite number, not nan"]),
        (KINDS.drop("weight"), {"view": 1, "buy": 1e300, "cart": 1}, ["'buy' must be a finite number, not 1e+300"]),
    ],
)
def test_weights_that_do_not_fit_the_event_types_are_refused(frame, weights, words):
    with refused(*words, error=ConfigError):
        log(frame).weighted_by_event(weights)
