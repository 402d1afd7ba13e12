"""Cleaning rules as a file and as a dataclass: what is wrong is refused with the file and the key."""

from __future__ import annotations

import tomllib
from dataclasses import fields
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from recsys import CleaningRules
from recsys.errors import ConfigError


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("min_wieght = 3", "there is no cleaning rule 'min_wieght'.*did you mean 'min_weight'"),
        ("min_weight = '3'", "min_weight must be of type float or none"),
        ("min_weight = nan", "min_weight must be a finite number"),
        ("min_weight = inf", "min_weight must be a finite number"),
        ("user_min = 2.5", "user_min must be of type int"),
        ("user_min = -1", "user_min must lie between 0"),
        ("max_events = 0", "max_events must lie between 1"),
        ("max_events_per_hour = true", "max_events_per_hour must be of type int"),
        ("since = 'tomorrow'", "since: 'tomorrow' is not a time"),
        ("since = 1.5", "since must be a date"),
        ("since = 1717192800000", "since: '1717192800000' is not a time"),
        ("since = 12:30:00", "since must be a date"),
        ("since = 2024-01-02\nuntil = 2024-01-02", r"until \(2024-01-02T00:00:00Z\) must lie after since"),
        ("session_gap = 30", "session_gap must be a span of time such as '30m'"),
        ("session_gap = '30 min'", "session_gap: '30 min' is not a span"),
        ("sessions = 'last'", "sessions needs session_gap, which is not set"),
        ("duplicates = 'frist'", "duplicates must be one of all, first, last, sum"),
        ("other_types = 'drop'", "other_types needs event_types"),
        ("event_types = 3", "event_types must be a table"),
        ("[event_types]\nview = true", "event_types.view = true says nothing"),
        ("[event_types]\nview = {weigh = 3}", "event_types.view has no option 'weigh'.*did you mean 'weight'"),
        ("[event_types]\nview = {}", "event_types.view is empty"),
        ("[event_types]\nview = nan", "event_types.view must be a finite number"),
        ("[event_types]\nview = ' '", "event_types.view must be the new name"),
        ("[event_types]\nview = 1\nbuy = 'b'", "gives a weight to 'view' and none to 'buy'"),
        ("source = 'x'", "there is no cleaning rule 'source'"),
        ("min_weight = ", "is not valid TOML"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_with_its_name_and_key(tmp_path: Path, written: str, told: str) -> None:
    file = tmp_path / "clean.toml"
    file.write_text(written, encoding="utf-8")
    with pytest.raises(ConfigError, match=f"(?s){told}") as raised:
        CleaningRules.read(file)
    assert str(file) in str(raised.value)


def test_a_byte_order_mark_is_no_key_and_a_missing_file_is_told(tmp_path: Path) -> None:
    file = tmp_path / "clean.toml"
    file.write_bytes(b"\xef\xbb\xbfuser_min = 5\n")
    assert CleaningRules.read(file).user_min == 5
    with pytest.raises(ConfigError, match=r"the cleaning rules .*none\.toml cannot be read"):
        CleaningRules.read(tmp_path / "none.toml")


@pytest.mark.parametrize(
    "since",
    ["2024-05-31T22:00:00Z", "2024-06-01T00:00+02:00", datetime(2024, 5, 31, 22), 1717192800,
     datetime(2024, 6, 1, tzinfo=timezone(timedelta(hours=2)))],
)  # fmt: skip
def test_an_instant_is_the_same_however_it_is_written(since: Any) -> None:
    assert CleaningRules(since=since) == CleaningRules(since="2024-05-31T22:00:00Z")


def test_rules_come_back_from_toml_and_from_plain_values() -> None:
    text = 'since = 2024-01-01\nduplicates = "sum"\nsession_gap = "30m"\n'
    text += '[event_types]\nview = 1\nbuy = {name = "b", weight = 2}\n'
    rules = CleaningRules.of(tomllib.loads(text))
    assert CleaningRules.of(rules.to_dict()) == rules == CleaningRules(
        since=date(2024, 1, 1), duplicates="sum", session_gap="30m",  # type: ignore[arg-type]
        event_types={"view": 1.0, "buy": {"weight": 2, "name": "b"}},
    )  # fmt: skip
    assert CleaningRules(since=datetime(2024, 1, 1, tzinfo=UTC)).to_dict() == {"since": "2024-01-01T00:00:00Z"}  # type: ignore[arg-type]


def test_the_example_in_the_docs_names_every_rule() -> None:
    page = (Path(__file__).parents[3] / "docs" / "data.md").read_text(encoding="utf-8")
    table = tomllib.loads(page.partition("## Cleaning")[2].partition("```toml")[2].partition("```")[0])
    assert set(table) == {one.name for one in fields(CleaningRules)} - {"source"}
    assert CleaningRules.of(table).event_types == {
        "view": 0.5, "cart": {"name": "buy", "weight": 3}, "buy": 5, "hover": False,
    }  # fmt: skip
