"""Places at which what is written would not be found again, or would be lost with a bundle, are refused."""

import os
from pathlib import Path

import polars as pl
import pytest

import recsys
from recsys.core.destination import FitPlaces, prove_file, prove_folder
from recsys.core.place_checks import foreign_files
from recsys.data.catalog import Catalog
from recsys.data.split import Split
from recsys.errors import ConfigError, DataError
from recsys.serving.retriever import Retriever


@pytest.fixture(scope="module")
def retriever(ring_split: Split, ring_catalog: Catalog) -> Retriever:
    model = recsys.TwoTower(encoder=None, word_features="off", dim=16, max_length=8)
    training = recsys.Training(epochs=1, batch_tokens=64, device="cpu")
    return model.fit(ring_split.train, ring_catalog, training=training).retriever()


def test_a_home_that_no_shell_expanded_is_no_folder(
    retriever: Retriever, ring_split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    home = os.path.expanduser("~/runs/x")
    for write in (
        lambda: retriever.save("~/runs/x"),
        lambda: recsys.recommend_to_parquet(retriever, "~/runs/x"),
        lambda: recsys.recommend_to_parquet(retriever, "~/runs/x.parquet"),
        lambda: ring_split.train.save("~/runs/x"),
    ):
        with pytest.raises(DataError, match=f"shell expands it .* write {home}"):
            write()
    for prove in (lambda: prove_folder(Path("~/runs/x")), lambda: prove_file(Path("~/runs/x"), option="--storage")):
        with pytest.raises(ConfigError, match=f"shell expands it .* write {home}"):
            prove()
    with pytest.raises(ConfigError, match=r"^--out ~/runs/x: "), FitPlaces.of("~/runs/x").claimed(overwrite=False):
        pass
    assert not Path("~").exists()


def test_nothing_is_written_into_a_bundle(retriever: Retriever, ring_split: Split, tmp_path: Path):
    retriever.save(tmp_path / "run")
    before = sorted(os.listdir(tmp_path / "run"))
    for name in ("inner", "recs/all"):
        for write in (
            lambda place: retriever.save(place),
            lambda place: recsys.recommend_to_parquet(retriever, place),
            lambda place: recsys.recommend_to_parquet(retriever, place.with_suffix(".parquet")),
            lambda place: ring_split.train.save(place),
        ):
            with pytest.raises(DataError, match=r"lies in the bundle .*run, .* name a place beside it"):
                write(tmp_path / "run" / name)
        with pytest.raises(ConfigError, match=r"lies in the bundle .*run"):
            prove_file(tmp_path / "run" / name / "report.html")  # report.json would have replaced the bundle's own
    assert sorted(os.listdir(tmp_path / "run")) == before


def test_what_others_keep_in_a_bundle_is_not_lost_with_it(retriever: Retriever, tmp_path: Path):
    run = tmp_path / "run"
    retriever.save(run)
    retriever.save(run, overwrite=True)
    (run / ".DS_Store").write_bytes(b"a file manager's")
    assert foreign_files(run) == []
    (run / "notes").mkdir()
    (run / "notes" / "why.md").write_text("because")
    with pytest.raises(DataError, match=r"also holds notes/why.md, .* move them elsewhere first"):
        retriever.save(run, overwrite=True)
    with pytest.raises(DataError, match="also holds"), FitPlaces.of(run).claimed(overwrite=True):
        pass
    assert (run / "notes" / "why.md").read_text() == "because"
    (run / "manifest.json").write_text("{}")  # a damaged bundle may be replaced
    retriever.save(run, overwrite=True)
    assert recsys.load(run).recommend(["u1"], k=3).equals(retriever.recommend(["u1"], k=3))


@pytest.mark.parametrize(
    "name", ["recs.csv", "recs.CSV", "recs.json", "recs.csv.gz", "recs.xlsx", "recs.PARQUET", "recs.tsv"]
)
def test_a_batch_is_no_file_of_another_format(retriever: Retriever, tmp_path: Path, name: str):
    with pytest.raises(DataError, match=f"{name}: recommendations are written as Parquet; name a folder, or a file"):
        recsys.recommend_to_parquet(retriever, tmp_path / name)
    assert not (tmp_path / name).exists()
    recsys.recommend_to_parquet(retriever, tmp_path / "v1.2", k=2)  # a dot alone is no ending
    assert pl.scan_parquet(tmp_path / "v1.2" / "part-*.parquet").collect().height > 0
