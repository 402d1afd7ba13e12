from pathlib import Path

import numpy as np
import polars as pl
import pytest

from recsys.config.model import ModelConfig
from recsys.core.ragged import Float32
from recsys.data.catalog import Catalog
from recsys.errors import DataError, EncoderError
from recsys.models.build import text_part
from recsys.models.encoders.pretrained import TextEncoder
from recsys.models.encoders.proof import prove_reencoding, prove_vectors
from recsys.models.encoders.whitening import Whitening
from tests.models.tiny_encoders import make_encoder

TEXTS = pl.Series(["a red car", None, "a blue boat", "a pink bike", "a green plane and a white train"])
KNOWN = TEXTS.is_not_null().to_numpy()


def test_a_copy_that_gives_the_same_vectors_is_let_through(tiny_encoder: Path) -> None:
    encoded = TextEncoder(tiny_encoder).encode(TEXTS.drop_nulls().to_list())
    whitening = Whitening.fit(encoded, 8)
    prove_reencoding(tiny_encoder, TEXTS, whitening, whitening.table(encoded, KNOWN))


def test_a_copy_with_other_weights_is_refused_by_a_text(tiny_encoder: Path, tmp_path: Path) -> None:
    encoded = TextEncoder(tiny_encoder).encode(TEXTS.drop_nulls().to_list())
    whitening = Whitening.fit(encoded, 8)
    other = make_encoder(tmp_path / "other")
    with pytest.raises(
        EncoderError, match="4 of 4 sampled texts another vector than the model was trained with, such as 'a"
    ):
        prove_reencoding(other, TEXTS, whitening, whitening.table(encoded, KNOWN))


def test_a_model_whose_items_have_no_text_has_nothing_to_prove(tmp_path: Path) -> None:
    whitening = Whitening(np.zeros(4, dtype=np.float32), np.eye(4, dtype=np.float32))
    prove_reencoding(tmp_path, pl.Series([None, None], dtype=pl.String), whitening, np.zeros((2, 4), dtype=np.float32))


def vectors_of(texts: pl.Series, groups: int) -> Float32:
    """Texts in so many groups, of one vector each."""
    return np.random.default_rng(0).normal(size=(groups, 6)).astype(np.float32)[np.arange(len(texts)) % groups]


MANY = pl.Series([f"text {i}" for i in range(40)])


def test_vectors_that_tell_texts_apart_are_told_in_one_line(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "recsys"):
        prove_vectors(pl.concat([MANY, MANY]), vectors_of(pl.concat([MANY, MANY]), 40))
    told = "of 40 distinct texts, 100.0% have a vector other than zero, and 100.0% one of their own"
    assert [(record.levelname, record.message) for record in caplog.records] == [("INFO", told)]


@pytest.mark.parametrize("groups", [1, 3])
def test_vectors_that_texts_share_are_refused_where_most_do(groups: int) -> None:
    with pytest.raises(EncoderError, match="of 40 distinct texts, 100.0% .* does not know their words"):
        prove_vectors(MANY, vectors_of(MANY, groups))


def test_vectors_that_some_texts_share_are_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    prove_vectors(MANY, vectors_of(MANY, 20))
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "50.0% one of their own" in caplog.text


def test_vectors_of_zeros_and_vectors_that_are_not_finite_are_refused() -> None:
    vectors = vectors_of(MANY, 40)
    vectors[5:30] = 0
    with pytest.raises(EncoderError, match="37.5% have a vector other than zero"):
        prove_vectors(MANY, vectors)
    vectors[3, 2] = np.nan
    with pytest.raises(EncoderError, match="gives 1 of 40 texts no finite vector, such as 'text 3'"):
        prove_vectors(MANY, vectors)


@pytest.mark.parametrize("columns", [["same"] * 4, ["one", None, None, None]])
def test_a_catalogue_that_says_the_same_of_all_items_is_refused(tiny_encoder: Path, columns: list[str | None]) -> None:
    catalog = Catalog.from_frame(pl.DataFrame({"item_id": list("abcd"), "title": columns}), text=["title"])
    with pytest.raises(DataError, match="all items with a text have the same, '(same|one)'"):
        text_part(ModelConfig(encoder=str(tiny_encoder)), catalog, "cpu")
