"""Relations between items beside a learned table: weighed, explained, saved and kept through changes."""

from copy import copy
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import recsys
from recsys.cli.parser import main
from recsys.core.ragged import Ragged
from recsys.transitions.learn import Form, learn
from recsys.transitions.memory import TransitionMemory
from recsys.transitions.related import Related, related_tables
from tests.conftest import make_events

FORM = Form("counts", window=4, decay=2.0)
PAIRS = {
    "series": (np.array([0, 0, 3]), np.array([5, 6, 7]), np.array([2.0, 1.0, 1.0])),
    "complement": (np.array([3]), np.array([5]), np.array([1.0])),
}


def rows(*lists: list[int]) -> Ragged:
    return Ragged.from_lists(lists)


@pytest.fixture(scope="module")
def memory() -> TransitionMemory:
    table = learn(rows([0, 1, 2, 3], [1, 2, 0, 3]), 8, FORM)
    pairs = {name: (a.astype(np.int32), b.astype(np.int32), c.astype(np.float32)) for name, (a, b, c) in PAIRS.items()}
    return TransitionMemory(table, FORM, weight=0.5).with_related(related_tables(pairs, 8))


def test_related_items_are_scored_by_weight_and_age(memory: TransitionMemory) -> None:
    expected = {5: 1.0 * np.exp(-1 / 2) + 1.0, 6: 0.5 * np.exp(-1 / 2), 7: 0.5}
    found = memory.scores(rows([0, 3]))
    added = dict(zip(found.lists.rows.tolist(), found.scores.tolist(), strict=True))
    for item, score in expected.items():
        assert added[item] == pytest.approx(0.5 * score, rel=1e-6)
    shares = memory.relation_shares(rows([0, 3]), 5)
    assert shares == pytest.approx({"series": 0.5 * np.exp(-1 / 2), "complement": 0.5}, rel=1e-6)


def test_changes_keep_relations_apart_from_what_is_learned(memory: TransitionMemory) -> None:
    assert memory.learned is not None
    longer = memory.extended(10)
    assert longer.relation_shares(rows([0, 3]), 5) == memory.relation_shares(rows([0, 3]), 5)
    fewer = memory.shortened(np.array([0, 3, 5], dtype=np.int32))
    assert fewer.relation_shares(rows([0, 1]), 2) == memory.relation_shares(rows([0, 3]), 5)
    assert (memory.with_related(None).table != memory.learned).nnz == 0
    assert memory.related is not None
    turned = memory.related.moved(np.arange(8, dtype=np.int32)[::-1].copy(), 9)
    assert turned.tables[0][7, 2] == 1.0
    assert memory.related.moved(np.full(8, -1, dtype=np.int32), 9).total().nnz == 0


def test_relations_that_no_item_has_left_change_nothing(memory: TransitionMemory) -> None:
    assert memory.with_related(Related((), ())).related is None


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Everybody leaps from item i to item 29 - i, which no table of what came next can tell of held-out starts."""
    folder = tmp_path_factory.mktemp("related [1]")
    generator = np.random.default_rng(0)
    items = generator.integers(0, 30, (60, 5))
    items[:, [1, 3]] = 29 - items[:, [0, 2]]
    events = make_events(60, 5).with_columns(item_id=pl.Series([f"i{one}" for one in items.ravel()]))
    events.write_parquet(folder / "log.parquet")
    pairs = {"item_id": [f"i{one}" for one in range(30)], "related_item_id": [f"i{29 - one}" for one in range(30)]}
    noise = pairs | {"related_item_id": [f"i{(one + 3) % 30}" for one in range(30)], "relation": ["noise"] * 30}
    both = pl.concat([pl.DataFrame(pairs | {"relation": ["mirror"] * 30}), pl.DataFrame(noise)])
    both.write_csv(folder / "relations.csv")
    return folder


@pytest.fixture(scope="module")
def model(world: Path) -> recsys.TwoTower:
    split = recsys.leave_last_out(recsys.read_interactions(world / "log.parquet"))
    relations = recsys.read_relations(world / "relations.csv")
    training = recsys.Training(keep_seen=True)
    return recsys.TwoTower(fast=True).fit(split.train, validation=split.validation, training=training, relations=relations)


def test_a_relation_that_tells_what_comes_next_is_weighed_in_explained_and_kept(
    model: recsys.TwoTower, tmp_path: Path
) -> None:
    retriever = model.retriever(index="exact")
    memory = retriever.bundle.corpus.transitions
    assert memory is not None
    assert memory.related is not None
    assert "mirror" in memory.related.names
    told = retriever.score_breakdown(history=["i4"], item="i25")
    assert told["relation: mirror"] > 0
    whole = retriever.score(histories=[["i4"]], items=["i25"])["score"][0]
    assert sum(told.values()) == pytest.approx(whole, abs=1e-5)
    retriever.remove_items(["i25"])
    assert "i25" not in retriever.recommend(histories=[["i4"]], k=30)["item_id"].to_list()
    retriever.save(tmp_path / "again")
    kept = recsys.load(tmp_path / "again").bundle.corpus.transitions
    assert kept is not None
    assert kept.related is not None
    assert kept.related.names == memory.related.names
    assert (kept.alone != memory.alone).nnz == 0


def test_relations_need_something_held_out(world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["fit", str(world / "log.parquet"), "--fast", "--split", "none", "--out", str(tmp_path / "run")]
    assert main([*words, "--relations", str(world / "relations.csv")]) == 2
    assert "nothing is held out" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_refit_keeps_the_relations_in_its_own_rows(model: recsys.TwoTower, world: Path) -> None:
    before = model.transitions
    assert before is not None
    assert before.related is not None
    after = copy(model).refit(recsys.read_interactions(world / "log.parquet")).transitions
    assert after is not None
    assert after.related is not None
    assert after.related.names == before.related.names
    assert (after.alone != before.alone).nnz > 0
