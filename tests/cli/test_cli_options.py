"""The command line: what a model can read besides ids and text, as a user types it or writes it into a recipe."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from recsys.cli.parser import build_parser
from recsys.config.options import given_tables
from recsys.config.recipe import TABLES
from recsys.two_tower import Recipe
from tests.cli.test_cli import answer, refused
from tests.conftest import make_events, make_items


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Typed events with times, items with columns, and users with features."""
    folder = tmp_path_factory.mktemp("shop")
    kinds = pl.Series(["view", "cart", "view", "buy"] * 80)
    make_events().with_columns(did=kinds).write_csv(folder / "log.csv")
    words = make_items()["title"].str.split(" ")
    columns = {"kinds": words.list.get(1) + "|" + words.list.get(2), "price": pl.Series(range(32))}
    make_items().with_columns(**columns).write_csv(folder / "items.csv")
    people = {"user_id": [f"u{i}" for i in range(40)], "team": ["red", "blue"] * 20, "age": list(range(20, 60))}
    pl.DataFrame(people).write_csv(folder / "users.csv")
    return folder


def shop_arguments(folder: Path) -> list[str]:
    data = [str(folder / "log.csv"), "--event", "did", "--catalog", str(folder / "items.csv"), "--text", "title"]
    model = ["--encoder", "none", "--dim", "16", "--max-length", "6"]
    return ["fit", *data, *model, "--epochs", "1", "--batch-tokens", "64", "--device", "cpu"]


