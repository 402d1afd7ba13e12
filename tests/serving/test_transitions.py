"""Towers with a transition memory beside them: every path gives the same sums, and a bundle keeps them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import recsys
from recsys.bundle.describe import describe
from recsys.core.ragged import Ragged
from recsys.data.catalog import Catalog
from recsys.data.interactions import Interactions
from recsys.data.split import Split
from recsys.errors import BundleError
from recsys.serving.retriever import Retriever
from recsys.transitions.memory import TransitionMemory

SMALL = {"encoder": None, "dim": 8, "heads": 1, "blocks": 1}


def towers_alone(retriever: Retriever) -> Retriever:
    bundle = retriever.bundle
    return Retriever(replace(bundle, corpus=replace(bundle.corpus, transitions=None)))


@pytest.fixture(scope="module")
def model(ring_split: Split, ring_catalog: Catalog) -> recsys.TwoTower:
    """Hardly trained towers, so that the memory knows more."""
    training = recsys.Training(epochs=1, learning_rate=1e-5, device="cpu")
    model = recsys.TwoTower(**SMALL, max_length=6, word_features="on")
    return model.fit(ring_split.train, ring_catalog, validation=ring_split.validation, training=training)


@pytest.fixture(scope="module")
def retriever(model: recsys.TwoTower, ring: Interactions, ring_split: Split) -> Retriever:
    return model.retriever(log=ring, holdout=ring_split.test)


def memory_of(retriever: Retriever) -> TransitionMemory:
    memory = retriever.bundle.corpus.transitions
    assert memory is not None
    return memory


def sums(retriever: Retriever, history: list[int]) -> np.ndarray:
    """The score of each item by definition: towers, and the table's rows by age."""
    read = Ragged.from_lists([history])
    vector = retriever.towers.user_vectors(read).numpy()[0]
    memory = memory_of(retriever)
    table, total = memory.table.toarray(), np.zeros(len(memory))
    for age, item in enumerate(reversed(history[-memory.form.window :])):
        total += memory.weight * np.exp(-age / memory.form.decay) * table[item]
    return retriever.vectors @ vector + total


def test_the_default_learns_a_memory_where_it_helps(model: recsys.TwoTower, ring_split: Split) -> None:
    assert model.transitions is not None
    whole = recsys.evaluate(model, ring_split.test, 10)["recall@10"]
    alone = recsys.TwoTower(**SMALL, transitions="none")
    alone.fit(ring_split.train, validation=ring_split.validation, training=recsys.Training(epochs=1, device="cpu"))
    assert alone.transitions is None
    assert whole > 0.9 > recsys.evaluate(alone, ring_split.test, 10)["recall@10"]


def test_without_validation_nothing_can_be_weighed_and_there_is_no_memory(ring_split: Split) -> None:
    model = recsys.TwoTower(**SMALL).fit(ring_split.train, training=recsys.Training(epochs=1, device="cpu"))
    assert model.transitions is None


