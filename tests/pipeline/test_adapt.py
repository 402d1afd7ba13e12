"""Adapting an encoder, from Python and from the command line."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import recsys
from recsys.cli.parser import main
from recsys.models.encoders.pretrained import TextEncoder
from tests.conftest import make_events, make_items
from tests.models.tiny_encoders import make_encoder

FEW: dict[str, Any] = {"text_steps": 8, "history_steps": 4, "batch": 16, "max_tokens": 16, "rate": 1e-3}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world [1]")
    make_events(length=12).write_parquet(folder / "log.parquet")
    make_items().write_csv(folder / "items.csv")
    make_encoder(folder / "tiny", mask=True)
    return folder


@pytest.fixture(scope="module")
def catalog() -> recsys.Catalog:
    return recsys.Catalog.from_frame(make_items(), text=["title"])


@pytest.fixture(scope="module")
def adapted(world: Path, catalog: recsys.Catalog) -> Path:
    log = recsys.read_interactions(world / "log.parquet")
    found = recsys.adapt(catalog, str(world / "tiny"), world / "mine", log=log, options=recsys.AdaptOptions(**FEW))
    assert found.facts["before"] is not None
    assert found.facts["last_loss"] < found.facts["first_loss"]
    return found.folder


def test_an_adapted_encoder_gives_other_vectors_of_the_same_kind(world: Path, adapted: Path) -> None:
    texts = ["a red car", "a blue boat"]
    before, after = TextEncoder(world / "tiny").encode(texts), TextEncoder(adapted).encode(texts)
    assert before.shape == after.shape
    assert not np.allclose(before, after, atol=1e-2)
    told = json.loads((adapted / "adaptation.json").read_text())
    assert told["options"]["text_steps"] == 8
    assert not list(world.glob(".*"))


def test_the_same_seed_gives_the_same_encoder(world: Path, adapted: Path, catalog: recsys.Catalog, tmp_path: Path) -> None:
    log = recsys.read_interactions(world / "log.parquet")
    again = recsys.adapt(catalog, str(world / "tiny"), tmp_path / "b", log=log, options=recsys.AdaptOptions(**FEW))
    assert np.array_equal(TextEncoder(again.folder).encode(["a red car"]), TextEncoder(adapted).encode(["a red car"]))


def test_top_layers_alone_leave_the_words_as_they_were(world: Path, catalog: recsys.Catalog, tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    few = recsys.AdaptOptions(text_steps=2, batch=8, layers=1)
    recsys.adapt(catalog, str(world / "tiny"), tmp_path / "top", options=few)
    before, after = load_file(world / "tiny" / "model.safetensors"), load_file(tmp_path / "top" / "model.safetensors")
    changed = {name for name in after if not np.array_equal(before[name], after[name])}
    assert changed
    assert all(name.startswith("encoder.layer.2.") for name in changed)


def test_a_command_adapts_without_held_out_events_and_fit_takes_the_encoder(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["adapt", str(world / "items.csv"), "--text", "title", "--log", str(world / "log.parquet")]
    words += ["--encoder", str(world / "tiny"), "--out", str(tmp_path / "e"), "--json"]
    assert main([*words, "--text-steps", "2", "--history-steps", "2", "--batch", "8"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["pairs"] + 9 * told["judged"] == 40 * 9  # of 12 events two are held out, and the first follows nothing
    assert main(words) == 2
    assert "--overwrite" in capsys.readouterr().err
    fit = ["fit", str(world / "log.parquet"), "--catalog", str(world / "items.csv"), "--text", "title", "--epochs", "1"]
    assert main([*fit, "--encoder", str(tmp_path / "e"), "--dim", "8", "--heads", "1", "--out", str(tmp_path / "run")]) == 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"text_steps": 0}, "nothing is to be trained"),
        ({"text_steps": 0, "history_steps": 5, "batch": 4000}, "a step takes 4000"),
        ({"layers": 9}, r"layers \(--layers\) is 9, but the encoder has 3 layers"),
    ],
)
def test_what_cannot_be_adapted_is_refused_and_nothing_is_left(
    world: Path, catalog: recsys.Catalog, tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    log = recsys.read_interactions(world / "log.parquet") if "history_steps" in change else None
    with pytest.raises(recsys.RecsysError, match=said):
        recsys.adapt(catalog, str(world / "tiny"), tmp_path / "out", log=log, options=recsys.AdaptOptions(**change))
    assert not list(tmp_path.iterdir())


def test_too_few_texts_an_encoder_without_a_mask_and_a_folder_of_others_are_refused(
    world: Path, catalog: recsys.Catalog, tmp_path: Path, tiny_encoder: Path
) -> None:
    few = recsys.Catalog.from_frame(make_items().head(3), text=["title"])
    with pytest.raises(recsys.RecsysError, match="3 distinct texts"):
        recsys.adapt(few, str(world / "tiny"), tmp_path / "out")
    with pytest.raises(recsys.RecsysError, match="--masked 0"):
        recsys.adapt(catalog, str(tiny_encoder), tmp_path / "out")
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "love.txt").write_text("dear")
    with pytest.raises(recsys.RecsysError, match="not an adapted encoder"):
        recsys.adapt(catalog, str(world / "tiny"), tmp_path / "letters", overwrite=True)
    assert (tmp_path / "letters" / "love.txt").read_text() == "dear"


def test_flags_of_a_log_need_one(world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["adapt", str(world / "items.csv"), "--encoder", str(world / "tiny"), "--out", str(tmp_path / "e")]
    assert main([*words, "--timestamp", "when"]) == 2
    assert "--timestamp is about a log" in capsys.readouterr().err
