"""A recipe: every option of a training, from a TOML file and from flags."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from recsys.config.options import build, given, read_recipe, unknown_table
from recsys.config.training import Objective, Training
from recsys.core.arguments import place
from recsys.errors import ConfigError
from recsys.training.augment import Augment
from recsys.two_tower import TwoTower

TABLES: Final[dict[str, type]] = {"model": TwoTower, "objective": Objective, "augment": Augment, "training": Training}
"""A recipe's tables, and what each one sets."""


@dataclass(frozen=True)
class Recipe:
    """What :meth:`recsys.TwoTower.fit` needs besides data.

    Attributes
    ----------
    model : TwoTower
    objective : Objective
    augment : Augment
    training : Training
    """

    model: TwoTower
    objective: Objective
    augment: Augment
    training: Training

    @classmethod
    def of(cls, file: str | Path | None = None, flags: Namespace | None = None, **tables: dict[str, Any]) -> Recipe:
        """Read a recipe.

        Parameters
        ----------
        file : path, optional
            A TOML file with any of the tables [model], [objective], [augment] and [training].
        flags : Namespace, optional
            Parsed command line; what was given there wins over the file.
        **tables : dict
            Options by table name; these win over both.

        Raises
        ------
        ConfigError
            The file cannot be read, or an option is unknown or has a value that is not allowed.
        """
        for name, table in tables.items():
            if name not in TABLES:
                raise ConfigError(unknown_table(name, TABLES))
            if not isinstance(table, dict):
                raise ConfigError(
                    f"{name} must be a dict of options, such as those of {TABLES[name].__name__}, not {table!r}"
                )
        found = {} if file is None else read_recipe(place(file, "file"), TABLES)
        made = {
            name: build(kind, found.get(name, {}) | (given(flags, kind) if flags else {}) | tables.get(name, {}))
            for name, kind in TABLES.items()
        }
        return cls(**made)
