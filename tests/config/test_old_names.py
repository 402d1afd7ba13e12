"""Old names of options are refused with the new name, on whatever way they come."""

import json
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from recsys.bundle.config import options_of
from recsys.config.model import ModelConfig
from recsys.config.options import build
from recsys.config.recipe import TABLES
from recsys.config.renamed import FLAGS, RENAMED
from recsys.config.training import Training
from recsys.errors import BundleError, ConfigError
from recsys.tuning.space import read_space
from recsys.two_tower import Recipe, TwoTower
from tests.cli.test_refusals import stopped

OWNERS = {
    old: next(table for table, owner in TABLES.items() if new in {field.name for field in fields(owner)})
    for old, new in RENAMED.items()
}
"""Old name → the table that has the new one."""


@pytest.mark.parametrize(("old", "table"), OWNERS.items())
def test_old_names_are_refused_in_keywords_tables_and_files(old: str, table: str, tmp_path: Path) -> None:
    says = f"has no option '{old}'; it is now called '{RENAMED[old]}'"
    recipe, space = tmp_path / "recipe.toml", tmp_path / "space.toml"
    recipe.write_text(f"[{table}]\n{old} = 1\n")
    space.write_text(f"[search.{table}]\n{old} = [1, 2]\n")
    ways: list[Callable[[], Any]] = [
        lambda: TABLES[table](**{old: 1}),
        lambda: build(TABLES[table], {old: 1}),
        lambda: Recipe.read(**{table: {old: 1}}),
        lambda: Recipe.read(recipe),
        lambda: read_space(recipe, TABLES),
        lambda: read_space(space, TABLES),
    ]
    if table == "model":
        ways.append(lambda: TwoTower(**{old: 1}))
    for way in ways:
        with pytest.raises(ConfigError) as error:
            way()
        assert says in str(error.value)


def test_an_old_name_in_the_wrong_place_is_told_where_the_new_one_belongs(tmp_path: Path) -> None:
    says = "has no option 'average'; it is now called 'ema_decay' and belongs to Training ([training] in a recipe)"
    (recipe := tmp_path / "recipe.toml").write_text("[model]\naverage = 0.9\n")
    for way in (lambda: TwoTower(average=0.9), lambda: Recipe.read(recipe)):
        with pytest.raises(ConfigError) as error:
            way()
        assert says in str(error.value)
    with pytest.raises(ConfigError, match="it is now called 'ensemble_size' and belongs to ModelConfig"):
        Training(members=2)  # type: ignore[call-arg]


@pytest.mark.parametrize("old", RENAMED)
def test_old_flags_are_refused(old: str, capsys: pytest.CaptureFixture[str]) -> None:
    flag = f"--{old.replace('_', '-')}"
    said = stopped(capsys, "fit", "log.csv", "--out", "x", flag, "1")
    assert f"unknown flag {flag}; it is now called {FLAGS[flag]} (see" in said


@pytest.mark.parametrize(("old", "table"), OWNERS.items())
def test_old_keys_of_a_bundle_are_refused(old: str, table: str, tmp_path: Path) -> None:
    where = "model" if table == "model" else f"{table}.options"
    says = rf"was written by an older recsys \({where} option '{old}', now '{RENAMED[old]}'\): fit it again"
    with pytest.raises(BundleError, match=says):
        options_of(tmp_path, {where: {old: 1}})
    with pytest.raises(BundleError, match=r"was written by an older recsys \(model option 'words'"):
        options_of(tmp_path, {"model": {"dim": 8, "words": None}})


@pytest.mark.parametrize("value", [True, False, None])
def test_word_features_are_a_word(value: object) -> None:
    with pytest.raises(ConfigError, match=f"word_features must be one of auto, on, off, not {value}"):
        ModelConfig(word_features=value)  # type: ignore[arg-type]


@pytest.mark.parametrize(("table", "owner"), [one for one in TABLES.items() if one[0] != "privacy"])  # part of the record
def test_unknown_and_impossible_options_of_a_bundle_are_named(table: str, owner: type, tmp_path: Path) -> None:
    table = "training.options" if table == "training" else table
    what = "the model" if table == "model" else table
    with pytest.raises(BundleError, match=rf"{what} has options that this recsys does not know \(a, b\); upgrade recsys"):
        options_of(tmp_path, {table: {"b": 1, "a": 2}})
    name = fields(owner)[0].name
    with pytest.raises(BundleError, match=rf"config\.json: {table}: {name} must be"):
        options_of(tmp_path, {table: {name: json.loads("[1]")}})
