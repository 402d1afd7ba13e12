"""The cache of encoded texts: damaged, out of reach, or written by two at once."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from recsys.models.encoders.pretrained import TextEncoder
from recsys.models.encoders.text_cache import cache_folder, remembered

TEXTS = pl.Series(["a red car", "a blue boat", "a pink bike"])
VECTORS = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)


def ask(vectors: np.ndarray = VECTORS) -> tuple[np.ndarray, int]:
    return remembered("texts", "encoder", map(str.encode, TEXTS), 3, lambda: (vectors, 2))


def kept() -> Path:
    (file,) = [one for one in (cache_folder() / "texts").iterdir() if one.suffix == ".vectors"]
    return file


def test_what_is_kept_comes_back_with_how_many_were_cut() -> None:
    ask()
    vectors, cut = ask(np.zeros((3, 5), dtype=np.float32))
    np.testing.assert_array_equal(vectors, VECTORS)
    assert cut == 2


def test_every_damage_is_found_told_once_and_mended(caplog: pytest.LogCaptureFixture) -> None:
    ask()
    whole = kept().read_bytes()
    generator = np.random.default_rng(1)
    for number in range(100):
        data = bytearray(whole)
        if number < 60:
            data[generator.integers(len(data))] ^= 1 << int(generator.integers(8))
        elif number < 80:
            data = data[: generator.integers(len(data))]
        elif number < 90:
            data += generator.bytes(int(generator.integers(1, 50)))
        else:
            begin = int(generator.integers(len(data) - 20))
            data[begin : begin + 20] = np.full(5, np.nan, dtype=np.float32).tobytes()
        kept().write_bytes(data)
        caplog.clear()
        vectors, cut = ask()
        np.testing.assert_array_equal(vectors, VECTORS)
        assert cut == 2
        assert [record.levelname for record in caplog.records].count("WARNING") == 1
        assert "is damaged" in caplog.text
        assert kept().read_bytes() == whole


def test_vectors_of_another_shape_are_made_anew(caplog: pytest.LogCaptureFixture) -> None:
    ask(VECTORS[:2])
    np.testing.assert_array_equal(ask()[0], VECTORS)
    assert "is not what is kept there" in caplog.text


@pytest.mark.parametrize("trouble", ["file", "below a file", "folder of that name", "no home"])
def test_a_cache_out_of_reach_is_done_without_and_told_once(
    trouble: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    if trouble == "folder of that name":
        ask()
        file = kept()
        file.unlink()
        file.mkdir()
    elif trouble == "no home":
        monkeypatch.delenv("RECSYS_CACHE")
        monkeypatch.delenv("XDG_CACHE_HOME", raising=False)

        def homeless() -> Path:
            raise RuntimeError("Could not determine home directory.")

        monkeypatch.setattr(Path, "home", homeless)
    else:
        (tmp_path / "taken").write_text("")
        monkeypatch.setenv("RECSYS_CACHE", str(tmp_path / "taken" / ("x" if trouble == "below a file" else "")))
    caplog.clear()
    np.testing.assert_array_equal(ask()[0], VECTORS)
    assert [record.levelname for record in caplog.records].count("WARNING") == 1


def test_a_full_disk_costs_the_cache_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    np.testing.assert_array_equal(ask()[0], VECTORS)
    assert "cannot be kept for next time" in caplog.text
    assert "No space left on device" in caplog.text
    assert not list((cache_folder() / "texts").iterdir())


def test_an_entry_has_the_mode_that_the_umask_says(tiny_encoder: Path) -> None:
    before = os.umask(0o027)
    try:
        TextEncoder(tiny_encoder).encode_cached(TEXTS)
    finally:
        os.umask(before)
    assert stat.S_IMODE(kept().stat().st_mode) == 0o640


def test_two_processes_may_write_one_entry_at_once() -> None:
    code = (
        "import numpy as np; from recsys.models.encoders.text_cache import remembered\n"
        "for i in range(100): remembered('texts', str(i), [b'x'], 1, lambda: (np.full((1, 9), i, dtype=np.float32), 0))"
    )
    both = [subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True) for _ in range(2)]
    told = [one.communicate()[1] for one in both]
    assert [one.returncode for one in both] == [0, 0]
    assert told == ["", ""]
    assert len(list((cache_folder() / "texts").glob("*.vectors"))) == 100
