"""What will be written is proven before the work whose result it is."""

import os
import shutil
from pathlib import Path

import pytest

from recsys.core.destination import FitPlaces, prove_apart, prove_file, prove_folder
from recsys.errors import ConfigError, DataError, RecsysError


def everything(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*"))


@pytest.mark.parametrize("name", ["out", "a/b/c", ".", "with blank", "rün [1]", "x" * 200])
def test_a_folder_that_can_be_written_is_left_as_it_was(name: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    before = everything(tmp_path)
    prove_folder(tmp_path / name)
    prove_file(tmp_path / name / "page.html")
    assert everything(tmp_path) == before


def test_what_can_hold_no_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    before = everything(tmp_path)
    for place, says in (
        (tmp_path / "file", "is a file; name a folder"),
        (tmp_path / "file" / "below", "is a file, so there can be no folder in it"),
        (tmp_path / "dangling", "a symbolic link to .*nowhere, which is not there"),
        (tmp_path / "dangling" / "below", "is a link to nothing"),
        (tmp_path / ("x" * 252), "has 252 bytes; at most 249 can be written"),
        (tmp_path / ("ü" * 130), "has 260 bytes"),
        (tmp_path / ("x" * 300) / "below", "has 300 bytes"),
        (tmp_path / "zero\0byte", "holds a zero byte"),
        (Path("/proc/nowhere/out"), "--out /proc/nowhere/out cannot be written: No such file or directory"),
    ):
        with pytest.raises(ConfigError, match=says):
            prove_folder(place)
    with pytest.raises(ConfigError, match="is a folder; name a file"):
        prove_file(tmp_path)
    with pytest.raises(ConfigError, match="is a file; name a folder"):
        prove_file(tmp_path / "file" / "page.html")
    assert everything(tmp_path) == before


def test_a_folder_that_may_not_be_written_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(self: Path, data: bytes) -> int:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "write_bytes", denied)
    with pytest.raises(ConfigError, match="cannot be written: Permission denied .*name another place"):
        prove_folder(tmp_path / "out" / "deep")
    assert everything(tmp_path) == []


def test_too_little_room_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = shutil._ntuple_diskusage(10**9, 10**9 - 2**22, 2**22)  # type: ignore[attr-defined]
    monkeypatch.setattr(shutil, "disk_usage", lambda _: full)
    prove_folder(tmp_path / "out")
    with pytest.raises(ConfigError, match="4 MiB are free there and about 8 MiB are needed; make room"):
        prove_folder(tmp_path / "out", needs=2**23)


def test_no_place_lies_in_another(tmp_path: Path) -> None:
    prove_apart({"a": tmp_path / "a", "b": tmp_path / "ab"})
    (tmp_path / "link").symlink_to(tmp_path / "a")
    for other in (tmp_path / "a", tmp_path / "a" / "b", tmp_path / "c" / ".." / "a", tmp_path / "link" / "x"):
        with pytest.raises(ConfigError, match="of the same run into it"):
            prove_apart({"the bundle": tmp_path / "a", "curves": other})


@pytest.mark.parametrize("name", ["logs", "checkpoints"])
def test_a_bundle_that_clashes_with_its_own_curves_or_checkpoints_is_refused(name: str, tmp_path: Path) -> None:
    with (
        pytest.raises(ConfigError, match="of the same run into it"),
        FitPlaces.of(tmp_path / name).claimed(overwrite=False),
    ):
        pass
    assert everything(tmp_path) == []


def test_what_is_in_the_way_of_curves_or_checkpoints_is_told(tmp_path: Path) -> None:
    for name in ("logs", "checkpoints"):
        (tmp_path / name).write_text("a file")
        with pytest.raises(ConfigError, match=f"{name} is a file"), FitPlaces.of(tmp_path / "run").claimed(overwrite=False):
            pass
        (tmp_path / name).unlink()
    assert everything(tmp_path) == []


def test_a_bundle_has_one_writer_from_the_beginning(tmp_path: Path) -> None:
    places = FitPlaces.of(tmp_path / "run")
    with places.claimed(overwrite=False) as held:
        assert held is not None
        with pytest.raises(DataError, match="run is being written by process"), places.claimed(overwrite=False):
            pass
        with FitPlaces.of(tmp_path / "other").claimed(overwrite=False):
            pass
    with places.claimed(overwrite=False):
        pass
    assert everything(tmp_path) == []


def test_the_other_processes_of_torchrun_leave_the_lock_to_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = FitPlaces.of(tmp_path / "run")
    with places.claimed(overwrite=False):
        monkeypatch.setenv("RANK", "1")
        with places.claimed(overwrite=False) as held:
            assert held is None


@pytest.mark.skipif(os.getuid() == 0 if hasattr(os, "getuid") else True, reason="root may write anywhere")
def test_a_read_only_folder_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    with pytest.raises(RecsysError, match="Permission denied"):
        prove_folder(tmp_path / "out")
