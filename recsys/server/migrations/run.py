"""Bring a database to the schema that this program knows, or refuse it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final

from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import Connection, insert, inspect, select, text

from recsys.core.version import __version__
from recsys.errors import DataError
from recsys.server.migrations import first, second
from recsys.server.tables import SCHEMA

MIGRATIONS: Final[Sequence[Callable[[Operations], None]]] = (first.upgrade, second.upgrade)
"""The first leads to version 1, and so on; a released migration is never changed."""
_LOCK: Final = 7_263_537_971
"""Number of PostgreSQL's advisory lock, chosen at random."""


def schema_of(connection: Connection) -> tuple[int, str]:
    """Version of the schema, and the version of recsys that made it; 0 in a database that has none."""
    if not inspect(connection).has_table(SCHEMA.name):
        return 0, ""
    found = connection.execute(select(SCHEMA.c.version, SCHEMA.c.program).order_by(SCHEMA.c.version.desc())).first()
    return (found.version, found.program) if found else (0, "")


def check_schema(
    connection: Connection, where: str, migrations: Sequence[Callable[[Operations], None]] = MIGRATIONS
) -> None:
    """Refuse a schema that this program does not know, or that it would have to change.

    Parameters
    ----------
    connection : Connection
    where : str
        The database, for the message; without a password.
    migrations : sequence of functions
        What this program knows.

    Raises
    ------
    DataError
        The message names both versions.
    """
    version, program = schema_of(connection)
    if version > len(migrations):
        raise DataError(
            f"{where} has schema {version}, made by recsys {program}; this is recsys {__version__}, which knows schema "
            f"{len(migrations)}: upgrade recsys, or restore the backup that was made before the migration"
        )
    if version < len(migrations):
        held = f"has schema {version}, made by recsys {program}" if version else "holds no tables of recsys"
        raise DataError(
            f"{where} {held}; this is recsys {__version__}, which needs schema {len(migrations)}: start recsys serve or "
            "recsys keys create on it once, which migrates it"
        )


def migrate(connection: Connection, where: str, migrations: Sequence[Callable[[Operations], None]] = MIGRATIONS) -> None:
    """Run what is missing, in the transaction of the connection: all of it comes about, or nothing.

    Two processes may try at once; the second process waits, and finds it done.

    Parameters
    ----------
    connection : Connection
        In a transaction that will write.
    where : str
        As :func:`check_schema`.
    migrations : sequence of functions
        As :func:`check_schema`.

    Raises
    ------
    DataError
        The schema is newer than this program.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": _LOCK})
    version, _ = schema_of(connection)
    change = Operations(MigrationContext.configure(connection))
    for number, upgrade in enumerate(migrations[version:], start=version + 1):
        upgrade(change)
        connection.execute(insert(SCHEMA).values(version=number, program=__version__, applied=int(time.time())))
    check_schema(connection, where, migrations)
