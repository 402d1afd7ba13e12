"""The batch job: what it writes, within what memory, and that nothing is lost or done twice when it is stopped."""

import errno
import itertools
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import numpy as np
import polars as pl
import pytest
import torch

from recsys import progress
from recsys.cli import main
from recsys.data.interactions import Interactions
from recsys.data.row_lists import RowLists
from recsys.data.split import leave_last_out
from recsys.data.vocabulary import Vocabulary
from recsys.errors import ConfigError, DataError, UnknownIdError
from recsys.serving import batch, shards
from recsys.serving.batch import BatchResult, fingerprint, recommend_to_parquet
from recsys.serving.retriever import Retriever
from recsys.training.config import Training
from recsys.two_tower import TwoTower
from tests.conftest import make_events

ROOT = Path(__file__).parents[2]
NEW = ["u3", "u39"]
"""Users of whom there is no history."""


def fitted(events: pl.DataFrame | None = None, **options: Any) -> Retriever:
    """A small model of the ring, whose 40 users all have a history but for two."""
    train = leave_last_out(Interactions.from_frame(make_events() if events is None else events)).train
    training = Training(epochs=2, batch_tokens=64, device="cpu")
    model = TwoTower(encoder=None, **{"dim": 8, "heads": 1, "max_length": 4} | options).fit(train, training=training)
    retriever = model.retriever()
    lengths = retriever.histories.lengths.copy()
    lengths[retriever.users.rows(NEW)] = 0
    return replace(retriever, histories=retriever.histories.head(lengths), trained=None)


@pytest.fixture(scope="module")
def retriever() -> Retriever:
    return fitted()


@pytest.fixture(scope="module")
def bundle(retriever: Retriever, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle") / "run"
    retriever.save(folder)
    return folder


def content(folder: Path) -> dict[str, bytes]:
    """Every file of a finished folder but the mark of success, which tells the time."""
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.name != shards.SUCCESS}


def read(folder: Path) -> pl.DataFrame:
    return pl.read_parquet(sorted(folder.glob("part-*.parquet")))


# What is written.


def test_every_user_gets_what_a_single_request_gives(retriever: Retriever, tmp_path: Path) -> None:
    done = recommend_to_parquet(retriever, tmp_path / "out", k=5, shard_users=9)
    found = read(tmp_path / "out")
    asked = [user for user in retriever.users.ids if user not in NEW]
    assert done == BatchResult(rows=38 * 5, users=40, shards=5, resumed_shards=0, without_history=2)
    assert found["user_id"].unique(maintain_order=True).to_list() == asked
    single = pl.concat([retriever.recommend(user, k=5) for user in asked])
    assert found.drop("score").equals(single.drop("score"))
    np.testing.assert_allclose(found["score"], single["score"], rtol=1e-5)
    assert found.schema == {"user_id": pl.String, "item_id": pl.String, "score": pl.Float32, "rank": pl.Int32}


def test_a_folder_is_marked_when_it_is_whole(retriever: Retriever, tmp_path: Path) -> None:
    recommend_to_parquet(retriever, tmp_path / "out", k=5, shard_users=20)
    facts = json.loads((tmp_path / "out" / "_SUCCESS").read_text())
    assert (facts["rows"], facts["users"], facts["shards"]) == (190, 40, 2)
    assert facts["seconds"] > 0
    assert sorted(content(tmp_path / "out")) == ["part-00000.parquet", "part-00001.parquet", "plan.json"]


def test_users_are_answered_in_the_order_asked(retriever: Retriever, tmp_path: Path) -> None:
    asked = ["u7", "u1", "u3", "u20"]
    done = recommend_to_parquet(retriever, tmp_path / "out", users=asked, k=2, shard_users=3)
    assert done == BatchResult(rows=6, users=4, shards=2, resumed_shards=0, without_history=1)
    assert read(tmp_path / "out")["user_id"].to_list() == ["u7", "u7", "u1", "u1", "u20", "u20"]


def test_users_without_history_get_no_rows(retriever: Retriever, tmp_path: Path) -> None:
    done = recommend_to_parquet(retriever, tmp_path / "out", users=NEW, k=2, shard_users=1)
    assert done == BatchResult(rows=0, users=2, shards=2, resumed_shards=0, without_history=2)
    assert read(tmp_path / "out").schema == {
        "user_id": pl.String, "item_id": pl.String, "score": pl.Float32, "rank": pl.Int32
    }  # fmt: skip


