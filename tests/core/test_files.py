import hashlib
import os
from pathlib import Path

import pytest

from recsys.core.files import atomic_file, atomic_folder, sha256_of
from recsys.errors import DataError


class HaltError(Exception):
    """Something goes wrong in the middle of writing."""


def test_sha256_is_that_of_the_bytes(tmp_path: Path):
    file = tmp_path / "a"
    file.write_bytes(b"some bytes" * 100_000)
    assert sha256_of(file) == hashlib.sha256(b"some bytes" * 100_000).hexdigest()


def test_a_file_appears_when_the_block_ends(tmp_path: Path):
    target = tmp_path / "new" / "deep" / "a.txt"
    with atomic_file(target) as temporary:
        temporary.write_text("done")
        assert temporary.parent == target.parent
        assert not target.exists()
    assert target.read_text() == "done"
    assert os.listdir(target.parent) == ["a.txt"]


def test_a_file_is_replaced_whole(tmp_path: Path):
    target = tmp_path / "a.txt"
    target.write_text("a long old text")
    with atomic_file(target) as temporary:
        temporary.write_text("new")
        assert target.read_text() == "a long old text"
    assert target.read_text() == "new"


@pytest.mark.parametrize("old", ["old", None])
def test_an_exception_leaves_the_old_file_and_nothing_else(tmp_path: Path, old: str | None):
    target = tmp_path / "a.txt"
    if old is not None:
        target.write_text(old)

    def interrupted() -> None:
        with atomic_file(target) as temporary:
            temporary.write_text("half of")
            raise HaltError

    with pytest.raises(HaltError):
        interrupted()
    assert os.listdir(tmp_path) == ([] if old is None else ["a.txt"])
    assert old is None or target.read_text() == old


def test_others_may_read_what_was_written(tmp_path: Path):
    with atomic_file(tmp_path / "a.txt") as temporary:
        temporary.write_text("x")
    with atomic_folder(tmp_path / "folder"):
        pass
    assert (tmp_path / "a.txt").stat().st_mode & 0o777 == 0o644
    assert (tmp_path / "folder").stat().st_mode & 0o777 == 0o755


def test_a_folder_is_no_target_for_a_file(tmp_path: Path):
    (tmp_path / "out").mkdir()
    with pytest.raises(DataError, match=r"out is a folder; name a file"), atomic_file(tmp_path / "out"):
        pytest.fail("refused before anything is computed")
    assert os.listdir(tmp_path) == ["out"]


def test_a_folder_appears_when_the_block_ends(tmp_path: Path):
    target = tmp_path / "new" / "bundle"
    with atomic_folder(target) as temporary:
        (temporary / "sub").mkdir()
        (temporary / "sub" / "a.txt").write_text("done")
        assert not target.exists()
    assert (target / "sub" / "a.txt").read_text() == "done"
    assert os.listdir(target.parent) == ["bundle"]


def test_an_empty_folder_may_be_filled(tmp_path: Path):
    (tmp_path / "bundle").mkdir()
    with atomic_folder(tmp_path / "bundle") as temporary:
        (temporary / "a.txt").write_text("done")
    assert os.listdir(tmp_path) == ["bundle"]
    assert os.listdir(tmp_path / "bundle") == ["a.txt"]


def test_a_folder_that_holds_something_is_not_overwritten(tmp_path: Path):
    target = tmp_path / "bundle"
    target.mkdir()
    (target / "mine.txt").write_text("mine")
    with pytest.raises(DataError, match=r"bundle already holds something; name a new folder"), atomic_folder(target):
        pytest.fail("refused before anything is computed")
    assert os.listdir(tmp_path) == ["bundle"]
    assert (target / "mine.txt").read_text() == "mine"


def test_replace_swaps_the_whole_folder(tmp_path: Path):
    target = tmp_path / "bundle"
    target.mkdir()
    (target / "old.txt").write_text("old")
    with atomic_folder(target, replace=True) as temporary:
        (temporary / "new.txt").write_text("new")
        assert os.listdir(target) == ["old.txt"]
    assert os.listdir(target) == ["new.txt"]
    assert os.listdir(tmp_path) == ["bundle"]


@pytest.mark.parametrize("old", [True, False])
def test_an_exception_leaves_the_old_folder_and_nothing_else(tmp_path: Path, old: bool):
    target = tmp_path / "bundle"
    if old:
        target.mkdir()
        (target / "old.txt").write_text("old")

    def interrupted() -> None:
        with atomic_folder(target, replace=True) as temporary:
            (temporary / "half.txt").write_text("half")
            raise HaltError

    with pytest.raises(HaltError):
        interrupted()
    assert os.listdir(tmp_path) == (["bundle"] if old else [])
    assert not old or os.listdir(target) == ["old.txt"]


def test_a_folder_filled_meanwhile_by_another_is_kept(tmp_path: Path):
    target = tmp_path / "bundle"

    def raced() -> None:
        with atomic_folder(target) as temporary:
            (temporary / "mine.txt").write_text("mine")
            target.mkdir()
            (target / "theirs.txt").write_text("theirs")

    with pytest.raises(OSError, match="not empty"):
        raced()
    assert os.listdir(tmp_path) == ["bundle"]
    assert os.listdir(target) == ["theirs.txt"]


@pytest.mark.parametrize("replace", [True, False])
def test_a_file_is_no_target_for_a_folder(tmp_path: Path, replace: bool):
    (tmp_path / "out").write_text("mine")
    with (
        pytest.raises(DataError, match=r"out is a file; name a folder that is not there yet"),
        atomic_folder(tmp_path / "out", replace=replace),
    ):
        pytest.fail("refused before anything is computed")
    assert (tmp_path / "out").read_text() == "mine"
