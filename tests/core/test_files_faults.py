"""Writers that die, links, modes, and systems that know no exchange of names."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from recsys.core import files, leftovers
from recsys.core.exchange import exchange
from recsys.core.files import atomic_file, atomic_folder, exclusive
from recsys.errors import DataError


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def filled(folder: Path, text: str) -> Path:
    folder.mkdir()
    (folder / "a.txt").write_text(text, encoding="utf-8")
    return folder


def in_child(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    code = f"import os, sys\nfrom pathlib import Path\nfrom recsys.core import files\n{code}"
    return subprocess.run([sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, check=False)


DIE_IN_A_FOLDER = """
with files.atomic_folder(Path(sys.argv[1]), replace=True) as folder:
    (folder / "half").write_bytes(b"half")
    os._exit(9)
"""
DIE_IN_A_FILE = """
with files.atomic_file(Path(sys.argv[1])) as file:
    file.write_bytes(b"half")
    os._exit(9)
"""


@pytest.mark.parametrize("name", ["run", "run [1]", "é" * 120])
def test_what_a_dead_writer_left_is_removed_by_the_next(tmp_path: Path, name: str):
    for code in (DIE_IN_A_FOLDER, DIE_IN_A_FILE):
        assert in_child(code, tmp_path / name).returncode == 9
        assert len(names(tmp_path)) == 1, "the second one removes what the first one left"
    with atomic_folder(tmp_path / name):
        pass
    assert names(tmp_path) == [name]


def test_a_file_s_writer_removes_it_too(tmp_path: Path):
    assert in_child(DIE_IN_A_FOLDER, tmp_path / "run").returncode == 9
    with atomic_file(tmp_path / "a.txt"):
        pass
    assert names(tmp_path) == ["a.txt"]


def test_what_a_living_writer_is_at_stays(tmp_path: Path):
    code = DIE_IN_A_FOLDER.replace("os._exit(9)", "print('at it', flush=True); sys.stdin.read()")
    code = f"import os, sys\nfrom pathlib import Path\nfrom recsys.core import files\n{code}"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "run")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"at it\n"
        with atomic_folder(tmp_path / "run"), atomic_folder(tmp_path / "other"):
            pass
        writer.communicate()
        assert writer.returncode == 0
    assert names(tmp_path) == ["other", "run"]
    assert names(tmp_path / "run") == ["half"]


def test_what_another_machine_left_is_removed_after_a_day_without_change(tmp_path: Path):
    foreign = tmp_path / "run.writing-00000000-1-00000000"
    filled(foreign, "half")
    leftovers.sweep(tmp_path)
    assert names(tmp_path) == [foreign.name]
    for one in (foreign / "a.txt", foreign):
        os.utime(one, (time.time() - 90_000,) * 2)
    leftovers.sweep(tmp_path)
    assert names(tmp_path) == []


def test_names_that_only_look_alike_are_left(tmp_path: Path):
    mine = ["run.writing-abc", "run.old-notes", "my.writing-00000000-1", ".writing-00000000-1-00000000"]
    for name in mine:
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (0, 0))
    leftovers.sweep(tmp_path)
    assert names(tmp_path) == sorted(mine)


def test_two_folders_exchange_their_names(tmp_path: Path):
    one, other = filled(tmp_path / "one", "1"), filled(tmp_path / "other", "2")
    if not exchange(one, other):
        pytest.skip("this file system knows no exchange")
    assert ((one / "a.txt").read_text(), (other / "a.txt").read_text()) == ("2", "1")
    with pytest.raises(FileNotFoundError):
        exchange(one, tmp_path / "nothing")


def test_at_no_moment_a_replaced_path_holds_nothing(tmp_path: Path):
    target = filled(tmp_path / "run", "0")
    other = filled(tmp_path / "probe", "")
    if not exchange(other, filled(tmp_path / "probe2", "")):
        pytest.skip("this file system knows no exchange")
    missed, done = 0, threading.Event()

    def look() -> None:
        nonlocal missed
        while not done.is_set():
            try:
                os.close(os.open(target / "a.txt", os.O_RDONLY))
            except FileNotFoundError:
                missed += 1

    reader = threading.Thread(target=look)
    reader.start()
    try:
        for number in range(100):
            with atomic_folder(target, replace=True) as folder:
                (folder / "a.txt").write_text(str(number))
    finally:
        done.set()
        reader.join()
    assert missed == 0
    assert (target / "a.txt").read_text() == "99"


def test_without_an_exchange_the_old_folder_is_moved_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(files, "exchange", lambda *_: False)
    target = filled(tmp_path / "run", "old")
    with atomic_folder(target, replace=True) as folder:
        (folder / "a.txt").write_text("new")
    assert (target / "a.txt").read_text() == "new"
    assert names(tmp_path) == ["run"]


def test_who_dies_with_the_old_folder_aside_leaves_it_to_the_next_writer(tmp_path: Path):
    code = """
