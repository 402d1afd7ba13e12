"""Folders as people have them: pickles, shards, sub-folders, and what is missing or damaged in them."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from safetensors.torch import load_file, save_file

from recsys.errors import EncoderError
from recsys.models.encoders.folder import encoder_files
from recsys.models.encoders.prepare import prepared
from recsys.models.encoders.pretrained import TextEncoder, open_encoder
from tests.models.tiny_encoders import make_encoder

TEXTS = ["a red car", "a blue boat", "a pink bike and a green train"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_encoder(tmp_path / "encoder")


def as_pickle(folder: Path) -> Path:
    """Give it the weights that it has as ``pytorch_model.bin`` alone."""
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    return folder


def layered(folder: Path, sub: str = "") -> Path:
    """A sentence-transformers layout whose transformer is in ``sub``, with mean pooling, a dense layer and unit length."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Dense, Normalize
    from sentence_transformers.sentence_transformer.modules import Pooling

    torch.manual_seed(1)
    inner = SentenceTransformer(str(folder), device="cpu")[0]
    made = SentenceTransformer(modules=[inner, Pooling(16, "mean"), Dense(16, 12), Normalize()], device="cpu")
    target = folder.parent / "layered"
    made.save(str(target), create_model_card=False)
    if sub:
        (target / sub).mkdir()
        for file in [one for one in target.iterdir() if one.is_file() and one.name not in ("modules.json", "README.md")]:
            if file.name != "config_sentence_transformers.json":
                file.rename(target / sub / file.name)
        modules = json.loads((target / "modules.json").read_text())
        modules[0]["path"] = sub
        (target / "modules.json").write_text(json.dumps(modules))
    return target


def test_weights_in_a_pickle_are_read_without_running_it_and_shipped_as_safetensors(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    expected = TextEncoder(folder).encode(TEXTS)
    as_pickle(folder)
    with caplog.at_level("INFO", "recsys"):
        made = open_encoder(str(folder))
    assert [record.message for record in caplog.records if "is a pickle" in record.message]
    np.testing.assert_array_equal(TextEncoder(made).encode(TEXTS), expected)
    assert "model.safetensors" in encoder_files(made)
    assert not list(made.rglob("*.bin"))
    assert prepared(folder) == made  # once in a process
    np.testing.assert_array_equal(TextEncoder(folder).encode(TEXTS), expected)


def test_a_pickle_of_more_than_weights_is_refused_with_the_way_to_convert_it(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    torch.save({"model": Path("x")}, folder / "pytorch_model.bin")
    with pytest.raises(
        EncoderError, match=r"pytorch_model.bin is damaged, or a pickle of more than weights.*save_pretrained"
    ):
        TextEncoder(folder).encode(TEXTS)
    torch.save({"model": {"a": torch.zeros(1)}}, folder / "pytorch_model.bin")
    with pytest.raises(EncoderError, match="'model' is not a tensor"):
        TextEncoder(folder).encode(TEXTS)


def test_a_pickle_is_not_read_where_there_are_safetensors(folder: Path) -> None:
    (folder / "pytorch_model.bin").write_bytes(b"not a pickle")
    assert prepared(folder) == folder
    assert "pytorch_model.bin" not in encoder_files(folder)


@pytest.mark.parametrize("sub", ["", "0_Transformer"])
@pytest.mark.parametrize("pickled", [False, True])
def test_layouts_of_sentence_transformers_are_read_and_shipped_whole(
    folder: Path, tmp_path: Path, sub: str, pickled: bool
) -> None:
    layers = layered(folder, sub)
    expected = TextEncoder(layers).encode(TEXTS)
    assert expected.shape == (3, 12)
    np.testing.assert_allclose(np.linalg.norm(expected, axis=1), 1.0, rtol=1e-2)  # bfloat16
    if pickled:
        as_pickle(layers / sub)
        as_pickle(layers / "2_Dense")
    files = encoder_files(prepared(layers))
    for name, file in files.items():
        (tmp_path / "copy" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, tmp_path / "copy" / name)
    np.testing.assert_allclose(TextEncoder(tmp_path / "copy").encode(TEXTS), expected, atol=1e-6)


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "config.json", "tokenizer_config.json"])
def test_the_cache_knows_an_encoder_by_all_its_files(folder: Path, name: str) -> None:
    before = TextEncoder(folder).fingerprint()
    data = (folder / name).read_bytes()
    (folder / name).write_bytes(data[:-1] + bytes([data[-1] ^ 1]) if name.endswith("safetensors") else data + b"\n")
    assert TextEncoder(folder).fingerprint() != before


