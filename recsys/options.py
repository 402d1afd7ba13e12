"""One source for every option: dataclass fields become command-line flags and recipe keys."""

from __future__ import annotations

import argparse
import re
import tomllib
import types
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from recsys.command_words import Gather
from recsys.errors import ConfigError


def _field_help(owner: type) -> dict[str, str]:
    """What the class's docstring says of each attribute."""
    text = (owner.__doc__ or "").split("Attributes\n", 1)[-1]
    found = re.findall(r"^ {4}([\w, ]+) : [^\n]*\n((?: {8}[^\n]*\n?)*)", text, flags=re.MULTILINE)
    return {name: " ".join(body.split()).replace("%", "%%") for names, body in found for name in names.split(", ")}


def _or_none(kind: type) -> Any:
    def parse(text: str) -> Any:
        return None if text.lower() == "none" else kind(text)

    parse.__name__ = kind.__name__
    return parse


def add_flags(parser: argparse.ArgumentParser, owner: type, title: str) -> None:
    """Give a parser one flag per field of a dataclass; a flag that is not given leaves no trace.

    Parameters
    ----------
    parser : ArgumentParser
    owner : type
        A dataclass whose fields are int, float, bool, ``bool | None``, str, ``str | None``, ``tuple[str, ...]`` or Literal.
    title : str
        Heading of the group in the help text.
    """
    group = parser.add_argument_group(title)
    hints, texts = get_type_hints(owner), _field_help(owner)
    for field in fields(owner):
        hint = hints[field.name]
        flag = f"--{field.name.replace('_', '-')}"
        shown = f"{texts[field.name]} (default: {'none' if field.default in (None, ()) else field.default})"
        if hint is bool or bool in get_args(hint):
            group.add_argument(flag, action=argparse.BooleanOptionalAction, default=argparse.SUPPRESS, help=shown)
        elif get_origin(hint) is tuple:
            group.add_argument(flag, nargs="*", action=Gather, metavar="NAME", default=argparse.SUPPRESS, help=shown)
        elif get_origin(hint) is Literal:
            group.add_argument(flag, choices=get_args(hint), default=argparse.SUPPRESS, help=shown)
        else:
            optional = get_origin(hint) in (Union, types.UnionType)
            kind = next(one for one in get_args(hint) if one is not types.NoneType) if optional else hint
            metavar = kind.__name__.upper()
            parse = _or_none(kind) if optional else kind
            group.add_argument(flag, type=parse, metavar=metavar, default=argparse.SUPPRESS, help=shown)


def given(arguments: argparse.Namespace, owner: type) -> dict[str, Any]:
    """The fields of a dataclass that were given as flags."""
    return {field.name: getattr(arguments, field.name) for field in fields(owner) if hasattr(arguments, field.name)}


def read_recipe(file: Path, tables: dict[str, type]) -> dict[str, dict[str, Any]]:
    """A recipe: a TOML file with one table of options per dataclass.

    Parameters
    ----------
    file : Path
    tables : dict
        Table name → the dataclass whose fields it may set.

    Returns
    -------
    dict of dict
        Table name → options, only those that the file sets.

    Raises
    ------
    ConfigError
        The file is missing or broken, or has a table or key that nothing knows.
    """
    try:
        found = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"the recipe {file} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"the recipe {file} is not valid TOML: {error}") from error
    for table, options in found.items():
        if table not in tables or not isinstance(options, dict):
            raise ConfigError(f"{file}: unknown table {table!r}; a recipe has {', '.join(f'[{name}]' for name in tables)}")
        known = {field.name for field in fields(tables[table])}
        for key in options.keys() - known:
            raise ConfigError(f"{file}: [{table}] has no option {key!r}; it has {', '.join(sorted(known))}")
    return {table: _without_none(owner, found.get(table, {})) for table, owner in tables.items()}


def _without_none(owner: type, options: dict[str, Any]) -> dict[str, Any]:
    """TOML has no None: where a field may be None, the word "none" stands for it."""
    hints = get_type_hints(owner)
    return {
        key: None if value == "none" and types.NoneType in get_args(hints[key]) else value for key, value in options.items()
    }


def build(owner: type, options: dict[str, Any]) -> Any:
    """Make the dataclass, its values checked against their types.

    Raises
    ------
    ConfigError
        A value is of another type than the field.
    """
    hints = get_type_hints(owner)
    for name, value in options.items():
        hint = hints[name]
        if get_origin(hint) is tuple:
            if not isinstance(value, list | tuple) or not all(isinstance(one, str) for one in value):
                raise ConfigError(f"{name} must be a list of names, not {value!r}")
            continue
        allowed = tuple(get_args(hint)) if get_origin(hint) in (Union, types.UnionType) else (hint,)
        if get_origin(hint) is Literal:
            continue  # the dataclass names the allowed words itself
        right = isinstance(value, allowed) and (bool in allowed or not isinstance(value, bool))
        if not right and not (float in allowed and type(value) is int):
            wanted = " or ".join("none" if one is types.NoneType else one.__name__ for one in allowed)
            raise ConfigError(f"{name} must be of type {wanted}, not {value!r}")
    return owner(**options)
