"""The batch job when it is stopped or something goes wrong: nothing is lost, done twice or left half written."""

import errno
import itertools
import json
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import polars as pl
import pytest

from recsys.cli.parser import main
from recsys.core.id_map import IdMap
from recsys.errors import ConfigError, DataError, UnknownIdError
from recsys.serving.batch import shards
from recsys.serving.batch.run import BatchResult, recommend_to_parquet
from recsys.serving.batch.shard_job import fingerprint
from recsys.serving.retriever import Retriever
from tests.conftest import make_events
from tests.serving.ring_batches import content, fitted, in_subprocess, read

DYING = """
import os, signal, sys
import polars as pl
from recsys.cli.parser import main

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
    shorter = Retriever(replace(retriever.bundle, histories=retriever.histories.tail(3)))
    with pytest.raises(DataError, match="bundle is .* there and .* here"):
        recommend_to_parquet(shorter, tmp_path / "out", k=5)
    with pytest.raises(DataError, match="bundle is .* there and .* here"):
        recommend_to_parquet(retriever, tmp_path / "out", k=5, bundle=bundle)


def test_a_fingerprint_tells_models_apart_by_all_that_they_answer_with(retriever: Retriever, bundle: Path) -> None:
    def named(*ids: str) -> Retriever:
        return Retriever(
            replace(retriever.bundle, users=IdMap(pl.Series([*ids, *retriever.users.ids[len(ids) :]]), "user"))
        )

    histories = retriever.histories
    fewer = retriever.snapshot()
    fewer.remove_items("i1")
    models = [
        retriever,
        named("ab", "c"),
        named("a", "bc"),
        fitted(make_events().with_columns(pl.col("item_id") + "!")),
        fewer,
        Retriever(replace(retriever.bundle, histories=histories.tail(3))),
        Retriever(replace(retriever.bundle, histories=replace(histories, rows=histories.rows[::-1]))),
        fitted(max_length=3),
    ]
    prints = [fingerprint(model) for model in models] + [fingerprint(retriever, bundle)]
    assert all(one != other for one, other in itertools.combinations(prints, 2))
    assert fingerprint(retriever.snapshot()) == prints[0]


# What goes wrong.


def test_what_is_no_batch_is_refused_and_left(retriever: Retriever, tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("words")
    for overwrite in (False, True):
        with pytest.raises(DataError, match=r"thesis holds chapter\.txt and no _plan\.json"):
            recommend_to_parquet(retriever, tmp_path / "thesis", overwrite=overwrite)
    (tmp_path / "folder.parquet").mkdir()
    with pytest.raises(DataError, match=r"folder\.parquet is a folder; name a file"):
        recommend_to_parquet(retriever, tmp_path / "folder.parquet")
    with pytest.raises(
        DataError, match=r"chapter\.txt: recommendations .* name a folder, or a file that ends in \.parquet"
    ):
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
    assert sorted(name for name in content(out) if not name.endswith(".sha256")) == [
        "_plan.json", "part-00000.parquet", "part-00001.parquet"
    ]  # fmt: skip
    assert made_by(monkeypatch, run)[0] == [2, 3, 4]
    recommend_to_parquet(retriever, tmp_path / "fresh", k=5, shard_users=9)
    assert content(out) == content(tmp_path / "fresh")


LIMITED = """
import resource, sys
from recsys.cli.parser import main
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
    assert os.listdir(tmp_path / "out") == ["_plan.json"]
    assert main(command) == 0
    assert read(tmp_path / "out").height == 38 * 20


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"k": 0}, "k must be at least 1, not 0"),
        ({"k": 2.5}, "k must be a whole number"),
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
