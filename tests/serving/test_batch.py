"""The batch job: what it writes, within what memory, and what a person sees of it."""

import json
import logging
import os
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch

from recsys.cli.parser import main
from recsys.core import progress
from recsys.core.ragged import Ragged
from recsys.errors import ConfigError, DataError
from recsys.serving.batch import run as batch
from recsys.serving.batch import shards
from recsys.serving.batch.run import BatchResult, recommend_to_parquet
from recsys.serving.retriever import Retriever
from tests.serving.ring_batches import NEW, content, fitted, read

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
    parts = ["part-00000.parquet", "part-00001.parquet"]
    assert sorted(content(tmp_path / "out")) == sorted([*parts, *(f".{name}.sha256" for name in parts), "_plan.json"])
    assert pd.read_parquet(tmp_path / "out").equals(read(tmp_path / "out").to_pandas())  # the files beside are skipped


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
    recommend_to_parquet(reader, tmp_path / "at", k=3, request_time=5_000, shard_users=9)
    monkeypatch.setattr(batch.time, "time", lambda: 5_000.7)
    recommend_to_parquet(reader, tmp_path / "begun", k=3, shard_users=9)
    (tmp_path / "begun" / "part-00002.parquet").unlink()
    monkeypatch.setattr(batch.time, "time", lambda: 9_000_000.0)
    assert recommend_to_parquet(reader, tmp_path / "begun", k=3, shard_users=9).resumed_shards == 4
    assert content(tmp_path / "begun") == content(tmp_path / "at")
    single = reader.recommend("u8", k=3, request_time=5_000)
    assert read(tmp_path / "at").filter(user_id="u8").drop("score").equals(single.drop("score"))
    with pytest.raises(DataError, match="request_time is 5000 there and 6000 here"):
        recommend_to_parquet(reader, tmp_path / "at", k=3, request_time=6_000, shard_users=9)


# Within what memory.


def test_no_block_and_no_shard_is_larger_than_it_may_be(
    retriever: Retriever, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks: list[int] = []
    written: list[int] = []
    rank, write = retriever.recommend_rows, shards.write_shard

    def ranked(histories: Ragged, *arguments: Any, **options: Any) -> Any:
        blocks.append(len(histories))
        return rank(histories, *arguments, **options)

    def wrote(folder: Path, plan: shards.Plan, shard: int, frame: pl.DataFrame) -> None:
        written.append(frame.height)
        write(folder, plan, shard, frame)

    monkeypatch.setattr("recsys.serving.batch.shard_job._BLOCK", 4)
    monkeypatch.setattr(Retriever, "recommend_rows", lambda _, *given, **options: ranked(*given, **options))
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
        monkeypatch.setattr(Retriever, "recommend_rows", lambda _, *given, **options: ranked(*given, **options))
        with monkeypatch.context() as patch:
            patch.setattr("recsys.serving.batch.shard_job._BLOCK", 4)
            recommend_to_parquet(retriever, tmp_path / "small", k=5, shard_users=30, workers=3)
        recommend_to_parquet(retriever, tmp_path / "again", k=5, shard_users=30)
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert most == 3
    assert inside == {1}
    assert read(tmp_path / "small").drop("score").equals(read(tmp_path / "alone").drop("score"))
    assert content(tmp_path / "again") == content(tmp_path / "alone")


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
        "out": f"{tmp_path}/out", "rows": 190, "users": 40, "shards": 2, "resumed_shards": 2, "without_history": 2,
            "nothing_left": 0, "unknown_users": 0, "unknown_items": 0,
    }  # fmt: skip
    assert main([*command[:4], "--k", "6", "--shard-users", "30", "--out", str(tmp_path / "out")]) == 2
    assert "k is 5 there and 6 here" in capsys.readouterr().err
    assert main([*command[:4], "--k", "6", "--out", str(tmp_path / "out"), "--overwrite"]) == 0


@pytest.mark.parametrize("flags", [["--shard-users", "5"], ["--overwrite"], ["--engine", "ray"], ["--workers", "0"]])
def test_flags_of_the_batch_need_somewhere_to_write(flags: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recommend", "nowhere", "--users", "u1", *flags]) == 2
    assert f"{flags[0]} needs --out" in capsys.readouterr().err


def test_filters_hold_in_every_shard_and_are_part_of_the_plan(retriever: Retriever, tmp_path: Path) -> None:
    allow = retriever.items.ids[:12].to_list()
    recommend_to_parquet(retriever, tmp_path / "few", k=5, eligible=allow, exclude=allow[:2], shard_users=7)
    assert set(read(tmp_path / "few")["item_id"]) <= set(allow[2:])
    with pytest.raises(DataError, match="eligible is"):
        recommend_to_parquet(retriever, tmp_path / "few", k=5, exclude=allow[:2], shard_users=7)
    with pytest.raises(ConfigError, match="no column 'colour'|colour"):
        recommend_to_parquet(retriever, tmp_path / "other", where="colour == 1")
    assert not (tmp_path / "other").exists()
