"""A study's file: opened by one process at a time, proven to be whole, and claimed for one search."""

from __future__ import annotations

import json
import math
import sqlite3
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import TrialState
from sqlalchemy.engine import URL
from sqlalchemy.exc import DatabaseError

from recsys.core.files import exclusive
from recsys.errors import ConfigError, DataError

_SEARCH = "search"
"""Attribute of a study: its space and fingerprints of its data."""
_PATIENCE = 5.0
"""Seconds to wait for another program that has locked the file."""


def check_same_search(study: optuna.Study, storage: Path, search: dict[str, Any]) -> None:
    """Mark a new study as this search's; refuse a study of another search.

    Parameters
    ----------
    study : Study
    storage : Path
        Its file, for the message.
    search : dict
        Plain facts of the search: its space under ``"space"``, and fingerprints of its data.

    Raises
    ------
    ConfigError
        The study is of another search; the message names what differs.
    """
    before = study.user_attrs.get(_SEARCH)
    if before is None:
        if study.get_trials(deepcopy=False):
            raise ConfigError(f"{storage}: the study {study.study_name!r} was not made by recsys; choose another name")
        study.set_user_attr(_SEARCH, search)
        return
    old, new = before | before["space"], search | search["space"]
    differ = sorted(key for key in (old.keys() | new.keys()) - {"space"} if old.get(key) != new.get(key))
    if differ:
        raise ConfigError(
            f"{storage}: the study {study.study_name!r} has another {_listed(differ)}; "
            "choose another study or storage (--out, --storage), or go back to those of the study"
        )


def _listed(names: list[str]) -> str:
    return ", ".join(name.removeprefix("the ") for name in names)


def _first(error: Exception) -> str:
    return str(error).splitlines()[0]


@contextmanager
def open_study(storage: Path, name: str, pruner: optuna.pruners.BasePruner) -> Iterator[optuna.Study]:
    """The study of that name, made if it does not exist; its file is closed afterwards.

    Raises
    ------
    ConfigError
        The file is damaged, locked, or not a study's storage.
    """
    url = URL.create("sqlite", database=str(storage.resolve())).render_as_string()
    try:
        _check_integrity(storage)
        opened = optuna.storages.RDBStorage(url)
    except (DatabaseError, RuntimeError, sqlite3.Error, OSError) as error:
        raise _unusable(storage, error) from error
    try:
        try:
            study = optuna.create_study(
                study_name=name,
                storage=opened,
                load_if_exists=True,
                direction="maximize",
                pruner=pruner,
            )
            _read_through(study)
        except Exception as error:  # what is in a damaged file meets any line of Optuna's
            raise _unusable(storage, error) from error
        yield study
    except (DatabaseError, UnicodeDecodeError) as error:  # the latter from a text in a damaged file
        raise ConfigError(f"{storage} is damaged, or cannot be used as a study's storage: {_first(error)}") from error
    finally:
        opened.remove_session()
        opened.engine.dispose()


def _check_integrity(storage: Path) -> None:
    """Let SQLite check its pages and indexes."""
    if not storage.exists() or storage.stat().st_size == 0:
        return
    with closing(sqlite3.connect(storage.resolve(), timeout=_PATIENCE)) as connection:
        found = connection.execute("PRAGMA integrity_check(1)").fetchone()
    if found != ("ok",):
        raise sqlite3.DatabaseError(f"it is damaged: {found[0]}")


def _read_through(study: optuna.Study) -> None:
    """Find now what would fail during the search if the file is damaged."""
    if study.direction != optuna.study.StudyDirection.MAXIMIZE:
        raise ValueError("it was not made by recsys, whose studies maximise")
    json.dumps(study.user_attrs)
    for one in study.get_trials(deepcopy=False):
        if one.state == TrialState.COMPLETE and not (one.values and math.isfinite(one.values[0])):
            raise ValueError(f"trial {one.number} is complete and has no value")
        for name, value in one.params.items():
            if not one.distributions[name]._contains(one.distributions[name].to_internal_repr(value)):
                raise ValueError(f"trial {one.number} has {name} {value!r}, outside of what it was drawn from")


def _unusable(storage: Path, error: Exception) -> ConfigError:
    message = (str(error).splitlines() or [""])[0]
    return ConfigError(
        f"{storage} cannot be used as a study's storage: {message or type(error).__name__}; if it is damaged, move it away "
        "and start again, or choose another (--storage)"
    )


@contextmanager
def alone(storage: Path) -> Iterator[None]:
    """Keep other processes out; the lock is released when the process ends, however it ends.

    Raises
    ------
    ConfigError
        Another process is searching in the same file, or it is a folder.
    """
    if storage.is_dir():
        raise ConfigError(f"{storage} is a folder; choose a file for the study")
    with ExitStack() as stack:
        try:
            stack.enter_context(exclusive(storage))
        except DataError as error:
            raise ConfigError(f"another process is searching in {storage} ({error})") from error
        yield


@contextmanager
def quiet() -> Iterator[None]:
    """Hide Optuna's own messages."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"optuna\..*")
        try:
            yield
        finally:
            optuna.logging.set_verbosity(before)