def test_seen_items_come_only_when_asked_for(retriever: Retriever, tmp_path: Path) -> None:
    recommend_to_parquet(retriever, tmp_path / "kept", users=["u5"], k=30, filter_seen=False)
    recommend_to_parquet(retriever, tmp_path / "hidden", users=["u5"], k=30)
    seen = set(retriever.history("u5")["item_id"])
    assert seen <= set(read(tmp_path / "kept")["item_id"])
    assert not seen & set(read(tmp_path / "hidden")["item_id"])


def test_one_file_holds_what_the_shards_hold_and_nothing_lies_beside_it(retriever: Retriever, tmp_path: Path) -> None:
    (tmp_path / "recs.parquet").write_bytes(b"old")
    one = recommend_to_parquet(retriever, tmp_path / "recs.parquet", k=5, shard_users=9)
    assert os.listdir(tmp_path) == ["recs.parquet"]
    assert one == recommend_to_parquet(retriever, tmp_path / "out", k=5, shard_users=9)
    assert pl.read_parquet(tmp_path / "recs.parquet").equals(read(tmp_path / "out"))


def test_a_model_that_reads_the_clock_is_asked_at_one_time_by_all_sessions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = fitted(time_bias="request")
    recommend_to_parquet(reader, tmp_path / "at", k=3, now=5_000, shard_users=9)
    monkeypatch.setattr(batch.time, "time", lambda: 5_000.7)
    recommend_to_parquet(reader, tmp_path / "begun", k=3, shard_users=9)
    (tmp_path / "begun" / "part-00002.parquet").unlink()
    monkeypatch.setattr(batch.time, "time", lambda: 9_000_000.0)
    assert recommend_to_parquet(reader, tmp_path / "begun", k=3, shard_users=9).resumed_shards == 4
    assert content(tmp_path / "begun") == content(tmp_path / "at")
    single = reader.recommend("u8", k=3, now=5_000)
    assert read(tmp_path / "at").filter(user_id="u8").drop("score").equals(single.drop("score"))
    with pytest.raises(DataError, match="now is 5000 there and 6000 here"):
        recommend_to_parquet(reader, tmp_path / "at", k=3, now=6_000, shard_users=9)


# Within what memory.


