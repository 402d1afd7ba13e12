"""Recipes that come with the package: a recipe may be asked for by its name in place of a file."""

from __future__ import annotations

from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path


def shipped_names() -> list[str]:
    """The names of all recipes of training that come with the package, in order."""
    return sorted(one.name.removesuffix(".toml") for one in _folder().iterdir() if one.name.endswith(".toml"))


def recipe_source(given: Path) -> Traversable | Path:
    """The file of a recipe: the path, or, where nothing lies there, the shipped recipe of that name.

    Parameters
    ----------
    given : Path
        A path, or a name such as ``amazon-beauty``.

    Examples
    --------
    >>> recipe_source(Path("amazon-beauty")).name
    'amazon-beauty.toml'
    >>> recipe_source(Path("of/my/own.toml"))  # doctest: +ELLIPSIS
    PosixPath('of/my/own.toml')
    """
    if given.name != str(given) or given.exists() or given.name not in shipped_names():
        return given
    return _folder() / f"{given.name}.toml"


def unknown_recipe(given: Path) -> str:
    """What to add to an error about a recipe that is not there."""
    names = ", ".join(shipped_names())
    return f"; it is neither a file nor a recipe that comes with recsys: {names}" if given.suffix != ".toml" else ""


def _folder() -> Traversable:
    """The folder of the recipes: within the package where it is installed, ``training/recipes`` in a clone."""
    inside = files("recsys.config") / "recipes"
    return inside if inside.is_dir() else Path(__file__).parents[2] / "training" / "recipes"
