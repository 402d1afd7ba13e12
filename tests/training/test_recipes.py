from pathlib import Path

import pytest

from recsys.options import build, read_recipe
from recsys.training.config import Training
from recsys.two_tower import TwoTower

RECIPES = sorted((Path(__file__).parents[2] / "training" / "recipes").glob("*.toml"))


def test_there_are_recipes() -> None:
    assert RECIPES


@pytest.mark.parametrize("file", RECIPES, ids=lambda file: file.stem)
def test_every_shipped_recipe_makes_a_model_and_a_training(file: Path) -> None:
    recipe = read_recipe(file, {"model": TwoTower, "training": Training})
    assert build(TwoTower, recipe["model"]).options()
    assert build(Training, recipe["training"]).epochs >= 1


def test_the_default_recipe_is_the_defaults() -> None:
    recipe = read_recipe(next(f for f in RECIPES if f.stem == "default"), {"model": TwoTower, "training": Training})
    assert build(TwoTower, recipe["model"]).options() == TwoTower().options()
    assert build(Training, recipe["training"]) == Training()
