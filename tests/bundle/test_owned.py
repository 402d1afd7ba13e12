"""A retriever owns what it answers from, and a load sees one version whole."""

import contextlib
import pickle
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import recsys
from recsys.bundle import manifest
from recsys.config.training import Training
from recsys.core import leftovers
from recsys.data.catalog import Catalog
from recsys.data.interactions import Interactions
from recsys.data.split import Split
from recsys.errors import BundleError, EncoderError, UnsupportedError
from recsys.serving.retriever import Retriever
from recsys.two_tower import TwoTower


def fitted(ring: Interactions, split: Split, catalog: Catalog, encoder: Path | None, seed: int) -> Retriever:
    training = Training(epochs=1, batch_tokens=64, device="cpu", seed=seed)
    name = None if encoder is None else str(encoder)
    model = TwoTower(encoder=name, word_features="on" if encoder is None else "off", dim=16, max_length=8)
    return model.fit(split.train, catalog, training=training).retriever(log=ring, holdout=split.test)


@pytest.fixture(scope="module")
def other_encoder(tiny_encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same architecture with other weights."""
    import torch
    from transformers import BertConfig, BertModel

    folder = tmp_path_factory.mktemp("other") / "encoder"
    shutil.copytree(tiny_encoder, folder)
    with torch.random.fork_rng():
        torch.manual_seed(7)
        BertModel(BertConfig.from_pretrained(folder)).save_pretrained(folder)
    return folder


@pytest.fixture
def encoder(tiny_encoder: Path, tmp_path: Path) -> Path:
    """One that may be changed."""
    return Path(shutil.copytree(tiny_encoder, tmp_path / "own encoder [1]"))


def replaced(folder: Path, source: Path) -> None:
    """What ``folder`` held is gone, and another encoder is there."""
    shutil.rmtree(folder)
    shutil.copytree(source, folder)


@pytest.fixture
def run(ring: Interactions, ring_split: Split, ring_catalog: Catalog, tiny_encoder: Path, tmp_path: Path) -> Path:
    fitted(ring, ring_split, ring_catalog, tiny_encoder, 0).save(tmp_path / "run")
    return tmp_path / "run"


def test_what_is_loaded_answers_alike_when_its_folder_is_overwritten(
    run: Path, ring: Interactions, ring_split: Split, ring_catalog: Catalog, other_encoder: Path
) -> None:
    known, asked = recsys.load(run), recsys.load(run)
    before = (known.recommend("u1", k=5), known.search("a red car", k=5), known.similar_items("i3", k=5))
    fitted(ring, ring_split, ring_catalog, other_encoder, 1).save(run, overwrite=True)
    after = (asked.recommend("u1", k=5), asked.search("a red car", k=5), asked.similar_items("i3", k=5))
    assert all(one.equals(other) for one, other in zip(before, after, strict=True))
    assert not recsys.load(run).search("a red car", k=5).equals(before[1])


def test_a_bundle_saved_after_its_source_has_gone_is_whole(run: Path, tmp_path: Path) -> None:
    known, asked = recsys.load(run), recsys.load(run)
    found = known.search("a red car", k=5)
    shutil.rmtree(run)
    asked.save(tmp_path / "copy")
    assert any(name.startswith("encoder/") for name in manifest.verify(tmp_path / "copy")["files"])
    assert recsys.load(tmp_path / "copy").search("a red car", k=5).equals(found)


def test_a_model_reads_with_the_encoder_that_it_was_trained_with(
    ring: Interactions, ring_split: Split, ring_catalog: Catalog, encoder: Path, other_encoder: Path, tmp_path: Path
) -> None:
    expected = fitted(ring, ring_split, ring_catalog, encoder, 0).search("a red car", k=5)
    retriever = fitted(ring, ring_split, ring_catalog, encoder, 0)
    replaced(encoder, other_encoder)
    retriever.save(tmp_path / "run")
    assert retriever.search("a red car", k=5).equals(expected)
    assert recsys.load(tmp_path / "run").search("a red car", k=5).equals(expected)


def test_an_encoder_changed_in_place_is_refused_and_the_model_saved_without_it(
    ring: Interactions,
    ring_split: Split,
    ring_catalog: Catalog,
    encoder: Path,
    other_encoder: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    retriever = fitted(ring, ring_split, ring_catalog, encoder, 0)
    with (encoder / "model.safetensors").open("r+b") as file:
        file.write((other_encoder / "model.safetensors").read_bytes())
    with pytest.raises(EncoderError, match=r"model\.safetensors is damaged.*after the model was made"):
        retriever.search("a red car", k=5)
    retriever.save(tmp_path / "run")
    assert "saved without its text encoder" in caplog.text
    loaded = recsys.load(tmp_path / "run")
    assert loaded.recommend("u1", k=5).equals(retriever.recommend("u1", k=5))
    with pytest.raises(UnsupportedError, match="saved without its text encoder"):
        loaded.search("a red car", k=5)


def test_what_is_saved_is_proven_to_read_texts_as_it_was_trained(
    ring: Interactions,
    ring_split: Split,
    ring_catalog: Catalog,
    encoder: Path,
    other_encoder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    retriever = fitted(ring, ring_split, ring_catalog, encoder, 0)
    write = type(retriever.towers.held_encoder).write

    def another(held: object, folder: Path) -> None:
        write(held, folder)  # type: ignore[arg-type]
        replaced(folder, other_encoder)

    monkeypatch.setattr(type(retriever.towers.held_encoder), "write", another)
    retriever.save(tmp_path / "run")
    assert "another vector than the model was trained with" in caplog.text
    assert not (tmp_path / "run" / "encoder").exists()


def test_a_retriever_with_an_encoder_is_pickled_with_it(run: Path) -> None:
    held = recsys.load(run).towers.held_encoder
    assert held is not None
    copy = pickle.loads(pickle.dumps(held))
    shutil.rmtree(run)
    assert {name: file.read() for name, file in copy.files.items()} == {
        name: file.read() for name, file in held.files.items()
    }


def test_nothing_of_a_held_encoder_lies_about(run: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    recsys.load(run).search("a red car", k=5)
    assert list((tmp_path / "tmp").iterdir()) == []


# Loading while others save.

WRITER = """
import sys
from pathlib import Path
import recsys
one, other, target = (Path(word) for word in sys.argv[1:4])
models = [recsys.load(one, device="cpu"), recsys.load(other, device="cpu")]
print("ready", flush=True)
for turn in range(int(sys.argv[4])):
    models[turn % 2].save(target, overwrite=True)
"""


def test_a_load_sees_one_version_whole_while_another_process_saves(
    ring: Interactions, ring_split: Split, ring_catalog: Catalog, tmp_path: Path
) -> None:
    answers = []
    for name, seed in (("one", 0), ("other", 1)):
        retriever = fitted(ring, ring_split, ring_catalog, None, seed)
        retriever.save(tmp_path / name)
        answers.append(retriever.recommend(["u1", "u2"], k=9))
    shutil.copytree(tmp_path / "one", tmp_path / "run")
    words = [str(tmp_path / name) for name in ("one", "other", "run")]
    with subprocess.Popen([sys.executable, "-c", WRITER, *words, "25"], stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        seen = np.zeros(2, dtype=int)
        loads = 0
        while writer.poll() is None or loads == 0:
            found = recsys.load(tmp_path / "run", device="cpu").recommend(["u1", "u2"], k=9)
            which = [found.equals(answer) for answer in answers]
            assert sum(which) == 1, "a mixture of two models"
            seen += which
            loads += 1
        assert writer.returncode == 0
    assert sorted(entry.name for entry in tmp_path.iterdir() if "run" in entry.name) == ["run"]


def test_a_bundle_replaced_while_it_is_being_opened_is_opened_again(
    run: Path, ring: Interactions, ring_split: Split, ring_catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = fitted(ring, ring_split, ring_catalog, None, 1)
    parsed, turns = manifest.parsed, []

    def replaced_after(folder: Path, content: bytes) -> dict:
        found = parsed(folder, content)
        if not turns:
            turns.append(1)
            other.save(run, overwrite=True)  # the opened folder's files are removed
        return found

    monkeypatch.setattr(manifest, "parsed", replaced_after)
    assert recsys.load(run).recommend("u1", k=5).equals(other.recommend("u1", k=5))


def test_a_reader_waits_where_a_writer_without_an_exchange_has_moved_the_bundle_aside(run: Path) -> None:
    aside = leftovers.name_beside(run, leftovers.OLD)
    run.rename(aside)
    timer = threading.Timer(0.3, lambda: aside.rename(run))
    timer.start()
    assert recsys.load(run).recommend("u1", k=5).height == 5
    timer.join()


def test_a_bundle_left_aside_is_told_with_the_remedy(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifest, "_PATIENCE", 0.1)
    aside = leftovers.name_beside(run, leftovers.OLD)
    run.rename(aside)
    with pytest.raises(BundleError, match=rf"left it as {aside.name}: rename that to run"):
        recsys.load(run)


def test_loading_leaves_no_file_open_but_the_encoder_s(run: Path) -> None:
    def opened() -> list[str]:
        links = []
        for link in Path("/proc/self/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):
                links.append(str(link.readlink()))
        return [name for name in links if str(run) in name]

    if not Path("/proc/self/fd").is_dir():
        pytest.skip("no /proc")
    retriever = recsys.load(run)
    assert all("/encoder/" in name for name in opened())
    del retriever
    (run / "users.parquet").write_bytes(b"x")
    with pytest.raises(BundleError) as caught:
        recsys.load(run)
    del caught
    assert opened() == []