def test_no_block_and_no_shard_is_larger_than_it_may_be(
    retriever: Retriever, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks: list[int] = []
    written: list[int] = []
    rank, write = retriever.recommend_rows, shards.write_shard

    def ranked(histories: RowLists, *arguments: Any, **options: Any) -> Any:
        blocks.append(len(histories))
        return rank(histories, *arguments, **options)

    def wrote(folder: Path, plan: shards.Plan, shard: int, frame: pl.DataFrame) -> None:
        written.append(frame.height)
        write(folder, plan, shard, frame)

    monkeypatch.setattr(batch, "_BLOCK", 4)
    monkeypatch.setattr(retriever, "recommend_rows", ranked)
    monkeypatch.setattr(shards, "write_shard", wrote)
    recommend_to_parquet(retriever, tmp_path / "out", k=5, shard_users=10, workers=1)
    assert blocks == [1, 3, 4, 2, 4, 4, 2, 4, 4, 2, 4, 4, 1]  # one first; 4 + 4 + 2 of each shard, less those without
    assert written == [45, 50, 50, 45]


@pytest.mark.parametrize("threads", [1, 2])
def test_each_block_is_ranked_by_one_thread_and_their_number_changes_nothing(
    threads: int, retriever: Retriever, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recommend_to_parquet(retriever, tmp_path / "alone", k=5, shard_users=30, workers=1)
    rank, lock, at_once, most, inside = retriever.recommend_rows, threading.Lock(), 0, 0, set[int]()

    def ranked(*arguments: Any, **options: Any) -> Any:
        nonlocal at_once, most
        with lock:
            at_once += 1
            most = max(most, at_once)
            inside.add(torch.get_num_threads())
        time.sleep(0.03)
        answer = rank(*arguments, **options)
        with lock:
            at_once -= 1
        return answer

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        monkeypatch.setattr(retriever, "recommend_rows", ranked)
        with monkeypatch.context() as patch:
            patch.setattr(batch, "_BLOCK", 4)
            recommend_to_parquet(retriever, tmp_path / "small", k=5, shard_users=30, workers=3)
        recommend_to_parquet(retriever, tmp_path / "again", k=5, shard_users=30)
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert most == 3
    assert inside == {1}
    assert read(tmp_path / "small").drop("score").equals(read(tmp_path / "alone").drop("score"))
    assert content(tmp_path / "again") == content(tmp_path / "alone")


# Stopped and gone on with.

DYING = """
import os, signal, sys
import polars as pl
from recsys.cli import main

write, left = pl.DataFrame.write_parquet, int(sys.argv[1])

def dying(frame, file, **options):
    global left
    left -= 1
    write(frame, file, **options)
    if left == 0:
        os.truncate(file.name, os.path.getsize(file.name) // 2)
        os.kill(os.getpid(), signal.SIGKILL)

pl.DataFrame.write_parquet = dying
sys.exit(main(sys.argv[2:]))
"""


def in_subprocess(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=120)


def test_a_run_killed_twice_ends_as_an_unbroken_one(bundle: Path, tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    command = ["recommend", str(bundle), "--users", "all", "--k", "6", "--shard-users", "4"]
    assert main([*command, "--out", str(whole)]) == 0
    for death, finished in ((3, 2), (4, 5)):
        died = in_subprocess(DYING, death, *command, "--out", killed)
        assert died.returncode == -signal.SIGKILL, died.stderr
        assert not (killed / "_SUCCESS").exists()
        assert len([name for name in os.listdir(killed) if name.endswith(".parquet")]) == finished
        assert len([name for name in os.listdir(killed) if ".writing-" in name]) == 1
    stamps = {file.name: file.stat().st_mtime_ns for file in killed.glob("part-*.parquet")}
    assert main([*command, "--out", str(killed)]) == 0
    assert content(killed) == content(whole)
    assert json.loads((killed / "_SUCCESS").read_text())["rows"] == 38 * 6
    assert {name: (killed / name).stat().st_mtime_ns for name in stamps} == stamps  # none was made twice


def test_one_file_is_gone_on_with_too(bundle: Path, tmp_path: Path) -> None:
    command = ["recommend", str(bundle), "--k", "6", "--shard-users", "4", "--out", str(tmp_path / "recs.parquet")]
    assert in_subprocess(DYING, 5, *command).returncode == -signal.SIGKILL
    assert os.listdir(tmp_path) == ["recs.parquet.shards"]
    assert main(command) == 0
    assert os.listdir(tmp_path) == ["recs.parquet"]
    assert pl.read_parquet(tmp_path / "recs.parquet").height == 38 * 6


def made_by(monkeypatch: pytest.MonkeyPatch, run: Callable[[], BatchResult]) -> tuple[list[int], BatchResult]:
    """Which shards a run writes."""
    written: list[int] = []
    write = shards.write_shard

    def wrote(folder: Path, plan: shards.Plan, shard: int, frame: pl.DataFrame) -> None:
        written.append(shard)
        write(folder, plan, shard, frame)

    with monkeypatch.context() as patch:
        patch.setattr(shards, "write_shard", wrote)
        done = run()
    return written, done


def test_only_what_is_missing_or_damaged_is_made_again(
    retriever: Retriever, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"

    def run() -> BatchResult:
        return recommend_to_parquet(retriever, out, k=5, shard_users=9)

    first = run()
    before, mark = content(out), (out / "_SUCCESS").read_text()
    assert made_by(monkeypatch, run) == ([], replace(first, resumed_shards=5))
    assert (out / "_SUCCESS").read_text() == mark
    (out / "part-00001.parquet").unlink()
    os.truncate(out / "part-00003.parquet", 100)
    assert made_by(monkeypatch, run) == ([1, 3], replace(first, resumed_shards=3))
    assert content(out) == before


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"k": 4}, "k is 5 there and 4 here"),
        ({"filter_seen": False}, "filter_seen is True there and False here"),
        ({"users": ["u1", "u2"]}, "users is 40 there and 2 here, user_list is"),
        ({"shard_users": 8}, "shard_users is 9 there and 8 here"),
    ],
)
def test_another_plan_is_refused_and_begun_anew_on_demand(
    change: dict[str, Any], says: str, retriever: Retriever, tmp_path: Path
) -> None:
    asked: dict[str, Any] = {"k": 5, "shard_users": 9}
    recommend_to_parquet(retriever, tmp_path / "out", **asked)
    before = content(tmp_path / "out")
    with pytest.raises(DataError, match=says):
        recommend_to_parquet(retriever, tmp_path / "out", **asked | change)
    assert content(tmp_path / "out") == before
    recommend_to_parquet(retriever, tmp_path / "out", **asked | change, overwrite=True)
    recommend_to_parquet(retriever, tmp_path / "fresh", **asked | change)
    assert content(tmp_path / "out") == content(tmp_path / "fresh")


