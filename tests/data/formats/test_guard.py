"""A damaged file is refused as a file, also where polars panics, which is no Exception."""

import gzip
import zlib
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from recsys.data.formats.table import collect, guarded
from recsys.errors import RecsysError
from tests.data.worlds import refused, written

WANTED = {"user_id": "user_id", "item_id": "item_id"}


@pytest.mark.parametrize(
    "error",
    [
        pl.exceptions.PanicException("out of range"),
        pl.exceptions.ComputeError("bad\nlines"),
        pl.exceptions.NoDataError(""),
        OSError(5, "Input/output error"),
        EOFError("cut"),
        gzip.BadGzipFile("no"),
        zlib.error("no"),
    ],
)
def test_what_a_reader_raises_names_the_file(error):
    with refused("log.parquet"), guarded(Path("log.parquet"), "parquet"):
        raise error


def test_an_interrupt_passes():
    with pytest.raises(KeyboardInterrupt), guarded(Path("x"), "csv"):
        raise KeyboardInterrupt


def test_a_panic_while_parquet_is_read_is_refused(tmp_path: Path, monkeypatch):
    file = tmp_path / "a.parquet"
    pl.DataFrame({"user_id": [1], "item_id": [2]}).write_parquet(file)

    def panic(*_: object, **__: object) -> None:
        raise pl.exceptions.PanicException("slice index")

    monkeypatch.setattr(pl.LazyFrame, "collect", panic)
    with refused(file, "cannot be read as parquet: it is damaged (slice index)"):
        collect(file, None, (), WANTED)


def test_damaged_files_of_every_format_are_read_or_refused_and_nothing_else(tmp_path: Path):
    """Bytes flipped, cut, doubled and zeroed: whatever comes is a frame or one of our errors."""
    frame = pl.DataFrame({"user_id": [f"u{n % 7}" for n in range(200)], "item_id": range(200)})
    made = {"a.parquet": frame.write_parquet, "a.csv": frame.write_csv, "a.ndjson": frame.write_ndjson}
    random = np.random.default_rng(0)
    for name, write in made.items():
        write(tmp_path / name)
        whole = (tmp_path / name).read_bytes()
        for _ in range(60):
            bad, at = bytearray(whole), int(random.integers(len(whole)))
            match int(random.integers(4)):
                case 0:
                    bad[at] ^= 1 << int(random.integers(8))
                case 1:
                    del bad[at:]
                case 2:
                    bad[at : at + 50] = bytes(50)
                case _:
                    bad[at:at] = bad[at : at + 20]
            file = written(tmp_path / name, bytes(bad))
            try:
                assert collect(file, None, (), WANTED).columns == ["user_id", "item_id"]
            except RecsysError as error:
                assert str(file) in str(error)  # noqa: PT017 - either is right
