"""An event that cannot be stored is refused by name of its field."""

from __future__ import annotations

from dataclasses import replace

import pytest

from recsys.server.events import Event, refusal

NOW = 1_700_000_000
GOOD = Event("e", "u", "i", NOW, event="view", weight=2.5, kind="impression", request_id="r")


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("user_id", "", "user_id is empty"),
        ("item_id", " \t", "item_id is blank"),
        ("user_id", 42, "user_id is of type int; send it as text"),
        ("item_id", None, "item_id is of type NoneType"),
        ("user_id", "a\0b", "user_id 'a\\x00b' holds a zero byte"),
        ("user_id", "\ud83d", "half a character"),
        ("item_id", "x" * 10_000, "item_id has 10,000 characters"),
        ("event_id", "x" * 201, "at most 200"),
        ("event", "", "event is empty"),
        ("request_id", "\0", "request_id"),
        ("timestamp", NOW * 1000, "counts milliseconds, it seems; divide it by 1,000"),
        ("timestamp", 10**30, "of more than 19 digits"),
        ("timestamp", -(10**30), "before 1970"),
        ("timestamp", -1, "before 1970"),
        ("timestamp", NOW + 40 * 86_400, "40.0 days in the future; set the client's clock"),
        ("timestamp", 1.5, "of type float"),
        ("timestamp", True, "of type bool"),
        ("weight", float("nan"), "weight nan"),
        ("weight", -1.0, "weight -1.0 is negative"),
        ("weight", 10**400, "weight of many digits"),
        ("weight", "2", "of type str; send a number"),
        ("kind", "click", "kind 'click'"),
    ],
)
def test_a_field_that_cannot_be_stored_is_named(field: str, value: object, says: str) -> None:
    reason = refusal(replace(GOOD, **{field: value}), NOW)  # type: ignore[arg-type]
    assert reason is not None
    assert says in reason
    assert len(reason) < 250


@pytest.mark.parametrize(
    "odd", ["o'Brien\"; DROP TABLE recsys_events; --", "👩‍👩‍👧", "x" * 500, "007", " u", "a\nb", "NULL", "%s", ":1"]
)
def test_odd_texts_are_ids(odd: str) -> None:
    assert refusal(replace(GOOD, user_id=odd, item_id=odd), NOW) is None


def test_clocks_may_be_wrong_by_hours() -> None:
    assert refusal(replace(GOOD, timestamp=NOW + 3600 * 20), NOW) is None
