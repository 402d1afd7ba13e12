"""Read a new log as the log of a bundle was read, where the command does not say otherwise."""

from __future__ import annotations

import argparse
from argparse import Namespace
from typing import Any, Final

from recsys.cli.given_store import only_store
from recsys.cli.log_flags import add_log_flags, add_user_flags
from recsys.cli.text_flags import text_options
from recsys.core.progress import log as say
from recsys.core.progress import warn
from recsys.core.schema import EVENT, ITEM, MOVIELENS_INTERACTIONS, TIMESTAMP, USER, WEIGHT
from recsys.data.formats.dialect import Dialect
from recsys.data.sources import formats_of, sources, tables_of
from recsys.errors import RecsysError

_COLUMNS: Final = ("user", "item", "timestamp", "order", "weight", "event")
_HOW: Final = ("time_unit", "ties", "event_weights", "drop_unordered", "unordered", "drop_duplicates")
_TEXT: Final = ("separator", "quote", "encoding", "null_values")
_CATALOG: Final = ("catalog_item", "text", "title")
_USERS: Final = ("user_columns", "user_numbers")
_OURS: Final = {"user": USER, "item": ITEM, "timestamp": TIMESTAMP, "event": EVENT, "weight": WEIGHT}
"""Columns as ``recsys export-events`` names them."""


def read_as_before(arguments: Namespace, words: list[str]) -> None:
    """Set the flags about a log that were not given to what the words of ``recsys fit`` said.

    A store says itself how it is read. Files whose columns are not those of the fit, and which have ``user_id`` and
    ``item_id``, as exported events do, are read by these names.

    Parameters
    ----------
    arguments : Namespace
        Changed in place.
    words : list of str
        As :func:`recsys.bundle.describe.recorded_reading` gives them.
    """
    recorded = recorded_flags(words)
    defaults = {flag.dest: flag.default for flag in arguments.data_flags}
    taken = [name for name in recorded if vars(arguments)[name] == defaults[name]]
    if recorded.get("clean") and arguments.clean is None:
        warn("RUN was fitted on a cleaned log; to clean the new one alike, name the rules: --clean FILE")
    if arguments.user_table is not None:
        _take(arguments, recorded, [name for name in taken if name in _USERS])
    if arguments.catalog is not None:
        _take(arguments, recorded, [name for name in taken if name in _CATALOG])
        arguments.catalog_item = arguments.catalog_item or recorded.get("item")
    if not arguments.log or only_store(arguments.log) is not None:
        return
    names = [name for name in taken if name in (*_COLUMNS, *_HOW)]
    if "format" in taken and not _tell_their_format(arguments.log):
        names.append("format")
    trial = _with(arguments, recorded, [*names, *(name for name in taken if name in _TEXT)])
    names += [name for name in taken if name in _TEXT and name in text_options(trial, arguments.log, trial.format)]
    columns = _columns_of(_with(arguments, recorded, names))
    missing = [recorded[name] for name in names if name in _COLUMNS and recorded[name] not in columns]
    if missing and {USER, ITEM} <= columns:
        say(f"the new log has no column {missing[0]!r}, by which RUN was read: it is read by {USER}, {ITEM} and so on")
        ours = {name: column for name, column in _OURS.items() if name in recorded and column in columns}
        names = [name for name in names if name not in (*_COLUMNS, "time_unit")]
        recorded = recorded | ours
        names += [name for name in ours if name in taken]
    _take(arguments, recorded, names)


def recorded_flags(words: list[str]) -> dict[str, Any]:
    """The flags that some words of ``recsys fit`` set to another value than their default."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    add_log_flags(parser)
    add_user_flags(parser)
    found, _ = parser.parse_known_args(words)
    return {
        flag.dest: vars(found)[flag.dest]
        for flag in parser._actions
        if flag.option_strings and vars(found)[flag.dest] != flag.default
    }


def _tell_their_format(log: list[str]) -> bool:
    """Whether the endings of the files do."""
    try:
        return bool(formats_of(log, None))
    except RecsysError:
        return False


def _columns_of(arguments: Namespace) -> set[str]:
    """The columns that all files of a log have."""
    how = text_options(arguments, arguments.log, arguments.format)
    dialect = Dialect.of(*(how.get(name) for name in _TEXT))
    tables = tables_of(sources(arguments.log), arguments.format, MOVIELENS_INTERACTIONS, dialect)
    return set.intersection(*(set(table.columns) for table in tables))


def _with(arguments: Namespace, recorded: dict[str, Any], names: list[str]) -> Namespace:
    return Namespace(**vars(arguments) | {name: recorded[name] for name in names})


def _take(arguments: Namespace, recorded: dict[str, Any], names: list[str]) -> None:
    for name in names:
        setattr(arguments, name, recorded[name])
