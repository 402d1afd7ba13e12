"""What the quality benchmark keeps of a cell is what was evaluated, and tables of different tasks have different names."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pytest

import recsys
from recsys.data.interactions import Interactions

BENCHMARKS = Path(__file__).parents[1] / "training" / "benchmarks"


def test_recall_and_ndcg_follow_from_the_places_that_are_kept(
    ring: Interactions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    places = importlib.import_module("places")
    split = recsys.user_split(ring, users=0.2, fold_in=0.5, validation=False)
    report = recsys.evaluate(recsys.ItemKNN().fit(split.train), split.test, (10, 50, 100))
    cell = tmp_path / "item-knn-0.json"
    places.keep_places(cell, report, split.test)
    gains = places.Gains(places.places_file(cell))
    assert gains.targets.max() > 1
    for metric in ("recall@10", "ndcg@10", "recall@50", "ndcg@100"):
        assert gains.of(metric) == pytest.approx(report.per_user[metric], abs=1e-12)
    with pytest.raises(ValueError, match="by its places"):
        places.gains_of([cell], "recall@10", [report["recall@10"] + 0.01])
    better = np.clip(gains.of("ndcg@10") + 0.1, None, 1.0)
    assert places.ahead(better, [gains.of("ndcg@10"), better, None])[1:] == ["+0.0000 not told apart, p = 1", ""]


def test_each_task_has_a_table_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    setting = importlib.import_module("cells").Setting
    assert setting("ml-1m").name == "ml-1m"
    assert setting("amazon-beauty", ties="item").name == "amazon-beauty-ties-item"
    assert setting("amazon-beauty", "item", "time", "catalog").name == "amazon-beauty-ties-item-time-catalog"
    assert setting("ml-1m", candidates="catalog").flags == " --candidates catalog"
