"""The events of a store as a log: a file that ``recsys fit`` reads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

import polars as pl
from polars.io.plugins import register_io_source
from sqlalchemy import Select, select

from recsys.core.destination import prove_file
from recsys.core.files import atomic_file
from recsys.core.schema import EVENT, ITEM, TIMESTAMP, USER, WEIGHT
from recsys.errors import ConfigError, DataError, RecsysError
from recsys.server.database import Database
from recsys.server.events import Kind
from recsys.server.tables import EVENTS

Wanted: TypeAlias = Kind | Literal["all"]
_ENDINGS: Final = (".parquet", ".csv")
_ROWS: Final = 20_000
"""Rows that are in memory at a time."""
_TYPES: Final = {USER: pl.String, ITEM: pl.String, TIMESTAMP: pl.Int64, EVENT: pl.String, WEIGHT: pl.Float64}
_COLUMNS: Final = (EVENTS.c.user_id, EVENTS.c.item_id, EVENTS.c.timestamp, EVENTS.c.event, EVENTS.c.weight)
_MORE_TYPES: Final = {"kind": pl.String, "request_id": pl.String}
_MORE_COLUMNS: Final = (EVENTS.c.kind, EVENTS.c.request_id)


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes
    ----------
    file : Path
    events : int
    typed, weighted : bool
        Whether each event has a type, and any has a weight.
    """

    file: Path
    events: int
    typed: bool
    weighted: bool


def export_events(
    database: Database,
    file: Path,
    *,
    since: int | None = None,
    until: int | None = None,
    kind: Wanted = "interaction",
) -> Exported:
    """Write events in the order in which they were stored; a server may go on writing meanwhile.

    The columns are ``user_id``, ``item_id``, ``timestamp`` (seconds since 1970), ``event_type`` and ``weight`` (1 where the
    client gave none); with impressions also ``kind`` and ``request_id``.

    Parameters
    ----------
    database : Database
    file : Path
        It ends in .parquet or .csv, and is replaced as a whole.
    since, until : int, optional
        Events from ``since`` on and before ``until``; seconds since 1970.
    kind : {"interaction", "impression", "all"}

    Raises
    ------
    ConfigError
        The file cannot be written, or has another ending.
    DataError
        No event is left; nothing is written.
    StoreUnavailableError
        The database does not answer; nothing is written.

    Examples
    --------
    >>> from recsys.server.database import open_database
    >>> from recsys.server.events import Event
    >>> from recsys.server.store import EventStore
    >>> database = open_database("sqlite:///events.db")
    >>> store = EventStore(database)
    >>> receipts = store.append([Event(f"e{day}", "42", f"i{day}", 1_700_000_000 + 86_400 * day) for day in range(3)])
    >>> export_events(database, Path("log.parquet"), since=1_700_086_400).events
    2
    >>> recsys.read_interactions("log.parquet").frame()["item_id"].to_list()
    ['i1', 'i2']
    >>> store.close(), database.close()
    (True, None)
    """
    if file.suffix.lower() not in _ENDINGS:
        raise ConfigError(f"--out {file} must end in {' or '.join(_ENDINGS)}")
    prove_file(file)
    types = _TYPES if kind == "interaction" else _TYPES | _MORE_TYPES
    source = _Source(database, _wanted(since, until, kind), types)
    rows = register_io_source(source, schema=types)
    with atomic_file(file) as temporary:
        try:
            if file.suffix.lower() == ".csv":
                rows.sink_csv(temporary, maintain_order=True)
            else:
                rows.sink_parquet(temporary, maintain_order=True)
        except pl.exceptions.ComputeError as error:
            raise source.failed or error from error
        if not source.events:
            raise DataError(
                f"{database.where} holds no {'event' if kind == 'all' else kind} of this time, so nothing was written"
            )
    return Exported(file, source.events, source.typed == source.events, source.weighted > 0)


def has_events(database: Database, *, since: int | None = None, until: int | None = None) -> bool:
    """Whether the database holds an interaction of this time.

    Raises
    ------
    StoreUnavailableError
        The database does not answer.
    """
    with database.reading() as connection:
        return connection.execute(_wanted(since, until, "interaction").limit(1)).first() is not None


def _wanted(since: int | None, until: int | None, kind: Wanted) -> Select[Any]:
    found = select(*_COLUMNS) if kind == "interaction" else select(*_COLUMNS, *_MORE_COLUMNS)
    found = found if kind == "all" else found.where(EVENTS.c.kind == kind)
    found = found if since is None else found.where(EVENTS.c.timestamp >= since)
    found = found if until is None else found.where(EVENTS.c.timestamp < until)
    return found.order_by(EVENTS.c.position)


class _Source:
    """What polars reads from: frames of the database's rows, as it asks for them."""

    def __init__(self, database: Database, wanted: Select[Any], types: dict[str, Any]) -> None:
        self._database, self._wanted, self._types = database, wanted, types
        self.events = self.typed = self.weighted = 0
        self.failed: RecsysError | None = None

    def __call__(
        self, with_columns: list[str] | None, predicate: pl.Expr | None, n_rows: int | None, batch_size: int | None
    ) -> Iterator[pl.DataFrame]:
        try:
            with self._database.reading() as connection:
                result = connection.execution_options(yield_per=_ROWS).execute(self._wanted)
                for part in result.partitions():
                    yield self._frame(part)
        except RecsysError as error:  # polars would tell of a panic
            self.failed = error
            raise

    def _frame(self, part: Any) -> pl.DataFrame:
        frame = pl.DataFrame([tuple(row) for row in part], schema=self._types, orient="row")
        self.events += frame.height
        self.typed += frame.height - frame[EVENT].null_count()
        self.weighted += frame.height - frame[WEIGHT].null_count()
        return frame.with_columns(pl.col(WEIGHT).fill_null(1.0))
