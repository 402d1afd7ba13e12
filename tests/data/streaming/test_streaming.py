"""A log that is streamed into a store equals the one that is read at once."""

import gzip
import itertools
import logging
import os
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from recsys.core import progress
from recsys.core.leftovers import WRITING, name_beside
from recsys.data.formats.dialect import Dialect
from recsys.data.log_request import LogRequest
from recsys.data.read import read_interactions
from recsys.data.streaming.bounds import Bounds
from recsys.data.streaming.build import stream_log
from recsys.errors import ConfigError, DataError
from tests.data.worlds import refused

TINY = Bounds(rows=7, events=11, memory=0)


def frame(seed: int, rows: int = 60, *, text: bool = True, **more: pl.Series) -> pl.DataFrame:
    random = np.random.default_rng(seed)
    users, items = random.integers(0, 9, rows), random.integers(0, 12, rows)
    return pl.DataFrame(
        {
            "user_id": pl.Series(users).cast(pl.String) + "u" if text else pl.Series(users * 1_000_003),
            "item_id": pl.Series(items).cast(pl.String) + "i" if text else pl.Series(items),
            "timestamp": random.integers(1_600_000_000, 1_600_000_020, rows),
            "rank": random.integers(0, 5, rows) / 2,
            "stars": random.integers(1, 6, rows).astype(np.float64),
            "kind": pl.Series(["view", "buy", "cart"])[random.integers(0, 3, rows).tolist()],
            **more,
        }
    )


def streamed(source, out: Path, bounds: Bounds = TINY, null_values=None, separator=None, **columns):
    dialect = Dialect.of(separator, None, None, null_values)
    return stream_log(source, out, LogRequest(**columns), dialect=dialect, null_values=null_values, bounds=bounds)


def held(source, out: Path, null_values=None, **columns) -> None:
    expected = read_interactions(source, null_values=null_values, **columns)
    found = streamed(source, out, null_values=null_values, **columns)
    assert found.fingerprint == expected.fingerprint
    for name in ("ordered", "order_column", "ties", "event_names", "ordered_by"):
        assert getattr(found, name) == getattr(expected, name)
    assert [found.users.ids.dtype, found.items.ids.dtype] == [expected.users.ids.dtype, expected.items.ids.dtype]
    assert sorted(one.name for one in out.parent.iterdir() if ".writing-" in one.name) == []


CHOICES = [
    {},
    {"ties": "item"},
    {"order": "rank"},
    {"order": "rank", "timestamp": "timestamp", "weight": "stars"},
    {"event": "kind", "weight": "stars"},
    {"event": "kind", "event_weights": {"view": 1, "buy": 5, "cart": 2}, "ties": "item"},
    {"drop_duplicates": True},
    {"drop_duplicates": True, "event": "kind"},
    {"unordered": True},
    {"unordered": True, "drop_duplicates": True, "weight": "stars"},
]


@pytest.mark.parametrize(("columns", "ending"), list(zip(CHOICES, itertools.cycle(["parquet", "csv"]))), ids=str)
def test_a_streamed_log_equals_the_log_read_at_once(tmp_path, columns, ending):
    (tmp_path / "log").mkdir()
    for seed in range(3):
        write(frame(seed, text=seed != 1), tmp_path / "log" / f"{seed}.{ending}")
    held(tmp_path / "log", tmp_path / "out", **columns)


def write(table: pl.DataFrame, file: Path) -> None:
    if file.suffix == ".parquet":
        table.write_parquet(file, row_group_size=10)
    elif file.suffix == ".ndjson":
        table.write_ndjson(file)
    elif file.suffix == ".arrow":
        table.write_ipc(file)
    else:
        table.write_csv(file)


def changed(column: str, rows: list[int], value: object, seed: int = 0) -> pl.DataFrame:
    table = frame(seed)
    values = table[column].to_list()
    for row in rows:
        values[row] = value
    return table.with_columns(pl.Series(column, values, strict=False))