def test_other_weights_in_a_pickle_are_encoded_anew(folder: Path) -> None:
    texts = pl.Series(TEXTS)
    first = TextEncoder(as_pickle(folder)).encode_cached(texts)
    weights = torch.load(folder / "pytorch_model.bin", weights_only=True)
    torch.save({name: value * 1.5 for name, value in weights.items()}, folder / "pytorch_model.bin")
    assert not np.allclose(TextEncoder(folder).encode_cached(texts), first, atol=1e-2)


def without_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def only_foreign_weights(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "tf_model.h5")


def without_tokenizer(folder: Path) -> None:
    for file in folder.glob("tokenizer*"):
        file.unlink()


def empty_tokenizer(folder: Path) -> None:
    without_tokenizer(folder)
    (folder / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n")


def without_padding(folder: Path) -> None:
    file = folder / "tokenizer_config.json"
    table = json.loads(file.read_text())
    del table["pad_token"]
    file.write_text(json.dumps(table))


def half(name: str) -> Callable[[Path], None]:
    def cut(folder: Path) -> None:
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[: len(data) // 2])

    return cut


def pointer(name: str) -> Callable[[Path], None]:
    def point(folder: Path) -> None:
        (folder / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 123\n")

    return point


def missing_weight(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights["encoder.layer.1.attention.self.query.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def missing_shard(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    name = "model-00001-of-00002.safetensors"
    save_file(weights, folder / name, metadata={"format": "pt"})
    index = {"weight_map": dict.fromkeys(weights, name) | {"more": "model-00002-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def adapter(folder: Path) -> None:
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "somewhere/else"}')


def half_a_pickle(folder: Path) -> None:
    as_pickle(folder)
    half("pytorch_model.bin")(folder)


def pickle_pointer(folder: Path) -> None:
    without_weights(folder)
    pointer("pytorch_model.bin")(folder)


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (without_weights, "holds no weights: expected model.safetensors"),
        (only_foreign_weights, "holds no weights: it has only tf_model.h5"),
        (without_tokenizer, "holds no tokenizer: none of tokenizer.json"),
        (empty_tokenizer, "knows no words"),
        (without_padding, "has no padding token; add one to tokenizer_config.json"),
        (half("model.safetensors"), "model.safetensors is damaged or cut short"),
        (half("tokenizer.json"), "tokenizer.json is damaged or cut short"),
        (half("config.json"), "config.json is damaged or cut short"),
        (pointer("model.safetensors"), "model.safetensors is a git-LFS pointer.*git lfs pull"),
        (pointer("tokenizer.json"), "tokenizer.json is a git-LFS pointer.*git lfs pull"),
        (missing_weight, "1 are missing, such as encoder.layer.1.attention.self.query.weight, and would be random"),
        (missing_shard, "model-00002-of-00002.safetensors is missing"),
        (adapter, "holds an adapter .* merge"),
        (half_a_pickle, "pytorch_model.bin is damaged"),
        (pickle_pointer, "pytorch_model.bin is a git-LFS pointer"),
    ],
)
def test_what_gives_no_true_vectors_is_refused_by_name(folder: Path, damage: Callable[[Path], None], told: str) -> None:
    damage(folder)
    with pytest.raises(EncoderError, match=told) as caught:
        TextEncoder(open_encoder(str(folder))).encode(TEXTS)
    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value)


@pytest.mark.parametrize("name", ["1_Pooling/config.json", "2_Dense/config.json", "2_Dense/model.safetensors"])
def test_a_module_without_its_files_is_refused(folder: Path, name: str) -> None:
    layers = layered(folder)
    (layers / name).unlink()
    with pytest.raises(EncoderError, match=f"{name} is missing, which modules.json names"):
        TextEncoder(layers).encode(TEXTS)


def test_weights_in_shards_are_read(folder: Path, tmp_path: Path) -> None:
    from transformers import BertModel

    from tests.models.tiny_encoders import save_tokenizer

    BertModel.from_pretrained(folder).save_pretrained(tmp_path / "shards", max_shard_size="10KB")
    save_tokenizer(tmp_path / "shards")
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 1
    np.testing.assert_array_equal(TextEncoder(tmp_path / "shards").encode(TEXTS), TextEncoder(folder).encode(TEXTS))


@pytest.mark.parametrize("name", ["with space [1]", "größe–日本", "encoder"])
@pytest.mark.parametrize("way", ["folder", "link", "relative"])
def test_any_name_and_any_way_to_a_folder_will_do(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, way: str
) -> None:
    expected = TextEncoder(folder).encode(TEXTS)
    place = tmp_path / "other" / name
    shutil.copytree(folder, place)
    given = str(place)
    if way == "link":
        (tmp_path / "link").symlink_to(place)
        given = str(tmp_path / "link")
    elif way == "relative":
        monkeypatch.chdir(tmp_path)
        given = f"other/{name}"
    np.testing.assert_array_equal(TextEncoder(open_encoder(given)).encode(TEXTS), expected)


def test_another_process_gives_the_same_vectors(folder: Path, tmp_path: Path) -> None:
    code = (
        "import sys, numpy as np; from pathlib import Path; from recsys.models.encoders.pretrained import TextEncoder; "
        f"np.save(sys.argv[2], TextEncoder(Path(sys.argv[1])).encode({TEXTS!r}))"
    )
    subprocess.run([sys.executable, "-c", code, str(folder), str(tmp_path / "there.npy")], check=True)
    np.testing.assert_array_equal(np.load(tmp_path / "there.npy"), TextEncoder(folder).encode(TEXTS))


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_weights_of_half_precision_run_in_float32_on_a_cpu(folder: Path, kind: torch.dtype) -> None:
    whole = TextEncoder(folder).encode(TEXTS)
    weights = load_file(folder / "model.safetensors")
    save_file({name: value.to(kind) for name, value in weights.items()}, folder / "model.safetensors", {"format": "pt"})
    table = json.loads((folder / "config.json").read_text()) | {"dtype": str(kind).removeprefix("torch.")}
    (folder / "config.json").write_text(json.dumps(table))
    encoder = TextEncoder(folder)
    np.testing.assert_allclose(encoder.encode(TEXTS), whole, atol=0.05)
    assert encoder._model is not None
    assert {p.dtype for p in encoder._model.parameters()} == {torch.float32}


@pytest.mark.parametrize("kind", ["bert", "mpnet"])
def test_texts_beyond_the_positions_are_cut_where_no_limit_is_told(folder: Path, tmp_path: Path, kind: str) -> None:
    free = make_encoder(tmp_path / kind, kind)
    table = json.loads((free / "tokenizer_config.json").read_text())
    table["model_max_length"] = 1e30
    (free / "tokenizer_config.json").write_text(json.dumps(table))
    long = " ".join(["red car"] * 100)
    assert np.isfinite(TextEncoder(free).encode([long, "a red car"])).all()


def test_texts_of_any_kind_have_finite_vectors(folder: Path) -> None:
    texts = ["", " ", "a" * 100_000, "🚗🚤", "a\0red", "سيارة حمراء", "\u202ered", "\ufeffred"]
    assert np.isfinite(TextEncoder(folder).encode(texts)).all()
    assert TextEncoder(folder).encode([]).shape == (0, 16)
