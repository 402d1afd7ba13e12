"""A fast model: the transition memory alone is fitted, evaluated, saved and served like any other model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import recsys
from recsys.cli.parser import main
from recsys.core.ragged import Ragged
from recsys.data.catalog import Catalog
from recsys.data.interactions import Interactions
from recsys.data.split import Split
from recsys.errors import ConfigError, RecsysError, UnsupportedError
from recsys.report import build
from recsys.serving.retriever import Retriever
from recsys.two_tower import Recipe, TwoTower
from tests.conftest import make_events, make_items
from tests.contract import CHECKS, PERSONAL, Check


def make() -> TwoTower:
    return TwoTower(fast=True)


@pytest.mark.parametrize("check", CHECKS + PERSONAL, ids=lambda check: check.__name__)
def test_a_fast_model_keeps_every_promise(check: Check) -> None:
    check(make)


@pytest.fixture(scope="module")
def fast(ring_split: Split, ring_catalog: Catalog) -> TwoTower:
    return make().fit(ring_split.train, ring_catalog, validation=ring_split.validation)


@pytest.fixture
def served(fast: TwoTower, ring: Interactions, ring_split: Split) -> Retriever:
    return fast.retriever(log=ring, holdout=ring_split.test)


def test_the_next_item_of_the_ring_is_found(fast: TwoTower, ring_split: Split) -> None:
    assert ring_split.test is not None
    found = recsys.evaluate(fast, ring_split.test, k=5)
    assert found["recall@5"] == 1.0
    assert not any(name.startswith("diversity") for name in found.means)


def test_without_validation_it_has_the_usual_form(ring: Interactions) -> None:
    memory = make().fit(ring).transitions
    assert memory is not None
    assert (memory.form.kind, memory.form.decay, memory.form.regularisation, memory.weight) == ("ridge", 3.0, 200.0, 1.0)


def test_what_it_does_not_know_is_ranked_by_popularity(served: Retriever, ring_split: Split) -> None:
    counts = ring_split.train.item_counts
    found = served.recommend(histories=[["new0"]], k=32, filter_seen=False)
    rows = served.items.to_rows(found["item_id"].to_list())
    assert np.all(np.diff(counts[rows[rows < len(counts)]]) <= 0)
    assert set(found["item_id"][-2:]) == {"new0", "new1"}  # items without an event come last


def test_an_entry_outweighs_popularity(served: Retriever) -> None:
    best = served.recommend(histories=[["i3"]], k=1)
    assert best["item_id"][0] == "i4"
    shares = served.score_breakdown(history=["i3"], item="i4")
    assert list(shares) == ["popularity", "transitions"]
    assert 0 < shares["popularity"] < 1e-4 < shares["transitions"]
    assert sum(shares.values()) == pytest.approx(best["score"][0])
    assert served.score(histories=[["i3"]], items=["i4"])["score"][0] == pytest.approx(best["score"][0])
    assert served.explain(history=["i3"], item="i4")["contribution"][0] > 0


def test_a_saved_one_answers_alike(served: Retriever, tmp_path: Path) -> None:
    served.save(tmp_path / "bundle")
    loaded = recsys.load(tmp_path / "bundle")
    assert loaded.bundle.config.fast
    assert loaded.name == "fast model"
    assert loaded.recommend("u7", k=5).equals(served.recommend("u7", k=5))
    assert main(["inspect", str(tmp_path / "bundle")]) == 0
    assert main(["recommend", str(tmp_path / "bundle"), "--out", str(tmp_path / "all.parquet")]) == 0
    assert main(["index", str(tmp_path / "bundle"), "--kind", "hnsw"]) == 2
    assert main(["index", str(tmp_path / "bundle")]) == 0


def test_a_saved_table_of_counts_still_takes_events(ring: Interactions, tmp_path: Path) -> None:
    TwoTower(fast=True, transitions="counts").fit(ring).retriever().save(tmp_path / "bundle")
    memory = recsys.load(tmp_path / "bundle").bundle.corpus.transitions
    assert memory is not None
    assert not memory.table.data.flags.writeable  # a view of the file, not a copy
    row, column = ring.items.to_rows(["i3", "i20"])
    clicked = Ragged.from_lists([[row, column]])
    assert memory.updated(clicked, np.array([1])).table[row, column] > memory.table[row, column]


def test_items_come_and_go(served: Retriever) -> None:
    served.add_items(pl.DataFrame({"item_id": ["later"], "title": ["a red boat"]}))
    assert served.recommend("u7", k=40)["item_id"][-1] == "later"
    best = served.recommend(histories=[["i3"]], k=1)["item_id"][0]
    served.remove_items([best])
    assert best not in served.recommend(histories=[["i3"]], k=40)["item_id"]
    served.compact()
    assert served.recommend("u7", k=1, where="title == 'a red boat'")["item_id"].to_list() == ["later"]


def test_similar_items_are_those_that_follow(served: Retriever) -> None:
    found = served.similar_items(["i3", "new0"], k=3)
    assert found["item_id"].unique().to_list() == ["i3"]  # nothing ever followed new0
    assert found["similar_item_id"][0] == "i4"
    memory = served.bundle.corpus.transitions
    assert memory is not None
    row, column = served.items.to_rows(["i3", "i4"])
    assert found["score"][0] == memory.table[row, column]
    assert served.similar_items("i3", where="title != 'a red bike'")["similar_item_id"][0] != "i4"
    served.remove_items(["i4"])
    assert "i4" not in served.similar_items("i3")["similar_item_id"]


def test_a_log_without_order_has_one(ring: Interactions, ring_catalog: Catalog) -> None:
    events = make_events().drop("timestamp")
    log = Interactions.from_frame(events, unordered=True)
    split = recsys.random_split(log)
    model = make().fit(split.train, ring_catalog, validation=split.validation)
    assert model.transitions is not None
    assert np.isinf(model.transitions.form.decay)


@pytest.mark.parametrize(
    ("call", "what"),
    [
        (lambda one: one.search("red"), "search by text"),
        (lambda one: one.similar_users("u1"), "similar users"),
        (lambda one: one.similar_items("i1", by="vectors"), "by='vectors'"),
        (lambda one: one.choose_index(kinds=["hnsw"]), "approximate"),
        (lambda one: one.recommend("u1", rules=recsys.Rules.of({"diversity": {"lambda": 0.5}})), "diversity"),
    ],
)
def test_what_needs_vectors_is_refused(served: Retriever, call: Any, what: str) -> None:
    with pytest.raises(UnsupportedError, match=f"{what}.* a fast model has none; fit it again without fast"):
        call(served)


@pytest.mark.parametrize(
    "fit",
    [
        lambda log: TwoTower(fast=True, dim=64),
        lambda log: TwoTower(fast=True, transitions="none"),
        lambda log: Recipe.read(model={"fast": True, "dim": 128}),
        lambda log: Recipe.read(model={"fast": True}, training={"epochs": 3}),
        lambda log: make().fit(log, training=recsys.Training(epochs=3)),
        lambda log: make().fit(log, objective=recsys.Objective(weighted=True)),
        lambda log: make().fit(log, augment=recsys.Augment(crop=0.5)),
        lambda log: make().fit(log, checkpoint="somewhere", resume=True),
    ],
)
def test_what_belongs_to_towers_is_refused(ring: Interactions, fit: Any) -> None:
    with pytest.raises(ConfigError, match="a fast model .* leave .*out"):
        fit(ring)


def test_the_encoder_may_be_called_none() -> None:
    assert Recipe.read(model={"fast": True, "encoder": None}).model == TwoTower(fast=True).config


def test_a_report_says_what_it_is(served: Retriever) -> None:
    figures = build(served.bundle, served, baselines=False).figures
    assert figures["headline"]["model"] == "fast model"
    assert "--fast" in figures["headline"]["command"]
    assert set(figures["left_out"]) >= {"map", "training"}
    assert "transition memory" in recsys.report.model_card(figures)


def test_the_command_fits_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_events().write_csv(tmp_path / "log.csv")
    make_items().write_csv(tmp_path / "items.csv")
    data = [str(tmp_path / "log.csv"), "--catalog", str(tmp_path / "items.csv")]
    out = ["--out", str(tmp_path / "bundle")]
    assert main(["fit", *data, "--fast", *out, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["best_epoch"] is None
    assert told["test"] is not None
    assert main(["fit", *data, "--fast", *out, "--overwrite", "--split", "none"]) == 0
    assert main(["evaluate", str(tmp_path / "bundle")]) == 2
    assert main(["fit", *data, "--fast", "--epochs", "3", *out, "--overwrite"]) == 2
    assert "--epochs" in capsys.readouterr().err
    assert main(["fit", *data, "--fast", "--dry-run"]) == 2


def test_a_search_is_refused(tmp_path: Path) -> None:
    from recsys.config.recipe import TABLES
    from recsys.tuning.space import read_space

    (tmp_path / "space.toml").write_text("[model]\nfast = true\n[search.training]\nseed = [1, 2]\n")
    with pytest.raises(RecsysError, match="fast"):
        read_space(tmp_path / "space.toml", TABLES)
