"""Floors of exposure: a group of items that is hardly shown gets its share of the lists, and the price is told."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from polars.testing import assert_frame_equal

import recsys
from recsys.compression.export import export
from recsys.config.training import Training
from recsys.data.catalog import Catalog
from recsys.data.interactions import Interactions
from recsys.data.split import Split
from recsys.errors import ConfigError
from recsys.serving.runtime import load
from recsys.training.exposure import check_floors
from recsys.training.update.joint import joined
from recsys.training.update.run import updated
from recsys.two_tower import TwoTower
from tests.conftest import make_items

FLOOR = 0.3
RARE = ["i27", "i28", "i29", "new0", "new1"]


@pytest.fixture(scope="module")
def kinds() -> Catalog:
    """Five items of thirty-two are rare, one of them is odd too; one is of no kind."""
    kind = pl.when(pl.col("item_id") == "i27").then(pl.lit("rare|odd")).when(pl.col("item_id").is_in(RARE)).then(
        pl.lit("rare")
    ).when(pl.col("item_id") == "i0").then(None).otherwise(pl.lit("common"))  # fmt: skip
    return Catalog.from_frame(make_items().with_columns(kind=kind), text=["title"])


def _fitted(split: Split, catalog: Catalog, *floors: str) -> TwoTower:
    training = Training(epochs=4, batch_tokens=64, learning_rate=0.01, exposure_floors=floors, cold_price=1.0)
    model = TwoTower(encoder=None, word_features="on", dim=8, blocks=1, max_length=8)
    return model.fit(split.train, catalog, validation=split.validation, training=training)


@pytest.fixture(scope="module")
def free(ring_split: Split, kinds: Catalog) -> TwoTower:
    return _fitted(ring_split, kinds)


@pytest.fixture(scope="module")
def fair(ring_split: Split, kinds: Catalog) -> TwoTower:
    return _fitted(ring_split, kinds, f"kind:rare={FLOOR}")


def _share(model: recsys.Ranker, split: Split) -> float:
    report = recsys.evaluate(model, split.validation, 10)
    rare = model.items.to_rows(pl.Series(RARE))
    return float(report.exposure[10][rare].sum() / report.exposure[10].sum())


def test_a_group_reaches_its_floor_by_the_least_factor(free: TwoTower, fair: TwoTower, ring_split: Split) -> None:
    assert fair.log is not None
    told = fair.log.exposure
    assert told is not None
    (group,) = told["groups"]
    assert group["before"] == pytest.approx(_share(free, ring_split))
    assert group["after"] == pytest.approx(_share(fair, ring_split))
    assert group["before"] < FLOOR <= group["after"]
    prices = {one["name"]: one for one in told["figures"]}
    for name, model in (("before", free), ("after", fair)):
        assert prices["ndcg@10"][name] == pytest.approx(recsys.evaluate(model, ring_split.validation, 10)["ndcg@10"])
    rare = fair.items.to_rows(pl.Series(RARE))
    others = np.setdiff1d(np.arange(len(fair.items)), rare)
    assert np.array_equal(fair.vectors[others], free.vectors[others])
    np.testing.assert_allclose(fair.vectors[rare], free.vectors[rare] * np.float32(group["factor"]), rtol=1e-6)
    less = copy.copy(free)
    less._towers = replace(free.towers, net=copy.copy(free.towers.net))  # which has made no vectors yet
    less.towers.net.group_scale = torch.ones(len(free.items))
    less.towers.net.group_scale[rare] = float(group["factor"]) / 1.02
    assert _share(less, ring_split) < FLOOR


def test_every_path_ranks_by_the_factors(
    fair: TwoTower, ring: Interactions, ring_split: Split, tmp_path: Path, kinds: Catalog
) -> None:
    retriever = fair.retriever(index="exact", log=ring, holdout=ring_split.test)
    retriever.save(tmp_path / "run")
    again = recsys.load(tmp_path / "run")
    assert np.array_equal(again.bundle.vectors, fair.vectors)
    assert _share(again, ring_split) == _share(fair, ring_split)
    told = json.loads((tmp_path / "run" / "manifest.json").read_text())["exposure"]
    assert told == fair.log.exposure  # type: ignore[union-attr]
    export(again.bundle, tmp_path / "onnx")  # whose item tower takes the factors as an input
    runtime, asks = load(tmp_path / "onnx"), again.users.ids
    assert_frame_equal(runtime.recommend(asks, k=12), again.recommend(asks, k=12), abs_tol=1e-5)
    shown = runtime.recommend(histories=[["i3"]], k=40)
    assert_frame_equal(shown, again.recommend(histories=[["i3"]], k=40), abs_tol=1e-5)
    near = fair.retriever(index=recsys.IndexSpec("ivf", lists=2, nprobe=2), log=ring)
    asked = {"users": ["u1", "u2"], "k": 12}
    assert near.recommend(**asked)["item_id"].to_list() == again.recommend(**asked)["item_id"].to_list()
    for item in ("i27", "i5"):
        shares = again.score_breakdown(history=["i3"], item=item)
        answer = again.recommend(histories=[["i3"]], k=40).filter(pl.col("item_id") == item)
        assert sum(shares.values()) == pytest.approx(answer["score"].item(), abs=1e-4)
    again.add_items(pl.DataFrame({"item_id": ["x", "y"], "title": ["a red car"] * 2, "kind": ["rare", "common"]}))
    lengths = np.linalg.norm(again.bundle.vectors[again.items.to_rows(pl.Series(["x", "y"]))], axis=1)
    factor = told["groups"][0]["factor"]
    assert lengths[0] == pytest.approx(factor * lengths[1], rel=1e-5)
    day = pl.DataFrame([("u1", "x", 9000), ("u2", "i28", 9001)], schema=["user_id", "item_id", "timestamp"], orient="row")
    bundle = recsys.load(tmp_path / "run").bundle
    more = pl.concat([make_items().with_columns(kind=kinds.columns["kind"]), pl.DataFrame(
        {"item_id": ["x"], "title": ["a red car"], "kind": ["rare"]}
    )])  # fmt: skip
    after = updated(bundle, joined(bundle, Interactions.from_frame(day)), Catalog.from_frame(more, text=["title"]))
    scale = after.towers.net.group_scale
    assert scale is not None
    assert scale[after.items.to_rows(pl.Series(["x", "i28", "i5"]))].tolist() == pytest.approx([factor, factor, 1.0])


def test_refitting_keeps_the_factors(fair: TwoTower, ring_split: Split) -> None:
    before = fair.towers.net.group_scale
    again = fair.refit(ring_split.train)
    assert before is not None
    assert again.towers.net.group_scale is not None
    assert again.towers.net.group_scale.tolist() == before.tolist()


@pytest.mark.parametrize(
    ("floors", "said"),
    [
        (["kind"], "COLUMN:GROUP=SHARE"),
        (["kind:rare=1.5"], "between 0 and 1"),
        (["kind:rare=0.1", "title:a=0.1"], "one column"),
        (["kind:rare=0.1", "kind:rare =0.2"], "twice"),
    ],
)
def test_floors_that_cannot_be_read(floors: list[str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Training(exposure_floors=tuple(floors))


@pytest.mark.parametrize(
    ("floors", "said"),
    [
        (["colour:red=0.1"], "colour"),
        (["kind:rarer=0.1"], "no item of the catalogue has 'rarer'.*'common', 'odd', 'rare'"),
        (["kind:rare=0.6"], "5 items, which fill at most 50.0%"),
        (["kind:common=0.7", "kind:odd=0.1", "kind:rare=0.4"], None),
        (["kind:common=0.7", "kind:rare=0.4"], "share no item"),
    ],
)
def test_floors_out_of_reach_are_refused_before_training(
    kinds: Catalog, ring_split: Split, floors: list[str], said: str | None
) -> None:
    training = Training(exposure_floors=tuple(floors))
    if said is None:  # a rare item is odd too, so that the sum proves nothing
        check_floors(training, kinds, ring_split.validation)
        return
    with pytest.raises(ConfigError, match=said):
        check_floors(training, kinds, ring_split.validation)


def test_floors_need_a_catalogue_and_validation(kinds: Catalog, ring_split: Split) -> None:
    training = Training(exposure_floors=("kind:rare=0.1",))
    with pytest.raises(ConfigError, match="--catalog"):
        check_floors(training, None, ring_split.validation)
    with pytest.raises(ConfigError, match="--split"):
        check_floors(training, kinds, None)
