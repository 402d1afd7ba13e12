"""Cleaning: each rule does what its name says, in one order, and every event is accounted for."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import recsys
from recsys.data.clean.steps import STEPS
from recsys.data.clean.waterfall import Waterfall
from recsys.data.interactions import Interactions
from recsys.errors import ConfigError, DataError

Row = tuple[str, str, int, float, str]


def _log(rows: list[Row]) -> Interactions:
    columns = ["user_id", "item_id", "timestamp", "weight", "event_type"]
    return Interactions.from_frame(pl.DataFrame(rows, schema=columns, orient="row"), time_unit="s")


def _rows(log: Interactions) -> list[Row]:
    return log.frame().select("user_id", "item_id", "timestamp", "weight", "event_type").rows()


EVENTS = st.lists(
    st.tuples(
        st.sampled_from("abcdef"), st.sampled_from("uvwxyz"), st.integers(0, 400).map(lambda one: one * 100),
        st.sampled_from([0.5, 1.0, 2.0, 4.0]), st.sampled_from(["view", "cart", "buy"]),
    ),
    min_size=1, max_size=60,
)  # fmt: skip
RULES = st.fixed_dictionaries(
    {},
    optional={
        "since": st.integers(0, 10_000),
        "until": st.integers(20_000, 40_000),
        "max_events": st.integers(1, 30),
        "max_events_per_hour": st.integers(1, 10),
        "event_types": st.sampled_from(
            [{"view": "look", "cart": False, "buy": "buy"}, {"view": "look", "cart": "look", "buy": "buy"}]
        ),
        "min_weight": st.sampled_from([0.5, 1.0, 2.0]),
        "session_gap": st.sampled_from(["30m", "2h"]),
        "duplicates": st.sampled_from(["first", "last", "sum"]),
        "user_min": st.integers(0, 4),
        "item_min": st.integers(0, 4),
    },
)


def _naive(rows: list[Row], rules: dict[str, Any]) -> list[Row]:
    """The rules one event at a time."""
    rows = [row for row in rows if rules.get("since", 0) <= row[2] < rules.get("until", 10**9)]
    most, hourly = rules.get("max_events", 10**9), rules.get("max_events_per_hour", 10**9)
    per_user = Counter(row[0] for row in rows)
    rows = [row for row in rows if per_user[row[0]] <= most]
    fast = {row[0] for row in rows if sum(other[0] == row[0] and 0 <= other[2] - row[2] < 3600 for other in rows) > hourly}
    rows = [row for row in rows if row[0] not in fast]
    types = rules.get("event_types", {})
    rows = [(*row[:4], types.get(row[4], row[4])) for row in rows if types.get(row[4], row[4])]
    rows = [row for row in rows if row[3] >= rules.get("min_weight", 0)]
    if "session_gap" in rules:
        gap = {"30m": 1800, "2h": 7200}[rules["session_gap"]]
        cut: list[Row] = []
        number, before = 0, None
        for row in rows:
            if before is None or before[0] != row[0]:
                number = 1
            elif row[2] - before[2] > gap:
                number += 1
            before = row
            cut.append((f"{row[0]}/{number}", *row[1:]))
        rows = cut
    if "duplicates" in rules:
        chosen: dict[tuple[str, str], int] = {}
        sums: Counter[tuple[str, str]] = Counter()
        for place, row in enumerate(rows):
            sums[row[:2]] += row[3]  # type: ignore[assignment]
            if rules["duplicates"] != "first" or row[:2] not in chosen:
                chosen[row[:2]] = place
        rows = [row for place, row in enumerate(rows) if chosen[row[:2]] == place]
        if rules["duplicates"] == "sum":
            rows = [(*row[:3], sums[row[:2]], row[4]) for row in rows]
    while True:
        users, items = Counter(row[0] for row in rows), Counter(row[1] for row in rows)
        kept = [
            row for row in rows if users[row[0]] >= rules.get("user_min", 0) and items[row[1]] >= rules.get("item_min", 0)
        ]
        if kept == rows:
            return rows
        rows = kept


@settings(max_examples=25)
@given(EVENTS, RULES)
def test_rules_do_what_they_do_one_event_at_a_time(rows: list[Row], rules: dict[str, Any]) -> None:
    log = _log(rows)
    expected = _naive(_rows(log), rules)
    if not expected:
        with pytest.raises(DataError, match="leaves none of the"):
            recsys.clean(log, rules)
        return
    cleaned, waterfall = recsys.clean(log, rules)
    assert _rows(cleaned) == expected
    assert waterfall.events - sum(step.dropped for step in waterfall.steps) == waterfall.events_left == len(cleaned)
    if waterfall.steps:
        assert (waterfall.steps[-1].users, waterfall.steps[-1].items) == (len(cleaned.users), len(cleaned.items))
    assert cleaned.histories.lengths.min() > 0
    assert cleaned.item_counts.min() > 0
    assert Waterfall.from_dict(waterfall.to_dict()) == waterfall == cleaned.waterfalls[-1]
    lasting = {name: value for name, value in rules.items() if name not in ("session_gap", "event_types")}
    if lasting == rules:
        again = recsys.clean(cleaned, lasting)[0]
        assert _rows(again) == _rows(cleaned)
        assert again.users.ids.equals(cleaned.users.ids)


def test_last_session_keeps_ids() -> None:
    log = _log(
        [
            ("a", "x", 0, 1.0, "view"),
            ("a", "y", 1801, 1.0, "view"),
            ("a", "z", 3601, 1.0, "view"),
            ("b", "x", 9, 1.0, "view"),
        ]
    )
    cleaned = recsys.clean(log, {"session_gap": "30m", "sessions": "last"})[0]
    assert [row[:3] for row in _rows(cleaned)] == [("a", "y", 1801), ("a", "z", 3601), ("b", "x", 9)]


def test_types_are_merged_dropped_and_weighted_also_where_they_are_whole_numbers() -> None:
    frame = pl.DataFrame({"user_id": [1, 1, 1, 1], "item_id": [7, 7, 8, 8], "event_type": [1, 2, 2, 3]})
    log = Interactions.from_frame(frame)
    cleaned, waterfall = recsys.clean(
        log, {"event_types": {1: {"name": "act", "weight": 1}, 2: {"name": "act", "weight": 5}, "3": False}}
    )
    assert cleaned.frame().rows() == [(1, 7, 1.0, "act"), (1, 7, 5.0, "act"), (1, 8, 5.0, "act")]
    assert cleaned.event_names == ("act",)
    assert waterfall.steps[0].dropped == 1
    kept = recsys.clean(
        log, {"event_types": {"3": False}, "other_types": "keep", "duplicates": "last", "duplicates_by_type": True}
    )[0]
    assert kept.frame().rows() == [(1, 7, "1"), (1, 7, "2"), (1, 8, "2")]
    for types, others, told in (
        ({"1": 1, "2": 2}, "error", "does not name the event type '3'"),
        ({"1": 1, "2": 2, "33": 5}, "error", "names '33': is that a slip"),
        ({"4": 1}, "drop", "names '4', which no event has"),
        ({"1": 1}, "keep", "would keep the type '2' without one"),
    ):
        with pytest.raises(ConfigError, match=told):
            recsys.clean(log, {"event_types": types, "other_types": others})


def test_sum_counts_where_there_are_no_weights() -> None:
    log = Interactions.from_frame(pl.DataFrame({"user_id": [1, 1, 1], "item_id": [7, 8, 7]}), unordered=True)
    cleaned = recsys.clean(log, {"duplicates": "sum"})[0]
    assert sorted(cleaned.frame().rows()) == [(1, 7, 2.0), (1, 8, 1.0)]
    assert not cleaned.ordered


def test_a_rate_counts_by_time_where_another_column_orders_the_log() -> None:
    frame = pl.DataFrame(
        {"user_id": [1, 1, 1, 2], "item_id": [1, 2, 3, 1], "timestamp": [0, 9000, 100, 0], "order": [1, 2, 3, 4]}
    )
    log = Interactions.from_frame(frame, time_unit="s")
    assert recsys.clean(log, {"max_events_per_hour": 1})[0].users.ids.to_list() == [2]


def test_a_mapped_log_is_cleaned_as_one_in_memory_is_and_is_not_written_to(tmp_path: Path) -> None:
    log = _log([("a", "x", 100 * one, 1.0 + one % 2, "view") for one in range(20)] + [("b", "y", 5, 2.0, "buy")])
    log.save(tmp_path / "store")
    rules = {"until": 1500, "min_weight": 2, "duplicates": "sum"}
    cleaned, _ = recsys.clean(recsys.open_store(tmp_path / "store"), rules)
    assert _rows(cleaned) == _rows(recsys.clean(log, rules)[0])
    assert recsys.Interactions.load(tmp_path / "store").fingerprint == log.fingerprint
    cleaned.save(tmp_path / "cleaned")
    assert recsys.open_store(tmp_path / "cleaned").waterfalls == cleaned.waterfalls
    same, waterfall = recsys.clean(log, {})
    assert same.histories is log.histories
    assert waterfall.steps == ()


def test_items_that_had_no_event_before_stay() -> None:
    log = _log([("a", "x", 1, 1.0, "view"), ("a", "y", 2, 5.0, "view")]).with_items(pl.Series(["new"]))
    assert recsys.clean(log, {"min_weight": 2})[0].items.ids.to_list() == ["y", "new"]


@pytest.mark.parametrize(
    ("rules", "told"),
    [
        ({"since": "2020-01-01"}, "since needs the times of the events.*--timestamp"),
        ({"max_events_per_day": 3}, "max_events_per_day needs the times"),
        ({"session_gap": "1h"}, "session_gap needs the times"),
        ({"min_weight": 3}, "min_weight needs weights, and the log has none.*--weight"),
        ({"event_types": {"view": 1}}, "event_types needs event types.*--event"),
        ({"duplicates": "sum", "duplicates_by_type": True}, "duplicates_by_type needs event types"),
        ({"user_min": 9, "item_min": 0}, r"the rule user_min = 9, item_min = 0 leaves none of the 2 events"),
        ({"duplicates": "first", "item_min": 9}, r"leaves none of the 2 events that earlier rules left"),
    ],
)
def test_a_rule_that_cannot_be_applied_is_named(rules: dict[str, Any], told: str) -> None:
    log = Interactions.from_frame(pl.DataFrame({"user_id": [1, 2], "item_id": [7, 8]}))
    with pytest.raises((ConfigError, DataError), match=told):
        recsys.clean(log, rules)


def test_weights_that_are_nan_are_not_enough() -> None:
    log = _log([("a", "x", 1, 1.0, "view"), ("a", "y", 2, 5.0, "view")])
    strange = Interactions(log.users, log.items, log.histories, np.array([np.nan, 5], dtype=np.float32), log.event_names)
    assert recsys.clean(strange, {"min_weight": -1e30})[1].steps[0].dropped == 1


def test_steps_stand_in_the_order_of_the_fields() -> None:
    fields = list(recsys.CleaningRules.__dataclass_fields__)
    assert sorted(STEPS, key=fields.index) == list(STEPS)