def test_a_memory_that_cannot_be_learned_costs_no_training(
    ring_split: Split, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise MemoryError("no room")

    monkeypatch.setattr("recsys.training.transitions.choose", fail)
    model = recsys.TwoTower(**SMALL)
    model.fit(ring_split.train, validation=ring_split.validation, training=recsys.Training(epochs=1, device="cpu"))
    assert model.transitions is None
    assert "no transition memory could be learned (MemoryError: no room)" in caplog.text
    assert len(model.recommend_rows(ring_split.test.histories, 5)) == len(ring_split.test)


def test_lists_scores_and_evaluation_are_those_of_the_sum(
    model: recsys.TwoTower, retriever: Retriever, ring_split: Split
) -> None:
    history = retriever.items.to_rows(["i4", "i5", "i6", "i7"]).tolist()
    expected = sums(retriever, history)
    names = retriever.items.to_ids(np.arange(len(retriever.items), dtype=np.int32)).to_list()
    scored = retriever.score(items=names, histories=[["i4", "i5", "i6", "i7"]])
    np.testing.assert_allclose(scored["score"].to_numpy(), expected, rtol=1e-4, atol=1e-5)
    expected[history] = -np.inf
    found = retriever.recommend(histories=[["i4", "i5", "i6", "i7"]], k=5)
    assert found["item_id"].to_list() == [names[row] for row in np.argsort(-expected, kind="stable")[:5]]
    np.testing.assert_allclose(found["score"].to_numpy(), np.sort(expected)[::-1][:5], rtol=1e-4)
    report = recsys.evaluate(retriever, ring_split.test, 10)
    assert report["ndcg@10"] == pytest.approx(recsys.evaluate(model, ring_split.test, 10)["ndcg@10"])


def test_explanations_say_what_the_memory_does(retriever: Retriever) -> None:
    history, item = ["i1", "i2", "i3"], "i4"
    told = retriever.explain(history=history, item=item)
    for row in told.iter_rows(named=True):
        kept = [one for place, one in enumerate(history, start=1) if place != row["place"]]
        whole, less = (retriever.score(items=item, histories=[one])["score"][0] for one in (history, kept))
        assert row["contribution"] == pytest.approx(whole - less, abs=1e-4)
    shares = retriever.score_breakdown(history=history, item=item)
    assert sum(shares.values()) == pytest.approx(retriever.score(items=item, histories=[history])["score"][0], abs=1e-4)
    assert shares["transitions"] > 0
    assert "transitions" not in towers_alone(retriever).score_breakdown(history=history, item=item)


def test_a_saved_bundle_answers_the_same(retriever: Retriever, tmp_path: Path) -> None:
    retriever.save(tmp_path / "run")
    loaded = recsys.load(tmp_path / "run")
    assert memory_of(loaded).form == memory_of(retriever).form
    told = describe(tmp_path / "run")["transitions"]
    assert (told["kind"], told["weight"]) == (memory_of(retriever).form.kind, memory_of(retriever).weight)
    users = retriever.users.ids
    assert loaded.recommend(users, k=7).equals(retriever.recommend(users, k=7))


def test_items_come_and_go(retriever: Retriever) -> None:
    mine = Retriever(retriever.bundle)
    before = mine.recommend(histories=[["i1", "i2"]], k=3)
    mine.add_items(pl.DataFrame({"item_id": ["later"], "title": ["a red car"]}))
    assert mine.recommend(histories=[["i1", "i2"]], k=30).filter(pl.col("item_id") == "later").height == 1
    first = before["item_id"][0]
    mine.remove_items([first])
    assert first not in mine.recommend(histories=[["i1", "i2"]], k=40)["item_id"].to_list()
    mine.add_items(pl.DataFrame({"item_id": [first], "title": ["a green boat"]}))
    assert mine.recommend(histories=[["i1", "i2"]], k=3)["item_id"][0] == first  # its entries are there again
    mine.remove_items(["later"])
    mine.compact()
    assert len(memory_of(mine)) == len(mine.items) == len(retriever.items)
    np.testing.assert_array_equal(memory_of(mine).table.toarray(), memory_of(retriever).table.toarray())


def damage_form(change: Callable[[dict], None]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        told = json.loads((folder / "transitions.json").read_text())
        change(told)
        (folder / "transitions.json").write_text(json.dumps(told))

    return damage


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (damage_form(lambda told: told["form"].update(kind="magic")), "kind must be counts or ridge, not 'magic'"),
        (damage_form(lambda told: told["form"].update(window=0)), "window must be a whole number above 0, not 0"),
        (damage_form(lambda told: told["form"].update(decay="3")), "decay must be a number above 0, not '3'"),
        (damage_form(lambda told: told.update(weight=-1)), "weight must be a number above 0, not -1"),
        (damage_form(lambda told: told["form"].update(half_life=3)), "other keys than this recsys knows"),
        (damage_form(lambda told: told.pop("form")), "does not hold a weight and a form"),
        (lambda folder: (folder / "transitions.safetensors").write_bytes(b"no tensors"), "cannot be read"),
    ],
)
def test_a_damaged_memory_is_refused_by_name(
    damage: Callable[[Path], None], told: str, retriever: Retriever, tmp_path: Path
) -> None:
    from recsys.core.opened import Source
    from recsys.transitions.io import read, write

    write(memory_of(retriever), tmp_path)
    damage(tmp_path)
    with pytest.raises(BundleError, match=told):
        read(Source.of(tmp_path), len(retriever.items))


def test_a_table_of_other_items_is_refused(retriever: Retriever, tmp_path: Path) -> None:
    from recsys.core.opened import Source
    from recsys.transitions.io import read, write

    write(memory_of(retriever), tmp_path)
    with pytest.raises(BundleError, match="does not hold a table of 5 items"):
        read(Source.of(tmp_path), 5)
