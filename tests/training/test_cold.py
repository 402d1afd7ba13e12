"""Items without events in training are lowered as far as their price on validation asks for it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

import recsys
from recsys.config.training import Training
from recsys.data.catalog import Catalog
from recsys.data.split import Split
from recsys.two_tower import TwoTower
from tests.conftest import make_items


@pytest.fixture(scope="module")
def crowd() -> Catalog:
    """Each item of the ring, and three that nobody touched with the same words."""
    items = make_items(extra=0)
    copies = [items.with_columns(pl.col("item_id") + f"-{copy}") for copy in range(3)]
    return Catalog.from_frame(pl.concat([items, *copies]), text=["title"])


def _fitted(split: Split, catalog: Catalog, price: float) -> TwoTower:
    training = Training(epochs=4, batch_tokens=64, learning_rate=0.01, cold_price=price)
    model = TwoTower(encoder=None, word_features="on", use_ids=False, dim=16, max_length=8, transitions="none")
    return model.fit(split.train, catalog, validation=split.validation, training=training)


def test_cold_items_cost_as_little_as_asked_and_do_not_vanish(ring_split: Split, crowd: Catalog) -> None:
    free, fair = (_fitted(ring_split, crowd, price) for price in (1.0, 0.005))
    touched = np.arange(len(ring_split.validation.items), dtype=np.int32)
    alone = recsys.evaluate(free, ring_split.validation, 10, eligible=touched)["ndcg@10"]
    figures = [recsys.evaluate(model, ring_split.validation, 10)["ndcg@10"] for model in (free, fair)]
    assert figures[0] < 0.9 * alone
    assert figures[1] >= 0.995 * alone
    known = free.towers.net.items.has_id.numpy()
    scales = fair.vectors[~known] / free.vectors[~known]
    assert np.array_equal(fair.vectors[known], free.vectors[known])
    assert 0.0 < scales.min() == pytest.approx(scales.max(), rel=1e-4)
    assert scales.max() < 1.0
    ranked = fair.recommend_rows(ring_split.validation.histories, 60).lists.rows
    assert not known[ranked].all()


def test_a_served_model_keeps_the_factor(ring_split: Split, crowd: Catalog, tmp_path: Path) -> None:
    model = _fitted(ring_split, crowd, 0.005)
    factor = float(model.towers.net.cold_scale)
    retriever = model.retriever(index="exact")
    retriever.save(tmp_path / "run")
    again = recsys.load(tmp_path / "run")
    assert np.array_equal(again.bundle.towers.vectors, model.vectors)
    for item in ("i4", "i4-1"):
        shares = again.score_breakdown(history=["i3"], item=item)
        answer = again.recommend(histories=[["i3"]], k=120).filter(pl.col("item_id") == item)
        assert sum(shares.values()) == pytest.approx(answer["score"].item(), abs=1e-4)
    again.add_items(pl.DataFrame({"item_id": ["new"], "title": ["a red car"]}))
    answer = again.recommend(histories=[["i3"]], k=121)
    like, new = (answer.filter(pl.col("item_id") == item)["score"].item() for item in ("i0-1", "new"))
    assert factor < 1.0
    assert new == pytest.approx(like, abs=1e-5)
