"""A folder of shards: one plan, one writer, nothing half-written, nothing foreign touched."""

import errno
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import polars as pl
import pytest

from recsys.errors import ConfigError, DataError
from recsys.serving.batch import shards
from recsys.serving.batch.shards import Plan, shard_file

PLAN = Plan(bundle="a" * 64, k=2, filter_seen=True, users=5, user_list="b" * 64, shard_users=2)


def frame(shard: int, rows: int = 4) -> pl.DataFrame:
    return pl.DataFrame({"user_id": [f"u{shard}"] * rows, "rank": range(rows)})


def whole(folder: Path, plan: Plan = PLAN) -> Path:
    """A finished folder."""
    folder.mkdir(parents=True)
    shards.settle(folder, plan, overwrite=False)
    for shard in range(plan.shards):
        shards.write_shard(folder, plan, shard, frame(shard))
    shards.finish(folder, plan, rows=4 * plan.shards, seconds=1.5)
    return folder


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


@pytest.mark.parametrize(("users", "shard_users"), [(5, 2), (6, 2), (1, 9), (7, 1), (3, 3)])
def test_every_user_is_in_one_shard_and_none_is_too_large(users: int, shard_users: int) -> None:
    plan = replace(PLAN, users=users, shard_users=shard_users)
    parts = [list(range(users))[plan.slice_of(shard)] for shard in range(plan.shards)]
    assert [user for part in parts for user in part] == list(range(users))
    assert [len(part) for part in parts] == [plan.size_of(shard) for shard in range(plan.shards)]
    assert all(0 < len(part) <= shard_users for part in parts)


def test_an_impossible_size_of_shards_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"shard_users \(--shard-users\) must be at least 1, not 0"):
        replace(PLAN, shard_users=0)
    with pytest.raises(ConfigError, match=r"200,000 users at 1 a shard make 200,000 shards, more than 100,000; raise"):
        replace(PLAN, users=200_000, shard_users=1)


def test_a_finished_folder_says_what_it_holds(tmp_path: Path) -> None:
    folder = whole(tmp_path / "out")
    parts = [f"part-0000{shard}.parquet" for shard in range(3)]
    assert names(folder) == sorted(["_SUCCESS", *parts, *(f".{part}.sha256" for part in parts), "_plan.json"])
    assert json.loads((folder / "_SUCCESS").read_text()) == {"rows": 12, "users": 5, "shards": 3, "seconds": 1.5}
    assert json.loads((folder / "_plan.json").read_text())["k"] == 2
    assert pl.read_parquet(shard_file(folder, 1)).equals(frame(1))


def test_the_same_plan_goes_on_with_what_is_there(tmp_path: Path) -> None:
    folder = whole(tmp_path / "out")
    assert shards.settle(folder, PLAN, overwrite=False) == [4, 4, 4]
    assert (folder / "_SUCCESS").exists()
    shard_file(folder, 1).unlink()
    assert shards.settle(folder, PLAN, overwrite=False) == [4, None, 4]
    assert not (folder / "_SUCCESS").exists()


def cut_short(file: Path, folder: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def emptied(file: Path, folder: Path) -> None:
    os.truncate(file, 0)


def overwritten(file: Path, folder: Path) -> None:
    file.write_bytes(b"x" * file.stat().st_size)


def of_another_writer(file: Path, folder: Path) -> None:
    frame(1).write_parquet(file)


def of_another_plan(file: Path, folder: Path) -> None:
    shards.write_shard(folder, replace(PLAN, k=3), 1, frame(1))


def of_another_place(file: Path, folder: Path) -> None:
    shutil.copy(shard_file(folder, 0), file)


@pytest.mark.parametrize("spoil", [cut_short, emptied, overwritten, of_another_writer, of_another_plan, of_another_place])
def test_a_shard_that_is_not_what_the_plan_wants_is_made_again(spoil: Any, tmp_path: Path) -> None:
    folder = whole(tmp_path / "out")
    spoil(shard_file(folder, 1), folder)
    assert shards.settle(folder, PLAN, overwrite=False) == [4, None, 4]
    assert not (folder / "_SUCCESS").exists()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"k": 9}, "k is 2 there and 9 here"),
        ({"filter_seen": False}, "filter_seen is True there and False here"),
        ({"users": 6, "user_list": "c" * 64}, "users is 5 there and 6 here, user_list is bbbbbbbb there and cccccccc here"),
        ({"shard_users": 3}, "shard_users is 2 there and 3 here"),
        ({"bundle": "d" * 64}, "bundle is aaaaaaaa there and dddddddd here"),
        ({"request_time": 7}, "request_time is None there and 7 here"),
        ({"version": 2}, "version is 1 there and 2 here"),
    ],
)
def test_another_plan_is_refused_with_what_differs(change: dict[str, Any], says: str, tmp_path: Path) -> None:
    folder = whole(tmp_path / "out")
    (folder / "part-00000.parquet.writing-x").touch()
    before = names(folder)
    with pytest.raises(DataError, match=f"begun with another plan: {says}; .*--overwrite"):
        shards.settle(folder, replace(PLAN, **change), overwrite=False)
    assert names(folder) == before


