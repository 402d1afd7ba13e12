"""A recipe: one TOML file that says how the files of a public data set are read."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from recsys.core.schema import ITEM, USER
from recsys.errors import ConfigError

Layout: TypeAlias = Literal["csv", "lines", "objects"]
"""CSV with quotes, or a workbook with the same columns; lines whose separator is never within a field; an object a line."""

TABLES = {"log": (USER, ITEM), "items": (ITEM,), "users": (USER,)}
"""The tables of a prepared data set → the ids without which a row is left out."""
_KINDS = ("text", "whole", "number", "time", "clean", "row")


@dataclass(frozen=True)
class Column:
    """How a column of ours comes from one of the file's.

    Attributes
    ----------
    source : str
        The file's column; none for ``row``.
    kind : str
        ``text`` as it is; ``whole`` or other ``number``; ``time``; ``clean``, text without HTML; ``row``, the place of the
        row among all rows.
    unit : {"s", "ms"}, optional
        Of times that are numbers since 1970.
    written : tuple of str
        How times that are texts are written, for strptime; all are tried in turn.
    day : bool
        Whether a time is known to the day only.
    optional : bool
        Whether a row without this time stays.
    unless : str
        A text without which ``clean`` text is worth nothing: what holds it becomes missing.
    """

    source: str
    kind: str = "text"
    unit: str | None = None
    written: tuple[str, ...] = ()
    day: bool = False
    optional: bool = False
    unless: str = ""

    @classmethod
    def of(cls, written: str | Mapping[str, Any]) -> Column:
        """From TOML: a name, or a table such as ``{ time = "date", unit = "s" }``."""
        if isinstance(written, str):
            return cls(written)
        kind = next((kind for kind in _KINDS if kind in written), None)
        if kind is None:
            raise ConfigError(f"{dict(written)} must have one of {', '.join(_KINDS)}")
        rest: dict[str, Any] = {name: tuple(value) if name == "written" else value for name, value in written.items()}
        del rest[kind]
        return cls("" if kind == "row" else str(written[kind]), kind, **rest)


@dataclass(frozen=True)
class Drop:
    """Rows that are left out: why, and the SQL condition that holds for them."""

    why: str
    where: str


@dataclass(frozen=True)
class Source:
    """One way in which a table is published.

    Attributes
    ----------
    files : tuple of str
        Patterns of file names, gzipped or not.
    format : Layout
    take : mapping
        Our column → where it comes from.
    drop : tuple of Drop
        Applied in this order, before rows without an id, a readable time or number are left out.
    every : bool
        Whether all patterns are needed, one file each; otherwise one file is.
    separator : str
        Of ``csv`` and ``lines``.
    encoding : str
        Python's name of it; ``utf-8 or latin-1``, if copies of both kinds are about.
    columns : tuple of str
        Of ``lines``, and of ``csv`` without a header; the keys to read of ``objects``.
    header : bool
        Whether the first row of ``csv`` names the columns.
    rename : mapping
        Another spelling of a column → the one that ``take`` and ``drop`` use.
    each : str
        The key of ``objects`` that holds the list of a line's rows.
    step : str
        A named transformation of :mod:`recsys.data.recipes.quirks`.
    common : mapping
        Column of the catalogue → column of the log's file: the most frequent value for each item.
    """

    files: tuple[str, ...]
    format: Layout
    take: Mapping[str, Column]
    drop: tuple[Drop, ...] = ()
    every: bool = False
    separator: str = ","
    encoding: str = "utf-8"
    columns: tuple[str, ...] = ()
    header: bool = True
    rename: Mapping[str, str] = field(default_factory=dict)
    each: str = ""
    step: str = ""
    common: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, table: Mapping[str, Any]) -> Source:
        """From TOML."""
        given = dict(table)
        given["take"] = {name: Column.of(one) for name, one in given["take"].items()}
        given["drop"] = tuple(Drop(**one) for one in given.get("drop", ()))
        for name in ("files", "columns"):
            given[name] = tuple(given.get(name, ()))
        found = cls(**given)
        if found.format not in get_args(Layout):
            raise ConfigError(f"the format {found.format!r} is not known; use one of {', '.join(get_args(Layout))}")
        return found

    @property
    def needed(self) -> tuple[str, ...]:
        """The file's columns that ``take`` and ``common`` read."""
        named = [*(one.source for one in self.take.values() if one.source), *self.common.values()]
        return tuple(dict.fromkeys(named))


@dataclass(frozen=True)
class PublicSet:
    """A public data set and how to read it.

    Attributes
    ----------
    name, title, url, licence, citation : str
    quirks : tuple of str
        What is odd about it, and what that asks for.
    fit : tuple of str
        Flags of ``recsys fit`` that its log needs.
    user_flags : tuple of str
        Flags of ``recsys fit`` that read the features of its users.
    text : tuple of str
        The columns of the catalogue that make up an item's text.
    log, items, users : tuple of Source
        The ways in which each is published; the first whose files are there is used.
    optional : tuple of str
        Tables that may be missing.
    published : mapping
        Counts that its makers state: interactions, users and items in the log.
    """

    name: str
    title: str
    url: str
    licence: str
    citation: str
    log: tuple[Source, ...]
    quirks: tuple[str, ...] = ()
    fit: tuple[str, ...] = ()
    text: tuple[str, ...] = ()
    user_flags: tuple[str, ...] = ()
    items: tuple[Source, ...] = ()
    users: tuple[Source, ...] = ()
    optional: tuple[str, ...] = ("users",)
    published: Mapping[str, int] = field(default_factory=dict)

    @property
    def expected(self) -> tuple[str, ...]:
        """The names of all files that it may be read from."""
        ways = (*self.log, *self.items, *self.users)
        return tuple(dict.fromkeys(name for way in ways for name in way.files))


def names() -> list[str]:
    """The names of all recipes, in order."""
    return sorted(file.name.removesuffix(".toml") for file in _folder().iterdir() if file.name.endswith(".toml"))


def public_set(name: str) -> PublicSet:
    """The recipe of this name.

    Raises
    ------
    ConfigError
        There is none.
    """
    table = _table(name)
    while "like" in table:  # another edition of a set: what it does not say is as there
        table = _table(table.pop("like")) | table
    for one in ("quirks", "fit", "text", "user_flags", "optional"):
        if one in table:
            table[one] = tuple(table[one])
    for one in TABLES:
        table[one] = tuple(Source.of(source) for source in table.get(one, ()))
    return PublicSet(name=name, **table)


def _table(name: str) -> dict[str, Any]:
    known = names()
    if name not in known:
        raise ConfigError(f"there is no recipe {name!r}; the recipes are {', '.join(known)}")
    return tomllib.loads((_folder() / f"{name}.toml").read_text(encoding="utf-8"))


def _folder() -> Traversable:
    """The folder of the recipes: within the package where it is installed, ``data/recipes`` in a clone."""
    inside = files("recsys.data.recipes") / "toml"
    return inside if inside.is_dir() else Path(__file__).parents[3] / "data" / "recipes"
