"""What a command reads: the log, the catalogue, the tables and the search space that its flags name."""

from __future__ import annotations

from argparse import Action, Namespace
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from recsys.cli.given_query import check_query, given_log
from recsys.cli.given_store import opened, store_of
from recsys.cli.text_flags import Source, check_text_flags, text_options
from recsys.config.recipe import TABLES
from recsys.core.pseudonym_key import VARIABLE, PseudonymKey, read_key
from recsys.core.schema import USER
from recsys.data.catalog import Catalog
from recsys.data.clean.apply import cleaned
from recsys.data.clean.rules import CleaningRules
from recsys.data.formats.remote import without_secrets
from recsys.data.interactions import Interactions
from recsys.data.pseudonyms import pseudonymised, pseudonymised_table
from recsys.data.read import (
    read_catalog,
    read_interactions,
    read_items,
    read_relations,
    read_user_table,
    read_users,
)
from recsys.data.relations import ItemRelations
from recsys.data.user_table import UserTable
from recsys.errors import ConfigError

if TYPE_CHECKING:
    from recsys.tuning.space import Space

_FILES = ("log", "catalog", "user_table", "clean", "quarantine")
_PLACES = (*_FILES, "sql", "db", "pseudonym_key")
"""What says where the data lie, and not how they are read."""


def read_data(arguments: Namespace) -> tuple[Interactions, Catalog | None]:
    """The log, cleaned if rules are named, and the catalogue if one is named."""
    rules, key = cleaning_rules(arguments), pseudonym_key(arguments)
    of_catalog = ("catalog_format", "catalog_item", "text", "title")
    if arguments.catalog is None and (idle := [name for name in of_catalog if getattr(arguments, name) is not None]):
        raise ConfigError(f"--{idle[0].replace('_', '-')} describes the catalogue; name its file with --catalog FILE")
    check_query(arguments)
    store = store_of(arguments)
    sources: list[Source] = [(arguments.log, arguments.format)] if arguments.log and not store else []
    if arguments.catalog is not None:
        sources.append((arguments.catalog, arguments.catalog_format))
    if getattr(arguments, "user_table", None) is not None:
        sources.append((arguments.user_table, None))
    if getattr(arguments, "relations", None) is not None:
        sources.append((arguments.relations, None))
    check_text_flags(arguments, *sources)
    if store is None:
        aside = {name: getattr(arguments, name) for name in ("on_error", "quarantine", "quarantine_limit")}
        with given_log(arguments, log_options(arguments)) as (source, how):
            log = read_interactions(source, **how, **aside)
    else:
        log = opened(store, _event_weights(arguments.event_weights))
    log = cleaned(log, rules)
    log = log if key is None else pseudonymised(log, key)
    return log, None if arguments.catalog is None else given_catalog(arguments)


def given_catalog(arguments: Namespace) -> Catalog:
    """The catalogue that is named."""
    return read_catalog(
        arguments.catalog,
        format=arguments.catalog_format,
        item=arguments.catalog_item or arguments.item,
        text=arguments.text,
        title=arguments.title,
        **text_options(arguments, arguments.catalog, arguments.catalog_format),
    )


def pseudonym_key(arguments: Namespace) -> PseudonymKey | None:
    """The key of ``--pseudonymise``; None where users keep their ids.

    Raises
    ------
    ConfigError
        There is no key.
    """
    if not arguments.pseudonymise:
        return None
    key = read_key(None if arguments.pseudonym_key is None else Path(arguments.pseudonym_key))
    if key is None:
        raise ConfigError(
            f"--pseudonymise needs a key: --pseudonym-key FILE, or {VARIABLE}; recsys pseudonyms key FILE makes one"
        )
    return key


def cleaning_rules(arguments: Namespace) -> CleaningRules | None:
    """The rules that ``--clean`` names."""
    return None if arguments.clean is None else CleaningRules.read(arguments.clean)


def log_options(arguments: Namespace) -> dict[str, Any]:
    """How the log is to be read, as the keywords of :func:`recsys.read_interactions`."""
    names = ("format", "user", "item", "timestamp", "time_unit", "order", "ties", "weight", "event")
    how = {name: getattr(arguments, name) for name in (*names, "drop_unordered", "unordered", "drop_duplicates")}
    how |= {"event_weights": _event_weights(arguments.event_weights)}
    if arguments.sql is not None:
        return how | {"null_values": arguments.null_values}
    return how | text_options(arguments, arguments.log, arguments.format)