@pytest.mark.parametrize(
    ("table", "columns"),
    [
        (changed("timestamp", [3, 40, 41], None), {"drop_unordered": True, "weight": "stars"}),
        (changed("timestamp", [*range(7, 30)], None), {"drop_unordered": True, "event": "kind"}),
        (frame(0).with_columns(pl.col("timestamp") * 1000 + 7), {}),
        (frame(0).with_columns(pl.col("timestamp").cast(pl.Datetime("us"))), {}),
        (frame(0).with_columns(pl.col("timestamp").cast(pl.Float64) + 0.5), {}),
        (frame(0).with_columns(pl.from_epoch("timestamp").dt.to_string()), {}),
        (frame(0).cast({"user_id": pl.Categorical, "item_id": pl.Enum([f"{i}i" for i in range(12)])}), {}),
        (frame(0, text=False).with_columns(pl.col("item_id").cast(pl.Float64)), {}),
        (frame(0, text=False).with_columns(pl.col("item_id").cast(pl.String) + ".0"), {}),
    ],
)  # fmt: skip
def test_times_and_ids_of_any_kind(tmp_path, table, columns):
    write(table, tmp_path / "log.parquet")
    held(tmp_path / "log.parquet", tmp_path / "out", **columns)


def test_text_ids_that_are_left_out_leave_whole_numbers(tmp_path):
    ids = ["7.0", "x", "7", "8"]
    table = pl.DataFrame(
        {"user_id": ids, "item_id": [1, 2, 3, 4], "timestamp": [1_600_000_000, None, 1_600_000_001, 1_600_000_005]}
    )
    table.write_parquet(tmp_path / "log.parquet")
    held(tmp_path / "log.parquet", tmp_path / "out", drop_unordered=True, time_unit="s")


def test_tables_of_many_formats_and_orders_of_columns(tmp_path):
    files = [tmp_path / name for name in ("a.csv", "b.parquet", "c.ndjson", "d.arrow", "e.csv.gz")]
    for seed, file in enumerate(files[:-1]):
        table = frame(seed)
        write(table.select(reversed(table.columns)) if seed % 2 else table, file)
    files[-1].write_bytes(gzip.compress(frame(9).write_csv().encode()))
    held(files, tmp_path / "out", event="kind")


def test_quoted_rows_over_several_lines_are_never_cut(tmp_path):
    table = frame(1).with_columns(pl.concat_str("user_id", pl.lit('\n"x",\n'), "user_id").alias("user_id"))
    table.write_csv(tmp_path / "log.csv")
    held(tmp_path / "log.csv", tmp_path / "out")
    (tmp_path / "blank.csv").write_text(frame(1).write_csv().replace("\n", "\n\n"))
    held(tmp_path / "blank.csv", tmp_path / "out2")


@pytest.mark.parametrize(
    ("ending", "column", "rows", "value", "columns"),
    [
        ("parquet", "user_id", [33, 50], None, {}),
        ("csv", "item_id", [33, 50], "NULL", {}),
        ("csv", "user_id", [12], "  ", {}),
        ("parquet", "timestamp", [50], None, {}),
        ("csv", "stars", [50], None, {"weight": "stars"}),
        ("parquet", "kind", [51], None, {"event": "kind"}),
    ],
)
def test_refusals_are_those_of_reading_at_once(tmp_path, ending, column, rows, value, columns):
    write(changed(column, rows, value), tmp_path / f"log.{ending}")
    with pytest.raises(DataError) as expected:
        read_interactions(tmp_path / f"log.{ending}", **columns)
    with pytest.raises(DataError) as found:
        streamed(tmp_path / f"log.{ending}", tmp_path / "out", **columns)
    assert str(found.value) == str(expected.value)
    assert [one.name for one in tmp_path.iterdir()] == [f"log.{ending}"]


