"""Held-out users who are ranked by other processes, which load the bundle themselves, get the same figures."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from recsys.cli.parser import main
from recsys.core import cluster
from recsys.errors import DataError
from recsys.pipeline import evaluate_bundle
from recsys.pipeline import evaluate_on_cluster as elsewhere
from tests.conftest import make_events


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fast")
    make_events().write_csv(folder / "log.csv")
    assert main(["fit", str(folder / "log.csv"), "--fast", "--out", str(folder / "run")]) == 0
    return folder / "run"


def other(function: Callable[[Any], Any], jobs: Iterable[Any]) -> Iterator[Any]:
    for job in jobs:
        yield pickle.loads(pickle.dumps(function(pickle.loads(pickle.dumps(job)))))


def test_the_figures_are_the_same(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = list[elsewhere.RankJob]()

    @contextmanager
    def engine(name: str, workers: int | None) -> Iterator[Any]:
        yield map

    def noted(function: Callable[[Any], Any], jobs: Iterable[elsewhere.RankJob]) -> Iterator[Any]:
        jobs = list(jobs)
        asked.extend(jobs)
        return other(function, jobs)

    here = evaluate_bundle(bundle, (1, 5)).evaluation
    monkeypatch.setattr(cluster, "engine", engine)
    monkeypatch.setattr(elsewhere, "each", lambda: noted)
    monkeypatch.chdir(bundle.parent)
    there = evaluate_bundle(bundle.name, (1, 5), engine="ray").evaluation
    assert [one.folder for one in asked] == [bundle]
    assert (there.means, there.counts, there.overall) == (here.means, here.counts, here.overall)
    with pytest.raises(DataError, match="is another bundle on .* than where the evaluation was started"):
        elsewhere.answered(elsewhere.RankJob(bundle, "0" * 64, asked[0].asked))
