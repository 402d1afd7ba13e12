"""Items come, change and go while others ask; what was there before stays whole."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import recsys
from recsys.data.catalog import Catalog
from recsys.data.interactions import Interactions
from recsys.errors import DataError, UnknownIdError, UnsupportedError
from recsys.index.spec import IndexSpec
from recsys.serving.retriever import Retriever
from tests.conftest import make_items

OPTIONS = {"dim": 16, "blocks": 1, "heads": 2, "max_length": 8}


def fitted(ring: Interactions, catalog: Catalog, **options: object) -> Retriever:
    model = recsys.TwoTower(**(OPTIONS | options))  # type: ignore[arg-type]
    return model.fit(ring, catalog, training=recsys.Training(epochs=1, device="cpu")).retriever()


@pytest.fixture(scope="module")
def source(ring: Interactions, ring_catalog: Catalog, tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Path) -> Path:
    folder = tmp_path_factory.mktemp("living") / "run"
    fitted(ring, ring_catalog, encoder=str(tiny_encoder), word_features="on").save(folder)
    return folder


@pytest.fixture
def retriever(source: Path) -> Retriever:
    return recsys.load(source)


def new_items(retriever: Retriever, *ids: str, like: int = 0) -> pl.DataFrame:
    """Items with the text of one that is there."""
    row = {name: retriever.catalog.columns[name][like] for name in retriever.catalog.columns.columns}
    return pl.DataFrame([{"item_id": one} | row for one in ids], schema_overrides=retriever.catalog.columns.schema)


def test_text_alone_puts_a_new_item_where_the_tower_would(retriever: Retriever) -> None:
    cold = int(np.flatnonzero(~retriever.towers.net.items.has_id.numpy())[0])  # nothing but its content tells of it
    before = len(retriever.items)
    retriever.add_items(new_items(retriever, "new", like=cold))
    assert len(retriever.items) == before + 1
    np.testing.assert_allclose(retriever.vectors[before], retriever.vectors[cold], atol=2e-3)
    similar = retriever.similar_items([retriever.items.ids[cold]], k=1)
    assert similar["similar_item_id"].to_list() == ["new"]


def test_a_new_item_is_recommended_searched_and_titled(retriever: Retriever) -> None:
    retriever.add_items(new_items(retriever, "new"))
    user = retriever.users.ids[0]
    everything = retriever.recommend(user, k=len(retriever.items), filter_seen=False)
    assert "new" in everything["item_id"].to_list()
    assert "new" in retriever.search(retriever.catalog.texts[0], k=3)["item_id"].to_list()
    assert retriever.with_titles(everything)["title"].null_count() == 0


def test_an_update_moves_an_item_and_leaves_the_others(retriever: Retriever) -> None:
    before = retriever.vectors.copy()
    changed = new_items(retriever, str(retriever.items.ids[1]), like=4)
    retriever.update_items(changed)
    assert not np.allclose(retriever.vectors[1], before[1], atol=1e-3)
    assert np.array_equal(np.delete(retriever.vectors, 1, axis=0), np.delete(before, 1, axis=0))
    assert retriever.catalog.texts[1] == retriever.catalog.texts[4]


def test_a_removed_item_never_comes_back_from_any_question(retriever: Retriever) -> None:
    gone = str(retriever.items.ids[3])
    retriever.remove_items(gone)
    for _ in range(2):
        answers = [
            retriever.recommend(retriever.users.ids, k=20, filter_seen=False)["item_id"],
            retriever.similar_items(retriever.items.ids[:5], k=20)["similar_item_id"],
            retriever.search("item", k=20)["item_id"],
        ]
        assert all(gone not in one.to_list() for one in answers)
        retriever.compact()
    retriever.add_items(new_items(retriever, gone, like=3))
    assert gone in retriever.recommend(retriever.users.ids, k=20, filter_seen=False)["item_id"].to_list()


def test_a_saved_bundle_follows_and_an_unsaved_one_is_untouched(source: Path, tmp_path: Path) -> None:
    retriever, manifest = recsys.load(source), (source / "manifest.json").read_bytes()
    retriever.add_items(new_items(retriever, "one", "two"))
    retriever.remove_items([str(retriever.items.ids[0]), "one"])
    assert (source / "manifest.json").read_bytes() == manifest
    retriever.save(tmp_path / "run", like=source)
    again = recsys.load(tmp_path / "run")
    users = retriever.users.ids[:9]
    assert again.recommend(users, k=12).equals(retriever.recommend(users, k=12))
    assert again.bundle.corpus.trained_items == retriever.bundle.corpus.trained_items < len(again.items)
    again.add_items(new_items(again, "three"))
    retriever.add_items(new_items(retriever, "three"))
    np.testing.assert_allclose(again.vectors[-1], retriever.vectors[-1], atol=1e-5)


def test_readers_see_the_old_state_or_the_new_one_and_nothing_between(retriever: Retriever) -> None:
    users, stop = retriever.users.ids[:6], threading.Event()
    valid = {len(retriever.items) + n for n in range(9)}

    def ask() -> int:
        asked = 0
        while not stop.is_set():
            frame = retriever.recommend(users, k=5)
            assert frame.height == 30
            assert frame["item_id"].null_count() == 0
            assert len(retriever.bundle.corpus.items) in valid
            shelf = retriever.bundle.corpus
            assert len(shelf.index) == len(shelf.catalog) == len(shelf.towers.vectors) == len(shelf.items)
            asked += 1
        return asked

    with ThreadPoolExecutor(3) as pool:
        readers = [pool.submit(ask) for _ in range(2)]
        try:
            for number in range(8):
                retriever.add_items(new_items(retriever, f"n{number}"))
        finally:
            stop.set()
        assert all(reader.result() > 0 for reader in readers)


def test_two_writers_lose_nothing(retriever: Retriever) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda n: retriever.add_items(new_items(retriever, f"w{n}")), range(8)))
    assert set(retriever.items.ids[-8:].to_list()) == {f"w{n}" for n in range(8)}


def test_an_approximate_index_takes_changes_too(source: Path) -> None:
    retriever = recsys.load(source)
    vectors = np.tile(retriever.vectors, (1, 1))
    from recsys.index.item_index import ItemIndex

    index = ItemIndex.build(vectors, IndexSpec("ivf", lists=2, nprobe=2)).added(vectors[:1])
    assert index.search(vectors[:1], 2).lists.to_lists() == [[0, len(vectors)]]


def test_what_cannot_be_added_is_refused_and_nothing_changes(retriever: Retriever) -> None:
    shelf = retriever.bundle.corpus
    known = str(retriever.items.ids[0])
    with pytest.raises(
        DataError,
        match=f"the item '{known}' is already in the bundle; leave known items out, or change them with update_items",
    ):
        retriever.add_items(new_items(retriever, "fresh", known))
    with pytest.raises(DataError, match="and the new table has no column title: add it"):
        retriever.add_items(pl.DataFrame({"item_id": ["fresh"]}))
    with pytest.raises(DataError, match="needs a column 'item_id'"):
        retriever.add_items(make_items().rename({"item_id": "id"}))
    with pytest.raises(UnknownIdError, match="nowhere"):
        retriever.remove_items("nowhere")
    with pytest.raises(UnknownIdError, match="nowhere"):
        retriever.update_items(new_items(retriever, "nowhere"))
    retriever.remove_items(known)
    with pytest.raises(
        DataError,
        match=f"the item '{known}' was removed earlier; leave removed items out, or add them again with add_items",
    ):
        retriever.remove_items(known)
    assert retriever.bundle.corpus.towers is shelf.towers


def test_a_model_of_ids_alone_cannot_take_new_items(ring: Interactions, ring_catalog: Catalog) -> None:
    alone = fitted(ring, ring_catalog, encoder=None)
    with pytest.raises(UnsupportedError, match="by their ids alone"):
        alone.add_items(new_items(alone, "new"))


def test_numbers_and_categories_of_new_items_are_read_on_the_old_scales(ring: Interactions, tmp_path: Path) -> None:
    rows = pl.int_range(pl.len())
    items = make_items().with_columns(
        rows.alias("price"), pl.when(rows % 3 == 0).then(pl.lit("a")).otherwise(pl.lit("b")).alias("kind")
    )
    catalog = Catalog.from_frame(items, text=["title"]).aligned(ring.items)
    retriever = fitted(ring, catalog, encoder=None, categories=("kind",), numbers=("price",))
    retriever.update_items(new_items(retriever, str(catalog.items.ids[5]), like=2).with_columns(price=999))
    retriever.save(tmp_path / "run")
    retriever = recsys.load(tmp_path / "run")
    retriever.add_items(new_items(retriever, "twin", like=2))
    net = retriever.towers.net.items
    assert net.numbers[-1].tolist() == net.numbers[2].tolist()
    first, last = (net.bags.tokens[net.bags.offsets[i] : net.bags.offsets[i + 1]].tolist() for i in (2, len(catalog)))  # type: ignore[union-attr]
    assert first == last


@pytest.mark.parametrize("saved", [False, True], ids=["in memory", "saved and loaded"])
def test_an_update_does_not_renumber_the_words_that_the_tower_was_trained_on(
    retriever: Retriever, tmp_path: Path, saved: bool
) -> None:
    text = str(retriever.catalog.texts[9])
    for row in (0, 1):  # words that sort before all others, in two items, so that they would count
        changed = new_items(retriever, str(retriever.items.ids[row]))
        retriever.update_items(changed.with_columns(pl.lit(f"aaa aab {text}").alias("title")))
    if saved:
        retriever.save(tmp_path / "run")
        retriever = recsys.load(tmp_path / "run")
    retriever.add_items(new_items(retriever, "twin", like=9))
    bags = retriever.towers.net.items.bags
    assert bags is not None
    twin, first = (bags.tokens[bags.offsets[i] : bags.offsets[i + 1]].tolist() for i in (len(retriever.items) - 1, 9))
    assert twin == first


def test_the_text_encoder_is_loaded_once_however_often_items_are_added(source: Path) -> None:
    mine = recsys.load(source)
    before = mine.towers.encoder
    mine.add_items(new_items(mine, "n1"))
    mine.add_items(new_items(mine, "n2"))
    assert mine.towers.encoder is before


def test_single_additions_are_one_addition_and_old_states_stay(source: Path) -> None:
    apart, at_once = recsys.load(source), recsys.load(source)
    frame = new_items(apart, *(f"n{number}" for number in range(120)))
    asked = [apart.users.ids[0], apart.users.ids[3]]
    old, answer = apart.bundle, apart.recommend(asked, k=8)
    for number in range(120):
        apart.add_items(frame[number : number + 1])
    at_once.add_items(frame)
    np.testing.assert_allclose(apart.vectors, at_once.vectors, atol=1e-5)
    np.testing.assert_array_equal(apart.towers.net.items.bags.tokens, at_once.towers.net.items.bags.tokens)
    np.testing.assert_array_equal(apart.towers.net.items.bags.offsets, at_once.towers.net.items.bags.offsets)
    assert apart.items.ids.equals(at_once.items.ids)
    assert apart.catalog.columns.equals(at_once.catalog.columns)
    assert apart.catalog.texts.equals(at_once.catalog.texts)
    one, other = (each.recommend(asked, k=8, filter_seen=False) for each in (apart, at_once))
    np.testing.assert_allclose(one["score"], other["score"], atol=1e-4)
    snapshot = Retriever(old)
    assert snapshot.recommend(asked, k=8).equals(answer)
    snapshot.add_items(frame[:1].with_columns(item_id=pl.lit("another")))  # grows from where the other one grew
    assert snapshot.items.ids[-1] == "another"
    assert apart.items.ids[len(old.corpus.items)] == "n0"
    np.testing.assert_allclose(apart.vectors, at_once.vectors, atol=1e-5)