files.exchange = lambda *_: False
def die(*_): os._exit(9)
kept = Path.replace
Path.replace = lambda one, other: kept(one, other) if ".old-" in other.name else die()
with files.atomic_folder(Path(sys.argv[1]), replace=True) as folder:
    (folder / "a.txt").write_text("new")
"""
    target = filled(tmp_path / "run", "old")
    assert in_child(code, target).returncode == 9
    assert not target.exists()
    leftovers.sweep(tmp_path)
    assert leftovers.moved_aside(target) is not None, "the only whole folder is never swept away"

    def interrupted() -> None:
        with atomic_folder(target, replace=True):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert names(tmp_path) == ["run"]
    assert (target / "a.txt").read_text() == "old"


@pytest.mark.parametrize("umask", [0o022, 0o002, 0o077, 0o000])
def test_modes_follow_the_umask_however_a_file_was_made(tmp_path: Path, umask: int):
    code = """
import tempfile
os.umask(int(sys.argv[2]))
with files.atomic_folder(Path(sys.argv[1]) / "run") as folder:
    handle, name = tempfile.mkstemp(dir=folder)  # 0600, as safetensors makes its files
    os.replace(name, folder / "private")
    (folder / "encoder").mkdir()
    (folder / "encoder" / "plain").touch()
with files.atomic_file(Path(sys.argv[1]) / "file") as file:
    handle, name = tempfile.mkstemp(dir=file.parent)
    os.replace(name, file)
"""
    done = in_child(code, tmp_path, umask)
    assert done.returncode == 0, done.stderr
    for file in (tmp_path / "run" / "private", tmp_path / "run" / "encoder" / "plain", tmp_path / "file"):
        assert file.stat().st_mode & 0o777 == 0o666 & ~umask, file
    for folder in (tmp_path / "run", tmp_path / "run" / "encoder"):
        assert folder.stat().st_mode & 0o777 == 0o777 & ~umask


def test_a_replaced_folder_keeps_its_mode(tmp_path: Path):
    target = filled(tmp_path / "run", "old")
    target.chmod(0o700)
    with atomic_folder(target, replace=True) as folder:
        (folder / "a.txt").touch()
    assert target.stat().st_mode & 0o777 == 0o700


def test_a_symbolic_link_is_written_through(tmp_path: Path):
    (tmp_path / "elsewhere").mkdir()
    filled(tmp_path / "elsewhere" / "v1", "old")
    (tmp_path / "run").symlink_to("elsewhere/v1")
    with atomic_folder(tmp_path / "run", replace=True) as folder:
        (folder / "a.txt").write_text("new")
    assert (tmp_path / "run").is_symlink()
    assert (tmp_path / "elsewhere" / "v1" / "a.txt").read_text() == "new"
    (tmp_path / "file").symlink_to(tmp_path / "elsewhere" / "v1" / "a.txt")
    with atomic_file(tmp_path / "file") as file:
        file.write_text("newer")
    assert (tmp_path / "file").is_symlink()
    assert (tmp_path / "elsewhere" / "v1" / "a.txt").read_text() == "newer"
    assert names(tmp_path) == ["elsewhere", "file", "run"]
    assert names(tmp_path / "elsewhere") == ["v1"]


@pytest.mark.parametrize("goal", ["nothing", "run"])
def test_a_link_to_nothing_or_to_itself_is_told(tmp_path: Path, goal: str):
    (tmp_path / "run").symlink_to(goal)
    for write in (atomic_folder, atomic_file, exclusive):
        with (
            pytest.raises(DataError, match=f"run is a symbolic link to {goal}, which is not there"),
            write(tmp_path / "run"),
        ):
            pytest.fail("refused before anything is computed")
    assert names(tmp_path) == ["run"]


def test_a_link_and_its_target_have_one_lock(tmp_path: Path):
    filled(tmp_path / "v1", "")
    (tmp_path / "run").symlink_to("v1")
    with (
        exclusive(tmp_path / "run"),
        pytest.raises(DataError, match="being written by process"),
        exclusive(tmp_path / "v1"),
    ):
        pytest.fail("two writers")
    assert names(tmp_path) == ["run", "v1"]


def test_a_device_is_not_replaced():
    with pytest.raises(DataError, match="/dev/null is no ordinary file"), atomic_file(Path("/dev/null")):
        pytest.fail("refused before anything is computed")


def test_the_folder_one_is_in_may_be_named_by_a_dot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    target = filled(tmp_path / "run", "old")
    monkeypatch.chdir(target)
    with exclusive(Path()), atomic_folder(Path(), replace=True) as folder:
        (folder / "a.txt").write_text("new")
    assert (target / "a.txt").read_text() == "new"
    assert names(tmp_path) == ["run"]
    with pytest.raises(DataError, match="cannot be written"), atomic_folder(Path("/")):
        pytest.fail("refused")


def test_who_waits_for_another_writer_gets_its_turn(tmp_path: Path):
    order = []

    def second() -> None:
        with exclusive(tmp_path / "run", wait=30):
            order.append("second")

    with exclusive(tmp_path / "run"):
        thread = threading.Thread(target=second)
        thread.start()
        time.sleep(0.2)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]
    assert names(tmp_path) == []