def test_the_row_of_a_bad_value_in_a_late_piece_is_counted_from_the_start_of_the_file(tmp_path):
    for column, columns in (("stars", {"weight": "stars"}), ("rank", {"order": "rank"}), ("timestamp", {})):
        write(changed(column, [50], "?").with_columns(pl.col(column).cast(pl.String)), tmp_path / "log.csv")
        with refused("log.csv", f"column '{column}'", "row 51 is '?'"):
            streamed(tmp_path / "log.csv", tmp_path / "out", **columns)


def test_an_empty_file_among_many_is_refused_by_name(tmp_path):
    write(frame(0), tmp_path / "a.csv")
    write(frame(0).clear(), tmp_path / "b.csv")
    with refused("b.csv has no rows"):
        streamed(tmp_path, tmp_path.parent / "out")


def test_what_is_logged_is_what_reading_at_once_logs(tmp_path, caplog):
    write(pl.concat([frame(0), frame(0)]), tmp_path / "log.parquet")
    told = []
    for read in (read_interactions, lambda source, **columns: streamed(source, tmp_path / "out", **columns)):
        caplog.clear()
        with caplog.at_level(logging.INFO, logger="recsys"):
            read(tmp_path / "log.parquet", event="kind", drop_duplicates=True)
        told.append([line for line in caplog.messages if "groups" not in line and "group holds" not in line])
    assert told[0] == told[1]


def test_a_full_disk_is_told_in_words_and_leaves_nothing(tmp_path, monkeypatch):
    write(frame(0), tmp_path / "log.parquet")

    def full(*_, **__):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(pl.DataFrame, "write_ipc", full)
    with refused("no room is left beside", "60 bytes for each row"):
        streamed(tmp_path / "log.parquet", tmp_path / "out")
    assert [one.name for one in tmp_path.iterdir()] == ["log.parquet"]


def test_a_bar_tells_rows_on_a_terminal(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(progress.sys.stderr, "isatty", lambda: True, raising=False)
    write(frame(0), tmp_path / "log.parquet")
    assert len(streamed(tmp_path / "log.parquet", tmp_path / "out")) == 60


def test_an_amount_of_memory_that_cannot_be_kept_to_is_refused():
    with pytest.raises(ConfigError, match="less than 256 MiB"):
        Bounds.of(1 << 20)
    assert Bounds.of(1 << 32).rows == 1 << 21


def test_a_file_without_a_known_time_is_left_out_and_a_log_without_one_is_refused(tmp_path, caplog):
    (tmp_path / "log").mkdir()
    write(frame(0), tmp_path / "log" / "a.parquet")
    write(changed("timestamp", [*range(60)], None, seed=1).cast({"timestamp": pl.Int64}), tmp_path / "log" / "b.parquet")
    with caplog.at_level("INFO", "recsys"):
        held(tmp_path / "log", tmp_path / "out", drop_unordered=True)
    assert caplog.text.count("b.parquet: left out 60 of 60 rows, which have no value in the column 'timestamp'") == 2
    with refused("b.parquet: no row has a value in the column that orders the events"):
        streamed(tmp_path / "log" / "b.parquet", tmp_path / "out2", drop_unordered=True)


def test_what_a_killed_import_left_is_removed_by_the_next_one(tmp_path, monkeypatch):
    write(frame(0), tmp_path / "log.parquet")
    with monkeypatch.context() as other:
        other.setattr(os, "getpid", lambda: 2**22 + 1)  # no process has this number
        name_beside(tmp_path / "out", WRITING).mkdir()
    assert len(list(tmp_path.glob("out.writing-*"))) == 1
    streamed(tmp_path / "log.parquet", tmp_path / "out")
    assert list(tmp_path.glob("out.writing-*")) == []


def test_a_format_that_is_read_as_a_whole_is_told(tmp_path, caplog):
    write(frame(0), tmp_path / "log.ndjson")
    streamed(tmp_path / "log.ndjson", tmp_path / "out")
    assert any("60 rows were read at once" in line for line in caplog.messages)


def test_times_need_no_pyarrow(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    write(frame(0), tmp_path / "log.parquet")
    assert len(streamed(tmp_path / "log.parquet", tmp_path / "out")) == 60
