"""A bundle's path is a name, never a pattern."""

from pathlib import Path

import polars as pl
import pytest

import recsys
from recsys.cli.parser import main
from recsys.config.training import Training
from recsys.data.catalog import Catalog
from recsys.data.interactions import Interactions
from recsys.data.split import Split
from recsys.serving.retriever import Retriever
from recsys.two_tower import TwoTower

ODD = ["run [1]", "run*", "run?", "{run,walk}", "~run", "run#1", "r'un\"", "-run", "größe 1", "run%20a", "run\n2"]


def small(log: Interactions, holdout: object, catalog: Catalog, seed: int) -> Retriever:
    training = Training(epochs=1, batch_tokens=64, device="cpu", seed=seed)
    model = TwoTower(encoder=None, word_features="on", dim=16, max_length=8, categories=["title"]).fit(
        log, catalog, training=training
    )
    return model.retriever(log=log, holdout=holdout)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def two(ring_split: Split, ring_catalog: Catalog) -> tuple[Retriever, Retriever]:
    """Two models with other users."""
    other = Interactions.from_frame(ring_split.train.frame().with_columns(pl.col("user_id").str.replace("u", "other")))
    return small(ring_split.train, ring_split.test, ring_catalog, 0), small(other, None, ring_catalog, 1)


@pytest.mark.parametrize("name", ODD)
def test_a_bundle_with_an_odd_name_answers_as_what_was_saved(two: tuple[Retriever, Retriever], tmp_path: Path, name: str):
    one, _ = two
    one.save(tmp_path / name)
    assert recsys.load(tmp_path / name).recommend(["u1"], k=5).equals(one.recommend(["u1"], k=5))
    one.save(tmp_path / name, overwrite=True)
    assert [entry.name for entry in tmp_path.iterdir() if entry.name != "cache"] == [name]


def test_a_name_that_matches_another_bundle_as_a_pattern_is_still_a_name(two: tuple[Retriever, Retriever], tmp_path: Path):
    one, other = two
    for name in ("run1", "runa", "run"):
        other.save(tmp_path / name)
    for name in ("run[1]", "run*", "run?"):
        one.save(tmp_path / name)
        loaded = recsys.load(tmp_path / name)
        assert loaded.users.ids.equals(one.users.ids)
        assert loaded.recommend(["u1"], k=5).equals(one.recommend(["u1"], k=5))
    assert recsys.load(tmp_path / "run1").users.ids.equals(other.users.ids)


def test_every_command_takes_an_odd_name(
    two: tuple[Retriever, Retriever], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    one, other = two
    other.save(tmp_path / "run1")
    one.save(folder := tmp_path / "run[1]")
    (page, recommended) = tmp_path / "page[1].html", tmp_path / "recs[1].parquet"
    for words in (
        ["inspect", folder],
        ["evaluate", folder],
        ["recommend", folder, "--users", "u1"],
        ["recommend", folder, "--out", recommended],
        ["similar", folder, "i1"],
        ["explain", folder, "i9", "--user", "u1"],
        ["report", folder, "--out", page, "--no-baselines"],
        ["index", folder, "--kind", "exact"],
    ):
        assert main([str(word) for word in words]) == 0, (words, capsys.readouterr().err)
    assert pl.read_parquet(recommended, glob=False)["user_id"].is_in(one.users.ids.implode()).all()
