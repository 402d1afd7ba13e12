"""The examples run on a small log, each as its page says."""

from __future__ import annotations

import sys
from importlib import util
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd
import polars as pl
import pytest
from starlette.testclient import TestClient

import recsys
from recsys.serving.batch import ray_workers
from recsys.serving.batch import run as batch
from tests.conftest import make_events

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"


def example(name: str) -> ModuleType:
    spec = util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = util.module_from_spec(spec)
    sys.modules[name] = module  # where annotations that are text are looked up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    log = recsys.Interactions.from_frame(make_events())
    folder = tmp_path_factory.mktemp("examples") / "run"
    recsys.TwoTower(fast=True).fit(log).retriever(log=log).save(folder)
    return folder


def test_the_nightly_job_exchanges_whole_lists(bundle: Path, tmp_path: Path) -> None:
    job = example("nightly_batch")
    for day in ("2026-01-01", "2026-01-02"):
        assert job.main([str(bundle), str(tmp_path), "--k", "5", "--day", day]) == 0
        assert (tmp_path / "current").resolve().name == day
    assert pl.read_parquet(tmp_path / "current" / "part-*.parquet").height == 200


def test_the_service_answers(bundle: Path) -> None:
    client = TestClient(example("own_service").create_app(recsys.load(bundle)))
    assert [row["rank"] for row in client.get("/users/u3?k=3").json()] == [1, 2, 3]
    assert len(client.get("/histories?item=i4&item=i5&k=2").json()) == 2
    assert client.get("/users/nobody").status_code == 404
    assert client.get("/users/u3?k=0").status_code == 422


def test_pandas_comes_in_and_out() -> None:
    frame = pd.DataFrame(make_events().rename({"user_id": "userId", "item_id": "movieId"}).to_dict(as_series=False))
    found = example("pandas_in_and_out").recommend_to_all(frame, k=3)
    assert isinstance(found, pd.DataFrame)
    assert len(found) == 120


def test_the_study_has_trials_that_are_best_in_one_aim() -> None:
    made = example("optuna_study").study(recsys.Interactions.from_frame(make_events()), trials=2, epochs=1)
    assert len(made.trials) == 2
    assert made.best_trials


def test_the_daily_update_takes_nothing_in_twice(bundle: Path, tmp_path: Path) -> None:
    """What an update does is tested in tests/pipeline; a bundle that is there is left alone, and no events are read."""
    assert example("daily_update").update(bundle, tmp_path / "nowhere.csv", bundle) == 0


def test_the_cluster_is_asked_for_what_it_needs(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine itself is tested in tests/serving; here all its checks pass, and the work is left to one process."""

    def here(folder: Path, *others: Any) -> None:
        batch._make_here(recsys.load(folder), *others)

    monkeypatch.setattr(ray_workers, "make_on_ray", here)
    assert example("ray_cluster").main([str(bundle), str(tmp_path / "recs"), "--k", "3", "--workers", "2"]) == 0
    assert pl.read_parquet(tmp_path / "recs" / "part-*.parquet").height == 120


def test_every_example_is_listed() -> None:
    page = (EXAMPLES / "index.md").read_text(encoding="utf-8")
    assert all(f"]({file.name})" in page for file in EXAMPLES.glob("*.py"))
