"""Open the database in which a server keeps events and keys: a file of SQLite, or PostgreSQL."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from recsys.core.destination import prove_folder
from recsys.core.place_checks import refuse_place
from recsys.errors import ConfigError, DataError, DependencyError, RecsysError, StoreUnavailableError
from recsys.server.migrations.run import check_schema, migrate

_EXPECTED: Final = "write sqlite:///FILE or postgresql://USER:PASSWORD@HOST:PORT/NAME"
_WAIT: Final = 5
"""Seconds to wait for a lock, a connection, or a statement of PostgreSQL."""


@dataclass(frozen=True, eq=False)
class Database:
    """An open database with the schema that this program knows.

    Attributes
    ----------
    engine : Engine
        It gives connections to threads; statements' parameters appear in none of its errors.
    kind : {"sqlite", "postgresql"}
    where : str
        Its URL without the password, for messages.
    file : Path or None
        The file of SQLite.
    inode : int
        Its number in the file system; 0 before it was made.
    """

    engine: Engine
    kind: Literal["sqlite", "postgresql"]
    where: str
    file: Path | None
    inode: int = 0

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection in a transaction that reads.

        Raises
        ------
        StoreUnavailableError
            The database does not answer.
        """
        with _reported(self.where), self.engine.begin() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A connection in a transaction that writes; it is on disk when the block has ended well.

        Raises
        ------
        StoreUnavailableError
            The database does not answer, or has no room; nothing was written, unless the connection broke at its end.
        """
        if self.file and self.inode != _inode(self.file):
            raise StoreUnavailableError(
                f"{self.file} was removed or replaced while it was open: put it back, and start again"
            )
        with _reported(self.where), self.engine.connect() as connection:
            writer = connection.execution_options(recsys_writes=True)
            with writer.begin():
                yield writer

    def checkpoint(self) -> None:
        """Move SQLite's write-ahead log into the file and empty it; not while others read.

        Raises
        ------
        StoreUnavailableError
            The disk is full.
        """
        with _reported(self.where), self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")

    def compact(self) -> None:
        """Write SQLite's file anew, so that no page of it holds what was removed; it needs as much room once more.

        Raises
        ------
        StoreUnavailableError
            The disk is full, or another process reads.
        """
        with _reported(self.where), contextlib.closing(self.engine.raw_connection()) as connection:
            connection.cursor().execute("VACUUM")  # in no transaction, which SQLAlchemy would begin
        self.checkpoint()

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()


def open_database(url: str, *, create: bool = True, option: str = "--db") -> Database:
    """Open a database, and bring its schema up to date.

    Parameters
    ----------
    url : str
        ``sqlite:///FILE`` or ``postgresql://USER:PASSWORD@HOST:PORT/NAME``.
    create : bool
        Make the file of SQLite and the tables where they are missing, and migrate older ones; otherwise refuse them.
    option : str
        What the URL was given by, for messages.

    Raises
    ------
    ConfigError
        The URL is none of these, or names a place that cannot be written.
    DataError
        The file is not a database of SQLite, or the schema is of another version of recsys.
    DependencyError
        psycopg is missing.
    StoreUnavailableError
        The database does not answer.

    Examples
    --------
    >>> database = open_database("sqlite:///events.db")
    >>> database.kind, database.where
    ('sqlite', 'sqlite:///events.db')
    >>> database.close()
    """
    parsed = _parsed(url, option)
    database = _sqlite(parsed, create, option) if parsed.get_backend_name() == "sqlite" else _postgresql(parsed)
    try:
        with database.reading() as connection:
            _check_engine(connection, database)
            with contextlib.suppress(DataError) if create else contextlib.nullcontext():
                check_schema(connection, database.where)
                return database
        with database.writing() as connection:
            migrate(connection, database.where)
        if database.kind == "sqlite":
            database.checkpoint()  # its log holds nothing of before
    except BaseException:
        database.close()
        raise
    return database


def _parsed(url: str, option: str) -> URL:
    try:
        parsed = make_url(url)
        name = parsed.drivername
    except (ArgumentError, ValueError, TypeError) as error:
        raise ConfigError(f"{option} is not the URL of a database; {_EXPECTED}") from error
    if name in ("postgresql", "postgres"):
        parsed = parsed.set(drivername="postgresql+psycopg")
    elif name not in ("sqlite", "postgresql+psycopg"):
        raise ConfigError(f"{option} names a database of the kind {name!r}; {_EXPECTED}")
    return parsed


def _engine(url: URL, **how: Any) -> Engine:
    try:
        return create_engine(url, hide_parameters=True, pool_timeout=_WAIT, **how)
    except (ArgumentError, NoSuchModuleError) as error:
        raise ConfigError(f"the URL {_shown(url)} cannot be used: {error}; {_EXPECTED}") from error


def _shown(url: URL) -> str:
    return url.set(query={}).render_as_string(hide_password=True)


def _sqlite(url: URL, create: bool, option: str) -> Database:
    if not url.database or url.database == ":memory:" or url.query or url.host:
        raise ConfigError(
            f"{option} {_shown(url)} names no file on disk; write sqlite:///FILE (sqlite:////FILE from the root)"
        )
    file = Path(url.database)
    try:
        refuse_place(file)
    except DataError as error:
        raise ConfigError(f"{option} {error}") from error
    if file.is_dir():
        raise ConfigError(f"{option} {file} is a folder; name a file in it, such as sqlite:///{file / 'events.db'}")
    if not os.path.lexists(file) and not create:
        raise ConfigError(f"{option} {file} does not exist; name the file that recsys serve writes to")
    if file.exists() and not os.access(file, os.W_OK):
        raise ConfigError(f"{option} {file} cannot be written: let this process write it, or name another file")
    prove_folder(file.absolute().parent, option=option)
    if create:
        file.absolute().parent.mkdir(parents=True, exist_ok=True)
    engine = _engine(url.set(database=str(file.absolute())), connect_args={"timeout": _WAIT})

    @event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, _: object) -> None:
        connection.isolation_level = None  # transactions are begun below, not by the driver
        mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        if mode != "wal":
            raise ConfigError(
                f"{option} {file}: no write-ahead log can be kept on this file system; name a file on a local disk"
            )
        for pragma in ("synchronous = FULL", "secure_delete = ON", "temp_store = MEMORY"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get("recsys_writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    with _reported(_shown(url)), engine.connect():  # it makes the file
        return Database(engine, "sqlite", _shown(url), file.absolute(), _inode(file))


def _postgresql(url: URL) -> Database:
    if importlib.util.find_spec("psycopg") is None:
        raise DependencyError("PostgreSQL needs the package psycopg: pip install 'recsys[postgres]'")
    waits = {"connect_timeout": _WAIT, "tcp_user_timeout": 1000 * _WAIT, "keepalives_idle": _WAIT, "keepalives_interval": 1}
    engine = _engine(url, pool_size=4, max_overflow=4, connect_args={**waits, "application_name": "recsys"})

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _: object) -> None:
        with connection.cursor() as cursor:
            cursor.execute(f"SET statement_timeout = '{_WAIT}s'")
            cursor.execute("SET idle_in_transaction_session_timeout = '60s'")
            if cursor.execute("SHOW synchronous_commit").fetchone()[0] == "off":
                cursor.execute("SET synchronous_commit = on")
        connection.commit()

    return Database(engine, "postgresql", _shown(url), None)


def _check_engine(connection: Connection, database: Database) -> None:
    """Refuse a PostgreSQL that forgets what it acknowledged."""
    if database.kind == "postgresql" and connection.exec_driver_sql("SHOW fsync").scalar() == "off":
        raise ConfigError(f"{database.where} runs with fsync = off, and would lose acknowledged events; set it to on")


def _inode(file: Path) -> int:
    try:
        return file.stat().st_ino
    except OSError:
        return 0


def unreachable(error: StoreUnavailableError) -> bool:
    """Whether the database cannot be reached; false if it answered, and refused."""
    cause = error.__cause__
    if not isinstance(cause, DBAPIError) or isinstance(cause.orig, sqlite3.Error):
        return False
    # PostgreSQL gives each refusal of its own a code; those that begin with 57P say that it is stopping or starting
    code = cause.orig.sqlstate if cause.orig is not None and hasattr(cause.orig, "sqlstate") else None
    return cause.connection_invalidated or code is None or str(code).startswith(("57P", "08"))


@contextmanager
def _reported(where: str) -> Iterator[None]:
    """Report a failure of the database in a line, without the statement."""
    try:
        yield
    except RecsysError:
        raise
    except PoolTimeoutError as error:
        raise StoreUnavailableError(
            f"{where}: all connections have been busy for {_WAIT} seconds; try again later"
        ) from error
    except (DBAPIError, sqlite3.Error) as error:
        said = " ".join(str(error.orig if isinstance(error, DBAPIError) else error).split())
        if "file is not a database" in said:
            raise DataError(f"{where} is not a database of SQLite; name another file") from error
        raise StoreUnavailableError(f"{where}: {said}; {_remedy(said)}") from error


def _remedy(said: str) -> str:
    if "full" in said or "No space left" in said or "I/O error" in said:
        return "nothing was stored: make room on its disk, and send it again"
    if "readonly" in said or "unable to open" in said or "permission denied" in said:
        return "let this process, or its user of the database, write"
    if "locked" in said:
        return "another process writes to it without end; stop that process"
    if "password" in said or "role" in said or "does not exist" in said:
        return "correct the URL"
    return "nothing was stored: see that it runs, and send it again"
