"""A recipe that comes with the package is asked for by its name."""

from __future__ import annotations

from pathlib import Path

import pytest

import recsys
from recsys.config.recipe import TABLES
from recsys.config.shipped import shipped_names
from recsys.errors import ConfigError
from recsys.tuning.space import read_space


def test_recipes_and_spaces_are_read_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    kept = Path(__file__).parents[2] / "training" / "recipes"
    assert shipped_names() == sorted(file.stem for file in kept.glob("*.toml"))
    assert recsys.Recipe.read("ml-1m") == recsys.Recipe.read(kept / "ml-1m.toml")
    assert read_space(Path("search-default"), TABLES) == read_space(kept / "search-default.toml", TABLES)


def test_a_file_of_that_name_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("ml-1m").write_text("[training]\nepochs = 7\n", encoding="utf-8")
    assert recsys.Recipe.read("ml-1m").training == recsys.Training(epochs=7)


def test_what_is_neither_is_refused_with_the_names() -> None:
    with pytest.raises(ConfigError, match=r"the recipe ml-2m does not exist; it is neither .*amazon-beauty, .*ml-1m"):
        recsys.Recipe.read("ml-2m")
    with pytest.raises(ConfigError, match=r"the recipe runs/ml-1m.toml does not exist$"):
        recsys.Recipe.read("runs/ml-1m.toml")
