"""What is written to be read again: every changed, missing or added byte is found."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from recsys.core.files import check_beside, digest_beside, digested_file, read_digested, write_digested
from recsys.errors import DamagedError, RecsysError


@pytest.mark.parametrize("payload", [b"", b"\n", b"x" * 1000, bytes(range(256))])
def test_what_is_read_is_what_was_written(tmp_path: Path, payload: bytes):
    write_digested(tmp_path / "new" / "state", payload)
    assert read_digested(tmp_path / "new" / "state") == payload
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["state"]


def test_a_block_may_write_by_any_means(tmp_path: Path):
    with digested_file(tmp_path / "a.npy") as file, file.open("wb") as stream:
        np.save(stream, np.arange(5), allow_pickle=False)
    import io

    assert np.load(io.BytesIO(read_digested(tmp_path / "a.npy")), allow_pickle=False).tolist() == [0, 1, 2, 3, 4]


def test_every_flipped_bit_is_found(tmp_path: Path):
    file = tmp_path / "state"
    write_digested(file, b"the state of a run")
    good = file.read_bytes()
    for place in range(len(good)):
        for bit in (1, 0x20, 0x80):  # 0x20: upper and lower case
            bad = bytearray(good)
            bad[place] ^= bit
            file.write_bytes(bad)
            with pytest.raises(DamagedError, match="state is damaged"):
                read_digested(file)


def test_every_cut_and_every_added_byte_is_found(tmp_path: Path):
    file = tmp_path / "state"
    write_digested(file, b"the state of a run")
    good = file.read_bytes()
    for bad in [good[:end] for end in range(len(good))] + [good + b"\n", b"\n" + good, good + good, b"\0" * len(good)]:
        file.write_bytes(bad)
        with pytest.raises(DamagedError):
            read_digested(file)


def test_a_file_that_nobody_sealed_is_refused_and_a_missing_one_is_told_apart(tmp_path: Path):
    (tmp_path / "plain").write_bytes(b"a plain file of some length" * 100)
    with pytest.raises(DamagedError, match="plain is damaged"):
        read_digested(tmp_path / "plain")
    with pytest.raises(FileNotFoundError):
        read_digested(tmp_path / "nothing")
    assert issubclass(DamagedError, RecsysError)


def test_an_older_file_is_replaced_whole(tmp_path: Path):
    write_digested(tmp_path / "state", b"old" * 100)
    write_digested(tmp_path / "state", b"new")
    assert read_digested(tmp_path / "state") == b"new"


def test_a_digest_beside_leaves_the_file_readable_by_others(tmp_path: Path):
    target = tmp_path / "part[1] é.parquet"
    with digest_beside(target) as file:
        pl.DataFrame({"a": [1, 2]}).write_parquet(file)
    check_beside(target)
    assert pl.read_parquet(target, glob=False)["a"].to_list() == [1, 2]


def test_a_changed_file_and_a_changed_or_missing_digest_are_found(tmp_path: Path):
    target, beside = tmp_path / "part", tmp_path / ".part.sha256"
    with digest_beside(target) as file:
        file.write_bytes(b"rows")
    for one in (target, beside):
        good = one.read_bytes()
        for bad in [good[:-1], good + b"\n", b"", good.swapcase()]:
            one.write_bytes(bad)
            with pytest.raises(DamagedError, match="part is damaged"):
                check_beside(target)
        one.write_bytes(good)
    beside.unlink()
    with pytest.raises(DamagedError, match=r"part has no digest beside it \(\.part\.sha256\)"):
        check_beside(target)
    target.unlink()
    with pytest.raises(FileNotFoundError):
        check_beside(target)
