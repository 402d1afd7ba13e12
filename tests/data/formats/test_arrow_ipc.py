"""Arrow IPC files are read in both forms, by their ending or their content; cut and damaged ones are refused."""

from __future__ import annotations

import itertools
import struct
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from recsys import read_interactions
from recsys.data.formats.table import collect
from recsys.errors import ConfigError, DataError
from tests.data.worlds import refused, written

FRAME = pl.DataFrame({"user_id": [f"u{n % 7}" for n in range(300)], "item_id": range(300), "kind": ["a", "b", "b"] * 100})
WANTED = {"user_id": "user_id", "event_type": "kind"}


def ipc(file: Path, form: str, packed: str | None = None) -> Path:
    table = FRAME.with_columns(pl.col("kind").cast(pl.Categorical)).to_arrow()
    make = pa.ipc.new_file if form == "file" else pa.ipc.new_stream
    with make(str(file), table.schema, options=pa.ipc.IpcWriteOptions(compression=packed)) as writer:
        writer.write_table(table, max_chunksize=100)
    return file


@pytest.mark.parametrize("form", ["file", "stream"])
@pytest.mark.parametrize("packed", [None, "lz4", "zstd"])
def test_both_forms_are_read_whatever_their_ending(tmp_path: Path, form: str, packed: Any) -> None:
    for name in ("a.arrow", "a.feather", "a.ipc", "a.arrows"):
        found = collect(ipc(tmp_path / name, form, packed), None, (), WANTED)
        assert found.with_columns(pl.col("event_type").cast(pl.String)).rows() == FRAME.select("user_id", "kind").rows()
    (tmp_path / "part-0").write_bytes((tmp_path / "a.ipc").read_bytes())
    assert len(read_interactions(tmp_path / "part-0", format="arrow", event="kind")) == 300
    if form == "file":
        assert len(read_interactions(tmp_path / "part-0")) == 300
    with pytest.raises(ConfigError, match="is read as arrow, which has no encoding"):
        read_interactions(tmp_path / "a.ipc", encoding="latin-1")
    with refused(tmp_path / "a.ipc", "no column 'gone'", "its columns are user_id, item_id, kind"):
        read_interactions(tmp_path / "a.ipc", weight="gone")


@pytest.mark.parametrize("form", ["file", "stream"])
@pytest.mark.parametrize("packed", [None, "zstd"])
def test_cut_and_damaged_files_are_read_whole_or_refused(tmp_path: Path, form: str, packed: Any) -> None:
    whole = ipc(tmp_path / "a.arrow", form, packed).read_bytes()
    for cut in (*range(1, len(whole), 197), len(whole) - 1, len(whole) - 8):
        with refused(tmp_path / "a.arrow"):
            collect(written(tmp_path / "a.arrow", whole[:cut]), None, (), WANTED)
    random = np.random.default_rng(0)
    for _ in range(25):
        bad = bytearray(whole)
        place = int(random.integers(len(bad)))
        bad[place : place + 20] = random.bytes(len(bad[place : place + 20]))
        try:
            found = collect(written(tmp_path / "a.arrow", bytes(bad)), None, (), WANTED)
        except DataError as error:
            assert "a.arrow" in str(error)  # noqa: PT017 - either is right
        else:
            assert found.height == 300


@pytest.mark.parametrize("form", ["file", "stream"])
@pytest.mark.parametrize(("packed", "magic"), [("zstd", b"\x28\xb5\x2f\xfd"), ("lz4", b"\x04\x22\x4d\x18")])
def test_a_packed_buffer_that_claims_too_much_is_refused_before_memory_is_taken(
    tmp_path: Path, form: str, packed: str, magic: bytes
) -> None:
    whole = ipc(tmp_path / "a.arrow", form, packed).read_bytes()
    places = [at - 8 for at in range(8, len(whole)) if whole.startswith(magic, at)]
    assert len(places) > 3
    for place, size in itertools.product(places[:4], (2**62, 2**45, -7)):
        bad = whole[:place] + struct.pack("<q", size) + whole[place + 8 :]
        with refused(tmp_path / "a.arrow", "a packed buffer of", f"claims to hold {size:,} bytes; it is damaged"):
            collect(written(tmp_path / "a.arrow", bad), None, (), WANTED)


def test_a_packed_buffer_larger_than_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recsys.data.formats.arrow_messages.available_memory", lambda: 100)
    with refused(ipc(tmp_path / "a.arrow", "file", "zstd"), "and 100 bytes of memory are free"):
        collect(tmp_path / "a.arrow", None, (), WANTED)
    assert collect(ipc(tmp_path / "b.arrow", "file"), None, (), WANTED).height == 300


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"FEA1....FEA1", "is Feather of version 1"),
        (b"\x1f\x8b\x08\x00....", "is packed by gzip; unpack it"),
        (b"ARROW1\0\0....", "is cut off"),
        (b"user_id,item_id\n1,2\n", "is no Arrow file"),
        (b"\xff\xff\xff\xff\x00\x00\x00\x00", "cannot be read as arrow"),
        (b"\xff\xff\xff\xff\x00\x00\x00\x00\x01", "1 bytes follow the end"),
    ],
)
def test_what_is_no_arrow_file_is_told(tmp_path: Path, content: bytes, told: str) -> None:
    with refused(tmp_path / "a.arrow", told):
        read_interactions(written(tmp_path / "a.arrow", content))


def test_a_stream_whose_writer_was_stopped_is_refused(tmp_path: Path) -> None:
    file = ipc(tmp_path / "a.arrows", "stream")
    written(file, file.read_bytes()[:-8])
    with refused(file, "is cut off: it holds 300 rows, and no mark of their end"):
        read_interactions(file)
