"""Frames of polars and pandas, Arrow tables and streams are read like files: the same log, the same errors."""

from __future__ import annotations

import decimal
import uuid
from collections.abc import Callable
from datetime import date, datetime
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset
import pytest

import recsys
from recsys.data.interactions import Interactions
from recsys.data.user_table import UserTable
from recsys.errors import ConfigError, DependencyError
from tests.data.worlds import refused

ROWS = {
    "who": ["ann", "bob", "ann", "cid"],
    "what": [7, 8, 8, 7],
    "at": [datetime(2024, 1, day) for day in (2, 1, 1, 3)],
    "stars": [5.0, 3.0, 4.0, 1.0],
}
NAMES = {"user": "who", "item": "what", "timestamp": "at", "weight": "stars"}
FRAME = pl.DataFrame(ROWS)
PANDAS = pd.DataFrame(ROWS)
TABLE = pa.table(ROWS)
LOG = recsys.read_interactions(FRAME, **NAMES)


class Stream:
    """Another library's table: nothing but the protocol."""

    def __init__(self, table: Any) -> None:
        self.table = table

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        return self.table.__arrow_c_stream__(requested_schema)


class Batch:
    """A table that gives one batch."""

    def __arrow_c_array__(self, requested_schema: Any = None) -> Any:
        return TABLE.to_batches()[0].__arrow_c_array__(requested_schema)


def in_chunks() -> Any:
    halves = [TABLE.slice(0, 1).cast(TABLE.schema), TABLE.slice(1)]
    encoded = [half.set_column(0, "who", half["who"].combine_chunks().dictionary_encode()) for half in halves]
    return pa.RecordBatchReader.from_batches(encoded[0].schema, [half.to_batches()[0] for half in encoded])


SOURCES: dict[str, Callable[[], Any]] = {
    "lazy": FRAME.lazy,
    "pandas": lambda: PANDAS,
    "pandas, filtered": lambda: pd.concat([PANDAS, PANDAS]).iloc[:4],
    "pandas, nullable": PANDAS.convert_dtypes,
    "pandas, categories": lambda: PANDAS.astype(
        {"who": pd.CategoricalDtype(["zoe", "cid", "bob", "ann"]), "what": "category"}
    ),
    "pandas, objects": lambda: PANDAS.astype(object),
    "pandas, a zone": lambda: PANDAS.assign(at=PANDAS["at"].dt.tz_localize("UTC").dt.tz_convert("Asia/Tokyo")),
    "table": lambda: TABLE,
    "batch": lambda: TABLE.to_batches()[0],
    "reader": TABLE.to_reader,
    "reader, chunks, dictionaries": in_chunks,
    "data set": lambda: pyarrow.dataset.dataset(TABLE),
    "stream": lambda: Stream(TABLE),
    "one array": Batch,
    "views": lambda: TABLE.set_column(0, "who", TABLE["who"].cast(pa.string_view())),
    "large, decimals": lambda: Stream(
        TABLE.set_column(0, "who", TABLE["who"].cast(pa.large_string())).set_column(
            1, "what", pa.array([decimal.Decimal(one) for one in ROWS["what"]], pa.decimal128(38, 0))
        )
    ),
    "a zone": lambda: TABLE.set_column(
        2, "at", TABLE["at"].cast(pa.timestamp("s", "UTC")).cast(pa.timestamp("ns", "Europe/Paris"))
    ),
}


@pytest.mark.parametrize("kind", SOURCES)
def test_every_kind_of_frame_gives_the_same_log(kind: str) -> None:
    found = recsys.read_interactions(SOURCES[kind](), **NAMES)
    assert found.fingerprint == LOG.fingerprint
    renamed = FRAME.rename({"who": "user_id", "what": "item_id", "at": "timestamp", "stars": "weight"})
    assert Interactions.from_frame(renamed).fingerprint == LOG.fingerprint


def test_a_list_of_frames_is_read_like_a_list_of_files() -> None:
    parts = [FRAME[:2], TABLE.slice(2)]
    assert recsys.read_interactions(parts, **NAMES).fingerprint == LOG.fingerprint
    with refused("frame 2", "no column 'who'"):
        recsys.read_interactions([FRAME, FRAME.drop("who")], **NAMES)
    with pytest.raises(ConfigError, match="a list of paths or a list of frames, not of both"):
        recsys.read_interactions([FRAME, "a.csv"], **NAMES)  # type: ignore[list-item]


def test_catalogues_and_tables_of_users_come_from_frames_too() -> None:
    for source in (PANDAS, TABLE, Stream(TABLE), FRAME.lazy()):
        items = recsys.read_catalog(source, item="stars", text=["who", "what"])
        assert items.texts.to_list() == ["ann. 7", "bob. 8", "ann. 8", "cid. 7"]
    users = pa.table({"user_id": [1, 2], "country": ["fr", "de"]})
    assert len(UserTable.from_frame(users, categorical=["country"])) == 2
    assert recsys.read_user_table(users.to_pandas(), categorical=["country"]).names == ("country",)
    assert recsys.Catalog.from_frame(pa.table({"item_id": [1], "tags": [["a", "b"]]}), text=["tags"]).texts[0] == "a, b"


def test_only_the_wanted_columns_are_read() -> None:
    odd = TABLE.append_column("span", pa.array([(1, 2, 3)] * 4, pa.month_day_nano_interval()))
    assert recsys.read_interactions(odd, **NAMES).fingerprint == LOG.fingerprint  # polars holds no such type
    lazy = FRAME.lazy().with_columns(pl.col("stars").map_batches(lambda _: 1 / 0, return_dtype=pl.Int64).alias("never"))
    assert recsys.read_interactions(lazy, **NAMES).fingerprint == LOG.fingerprint


