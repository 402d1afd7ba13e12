"""Which column orders the events is told in one line; where that is file order, what speaks against it is a warning."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import recsys
from recsys.data import order
from recsys.data.interactions import Interactions
from recsys.data.order import duplicates, likely_count, likely_time
from recsys.errors import ConfigError, DataError


def lines(caplog: pytest.LogCaptureFixture, level: int) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == level]


def read(folder: Path, columns: dict[str, Any], **options: Any) -> Interactions:
    pl.DataFrame(columns).write_csv(folder / "log.csv")
    return recsys.read_interactions(folder / "log.csv", **options)


@pytest.fixture(autouse=True)
def told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="recsys")


USERS, ITEMS = ["u", "u", "v", "v"], ["a", "b", "a", "b"]


@pytest.mark.parametrize(
    ("columns", "options", "says"),
    [
        ({"timestamp": [1, 2, 3, 4]}, {}, "the column 'timestamp'"),
        ({"when": [1, 2, 3, 4]}, {"timestamp": "when"}, "the column 'when'"),
        ({"nr": [1, 2, 3, 4]}, {"order": "nr"}, "the column 'nr'"),
        ({"timestamp": [1, 2, 3, 4], "nr": [1, 2, 3, 4]}, {"order": "nr"}, "the column 'nr'"),
        ({}, {}, "file order"),
        ({"timestamp": [1, 2, 3, 4]}, {"unordered": True}, "none; each history is in a random order"),
    ],
)
def test_one_line_always_says_what_orders_the_events(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, columns: dict[str, Any], options: dict[str, Any], says: str
) -> None:
    log = read(tmp_path, {"user_id": USERS, "item_id": ITEMS} | columns, **options)
    assert [line for line in lines(caplog, logging.INFO) if "order" in line] == [f"the order of events: {says}"]
    assert lines(caplog, logging.WARNING) == []
    assert log.ordered_by == says


@pytest.mark.parametrize(
    "name",
    ["date", "time", "created_at", "event_time", "ts", "datetime", "Timestamp", "DATE", "Event Date", "unixReviewTime",
     "purchaseDate", "order.date", "played_at_ms", "unix_timestamp", "event-ts",
     "Bestelldatum", "fecha_compra"],
)  # fmt: skip
def test_a_column_that_looks_like_the_time_is_named_where_file_order_is_taken(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    read(tmp_path, {"user_id": USERS, "item_id": ITEMS, "price": [1, 2, 3, 4], name: [4, 3, 2, 1]})
    (warning,) = lines(caplog, logging.WARNING)
    assert f"file order, yet the column {name!r} looks like their time" in warning
    assert f"--timestamp {name}" in warning
    assert "--unordered" in warning


@pytest.mark.parametrize(
    "name",
    [
        "release_date",
        "birth_date",
        "updated_at",
        "user_birth_date",
        "Geburtsdatum",
        "rate",
        "category",
        "format",
        "what",
        "status",
    ],
)
def test_columns_that_tell_of_other_things_are_not(tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str) -> None:
    read(tmp_path, {"user_id": USERS, "item_id": ITEMS, name: [4, 3, 2, 1]})
    assert lines(caplog, logging.WARNING) == []


def test_of_several_the_likeliest_is_named() -> None:
    assert likely_time(["title", "date", "session_time", "event_time"]) == "event_time"
    assert likely_time(["shop_date", "price"]) == "shop_date"
    assert likely_time([]) is None
    assert likely_count(["price", "Play Count"]) == "Play Count"


def test_what_is_read_as_something_else_is_no_candidate(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    read(tmp_path, {"user_id": USERS, "item_id": ITEMS, "time": [1, 2, 3, 4]}, weight="time", order=None, unordered=True)
    assert lines(caplog, logging.WARNING) == []


@pytest.mark.parametrize(("name", "options"), [("plays", {}), ("Play_Count", {}), ("score", {"weight": "score"})])
def test_a_table_of_totals_is_not_taken_for_a_sequence_in_silence(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, options: dict[str, Any]
) -> None:
    read(tmp_path, {"user_id": USERS, "item_id": ITEMS, name: [9, 1, 7, 2]}, **options)
    (warning,) = lines(caplog, logging.WARNING)
    assert f"with its column {name!r} the log looks like a table of totals" in warning
    assert "--unordered" in warning
    assert "--order" in warning


def test_a_log_in_which_people_come_back_is_a_sequence(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    read(tmp_path, {"user_id": ["u", "u", "u"], "item_id": ["a", "b", "a"], "quantity": [1, 2, 1]})
    assert lines(caplog, logging.WARNING) == []


def test_a_frame_is_told_of_as_a_file_is(caplog: pytest.LogCaptureFixture) -> None:
    Interactions.from_frame(pl.DataFrame({"user_id": USERS, "item_id": ITEMS, "date": ["2024-01-01"] * 4}))
    assert "the order of events: file order" in lines(caplog, logging.INFO)
    assert "column 'date' looks like their time" in lines(caplog, logging.WARNING)[0]


def test_contradictions_about_the_order_are_refused(tmp_path: Path) -> None:
    frame = pl.DataFrame({"user_id": USERS, "item_id": ITEMS, "timestamp": [1, 2, 3, 4]})
    frame.write_csv(tmp_path / "log.csv")
    for options in ({"timestamp": "timestamp"}, {"order": "timestamp"}, {"drop_unordered": True}):
        with pytest.raises(ConfigError, match=r"unordered=True \(--unordered\) cannot be combined with timestamp="):
            recsys.read_interactions(tmp_path / "log.csv", unordered=True, **options)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="a column 'timestamp', which orders it"):
        Interactions.from_frame(frame, unordered=True)
    with pytest.raises(ConfigError, match="unordered must be True or False, not the text 'yes'"):
        recsys.read_interactions(tmp_path / "log.csv", unordered="yes")  # type: ignore[arg-type]


def test_how_the_file_is_sorted_means_nothing_without_an_order() -> None:
    rows = [(f"u{user}", f"i{item}", 100 - item) for user in range(50) for item in range(20)]
    frame = pl.DataFrame(rows, schema=["user_id", "item_id", "weight"], orient="row")
    log = Interactions.from_frame(frame, unordered=True)
    place = np.arange(len(log)) - np.repeat(log.histories.offsets[:-1], log.histories.lengths)
    assert abs(np.corrcoef(place, log.histories.rows)[0, 1]) < 0.1
    assert log.weights is not None
    assert (log.weights == 100 - log.histories.rows).all()  # each weight still beside its item
    assert (
        log.frame()
        .sort("user_id", "item_id")
        .equals(frame.select("user_id", "item_id", pl.col("weight").cast(pl.Float32)).sort("user_id", "item_id"))
    )


def test_whether_there_is_an_order_goes_with_the_log_wherever_it_goes(tmp_path: Path) -> None:
    frame = pl.DataFrame({"user_id": USERS, "item_id": ITEMS})
    log = Interactions.from_frame(frame, unordered=True)
    log.save(tmp_path / "saved")
    kin = [
        log.compact(),
        log.select(np.array([True] * 3 + [False])),
        log.with_items(pl.Series(["z"])),
        log.k_core(user_min=1, item_min=1),
    ]
    for one in [*kin, Interactions.load(tmp_path / "saved"), recsys.random_split(log, validation=False).train]:
        assert not one.ordered
        assert "unordered" in repr(one)
    assert Interactions.load(tmp_path / "saved").fingerprint == log.fingerprint
    same_rows = Interactions(log.users, log.items, log.histories)
    assert same_rows.ordered
    assert same_rows.fingerprint != log.fingerprint


def test_the_column_that_orders_is_saved_too(tmp_path: Path) -> None:
    log = read(tmp_path, {"user_id": USERS, "item_id": ITEMS, "when": [1, 2, 3, 4]}, timestamp="when")
    log.save(tmp_path / "saved")
    assert Interactions.load(tmp_path / "saved").ordered_by == "the column 'when'"


def test_a_log_without_order_has_no_times() -> None:
    log = Interactions.from_frame(pl.DataFrame({"user_id": USERS, "item_id": ITEMS, "timestamp": [1, 2, 3, 4]}))
    with pytest.raises(DataError, match="a log without an order has neither times"):
        Interactions(log.users, log.items, log.histories, ordered=False)


def doubled(times: int = 2) -> dict[str, list[Any]]:
    rows = [(f"u{user}", f"i{(user + step) % 9}", 1_700_000_000 + step) for user in range(20) for step in range(6)] * times
    return dict(zip(("user_id", "item_id", "timestamp"), (list(column) for column in zip(*rows, strict=True)), strict=True))


def test_a_doubled_log_is_a_warning_with_its_count(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    read(tmp_path, doubled())
    (warning,) = lines(caplog, logging.WARNING)
    assert "120 of 240 events repeat another one in user, item and time" in warning
    assert "--drop-duplicates" in warning


def test_few_repeats_are_told_and_none_is_not_a_word(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    columns = doubled(1)
    read(tmp_path, {name: [*values, values[0]] for name, values in columns.items()})
    assert lines(caplog, logging.WARNING) == []
    assert any("1 of 121 events repeat another one" in line for line in lines(caplog, logging.INFO))
    caplog.clear()
    read(tmp_path, columns)
    assert not any("repeat" in line for line in lines(caplog, logging.INFO))


def test_duplicates_are_dropped_and_counted_and_nothing_else_is(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    once, columns = doubled(1), doubled(3)
    log = read(tmp_path, columns, drop_duplicates=True)
    assert any("left out 240 of 360 rows" in line for line in lines(caplog, logging.INFO))
    assert lines(caplog, logging.WARNING) == []
    assert log.fingerprint == read(tmp_path, once).fingerprint


@pytest.mark.parametrize(
    ("columns", "kept"),
    [
        ({"timestamp": [1, 1, 1]}, 1),
        ({"timestamp": [1, 2, 1]}, 2),
        ({"timestamp": ["2024-01-01T00:00:00.25", "2024-01-01T00:00:00.75", "2024-01-01T00:00:00.25"]}, 2),
        ({"order": [1, 1, 2]}, 2),
        ({"timestamp": [1, 1, 1], "event_type": ["view", "buy", "view"]}, 2),
        ({"timestamp": [1, 1, 1], "weight": [3.0, 4.0, 3.0]}, 1),
        ({}, 1),
    ],
)
def test_a_duplicate_is_equal_in_user_item_time_order_and_type(columns: dict[str, Any], kept: int) -> None:
    frame = pl.DataFrame({"user_id": ["u"] * 3, "item_id": ["a"] * 3} | columns)
    assert len(Interactions.from_frame(frame, drop_duplicates=True)) == kept
    assert len(Interactions.from_frame(frame)) == 3


def test_duplicates_at_one_instant_are_counted_among_others(caplog: pytest.LogCaptureFixture) -> None:
    frame = pl.DataFrame({"user_id": ["u"] * 6 + ["v"] * 2, "item_id": list("ababca") + list("aa"), "timestamp": [1] * 8})
    log = Interactions.from_frame(frame)
    assert duplicates(log.histories, len(log.items)) == 3 + 1


def test_a_large_log_is_told_of_from_a_sample_and_counted_where_much_recurs(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(order, "_SAMPLE", 60)
    Interactions.from_frame(pl.DataFrame(doubled()))
    assert lines(caplog, logging.WARNING)[0].startswith("120 of 240 events repeat another one")
    caplog.clear()
    Interactions.from_frame(pl.DataFrame({name: [*values, values[0]] for name, values in doubled(1).items()}))
    assert lines(caplog, logging.WARNING) == []
    assert any(line.startswith("in a sample, 1 of 43 events repeat another one") for line in lines(caplog, logging.INFO))