def _event_weights(given_: list[tuple[str, float]] | None) -> dict[str, float] | None:
    if given_ is None:
        return None
    if len(weights := dict(given_)) != len(given_):
        raise ConfigError("--event-weights names an event type twice; name each once")
    return weights


def user_features(arguments: Namespace) -> UserTable | None:
    """The features of users that ``--user-table`` names."""
    if arguments.user_table is None:
        if arguments.user_columns or arguments.user_numbers:
            raise ConfigError("--user-columns and --user-numbers need --user-table FILE, a table with one row per user")
        return None
    if not arguments.user_columns and not arguments.user_numbers:
        raise ConfigError("--user-table needs --user-columns or --user-numbers, the columns to read as features")
    table = read_user_table(
        arguments.user_table,
        user=arguments.user,
        categorical=arguments.user_columns,
        numeric=arguments.user_numbers,
        **text_options(arguments, arguments.user_table),
    )
    key = pseudonym_key(arguments)
    return table if key is None else pseudonymised_table(table, key)


def user_groups(arguments: Namespace) -> dict[str, pl.DataFrame]:
    """The tables of users that ``--user-table`` and ``--user-columns`` name, by column."""
    logs = arguments.truth is not None or arguments.log is not None
    if arguments.user_table is None and (arguments.user_columns or (arguments.user is not None and not logs)):
        raise ConfigError("--user-columns and --user need --user-table FILE, a table with one row per user")
    if arguments.user_table is not None and not arguments.user_columns:
        raise ConfigError("--user-table needs --user-columns, the columns to group users by")
    return {
        column: read_users(
            arguments.user_table, arguments.user or USER, column, **text_options(arguments, arguments.user_table)
        )
        for column in dict.fromkeys(arguments.user_columns)
    }


def written(flag: Action, value: Any) -> list[str]:
    """How a flag of the data is written on a command line; nothing where it has its default."""
    if value == flag.default:
        return []
    if isinstance(value, str) and value.startswith("-"):
        return [f"{flag.option_strings[0]}={value}"]
    values = [] if value is True else value if isinstance(value, list) else [value]
    return [*flag.option_strings[:1], *(f"{one[0]}={one[1]:g}" if isinstance(one, tuple) else str(one) for one in values)]


def fit_words(arguments: Namespace, split: str, recipe: Path, out: Path) -> list[str]:
    """The words after ``recsys fit`` that fit a recipe to the data of this command."""
    words = [word for flag in arguments.data_flags for word in written(flag, getattr(arguments, flag.dest))]
    words = [without_secrets(word) for word in words]
    return [*words, "--split", split, "--recipe", str(recipe), "--out", str(out)]


def search_space(arguments: Namespace) -> Space:
    """The space that ``tune`` searches, with what ``--keep-seen`` fixes."""
    from recsys.tuning.space import read_space  # noqa: PLC0415

    space = read_space(Path(arguments.space), TABLES)
    if not arguments.keep_seen:
        return space
    return replace(space, fixed=space.fixed | {"training": space.fixed["training"] | {"keep_seen": True}})


def changed_items(arguments: Namespace) -> dict[str, pl.DataFrame]:
    """The tables of items that ``--add`` and ``--update`` name, by these names."""
    tables = {name: file for name in ("add", "update") if (file := getattr(arguments, name))}
    check_text_flags(arguments, *((file, None) for file in tables.values()))
    return {name: read_items(file, **text_options(arguments, file)) for name, file in tables.items()}


def given_relations(arguments: Namespace) -> ItemRelations:
    """The table of related items that is named."""
    return read_relations(arguments.relations, **text_options(arguments, arguments.relations))


def fit_options(arguments: Namespace, log: Interactions, split: str) -> dict[str, Any]:
    """How ``fit`` goes about it: the split as it was asked for, resuming, overwriting, and how the log was read."""
    how = {name: getattr(arguments, name) for name in ("split", "refit", "resume", "overwrite")}
    how["relations"] = None if arguments.relations is None else given_relations(arguments)
    read = reading_of(arguments, arguments.data_flags, split) | {"refit": arguments.refit}
    read["relations"] = arguments.relations is not None
    return how | {"reading": read | {"waterfalls": [one.to_dict() for one in log.waterfalls]}}


def reading_of(arguments: Namespace, flags: list[Action], split: str) -> dict[str, Any]:
    """How the log was read and split, as the bundle keeps it: flags of the data, without the names of files."""
    words = [word for flag in flags if flag.dest not in _PLACES for word in written(flag, getattr(arguments, flag.dest))]
    files = {name: getattr(arguments, name) is not None for name in _FILES[1:]}
    return {"words": words, "split": split} | files