def test_overwriting_begins_anew_and_leaves_what_is_not_its_own(tmp_path: Path) -> None:
    folder = whole(tmp_path / "out")
    (folder / "notes.txt").write_text("mine")
    other = replace(PLAN, k=9)
    assert shards.settle(folder, other, overwrite=True) == [None, None, None]
    assert names(folder) == ["_plan.json", "notes.txt"]
    assert json.loads((folder / "_plan.json").read_text())["k"] == 9


def test_what_a_killed_run_left_half_written_is_removed(tmp_path: Path) -> None:
    folder = whole(tmp_path / "out")
    for name in ("part-00001.parquet", "_plan.json", "_SUCCESS"):
        (folder / f"{name}.writing-abc").touch()
    before = set(names(folder))
    shards.settle(folder, PLAN, overwrite=False)
    assert before - set(names(folder)) == {name for name in before if ".writing-" in name}


def test_a_folder_where_a_run_died_before_its_plan_was_whole_is_begun(tmp_path: Path) -> None:
    (tmp_path / "_plan.json.writing-abc").touch()
    (tmp_path / shards.LOCK).write_text("process 1 on elsewhere")
    assert shards.settle(tmp_path, PLAN, overwrite=False) == [None, None, None]


def test_a_shard_beyond_the_plan_is_refused_by_name(tmp_path: Path) -> None:
    folder = whole(tmp_path / "out")
    shutil.copy(shard_file(folder, 0), shard_file(folder, 3))
    with pytest.raises(DataError, match=r"part-00003\.parquet is not of this batch, which has 3 shards; move it away"):
        shards.settle(folder, PLAN, overwrite=False)


@pytest.mark.parametrize("overwrite", [True, False])
@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("thesis.txt", "words", r"holds thesis\.txt and no _plan\.json: it is no batch of recommendations"),
        ("part-00000.parquet", "of another tool", r"holds part-00000\.parquet and no _plan\.json"),
        ("_SUCCESS", "", r"holds _SUCCESS and no _plan\.json"),
        ("_plan.json", "{", r"_plan\.json is damaged, or not the plan of a batch; nothing there is touched"),
        ("_plan.json", "[]", r"_plan\.json is damaged, or not the plan of a batch"),
        ("_plan.json", '{"format": "house", "rooms": 3}', r"_plan\.json is damaged, or not the plan of a batch"),
    ],
)
def test_what_is_no_batch_is_refused_and_never_touched(
    name: str, content: str, says: str, overwrite: bool, tmp_path: Path
) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=says):
        shards.settle(tmp_path, PLAN, overwrite=overwrite)
    assert names(tmp_path) == [name]
    assert (tmp_path / name).read_text() == content


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(DataError, match="out is a file; name a folder"):
        shards.check_folder(tmp_path / "out")


def test_a_second_writer_is_refused_and_told_who_the_first_is(tmp_path: Path) -> None:
    with shards.only_writer(tmp_path):
        with (
            pytest.raises(DataError, match=f"is being written by process {os.getpid()} on {socket.gethostname()}"),
            shards.only_writer(tmp_path),
        ):
            pytest.fail("two writers at once")
        assert names(tmp_path) == [shards.LOCK]
    with shards.only_writer(tmp_path):
        assert names(tmp_path) == [shards.LOCK]
    assert names(tmp_path) == []


def test_the_lock_of_a_killed_writer_does_not_block(tmp_path: Path) -> None:
    code = """
import sys
from pathlib import Path
from recsys.serving.batch.shards import only_writer
with only_writer(Path(sys.argv[1])):
    print("locked", flush=True)
    sys.stdin.read()
"""
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "locked\n"
        with pytest.raises(DataError, match=f"is being written by process {process.pid} on "), shards.only_writer(tmp_path):
            pytest.fail("two writers at once")
        process.send_signal(signal.SIGKILL)
    assert names(tmp_path) == [shards.LOCK]
    with shards.only_writer(tmp_path):
        assert (tmp_path / shards.LOCK).read_text() == f"process {os.getpid()} on {socket.gethostname()}"


def test_a_full_disk_is_told_with_the_file_and_leaves_nothing_half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = whole(tmp_path / "out")
    shard_file(folder, 1).unlink()
    before = names(folder)

    def full(self: pl.DataFrame, file: IO[bytes], **_: object) -> None:
        file.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pl.DataFrame, "write_parquet", full)
    with pytest.raises(OSError, match=r"No space left on device; what is finished is kept.*part-00001\.parquet") as caught:
        shards.write_shard(folder, PLAN, 1, frame(1))
    assert caught.value.errno == errno.ENOSPC
    assert names(folder) == before


def test_joined_shards_are_one_file_in_their_order(tmp_path: Path) -> None:
    folder = whole(tmp_path / "with [brackets]")
    target = tmp_path / "all.parquet"
    target.write_bytes(b"old")
    shards.join(folder, PLAN, target)
    assert pl.read_parquet(target).equals(pl.concat([frame(0), frame(1), frame(2)]))
    assert names(tmp_path) == ["all.parquet", "with [brackets]"]
