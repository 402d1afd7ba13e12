"""A store that a command is given in place of a log."""

from __future__ import annotations

from argparse import Action, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from recsys.data.interactions import Interactions
from recsys.data.store.describe import describe
from recsys.data.store.manifest import is_store
from recsys.data.store.opening import open_store
from recsys.errors import ConfigError, DamagedError, DataError

_BESIDE = ("catalog", "catalog_format", "catalog_item", "text", "title", "user_table", "user_columns", "user_numbers")
"""Flags of the data that are not about the log."""
_SHARED = ("separator", "quote", "encoding", "null_values")
"""Flags that are about a catalogue or a table of users too, if there is one."""


def only_store(source: Sequence[str]) -> Path | None:
    """The store that is named in place of the files of a log.

    Raises
    ------
    ConfigError
        There are other files beside it.
    """
    stores = [Path(one) for one in source if is_store(Path(one))]
    if stores and len(source) > 1:
        raise ConfigError(f"{stores[0]} is a store; name it alone, or append the other log to it (recsys import --append)")
    return stores[0] if stores else None


def store_of(arguments: Namespace) -> Path | None:
    """The store that a command was given in place of files; flags that say how to read a log are then refused.

    Raises
    ------
    ConfigError
        There are such flags, or other files beside the store.
    """
    store = only_store(arguments.log)
    if store is None:
        return None
    allowed = {*_BESIDE, "event_weights", "clean", "page", "pseudonymise", "pseudonym_key"}
    if arguments.catalog is not None or getattr(arguments, "user_table", None) is not None:
        allowed |= {*_SHARED, *(["user"] if getattr(arguments, "user_table", None) is not None else [])}
    flags: list[Action] = [one for one in arguments.data_flags if one.option_strings and one.dest not in allowed]
    if idle := [one.option_strings[0] for one in flags if getattr(arguments, one.dest) != one.default]:
        remedy = "; use --catalog-item for the catalogue" if idle[0] == "--item" else ""
        raise ConfigError(f"{store} is a store, and {idle[0]} says how a log is read: leave it out{remedy}")
    return store


def opened(store: Path, weights: dict[str, float] | None) -> Interactions:
    """The log in a store, with ``--event-weights`` if given."""
    log = open_store(store)
    return log if weights is None else log.weighted_by_event(weights)


def store_facts(arguments: Namespace) -> dict[str, Any] | None:
    """What the manifest of a store tells, which ``inspect`` was given; None for files.

    Raises
    ------
    ConfigError
        ``--verify`` is given for something else.
    DataError
        The store is damaged.
    """
    store = store_of(arguments)
    if store is None:
        if arguments.verify:
            given = "the query" if arguments.sql else arguments.log[0]
            raise ConfigError(f"--verify is for a store, and {given} is not one; leave it out")
        return None
    try:
        return describe(store, verify=arguments.verify)
    except DamagedError as error:
        raise DataError(str(error)) from error
