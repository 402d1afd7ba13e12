import dataclasses
from pathlib import Path

import pytest

from recsys.config.recipe import TABLES
from recsys.tuning.space import read_space
from recsys.two_tower import Recipe

FOLDER = Path(__file__).parents[2] / "training" / "recipes"
SPACES = sorted(FOLDER.glob("search-*.toml"))
RECIPES = sorted(set(FOLDER.glob("*.toml")) - set(SPACES))


def test_there_are_recipes_and_spaces() -> None:
    assert RECIPES
    assert SPACES


@pytest.mark.parametrize("file", RECIPES, ids=lambda file: file.stem)
def test_every_shipped_recipe_can_be_read(file: Path) -> None:
    assert Recipe.read(file).training.epochs >= 1


@pytest.mark.parametrize("file", SPACES, ids=lambda file: file.stem)
def test_every_shipped_search_space_can_be_read(file: Path) -> None:
    assert read_space(file, TABLES)


def test_the_default_recipe_is_the_defaults_with_nothing_decided() -> None:
    shipped, plain = Recipe.read(FOLDER / "default.toml"), Recipe.read(training={"adapt": "off"})
    assert shipped.model == plain.model
    assert dataclasses.replace(shipped, model=plain.model) == plain


def test_flags_of_a_recipe_win_over_its_file(tmp_path: Path) -> None:
    file = tmp_path / "r.toml"
    file.write_text("[model]\ndim = 32\n[objective]\nloss = 'bpr'\n[augment]\ncrop = 0.5\n")
    recipe = Recipe.read(file, model={"dim": 64})
    assert (recipe.model.dim, recipe.objective.loss, recipe.augment.crop) == (64, "bpr", 0.5)
