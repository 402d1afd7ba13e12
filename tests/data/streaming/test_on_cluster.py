"""A store that other processes make, file by file and range by range, is the local one byte by byte."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import recsys
from recsys.data import importing
from recsys.data.streaming import build
from recsys.data.streaming.bounds import Bounds
from recsys.errors import ConfigError, DataError
from tests.data.streaming.test_streaming import CHOICES, frame, write


def elsewhere(function: Callable[[Any], Any], jobs: Iterable[Any]) -> Iterator[Any]:
    """As other processes: a job and its result are pickled, and no object is shared."""
    for job in jobs:
        yield pickle.loads(pickle.dumps(function(pickle.loads(pickle.dumps(job)))))


@pytest.fixture(autouse=True)
def pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def engine(name: str, workers: int | None) -> Iterator[Any]:
        yield elsewhere if name == "ray" else map

    monkeypatch.setattr(build, "engine_of", engine)
    monkeypatch.setattr(importing.Bounds, "of", lambda _: Bounds(rows=7, events=11, memory=1 << 30))


def content(folder: Path) -> dict[str, bytes]:
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def same(log: Path, tmp_path: Path, **how: Any) -> None:
    recsys.import_log(log, tmp_path / "here", **how)
    aside = how.get("quarantine")
    there = how if aside is None else how | {"quarantine": tmp_path / "aside-there"}
    recsys.import_log(log, tmp_path / "there", engine="ray", workers=2, **there)
    assert content(tmp_path / "here") == content(tmp_path / "there")
    assert sorted(one.name for one in tmp_path.iterdir() if ".writing-" in one.name) == []
    if aside is not None:
        assert content(aside) == content(tmp_path / "aside-there")


@pytest.mark.parametrize("how", CHOICES, ids=str)
def test_the_store_is_the_same(tmp_path: Path, how: dict[str, Any]) -> None:
    (tmp_path / "log").mkdir()
    for seed, ending in enumerate(("parquet", "csv", "ndjson")):
        write(frame(seed, text=seed != 1), tmp_path / "log" / f"{seed}.{ending}")
    same(tmp_path / "log", tmp_path, **how)


def test_what_is_left_out_or_set_aside_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # the names of files are those that were given
    (tmp_path / "log").mkdir()
    for seed in range(3):
        times = pl.col("timestamp").cast(pl.String)
        odd = frame(seed).with_columns(
            pl.when(pl.int_range(60) % 13 == seed).then(pl.lit("")).otherwise(times).alias("timestamp")
        )
        odd.write_csv(tmp_path / "log" / f"{seed}.csv")
    (tmp_path / "log" / "1.csv").open("a").write("u1,i1\n")
    how: dict[str, Any] = {"on_error": "quarantine", "quarantine": tmp_path / "aside", "quarantine_limit": 0.5}
    same(Path("log"), tmp_path, **how)
    rows = pl.read_parquet(tmp_path / "aside" / "rows.parquet")
    assert rows["file"].unique().sort().to_list() == ["log/0.csv", "log/1.csv", "log/2.csv"]
    (tmp_path / "more").mkdir()
    (tmp_path / "log" / "1.csv").unlink()
    same(Path("log"), tmp_path / "more", drop_unordered=True)


def test_what_cannot_be_shared_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="reads files, which all its workers see"):
        recsys.import_log(frame(0), tmp_path / "out", engine="ray")
    recsys.import_log(frame(0), tmp_path / "out")
    with pytest.raises(ConfigError, match="--engine.* is for new stores"):
        recsys.import_log(frame(0), tmp_path / "out", append=True, engine="ray")


def test_a_machine_that_does_not_see_the_files_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(frame(0), tmp_path / "log.parquet")

    def blind(function: Callable[[Any], Any], jobs: Iterable[Any]) -> Iterator[Any]:
        jobs = list(jobs)
        (tmp_path / "log.parquet").rename(tmp_path / "gone.parquet")
        return map(function, jobs)

    @contextmanager
    def engine(name: str, workers: int | None) -> Iterator[Any]:
        yield blind

    monkeypatch.setattr(build, "engine_of", engine)
    with pytest.raises(DataError, match=r"log\.parquet is not there on .*: on a cluster, all machines must see the log"):
        recsys.import_log(tmp_path / "log.parquet", tmp_path / "out", engine="ray")
    assert [one.name for one in tmp_path.iterdir()] == ["gone.parquet"]
    assert logging.getLogger("recsys").level == logging.NOTSET
