from pathlib import Path

import numpy as np
import polars as pl
import pytest

from recsys.errors import EncoderError
from recsys.models.encoder import TextEncoder
from recsys.models.encoder_proof import prove_reencoding
from recsys.models.whiten import Whitening
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