def test_another_model_is_another_plan(retriever: Retriever, bundle: Path, tmp_path: Path) -> None:
    recommend_to_parquet(retriever, tmp_path / "out", k=5)
    shorter = replace(retriever, histories=retriever.histories.tail(3))
    with pytest.raises(DataError, match="bundle is .* there and .* here"):
        recommend_to_parquet(shorter, tmp_path / "out", k=5)
    with pytest.raises(DataError, match="bundle is .* there and .* here"):
        recommend_to_parquet(retriever, tmp_path / "out", k=5, bundle=bundle)


def test_a_fingerprint_tells_models_apart_by_all_that_they_answer_with(retriever: Retriever, bundle: Path) -> None:
    def named(*ids: str) -> Retriever:
        return replace(retriever, users=Vocabulary(pl.Series([*ids, *retriever.users.ids[len(ids) :]]), "user"))

    histories = retriever.histories
    fewer = replace(retriever)
    fewer.remove_items("i1")
    models = [
        retriever,
        named("ab", "c"),
        named("a", "bc"),
        fitted(make_events().with_columns(pl.col("item_id") + "!")),
        fewer,
        replace(retriever, histories=histories.tail(3)),
        replace(retriever, histories=replace(histories, rows=histories.rows[::-1])),
        fitted(max_length=3),
    ]
    prints = [fingerprint(model) for model in models] + [fingerprint(retriever, bundle)]
    assert all(one != other for one, other in itertools.combinations(prints, 2))
    assert fingerprint(replace(retriever)) == prints[0]


# What goes wrong.


def test_what_is_no_batch_is_refused_and_left(retriever: Retriever, tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("words")
    for overwrite in (False, True):
        with pytest.raises(DataError, match=r"thesis holds chapter\.txt and no plan\.json"):
            recommend_to_parquet(retriever, tmp_path / "thesis", overwrite=overwrite)
    (tmp_path / "folder.parquet").mkdir()
    with pytest.raises(DataError, match=r"folder\.parquet is a folder; name a file"):
        recommend_to_parquet(retriever, tmp_path / "folder.parquet")
    with pytest.raises(DataError, match=r"chapter\.txt is a file; name a folder, or a file that ends in \.parquet"):
        recommend_to_parquet(retriever, tmp_path / "thesis" / "chapter.txt")
    assert content(tmp_path / "thesis") == {"chapter.txt": b"words"}
    assert sorted(os.listdir(tmp_path)) == ["folder.parquet", "thesis"]


def test_a_second_writer_loses_nothing_of_the_first(retriever: Retriever, tmp_path: Path) -> None:
    out = tmp_path / "out"
    recommend_to_parquet(retriever, out, k=5, shard_users=9)
    (out / "part-00002.parquet.writing-abc").write_bytes(b"the first one is at it")
    before = content(out)
    with shards.only_writer(out), pytest.raises(DataError, match=r"out is being written by process \d+ on "):
        recommend_to_parquet(retriever, out, k=5, shard_users=9, overwrite=True)
    assert content(out) == before


def test_a_full_disk_keeps_what_is_finished_and_the_run_goes_on_later(
    retriever: Retriever, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, write, calls = tmp_path / "out", pl.DataFrame.write_parquet, itertools.count()

    def full(frame: pl.DataFrame, file: IO[bytes], **options: Any) -> None:
        if next(calls) == 2:
            file.write(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")
        write(frame, file, **options)

    def run() -> BatchResult:
        return recommend_to_parquet(retriever, out, k=5, shard_users=9)

    with monkeypatch.context() as patch:
        patch.setattr(pl.DataFrame, "write_parquet", full)
        with pytest.raises(OSError, match=r"No space left on device; what is finished is kept.*part-00002\.parquet"):
            run()
    assert sorted(content(out)) == ["part-00000.parquet", "part-00001.parquet", "plan.json"]
    assert made_by(monkeypatch, run)[0] == [2, 3, 4]
    recommend_to_parquet(retriever, tmp_path / "fresh", k=5, shard_users=9)
    assert content(out) == content(tmp_path / "fresh")


LIMITED = """
import resource, sys
from recsys.cli import main
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), -1))
sys.exit(main(sys.argv[2:]))
"""


def test_where_the_system_itself_refuses_to_write_the_command_says_so_in_one_line(bundle: Path, tmp_path: Path) -> None:
    command = ["recommend", str(bundle), "--k", "20", "--shard-users", "30", "--out", str(tmp_path / "out")]
    failed = in_subprocess(LIMITED, 2_000, *command)  # enough for the plan, too little for a shard
    said = failed.stderr.strip().splitlines()[-1]
    assert failed.returncode == 2, failed.stderr
    assert said.startswith(f"recsys: {tmp_path}/out/part-00000.parquet: ")
    assert said.endswith("; what is finished is kept, and the same command goes on there")
    assert "File too large" in said
    assert "Traceback" not in failed.stderr
    assert os.listdir(tmp_path / "out") == ["plan.json"]
    assert main(command) == 0
    assert read(tmp_path / "out").height == 38 * 20


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"k": 0}, "k must be at least 1, not 0"),
        ({"k": 31}, "k is 31, but the catalogue has 30 items"),
        ({"shard_users": 0}, "shard_users .* must be at least 1, not 0"),
        ({"users": []}, "users is empty"),
        ({"engine": "spark"}, "engine must be 'local' or 'ray', not 'spark'"),
        ({"workers": 0}, "workers .* must be at least 1, not 0"),
        ({"engine": "ray"}, "engine='ray' needs bundle="),
    ],
)
def test_an_impossible_request_writes_nothing(
    asked: dict[str, Any], says: str, retriever: Retriever, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=says):
        recommend_to_parquet(retriever, tmp_path / "out", **asked)
    with pytest.raises(UnknownIdError, match="unknown user 'nobody'"):
        recommend_to_parquet(retriever, tmp_path / "out", users=["u1", "nobody"])
    assert os.listdir(tmp_path) == []


