"""Odd arguments of a retriever, and items of which a model knows nothing."""

import logging

import polars as pl
import pytest

import recsys
from recsys.data.catalog import Catalog
from recsys.data.interactions import Interactions
from recsys.data.split import Split
from recsys.errors import ConfigError, DataError
from recsys.serving.retriever import Retriever
from recsys.serving.rules.spec import Rules


def test_there_must_be_something_to_score(retriever: Retriever) -> None:
    for ask in (lambda: retriever.score("u1"), lambda: retriever.score("u1", [])):
        with pytest.raises(ConfigError, match="there is nothing to score: items is empty"):
            ask()
    assert retriever.score("u1", ["ghost"], unknown="skip").height == 0


def test_a_bundle_goes_to_a_place(retriever: Retriever, ring_split: Split) -> None:
    for nowhere in (None, "", 5):
        for write in (retriever.save, ring_split.train.save):
            with pytest.raises(ConfigError, match="folder must be the path of a file or folder, not"):
                write(nowhere)


def test_ids_in_one_word_are_told_apart(retriever: Retriever) -> None:
    with pytest.raises(recsys.errors.UnknownIdError, match=r"unknown item 'i1,i2': .*; write several ids apart: i1 i2"):
        retriever.similar_items("i1,i2")


def test_frames_of_other_libraries_are_told_how_to_come_in() -> None:
    assert len(Interactions.from_frame(pl.LazyFrame({"user_id": [1], "item_id": [2]}))) == 1
    with pytest.raises(ConfigError, match=r"not a dict; pass polars.DataFrame\(rows\)"):
        Interactions.from_frame({"user_id": [1], "item_id": [2]})  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"rename the one that holds the users, frame.rename\({...: 'user_id'}\)"):
        Interactions.from_frame(pl.DataFrame({"userId": [1], "item_id": [2]}))


def test_rules_may_begin_with_a_byte_order_mark(tmp_path) -> None:
    file = tmp_path / "rules.toml"
    file.write_text("\ufeff[[pin]]\nitem = 'i1'\nposition = 1\n", encoding="utf-8")
    assert Rules.read(file) == Rules.of({"pin": [{"item": "i1", "position": 1}]}, str(file))


def test_items_of_which_nothing_is_known_are_told(
    ring_split: Split, ring_catalog: Catalog, caplog: pytest.LogCaptureFixture
) -> None:
    untouched = pl.DataFrame({"item_id": [f"spare{i}" for i in range(8)], "title": ["red car", None] * 4})
    frame = pl.DataFrame({"item_id": ring_catalog.items.ids, "title": ring_catalog.titles})
    catalog = Catalog.from_frame(pl.concat([frame, untouched]), text=["title"])
    training = recsys.Training(epochs=1, batch_tokens=64, device="cpu")

    def told(**options: object) -> str:
        caplog.clear()
        with caplog.at_level(logging.INFO, logger="recsys"):
            recsys.TwoTower(encoder=None, dim=16, max_length=8, **options).fit(ring_split.train, catalog, training=training)
        return next((one for one in caplog.messages if "share one vector" in one), "")

    assert told(word_features="off").startswith(f"10 of {len(catalog)} items, such as 'new0', have no event to learn from")
    assert told(word_features="on").startswith(f"4 of {len(catalog)} items, such as 'spare1', have no event to learn from")


def test_items_that_are_added_without_anything_to_read_are_told(
    ring_split: Split, ring_catalog: Catalog, caplog: pytest.LogCaptureFixture
) -> None:
    model = recsys.TwoTower(encoder=None, word_features="on", dim=16, max_length=8)
    training = recsys.Training(epochs=1, batch_tokens=64, device="cpu")
    mine = model.fit(ring_split.train, ring_catalog, training=training).retriever()
    caplog.clear()
    with caplog.at_level(logging.WARNING, logger="recsys"):
        mine.add_items(pl.DataFrame({"item_id": ["mute", "spoken"], "title": [None, "red car"]}))
    assert [one for one in caplog.messages if "share one vector" in one] == [
        "1 of 2 items, such as 'mute', have no event to learn from and nothing else that the model reads: they share one "
        "vector, and are ranked all alike"
    ]


def test_weights_that_training_does_not_use_are_told(ring_split: Split, caplog: pytest.LogCaptureFixture) -> None:
    log = Interactions.from_frame(ring_split.train.frame().with_columns(weight=pl.lit(2.0)))
    training = recsys.Training(epochs=1, batch_tokens=64, device="cpu")
    for weighted in (False, True):
        caplog.clear()
        with caplog.at_level(logging.INFO, logger="recsys"):
            recsys.TwoTower(encoder=None, dim=16, max_length=8).fit(
                log, training=training, objective=recsys.Objective(weighted=weighted)
            )
        assert any("training does not use them" in one for one in caplog.messages) is not weighted


def test_a_batch_needs_a_retriever_and_a_place(retriever: Retriever, tmp_path) -> None:
    with pytest.raises(
        ConfigError, match=r"retriever must be a Retriever, not the text 'runs/ml'; pass what recsys.load\(folder\)"
    ):
        recsys.recommend_to_parquet("runs/ml", tmp_path / "recs")
    with pytest.raises(ConfigError, match="out must be the path of a file or folder, not None"):
        recsys.recommend_to_parquet(retriever, None)
    with pytest.raises(DataError, match="expected whole seconds since 1970"):
        recsys.recommend_to_parquet(retriever, tmp_path / "recs", request_time="yesterday")
