"""A query of a database that a command is given in place of the files of a log."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from recsys.data.sources import Source
from recsys.errors import ConfigError


def add_query_flags(parser: ArgumentParser) -> None:
    """``--sql`` and ``--db``."""
    group = parser.add_argument_group("a query in place of files")
    group.add_argument(
        "--sql",
        metavar="QUERY",
        help="read the log from the result of this query, such as 'SELECT * FROM events ORDER BY id'",
    )
    group.add_argument(
        "--db", metavar="URL",
        help="its database: sqlite:///FILE, or postgresql://USER@HOST:PORT/NAME, the password in PGPASSWORD or ~/.pgpass",
    )  # fmt: skip


def check_query(arguments: Namespace) -> None:
    """Refuse a command that is given both files and a query, or a query without its database.

    Raises
    ------
    ConfigError
        The message names the flag.
    """
    if arguments.sql is not None and arguments.log:
        raise ConfigError(f"name files or --sql, not both: {arguments.log[0]}")
    if (arguments.sql is None) is not (arguments.db is None):
        raise ConfigError(
            "--sql needs --db URL, its database" if arguments.db is None else "--db is for --sql; leave it out"
        )


@contextmanager
def given_log(arguments: Namespace, how: Mapping[str, Any]) -> Iterator[tuple[Source, dict[str, Any]]]:
    """What a command reads its log from, and how: its files, or the result of its query while the block lasts.

    Parameters
    ----------
    arguments : Namespace
    how : mapping
        Keywords of :func:`recsys.read_interactions`.

    Raises
    ------
    ConfigError, DataError, DependencyError
        As :func:`check_query` and :func:`recsys.read_sql`.
    """
    check_query(arguments)
    if arguments.sql is None:
        yield arguments.log, dict(how)
        return
    from recsys.data.sql import opened_log  # noqa: PLC0415 - SQLAlchemy

    if how.get("format") is not None:
        raise ConfigError("--format is for files, and --sql reads none; leave it out")
    names = ("timestamp", "order", "ties", "drop_unordered", "unordered")
    with opened_log(arguments.sql, arguments.db, **{name: how[name] for name in names}) as (table, unordered):
        yield table, {**how, "unordered": unordered}