# What a person sees.


def test_progress_is_told_in_users(
    retriever: Retriever, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(progress, "_LINE_EVERY", -1.0)
    monkeypatch.setattr(progress, "on_terminal", lambda: False)
    caplog.set_level(logging.INFO, logger="recsys")
    recommend_to_parquet(retriever, tmp_path / "out", k=5, shard_users=15)
    (tmp_path / "out" / "part-00001.parquet").unlink()
    recommend_to_parquet(retriever, tmp_path / "out", k=5, shard_users=15)
    lines = [message.split(" users, ")[0] for message in caplog.messages if message.startswith("recommending")]
    assert lines == ["recommending: 15/40", "recommending: 30/40", "recommending: 40/40", "recommending: 15/15"]
    assert "2 users have no history and get no recommendations" in caplog.messages
    assert "2 of 3 shards are there already" in caplog.messages
    assert all(message.endswith(" s left") for message in caplog.messages if message.startswith("recommending"))


def test_a_terminal_gets_a_bar_with_users_per_second(
    retriever: Retriever, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "on_terminal", lambda: True)
    recommend_to_parquet(retriever, tmp_path / "out", k=5, shard_users=15)
    drawn = capsys.readouterr().err
    assert "recommending" in drawn
    assert "/40" in drawn
    assert "user/s" in drawn


def test_the_command_tells_what_was_written(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = [
        "recommend",
        str(bundle),
        "--users",
        "all",
        "--k",
        "5",
        "--shard-users",
        "30",
        "--out",
        str(tmp_path / "out"),
    ]
    assert main(command) == 0
    assert capsys.readouterr().out == f"{tmp_path}/out: 190 rows for 38 users\n"
    assert main([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "out": f"{tmp_path}/out", "rows": 190, "users": 40, "shards": 2, "resumed_shards": 2, "without_history": 2
    }  # fmt: skip
    assert main([*command[:4], "--k", "6", "--shard-users", "30", "--out", str(tmp_path / "out")]) == 2
    assert "k is 5 there and 6 here" in capsys.readouterr().err
    assert main([*command[:4], "--k", "6", "--out", str(tmp_path / "out"), "--overwrite"]) == 0


@pytest.mark.parametrize("flags", [["--shard-users", "5"], ["--overwrite"], ["--engine", "ray"], ["--workers", "0"]])
def test_flags_of_the_batch_need_somewhere_to_write(flags: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recommend", "nowhere", "--users", "u1", *flags]) == 2
    assert f"{flags[0]} belongs to --out" in capsys.readouterr().err


def test_filters_hold_in_every_shard_and_are_part_of_the_plan(retriever: Retriever, tmp_path: Path) -> None:
    allow = retriever.items.ids[:12].to_list()
    recommend_to_parquet(retriever, tmp_path / "few", k=5, allow=allow, exclude=allow[:2], shard_users=7)
    assert set(read(tmp_path / "few")["item_id"]) <= set(allow[2:])
    with pytest.raises(DataError, match="allow is"):
        recommend_to_parquet(retriever, tmp_path / "few", k=5, exclude=allow[:2], shard_users=7)
    with pytest.raises(ConfigError, match="no column 'colour'|colour"):
        recommend_to_parquet(retriever, tmp_path / "other", where="colour == 1")
    assert not (tmp_path / "other").exists()
