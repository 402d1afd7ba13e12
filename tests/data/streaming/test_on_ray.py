"""Two workers of Ray make the store, count the pairs and rank the users that one process does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import recsys
from recsys.core import cluster
from recsys.errors import DataError
from recsys.transitions.pairs import pair_sums
from tests.data.streaming.test_on_cluster import content
from tests.data.streaming.test_streaming import frame, write


@pytest.fixture(scope="module")
def ray():
    import ray

    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield ray
    ray.shutdown()


@pytest.mark.usefixtures("ray")
def test_two_workers_import_byte_by_byte(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "log").mkdir()
    for seed, ending in enumerate(("parquet", "csv", "ndjson", "parquet")):
        write(frame(seed, 500, text=seed != 1), tmp_path / "log" / f"{seed}.{ending}")
    (tmp_path / "log" / "1.csv").write_text((tmp_path / "log" / "1.csv").read_text().replace(",", ";"))
    how = {"event": "kind", "weight": "stars", "ties": "item"}
    recsys.import_log(tmp_path / "log", tmp_path / "here", **how)
    caplog.clear()
    with caplog.at_level("INFO", logger="recsys"):
        recsys.import_log(tmp_path / "log", tmp_path / "there", engine="ray", workers=2, **how)
    assert content(tmp_path / "here") == content(tmp_path / "there")
    assert any("the columns are separated by ';'" in line for line in caplog.messages)  # said by a worker
    with pytest.raises(DataError, match="has no column 'who'"):
        recsys.import_log(tmp_path / "log", tmp_path / "other", engine="ray", user="who")
    assert not (tmp_path / "other").exists()


@pytest.mark.usefixtures("ray")
def test_two_workers_count_what_one_process_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recsys.transitions.pairs._EVENTS_AT_ONCE", 100)
    log = recsys.Interactions.from_frame(frame(0, 2000))
    here = pair_sums(log.histories, len(log.items), 9, 2.0)
    with cluster.engine("ray", 2):
        there = pair_sums(log.histories, len(log.items), 9, 2.0)
        for mine, theirs in ((here.cross, there.cross), (here.gram, there.gram)):
            assert np.array_equal(mine.indices, theirs.indices)
            assert np.array_equal(mine.data, theirs.data)
    assert np.array_equal(here.squares, there.squares)
