"""Read a log from a query of a database, batch by batch: by ADBC, or by SQLAlchemy where ADBC has no driver."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, TypeAlias
from urllib.parse import quote
from uuid import UUID

import polars as pl
from sqlalchemy import URL, Engine, create_engine, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError

from recsys.core.arguments import flag, text, text_or_none
from recsys.core.progress import log, warn
from recsys.core.schema import ITEM, TIMESTAMP, USER
from recsys.data.formats.frames import each_batch, from_batches
from recsys.data.formats.paths import PathLike
from recsys.data.formats.pieces import gathered
from recsys.data.formats.remote import without_secrets
from recsys.data.formats.table import Table, table_of
from recsys.data.interactions import Interactions
from recsys.data.order import Ties
from recsys.data.quarantine import OnError
from recsys.data.read import read_interactions
from recsys.data.times.units import TimeUnit
from recsys.errors import ConfigError, DataError, DependencyError, RecsysError

_Reported: TypeAlias = Callable[[], AbstractContextManager[None]]

NAME: Final = "the query's result"
"""What messages call it."""
_BATCH: Final = 65536
"""Rows that are fetched together."""
_READS: Final = ("select", "with", "values", "table", "from", "(")
"""How a statement begins that reads."""
_ASIDE = re.compile(r"--[^\n]*|/\*.*?\*/|'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|\$(\w*)\$.*?\$\1\$", re.DOTALL)
"""Comments, texts and quoted names."""


def read_sql(
    query: str,
    url: str,
    *,
    user: str = USER,
    item: str = ITEM,
    timestamp: str | None = None,
    time_unit: TimeUnit | None = None,
    order: str | None = None,
    ties: Ties = "file",
    weight: str | None = None,
    event: str | None = None,
    event_weights: Mapping[str, float] | None = None,
    drop_unordered: bool = False,
    unordered: bool = False,
    drop_duplicates: bool = False,
    null_values: str | Sequence[str] | None = None,
    on_error: OnError = "raise",
    quarantine: PathLike | None = None,
    quarantine_limit: float = 0.1,
) -> Interactions:
    """Read an interaction log from a query of a database.

    The rows of a query without ``ORDER BY`` come in any order. If no column orders the events either, the log is read as
    unordered, which is told.

    Parameters
    ----------
    query : str
        One statement that reads, such as ``SELECT user_id, item_id, at FROM events``. It runs in a transaction that cannot
        write, where the database has such ones (SQLite and PostgreSQL have).
    url : str
        ``sqlite:///FILE``, ``postgresql://USER:PASSWORD@HOST:PORT/NAME``, or any other that SQLAlchemy opens. PostgreSQL
        also takes the password from ``PGPASSWORD`` or ``~/.pgpass``. Passwords are told nowhere.
    user, item, timestamp, time_unit, order, ties, weight, event, event_weights, drop_unordered, unordered, drop_duplicates
        As for :func:`recsys.read_interactions`, for the columns of the result. Rows are counted through the result.
    null_values : str or sequence of str, optional
        Texts that mean a missing value, and numbers, such as ``-1``.
    on_error, quarantine, quarantine_limit
        As for :func:`recsys.read_interactions`; in the quarantine, rows are counted through the result.

    Returns
    -------
    Interactions

    Raises
    ------
    DataError
        The query fails, or a column or value of its result cannot be used.
    ConfigError
        The statement does not read, or the URL is none; and as for :func:`recsys.read_interactions`.
    DependencyError
        The package for this kind of database is missing.

    Examples
    --------
    >>> frame = pl.DataFrame({"user_id": [1, 1, 2], "item_id": ["a", "b", "a"], "at": [30, 20, 10]})
    >>> _ = frame.write_database("events", "sqlite:///shop.db")
    >>> recsys.read_sql("SELECT * FROM events", "sqlite:///shop.db", timestamp="at").histories.to_lists()
    [[1, 0], [0]]
    """
    opened = opened_log(
        query,
        url,
        timestamp=timestamp,
        order=order,
        ties=ties,
        drop_unordered=drop_unordered,
        unordered=flag(unordered, "unordered"),
    )
    with opened as (table, without_order):
        return read_interactions(
            table,
            user=user,
            item=item,
            timestamp=timestamp,
            time_unit=time_unit,
            order=order,
            ties=ties,
            weight=weight,
            event=event,
            event_weights=event_weights,
            drop_unordered=drop_unordered,
            unordered=without_order,
            drop_duplicates=drop_duplicates,
            null_values=null_values,
            on_error=on_error,
            quarantine=quarantine,
            quarantine_limit=quarantine_limit,
        )


@contextmanager
def opened_log(
    query: str,
    url: str,
    *,
    timestamp: str | None,
    order: str | None,
    ties: Ties,
    drop_unordered: bool,
    unordered: bool,
) -> Iterator[tuple[Table, bool]]:
    """Run a query of a log, and find whether its rows have an order; see :func:`opened_query`.

    Yields
    ------
    table : Table
    unordered : bool
        Whether to read it as a log without an order, which is told.

    Raises
    ------
    ConfigError, DataError, DependencyError
        As :func:`read_sql`.
    """
    with opened_query(query, url) as table:
        timed = text_or_none(timestamp, "timestamp") or order or (TIMESTAMP if TIMESTAMP in table.columns else None)
        if not unordered and not _ordered(query):
            if timed is None and not drop_unordered and ties == "file":
                unordered = True
                warn(
                    "the query has no ORDER BY, and no column orders the events: the order of its rows means nothing, so "
                    "the log is read as unordered; name timestamp= (--timestamp) or order= (--order), or write ORDER BY"
                )
            elif ties == "file":
                log(
                    "the query has no ORDER BY: events of one user at one time come in any order, and in another one next "
                    "time; write ORDER BY, or set ties='item' (--ties item)"
                )
        yield table, unordered


def read_frame(query: str, url: str) -> pl.DataFrame:
    """All columns of a query's result, for :func:`recsys.read_catalog` and the other readers, which take frames.

    Parameters
    ----------
    query, url : str
        As for :func:`read_sql`.

    Raises
    ------
    ConfigError, DataError, DependencyError
        As :func:`read_sql`.
    """
    with opened_query(query, url) as table:
        return table.read({name: name for name in table.columns})


@contextmanager
def opened_query(query: str, url: str) -> Iterator[Table]:
    """Run a query; its rows are fetched when the table is read, within the block.

    Parameters
    ----------
    query, url : str
        As for :func:`read_sql`.

    Raises
    ------
    ConfigError, DataError, DependencyError
        As :func:`read_sql`.
    """
    query, place = text(query, "query (--sql)").strip().rstrip(";"), _parsed(url)
    if not _bare(query).lstrip().lower().startswith(_READS):
        raise ConfigError(f"the query (--sql) must begin with SELECT or WITH, as it only reads; it begins {query[:20]!r}")
    where = _shown(place)
    secrets = [one for one in (place.password, *map(str, place.query.values())) if one]
    secrets += [quote(one, safe="") for one in secrets]
    driver = _adbc(place)

    def reported() -> AbstractContextManager[None]:
        return _errors(where, secrets)

    opened = _by_sqlalchemy(query, place, reported) if driver is None else _by_adbc(query, place, driver, reported)
    with opened as table:
        yield table


def _bare(query: str) -> str:
    """The statement without its comments, texts and quoted names."""
    return _ASIDE.sub(" ", query)


def _ordered(query: str) -> bool:
    """Whether the statement itself, and not only a part in parentheses, has an ORDER BY."""
    bare, before = _bare(query), ""
    while bare != before:
        before, bare = bare, re.sub(r"\([^()]*\)", " ", bare)
    return re.search(r"\border\s+by\b", bare, re.IGNORECASE) is not None


def _parsed(url: str) -> URL:
    try:
        place = make_url(text(url, "url (--db)"))
    except ArgumentError:
        raise ConfigError("url= (--db) is no URL of a database, such as sqlite:///FILE or postgresql://HOST/NAME") from None
    if place.get_backend_name() == "sqlite":
        if not place.database or place.database == ":memory:":
            raise ConfigError("url= (--db) names no file of SQLite; write sqlite:///FILE")
        if not Path(place.database).is_file():
            raise DataError(f"{place.database} does not exist, so no database can be read from it")
    return place


def _shown(place: URL) -> str:
    """Its URL without user, password and options."""
    host = f"{place.host or ''}{f':{place.port}' if place.port else ''}"
    return f"{place.drivername}://{host}/{place.database or ''}"


def _adbc(place: URL) -> Any:
    """The driver of ADBC; None where there is none, or the URL names another driver."""
    if find_spec("pyarrow") is None or "+" in place.drivername:
        return None
    if place.drivername == "sqlite" and find_spec("adbc_driver_sqlite"):
        import adbc_driver_sqlite.dbapi  # noqa: PLC0415 - an extra

        return adbc_driver_sqlite.dbapi
    if place.drivername == "postgresql" and find_spec("adbc_driver_postgresql"):
        import adbc_driver_postgresql.dbapi  # noqa: PLC0415 - an extra

        return adbc_driver_postgresql.dbapi
    return None


def _read_only(place: URL) -> str:
    return f"{Path(place.database or '').absolute().as_uri()}?mode=ro"


@contextmanager
def _by_adbc(query: str, place: URL, driver: Any, reported: _Reported) -> Iterator[Table]:
    with ExitStack() as stack:
        with reported():
            sqlite = place.drivername == "sqlite"
            address = _read_only(place) if sqlite else place.render_as_string(hide_password=False)
            connection = stack.enter_context(driver.connect(address, autocommit=True))
            cursor = stack.enter_context(connection.cursor())
            if sqlite:
                cursor.adbc_statement.set_options(**{"adbc.sqlite.query.batch_rows": str(_BATCH)})
            else:
                cursor.execute("SET default_transaction_read_only = on")
            cursor.execute(query)
            reader = cursor.fetch_record_batch()

        def read(wanted: dict[str, str]) -> pl.DataFrame:
            with reported():
                return from_batches(reader, wanted, NAME)

        def pieces(wanted: dict[str, str], rows: int) -> Iterator[tuple[pl.DataFrame, float]]:
            yield from gathered(_told(each_batch(reader, wanted, NAME), reported), rows)

        yield table_of(NAME, list(reader.schema.names), read, pieces)


@contextmanager
def _by_sqlalchemy(query: str, place: URL, reported: _Reported) -> Iterator[Table]:
    options: dict[str, Any] = {"stream_results": True, "yield_per": _BATCH, "no_parameters": True}  # % is a sign of SQL
    if place.get_backend_name() == "postgresql":
        options["postgresql_readonly"] = True
    with ExitStack() as stack:
        with reported():
            engine = _engine(place)
            stack.callback(engine.dispose)
            connection = stack.enter_context(engine.connect())
            result = connection.execution_options(**options).exec_driver_sql(query)
            columns = list(result.keys())

        def frames(wanted: dict[str, str]) -> Iterator[pl.DataFrame]:
            places = {ours: columns.index(theirs) for ours, theirs in wanted.items()}
            for rows in result.partitions(_BATCH):
                yield pl.DataFrame({ours: _series([row[place] for row in rows]) for ours, place in places.items()})

        def read(wanted: dict[str, str]) -> pl.DataFrame:
            with reported():
                parts = list(frames(wanted))
                empty = pl.DataFrame(schema=dict.fromkeys(wanted, pl.Null))
                return pl.concat(parts, how="vertical_relaxed", rechunk=False) if parts else empty

        def pieces(wanted: dict[str, str], rows: int) -> Iterator[tuple[pl.DataFrame, float]]:
            yield from gathered(_told(frames(wanted), reported), rows)

        yield table_of(NAME, columns, read, pieces)


def _told(frames: Iterator[pl.DataFrame], reported: _Reported) -> Iterator[pl.DataFrame]:
    """Pass frames on; errors of the driver alone are reported, not those of whoever takes the frames."""
    while True:
        with reported():
            frame = next(frames, None)
        if frame is None:
            return
        yield frame


def _engine(place: URL) -> Engine:
    if place.get_backend_name() == "sqlite":
        return create_engine("sqlite://", creator=lambda: sqlite3.connect(_read_only(place), uri=True))
    if place.drivername == "postgresql":
        if find_spec("psycopg") is None:
            raise DependencyError("PostgreSQL needs the package adbc-driver-postgresql: pip install 'recsys[sql]'")
        place = place.set(drivername="postgresql+psycopg")
    try:
        return create_engine(place)
    except (NoSuchModuleError, ModuleNotFoundError) as error:
        raise DependencyError(f"databases of the kind {place.drivername}:// need another package: {error}") from error


def _series(values: list[Any]) -> pl.Series:
    """A column of Python's values: UUIDs as text; whole numbers beside others, as SQLite keeps them, as floats."""
    kinds = {type(one) for one in values}
    if UUID in kinds:
        values = [str(one) if isinstance(one, UUID) else one for one in values]
    return (
        pl.Series(values, dtype=pl.Float64, strict=False)
        if {int, float} <= kinds <= {int, float, type(None)}
        else pl.Series(values)
    )


@contextmanager
def _errors(where: str, secrets: Sequence[str]) -> Iterator[None]:
    """Turn what drivers raise into a DataError that names the database and no password."""
    try:
        yield
    except RecsysError:
        raise
    except (
        Exception,
        pl.exceptions.PanicException,
    ) as error:  # each driver has its own; a cause may hold a password
        cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
        said = " ".join(str(cause).partition("\nQuery was:")[0].partition("\nquery:")[0].split())
        for secret in secrets:
            said = said.replace(secret, "***")
        raise DataError(f"the query of {where} failed: {without_secrets(said)}") from None