def test_types_of_libraries_are_read_as_text_or_refused() -> None:
    ids = [uuid.UUID(int=2**127 + n) for n in range(4)]
    typed = TABLE.set_column(0, "who", pa.array([one.bytes for one in ids], pa.uuid()))
    assert recsys.read_interactions(typed, **NAMES).users.ids.to_list() == [str(one) for one in ids]
    address = pa.array([b"\x02"] * 4, pa.opaque(pa.binary(), "inet", "PostgreSQL"))
    with refused("column 'who': is of the type inet of PostgreSQL, which is not read; make it text"):
        recsys.read_interactions(TABLE.set_column(0, "who", address), **NAMES)


def test_a_stream_that_was_read_before_is_told() -> None:
    reader = TABLE.to_reader()
    recsys.read_interactions(Stream(reader), **NAMES)
    with refused("the frame has no rows; a stream gives its rows once only"):
        recsys.read_interactions(Stream(reader), **NAMES)
    with refused("the frame has no rows"):
        recsys.read_interactions(pyarrow.dataset.dataset(TABLE.slice(0, 0)), **NAMES)


def with_column(name: str, values: list[Any], dtype: Any = object) -> pd.DataFrame:
    return PANDAS.assign(**{name: pd.Series(values, dtype=dtype)})


@pytest.mark.parametrize(
    ("frame", "told"),
    [
        (PANDAS.set_index("who"), ("its index holds 'who'", "pass frame.reset_index()")),
        (PANDAS.set_index(["at", "who"]), ("its index holds 'at', 'who'",)),
        (PANDAS.set_axis(list("abcd")), ("its index holds values such as 'a'",)),
        (with_column("who", [1.0, float("nan"), 3.0, 4.0], float), ("1 of 4 rows has no value", "row 2")),
        (with_column("who", ["a", 5, "b", None]), ("holds str (row 1) and int (row 2)", "frame['who'].astype(str)")),
        (with_column("who", [None, True, 3, 4]), ("column 'who': holds bool (row 2) and int (row 3)",)),
        (with_column("who", [2**70, 1, 2, 3]), ("column 'who': cannot be read",)),
        (with_column("who", [uuid.UUID(int=2**128 - 1)] * 4), ("not UTF-8 text; write the ids as text",)),
        (with_column("at", [date(2024, 1, 1), datetime(2024, 1, 1, 5)] * 2), ("date (row 1) and datetime (row 2)",)),
        (PANDAS.assign(at=PANDAS["at"].dt.to_period("M")), ("period[M]", "frame['at'].dt.to_timestamp()")),
        (PANDAS.astype({"stars": "Sparse[float]"}), ("frame['stars'].sparse.to_dense()",)),
        (pd.concat([PANDAS, PANDAS["who"]], axis=1), ("the frame has two columns called 'who'",)),
        (pd.concat({"a": PANDAS}, axis=1), ("its columns stand in 2 levels",)),
        (PANDAS.drop(columns="who"), ("the frame has no column 'who' to read as user_id", "name the column of users")),
        (TABLE.set_column(0, "who", pa.array([(1, 2, 3)] * 4, pa.month_day_nano_interval())), ("polars does not hold",)),
        (TABLE.append_column("who", TABLE["what"]), ("the frame has two columns called 'who'",)),
        (Stream(pa.chunked_array([[1, 2]])), ("the frame cannot be read",)),
        (FRAME.lazy().select(pl.col("gone")), ("the frame cannot be read: ", "gone")),
        (FRAME.with_columns(who=pl.lit(None)), ("4 of 4 rows have no value",)),
    ],
)  # fmt: skip
def test_what_a_frame_holds_in_a_wrong_way_is_told_with_the_remedy(frame: Any, told: tuple[str, ...]) -> None:
    with refused(*told):
        recsys.read_interactions(frame, **NAMES)


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ([{"who": 1}], r"not a dict; pass polars.DataFrame\(rows\)"),
        (type("DeltaTable", (), {"to_pyarrow_dataset": None})(), r"pass table.to_pyarrow_dataset\(\)"),
    ],
)
def test_what_is_no_frame_is_told_what_to_pass(value: Any, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        recsys.read_interactions(value)


def test_what_describes_files_is_refused_with_a_frame() -> None:
    with pytest.raises(ConfigError, match="format= is for files"):
        recsys.read_interactions(FRAME, format="csv", **NAMES)
    with pytest.raises(ConfigError, match="the frame is no text file and has no separator"):
        recsys.read_interactions(PANDAS, separator=";", **NAMES)
    assert len(recsys.read_interactions(PANDAS.head(2), null_values="-", **NAMES)) == 2
    with refused("1 of 4 rows has no value, the first is row 4"):
        recsys.read_interactions(PANDAS, null_values="cid", **NAMES)


def test_without_pyarrow_frames_of_pandas_are_refused_and_streams_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("frames", "pandas_frames"):
        monkeypatch.setattr(f"recsys.data.formats.{module}.find_spec", lambda _: None)
    with pytest.raises(DependencyError, match=r"pip install 'recsys\[arrow\]'"):
        recsys.read_interactions(PANDAS, **NAMES)
    assert recsys.read_interactions(Stream(TABLE), **NAMES).fingerprint == LOG.fingerprint
