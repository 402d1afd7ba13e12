"""What an encoder reads before items and before searches, and where texts end for it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import recsys
from recsys import Catalog, Training, TwoTower
from recsys.data.split import Split
from recsys.errors import EncoderError
from recsys.models.encoders.prepare import prompts_of
from recsys.models.encoders.pretrained import TextEncoder, open_encoder
from recsys.models.encoders.proof import same_vectors
from tests.conftest import COLOURS, THINGS
from tests.models.tiny_encoders import make_encoder

TEXTS = ["red car", "blue boat"]
QUICK = Training(epochs=1, device="cpu", batch_tokens=64)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_encoder(tmp_path / "encoder")


def tell(folder: Path, prompts: Any, default: str | None = None) -> Path:
    table = {"prompts": prompts, "default_prompt_name": default}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(table))
    return folder


@pytest.mark.parametrize(
    ("prompts", "default", "query", "document"),
    [
        ({"query": "q ", "document": "d "}, None, "q ", "d "),
        ({"query": "query: ", "passage": "passage: "}, None, "query: ", "passage: "),
        (
            {"query": "q ", "document": "", "passage": "p "},
            None,
            "q ",
            "p ",
        ),  # as sentence-transformers saves the one before
        ({"query": "q "}, None, "q ", ""),
        ({"query": "q "}, "query", "q ", ""),
        ({"document": "d "}, "document", "", "d "),
        ({"any": "a "}, "any", "a ", "a "),
        ({"any": "a ", "document": "d "}, "any", "a ", "d "),
        ({"any": "a "}, None, "", ""),
        ({}, None, "", ""),
        (None, None, "", ""),
    ],
)
def test_each_side_has_its_prompt(folder: Path, prompts: Any, default: str | None, query: str, document: str) -> None:
    assert prompts_of(tell(folder, prompts, default)) == (query, document)


@pytest.mark.parametrize(
    ("prompts", "default", "told"),
    [([], None, "prompts must be a table"), ({"query": 1}, None, "must be a table"), ({}, "query", "'query'.*only none")],
)
def test_prompts_that_cannot_be_read_are_refused_by_file(
    folder: Path, prompts: Any, default: str | None, told: str
) -> None:
    if prompts == []:
        prompts = ["q"]
    with pytest.raises(EncoderError, match=f"config_sentence_transformers.json.*{told}"):
        prompts_of(tell(folder, prompts, default))


def test_items_and_searches_are_read_after_their_own_prompts(folder: Path) -> None:
    plain = TextEncoder(folder).encode(["red red car", "pink red car"])
    told = TextEncoder(tell(folder, {"query": "red ", "document": "pink "}))
    np.testing.assert_array_equal(told.encode_queries(["red car"])[0], plain[0])
    np.testing.assert_array_equal(told.encode(["red car"])[0], plain[1])
    np.testing.assert_array_equal(told.encode_cached(pl.Series(TEXTS))[0], told.encode(["red car"])[0])


def test_the_cache_knows_prompts(folder: Path) -> None:
    texts = pl.Series(TEXTS)
    first = TextEncoder(folder).encode_cached(texts)
    second = TextEncoder(tell(folder, {"document": "pink "})).encode_cached(texts)
    third = TextEncoder(open_encoder(str(folder), document_prompt="white ")).encode_cached(texts)
    assert not np.allclose(first, second, atol=1e-2)
    assert not np.allclose(second, third, atol=1e-2)


def test_prompts_that_were_asked_for_take_the_place_of_the_encoders_own(folder: Path) -> None:
    tell(folder, {"query": "red ", "document": "pink "})
    assert prompts_of(open_encoder(str(folder))) == ("red ", "pink ")
    assert prompts_of(open_encoder(str(folder), query_prompt="", document_prompt="blue ")) == ("", "blue ")
    assert prompts_of(open_encoder(str(folder), query_prompt="a ")) == ("a ", "pink ")
    assert prompts_of(folder) == ("red ", "pink ")


@pytest.mark.parametrize(("mode", "prompted"), [("frozen", True), ("lora", True), ("full", False)])
def test_a_loaded_model_reads_a_text_as_it_was_read_in_training(
    mode: str, prompted: bool, folder: Path, ring_split: Split, ring_catalog: Catalog, tmp_path: Path
) -> None:
    prompts = {"query_prompt": "red ", "document_prompt": "pink bike and "} if prompted else {}
    model = TwoTower(encoder=str(folder), encoder_mode=mode, word_features="off", dim=16, max_length=8, **prompts)
    training = Training(epochs=2, device="cpu", batch_tokens=64, encoder_learning_rate=1e-2)
    model.fit(ring_split.train, ring_catalog, training=training)
    model.retriever().save(tmp_path / "run")
    again = recsys.load(tmp_path / "run")
    towers, whitening = again.towers, again.towers.whitening
    assert whitening is not None
    table = towers.net.items.text
    texts = again.catalog.texts
    assert same_vectors(whitening(towers.encoder.encode(texts.to_list())), table.numpy(), 0.05).all()
    again.add_items(pl.DataFrame({"item_id": ["twin"], "title": [texts[4]]}))
    assert same_vectors(again.towers.net.items.text[-1:].numpy(), table[4:5].numpy(), 0.05).all()
    assert len(again.search("red car", k=3)) == 3
    if prompted:
        queries, documents = towers.encoder.encode_queries(["car"]), towers.encoder.encode(["car"])
        assert not np.allclose(queries, documents, atol=1e-2)


@pytest.mark.parametrize("mode", ["lora", "full"])
def test_a_text_that_was_cut_in_training_is_cut_at_the_same_place_ever_after(
    mode: str,
    folder: Path,
    ring_split: Split,
    ring_catalog: Catalog,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("recsys.core.device.has_bf16", lambda device: False)  # in float32, so as to be compared
    monkeypatch.setattr("recsys.models.encoders.finetuned.has_bf16", lambda device: False)
    long = "a red car and a blue boat and a pink train . a pink bike"
    titles = [long if i == 7 else title for i, title in enumerate(ring_catalog.texts)]
    frame = pl.DataFrame({"item_id": ring_catalog.items.ids, "title": titles})
    short = [f"{colour} {thing}{' .' * dots}" for colour in COLOURS for thing in THINGS for dots in range(4)]
    more = pl.DataFrame({"item_id": [f"x{i}" for i in range(len(short))], "title": short})
    catalog = Catalog.from_frame(pl.concat([frame, more]), text=["title"])
    model = TwoTower(encoder=str(folder), encoder_mode=mode, word_features="off", dim=16, max_length=8)
    with caplog.at_level("INFO", "recsys"):
        model.fit(ring_split.train, catalog, training=QUICK)
    assert any("are longer than" in record.message and "cut there" in record.message for record in caplog.records)
    model.retriever().save(tmp_path / "run")
    again = recsys.load(tmp_path / "run").towers
    assert again.whitening is not None
    row = int(model.items.find_rows(pl.Series(["i7"]))[0])
    assert same_vectors(
        again.whitening(again.encoder.encode([long])), again.net.items.text[row : row + 1].numpy(), 0.05
    ).all()


def test_texts_and_searches_beyond_the_encoders_length_are_counted(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    long = " ".join(["red"] * 50)
    texts = pl.Series(["red car", long, "blue boat", long + " car"])
    for _ in range(2):  # also where they come from the cache
        caplog.clear()
        TextEncoder(folder).encode_cached(texts)
        assert "2 of 4 texts are longer than the" in caplog.text
        assert [record.levelname for record in caplog.records] == ["WARNING"]
    caplog.clear()
    TextEncoder(folder).encode_queries(["red", long])
    assert "1 of 2 queries are longer than the 32 tokens that the encoder reads" in caplog.text
