"""The flags that say how text files are written, for every command that reads tables."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from typing import Any, Final

from recsys.config.options import Gather
from recsys.data.formats.paths import Format
from recsys.data.sources import formats_of
from recsys.errors import ConfigError

Source = tuple[str | Sequence[str], Format | None]
"""Files as a command names them, and their format where it is named too."""

_READ_BY: Final[dict[str, tuple[Format, ...]]] = {
    "separator": ("csv", "tsv"),
    "quote": ("csv", "tsv"),
    "encoding": ("csv", "tsv", "movielens", "ndjson"),
}


def add_text_flags(parser: ArgumentParser) -> None:
    """Add ``--separator``, ``--quote``, ``--encoding`` and ``--null-values``."""
    group = parser.add_argument_group("how text files are written")
    group.add_argument(
        "--separator",
        metavar="CHAR",
        help="character between two columns, or its name: comma, semicolon, tab, pipe (default: found in the file)",
    )
    group.add_argument(
        "--quote", metavar="CHAR", help='character around fields, or none (default: " for CSV, none for TSV)'
    )
    group.add_argument("--encoding", metavar="NAME", help="encoding, such as cp1252, latin-1 or utf-16 (default: UTF-8)")
    group.add_argument(
        "--null-values",
        nargs="+",
        action=Gather,
        metavar="TEXT",
        help="texts that mean a missing value, such as NULL or NA",
    )


def text_options(arguments: Namespace, source: str | Sequence[str], fmt: Format | None = None) -> dict[str, Any]:
    """The keywords that :func:`recsys.read_interactions` and its siblings take, without those that no file here can use."""
    formats = formats_of([source] if isinstance(source, str) else source, fmt)
    given = {name: getattr(arguments, name) for name in (*_READ_BY, "null_values")}
    return {name: value for name, value in given.items() if formats & set(_READ_BY.get(name, formats))}


def check_text_flags(arguments: Namespace, *sources: Source) -> None:
    """Refuse a flag that none of a command's files can use.

    Raises
    ------
    ConfigError
        The message names the flag.
    """
    names = (*_READ_BY, *(["null_values"] if vars(arguments).get("sql") is None else []))
    for name in names:
        if getattr(arguments, name) is not None and not any(name in text_options(arguments, *one) for one in sources):
            flag = f"--{name.replace('_', '-')}"
            raise ConfigError(f"{flag} is for text files, and this command reads none that has one; leave it out")
