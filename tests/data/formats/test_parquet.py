"""A Parquet file is held against what it says of itself: damage that its own checksums or ranges show is refused."""

import datetime as dt
import logging
from decimal import Decimal
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from recsys.data.formats.table import collect
from recsys.errors import RecsysError
from tests.data.worlds import refused, written

pq = pytest.importorskip("pyarrow.parquet")
FRAME = pl.DataFrame(
    {
        "user_id": [f"u{n % 97}" for n in range(5000)],
        "item_id": [n * 7 % 501 + 1 for n in range(5000)],
        "n": range(1000, 6000),
    }
)
WANTED = {name: name for name in FRAME.columns}


def test_where_pages_have_checksums_no_damage_gives_other_ids(tmp_path: Path):
    """Zeros and flipped bits, anywhere: the same rows, or a refusal."""
    file = tmp_path / "a.parquet"
    pq.write_table(FRAME.to_arrow(), file, write_page_checksum=True)
    whole, random, refusals = file.read_bytes(), np.random.default_rng(0), 0
    for _ in range(150):
        bad, at = bytearray(whole), int(random.integers(4, len(whole) - 8))
        if random.random() < 0.5:
            bad[at : at + 100] = bytes(len(bad[at : at + 100]))
        else:
            bad[at] ^= 1 << int(random.integers(8))
        written(file, bytes(bad))
        try:
            found = collect(file, None, (), WANTED)
        except RecsysError:
            refusals += 1
        else:
            assert found.equals(FRAME)
    assert refusals > 100


def test_zeros_in_a_page_are_told_by_column_and_row_group(tmp_path: Path):
    file = tmp_path / "a.parquet"
    pq.write_table(FRAME.to_arrow(), file, write_page_checksum=True, compression="none", use_dictionary=False)
    data = file.read_bytes()
    at = data.index(np.arange(1000, 1100, dtype="<i8").tobytes())
    written(file, data[:at] + bytes(400) + data[at + 400 :])
    with refused(file, "column 'n'", "row group 1", "damaged"):
        collect(file, None, (), WANTED)
    assert collect(file, None, (), {"user_id": "user_id"}).height == 5000


@pytest.mark.parametrize("column", ["n", "user_id"])
def test_without_checksums_values_out_of_the_told_range_are_refused(tmp_path: Path, column):
    file = tmp_path / "a.parquet"
    FRAME.write_parquet(file, compression="uncompressed", use_pyarrow=True, pyarrow_options={"use_dictionary": False})
    data = file.read_bytes()
    at = data.index(np.arange(1000, 1100, dtype="<i8").tobytes()) if column == "n" else data.index(b"\2\0\0\0u1") + 4
    written(file, data[:at] + bytes(2) + data[at + 2 :])
    with refused(file, f"column {column!r}", "outside the range", "damaged"):
        collect(file, None, (), WANTED)


VALUES = {
    "i8": pl.Series([-1, None, 3], dtype=pl.Int8),
    "u8": pl.Series([255, None, 3], dtype=pl.UInt8),
    "u64": pl.Series([2**64 - 1, None, 3], dtype=pl.UInt64),
    "f": pl.Series([float("nan"), None, -0.0]),
    "text": pl.Series(["é", None, "😀" * 50]),
    "blank": pl.Series(["", None, ""]),
    "none": pl.Series([None, None, None], dtype=pl.String),
    "date": pl.Series([dt.date(1, 1, 1), None, dt.date(9999, 1, 1)]),
    "when": pl.Series([dt.datetime(2024, 1, 1), None, dt.datetime(1900, 1, 1)]),
    "price": pl.Series([Decimal("1.99"), None, Decimal("-3.00")]),
    "kind": pl.Series(["b", None, "a"], dtype=pl.Categorical),
    "list": pl.Series([["x"], None, []]),
    "struct": pl.Series([{"a": 1, "b": "x"}, None, {"a": None, "b": "y"}]),
    "flag": pl.Series([True, None, False]),
    "bytes": pl.Series([b"\xff", None, b"\0"]),
}


@pytest.mark.parametrize("options", [{}, {"row_group_size": 1}, {"data_page_version": "2.0", "write_page_checksum": True},
                                     {"use_dictionary": False, "compression": "gzip", "data_page_size": 8}])  # fmt: skip
def test_sound_files_of_any_types_are_read(tmp_path: Path, options, caplog):
    caplog.set_level(logging.INFO, "recsys")
    frame = pl.DataFrame(VALUES)
    file = tmp_path / "a.parquet"
    names = {name: name for name in frame.columns}
    pq.write_table(frame.to_arrow(), file, **options)
    assert collect(file, None, (), names).height == 3
    frame.write_parquet(file)
    assert collect(file, None, (), names).equals(frame)
    assert not caplog.records