def test_fit_takes_columns_words_times_types_and_features(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    items = ["--categories", "kinds", "--numbers", "price", "--no-use-ids"]
    items += ["--word-features", "on", "--word-dropout", "0.2"]
    users = ["--user-table", str(shop / "users.csv"), "--user-columns", "team", "--user-numbers", "age"]
    tower = ["--positions", "rotary", "--time-bias", "request", "--event-heads"]
    code, out, _ = answer(capsys, *shop_arguments(shop), *items, *users, *tower, "--out", str(shop / "rich"))
    assert code == 0
    assert "request time known" in out
    config = json.loads((shop / "rich" / "config.json").read_text())
    model = config["model"]
    found = (model["categories"], model["numbers"], model["word_features"], model["use_ids"])
    assert found == (["kinds"], ["price"], "on", False)
    assert (model["positions"], model["time_bias"], model["event_heads"]) == ("rotary", "request", True)
    assert config["event_names"] == ["buy", "cart", "view"]
    assert pl.read_parquet(shop / "rich" / "users.parquet").columns == ["user_id", "feature_0", "feature_1"]
    code, out, _ = answer(capsys, "evaluate", str(shop / "rich"))
    assert code == 0
    assert "request time known" in out
    assert answer(capsys, "recommend", str(shop / "rich"), "--users", "u1")[0] == 0
    assert not (shop / "checkpoints").exists()  # nothing is left to resume


def test_features_without_their_table_are_refused(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = [*shop_arguments(shop), "--out", str(shop / "x")]
    table = ["--user-table", str(shop / "users.csv")]
    assert "need --user-table FILE" in refused(capsys, *common, "--user-columns", "team")
    assert "needs --user-columns or --user-numbers" in refused(capsys, *common, *table)
    assert "no column 'squad'" in refused(capsys, *common, *table, "--user-columns", "squad")
    assert "no column 'genre'; its columns are title, kinds, price" in refused(capsys, *common, "--categories", "genre")
    assert "'price'" not in refused(capsys, *common, "--numbers", "kinds")
    assert not (shop / "x").exists()


def test_a_dry_run_tells_what_a_fit_would_cost_and_writes_nothing(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(shop.rglob("*"))
    code, out, err = answer(capsys, *shop_arguments(shop), "--word-features", "on", "--dry-run")
    assert code == 0
    assert out.startswith("expected: ")
    assert "s per epoch" in out
    assert "GiB" in out
    assert "epoch 1/" not in err
    facts = json.loads(answer(capsys, *shop_arguments(shop), "--out", str(shop / "dry"), "--dry-run", "--json")[1])
    assert facts["forecast"]["steps"] > 0
    assert facts["forecast"]["parameters"] > 1000
    assert facts["sweep"] is None
    assert sorted(shop.rglob("*")) == before


def test_a_learning_rate_is_suggested_and_nothing_written(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(shop.rglob("*"))
    code, out, _ = answer(capsys, *shop_arguments(shop), "--find-rate")
    assert code == 0
    assert "suggested learning rate: " in out
    facts = json.loads(answer(capsys, *shop_arguments(shop), "--find-rate", "--json")[1])
    assert facts["sweep"]["rates"][0] < facts["sweep"]["suggestion"] < 0.3
    assert sorted(shop.rglob("*")) == before


def test_fit_needs_a_place_to_write_to(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "fit needs --out FOLDER" in refused(capsys, *shop_arguments(shop))


def test_a_killed_fit_goes_on_where_it_was(shop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [*shop_arguments(shop), "--epochs", "15", "--checkpoint-steps", "1", "--dropout", "0.3"]
    assert answer(capsys, *arguments, "--out", str(tmp_path / "whole" / "run"))[0] == 0
    killed = [*arguments, "--out", str(tmp_path / "killed" / "run")]
    assert "there is no checkpoint" in refused(capsys, *killed, "--resume")

    environment = os.environ | {
        "OMP_NUM_THREADS": str(torch.get_num_threads()),
        "PYTHONPATH": str(Path(__file__).parents[1]),
    }
    checkpoint = tmp_path / "killed" / "checkpoints" / "run"
    with subprocess.Popen([sys.executable, "-m", "recsys", *killed], stderr=subprocess.DEVNULL, env=environment) as process:
        while process.poll() is None and not (checkpoint / "state.safetensors").exists():
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert not (tmp_path / "killed" / "run").exists()

    code, _, err = answer(capsys, *killed, "--resume")
    assert code == 0, err
    assert "resumed at epoch " in err
    vectors = [np.load(tmp_path / name / "run" / "item_vectors.npy") for name in ("whole", "killed")]
    np.testing.assert_array_equal(*vectors)


def recipe_of(file: Path, text: str, *flags: str) -> Recipe:
    file.write_text(text)
    return Recipe.read(file, **given_tables(build_parser().parse_args(["fit", "log.csv", *flags]), TABLES))


def test_flags_win_over_the_recipe_and_the_recipe_over_defaults(tmp_path: Path) -> None:
    text = """
[model]
encoder = "none"
categories = ["kinds", "brand"]
word_features = "on"
positions = "rotary"
[objective]
loss = "bce"
negatives = 64
[augment]
crop = 0.4
[training]
epochs = 7
ema_decay = 0.9
"""
    flags = ["--word-features", "off", "--categories", "kinds", "--loss", "bpr", "--epochs", "3", "--delete", "0.1"]
    recipe = recipe_of(tmp_path / "recipe.toml", text, *flags)
    model = recipe.model
    assert (model.encoder, model.categories, model.word_features, model.positions) == (None, ("kinds",), "off", "rotary")
    assert (recipe.objective.loss, recipe.objective.negatives) == ("bpr", 64)
    assert (recipe.augment.crop, recipe.augment.delete) == (0.4, 0.1)
    assert (recipe.training.epochs, recipe.training.ema_decay, recipe.training.seed) == (3, 0.9, 0)
    table = Recipe.read(tmp_path / "recipe.toml", training={"epochs": 9})
    assert table.training.epochs == 9


def test_none_is_a_word_where_it_is_one_and_nothing_elsewhere(tmp_path: Path) -> None:
    text = '[model]\nencoder = "none"\nimages = "none"\npositions = "none"\ntime_bias = "none"\n'
    model = recipe_of(tmp_path / "recipe.toml", text).model
    assert (model.encoder, model.images, model.positions, model.time_bias) == (None, None, "none", "none")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('[model]\ncategories = "kinds"\n', "categories must be a list of names, not 'kinds'"),
        ("[model]\ncategories = [1]\n", "categories must be a list of names"),
        ("[model]\nword_features = 1\n", "word_features must be one of auto, on, off, not 1"),
        ("[model]\nwords = true\n", "has no option 'words'; it is now called 'word_features'"),
        ('[model]\npositions = "absolute"\n', "positions must be one of learned, rotary, relative, none"),
        ('[objective]\nloss = "hinge"\n', "loss must be one of"),
        ("[augment]\ncrop = 2\n", "crop"),
    ],
)
def test_a_recipe_of_the_new_options_is_checked(
    shop: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path, text: str, says: str
) -> None:
    (tmp_path / "recipe.toml").write_text(text)
    assert says in refused(capsys, *shop_arguments(shop), "--recipe", str(tmp_path / "recipe.toml"), "--dry-run")
