"""Search a space of options for those that do best on validation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recsys.data.catalog import Catalog
from recsys.data.interactions import Interactions
from recsys.data.split import Holdout
from recsys.data.split_choice import split_for, split_log
from recsys.data.user_table import UserTable
from recsys.errors import ConfigError
from recsys.two_tower import TwoTower

if TYPE_CHECKING:
    from recsys.training.logs import TrainingLog
    from recsys.tuning.space import Space
    from recsys.tuning.trials import Tuning


def fit_trial(
    configs: dict[str, Any],
    *,
    train: Interactions,
    catalog: Catalog | None,
    validation: Holdout,
    users: UserTable | None,
    on_epoch: Callable[[dict[str, float]], None],
) -> TrainingLog:
    """Train one trial of :func:`recsys.tuning.search.tune`; ``configs`` holds a dataclass for each table of a recipe."""
    model = TwoTower(replace(configs["model"], transitions="none"))  # trials are compared by the towers' own figures
    rest = {table: config for table, config in configs.items() if table not in ("model", "training")}
    rest["training"] = replace(configs["training"], adapt="off")  # the search decides, not a plan
    model.fit(train, catalog, validation=validation, users=users, on_epoch=on_epoch, **rest)
    assert model.log is not None  # noqa: S101 - fit has just set it
    return model.log


def tune_log(
    space: Space,
    log: Interactions,
    catalog: Catalog | None = None,
    *,
    out: Path,
    users: UserTable | None = None,
    split: str | None = None,
    storage: Path | None = None,
    **budget: Any,
) -> tuple[Tuning, dict[str, Path]]:
    """Split a log, search a space for the options that do best on validation, and write the best recipe and the page.

    Parameters
    ----------
    space : Space
    log : Interactions
    catalog : Catalog, optional
    out : Path
        Folder of what is written; the study is called as it is.
    users : UserTable, optional
    split : {"last", "time", "random"}, optional
        What to hold out; see :func:`split_for`.
    storage : Path, optional
        SQLite file of the study; by default ``study.db`` in ``out``.
    **budget
        ``trials``, ``seed`` and ``minutes`` of :func:`recsys.tuning.search.tune`.

    Returns
    -------
    Tuning
    dict of Path
        ``recipe``, ``trials`` and ``page``.
    """
    from recsys.tuning.page import write  # noqa: PLC0415
    from recsys.tuning.search import tune  # noqa: PLC0415 - optuna

    if space.fixed.get("privacy") or any(name.startswith("privacy.") for name in space.searched):
        raise ConfigError(
            "each trial of a search would spend a budget, and which is best is chosen by private events; search on public "
            "data, and leave [privacy] to recsys fit"
        )
    train, validation, _ = split_log(log, split_for(log, split))
    if validation is None:
        raise ConfigError("a search needs validation users: choose another split than none")
    place: dict[str, Any] = {"storage": storage or out / "study.db", "name": out.resolve().name}
    found = tune(train, catalog, validation, space, fit=fit_trial, users=users, **place, **budget)
    return found, write(found, out)
