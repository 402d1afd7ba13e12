"""Read one table piece by piece: number its ids, and keep what else is read on disk."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import polars as pl

from recsys.core.distinct import Counter
from recsys.core.progress import warn
from recsys.core.ragged import Int32
from recsys.core.schema import EVENT, ITEM, MOVIELENS_INTERACTIONS, ORDER, TIMESTAMP, USER, WEIGHT
from recsys.data.event_types import check_event_types
from recsys.data.formats.dialect import Dialect
from recsys.data.formats.paths import TableFile
from recsys.data.formats.remote import RemoteFile
from recsys.data.formats.table import Table
from recsys.data.log_request import LogRequest
from recsys.data.parse import PARSERS, check_events, event_column
from recsys.data.quarantine import Quarantine
from recsys.data.sources import at_hand, table_in
from recsys.data.streaming.bounds import Bounds
from recsys.data.streaming.ids import IdColumn
from recsys.data.times.columns import read_times
from recsys.errors import DataError

Told: TypeAlias = Callable[[int, str, float], None]
"""Called with the rows of a piece, the table's name, and the share of the table that is read by then."""
_MANY_TYPES = 10_000
"""Event types of one table from which on the rest is not read any more."""
NUMBER, DATE = "number", "date"
"""The two columns of times whose unit is not decided yet; see :class:`recsys.data.times.columns.Times`."""


@dataclass(frozen=True)
class Unopened:
    """A file that is opened by whoever reads it.

    Attributes
    ----------
    file : TableFile or RemoteFile
    dialect : Dialect
    """

    file: TableFile | RemoteFile
    dialect: Dialect

    @contextmanager
    def opened(self) -> Iterator[Table]:
        """The table, while the block lasts."""
        if isinstance(self.file, TableFile) and not self.file.file.exists():
            raise DataError(
                f"{self.file.file} is not there on {socket.gethostname()}: on a cluster, all machines must see the log "
                f"under one path"
            )
        with at_hand(self.file) as one:
            yield table_in(one, MOVIELENS_INTERACTIONS, self.dialect)


@dataclass(frozen=True)
class ReadJob:
    """A table to read.

    Attributes
    ----------
    number : int
        Its place among all tables.
    table : Table or Unopened
        Another process can only be given what is not opened.
    request : LogRequest
    folder : Path
        For the pieces.
    bounds : Bounds
    null_values : str or sequence of str, optional
    aside : Quarantine, optional
        For the rows that cannot be used, which are then left out.
    tell : callable, optional
    """

    number: int
    table: Table | Unopened
    request: LogRequest
    folder: Path
    bounds: Bounds
    null_values: str | Sequence[str] | None = None
    aside: Quarantine | None = None
    tell: Told | None = None

    def opened(self) -> AbstractContextManager[Table]:
        """The table, while the block lasts.

        Raises
        ------
        DataError
            This machine does not see the folder of the pieces.
        """
        if not self.folder.is_dir():
            raise DataError(
                f"{self.folder} is not there on {socket.gethostname()}: on a cluster, all machines must see the folder "
                f"that the store is written into (--out) under one path"
            )
        return self.table.opened() if isinstance(self.table, Unopened) else nullcontext(self.table)


@dataclass(frozen=True, eq=False)
class TableRead:
    """A table that was read: its rows lie in files, one for each piece.

    Attributes
    ----------
    name : str
        For messages.
    names : mapping
        Our name → the table's, of the columns that were read.
    others : list of str
        The columns that were not read.
    files : list of Path
        Arrow files: numbers of users, items and event types within the table, and the other columns, parsed.
    heights : list of int
        The rows of each.
    values : dict of Series
        ``user_id``, ``item_id`` and ``event_type`` → the distinct values, by these numbers.
    missing : dict of int
        Order and weight → their rows without a value.
    rows : int
        Rows of the table, with those that are set aside.
    aside : Quarantine or None
    """

    name: str
    names: Mapping[str, str]
    others: list[str]
    files: list[Path]
    heights: list[int]
    values: dict[str, pl.Series]
    missing: dict[str, int]
    rows: int
    aside: Quarantine | None


def read_table(job: ReadJob) -> TableRead:
    """Read a table, and check its ids and event types as a whole.

    Raises
    ------
    DataError
        The table or a value cannot be used; the message names it.
    ConfigError, OSError
        As for :func:`recsys.read_interactions`.
    """
    with job.opened() as table:
        wanted = job.request.columns_of(table)
        reader = _Reader(table, wanted, job)
        for height, share in reader.read():
            if job.tell is not None:
                job.tell(height, table.name, share)
        if job.aside is not None:
            job.aside.find_lines(table.name, table.lines)
        others = [name for name in table.columns if name not in wanted.values()]
        values = reader.values()
        files, heights = reader.files, reader.heights
        return TableRead(table.name, wanted, others, files, heights, values, reader.missing, reader.done, job.aside)


class _Reader:
    """One table that is being read."""

    def __init__(self, table: Table, wanted: dict[str, str], job: ReadJob) -> None:
        self.table, self.wanted, self.job = table, wanted, job
        self.words, self.done = table.words(job.null_values), 0
        self.types = Counter(pl.String())
        self.where = {ours: f"{table.name}, column {theirs!r}" for ours, theirs in wanted.items()}
        self.ids = {name: IdColumn(self.where[name], self.words) for name in (USER, ITEM)}
        self.files, self.heights = list[Path](), list[int]()
        self.missing: dict[str, int] = {name: 0 for name in (ORDER, WEIGHT) if name in wanted}

    def read(self) -> Iterator[tuple[int, float]]:
        """Parse the pieces and write them; yield the rows of each, and the share of the table that is read by then."""
        rows, aside = self.job.bounds.rows, self.job.aside
        for raw, share in self.table.pieces(self.wanted, rows):
            if raw.height == 0:
                continue
            if raw.height > 2 * rows and self.table.format is not None:
                warn(
                    f"{self.table.name}: its {raw.height:,} rows were read at once, as its format ({self.table.format}) "
                    f"allows no other way, and may have taken more memory than was allowed; write it as Parquet, or in "
                    f"several files"
                )
            piece = raw
            if aside is not None:
                piece = aside.sift(raw, self.wanted, self.table.name, words=self.words, skipped=self.done)
            self.done += raw.height
            if piece.height:
                file = self.job.folder / f"{self.job.number:06}-{len(self.files):06}.arrow"
                self._parsed(piece, sum(self.heights)).write_ipc(file, compression="uncompressed")
                self.files.append(file)
                self.heights.append(piece.height)
            yield raw.height, share

    def _parsed(self, piece: pl.DataFrame, skipped: int) -> pl.DataFrame:
        columns: dict[str, pl.Series | Int32] = {name: self.ids[name].add(piece[name]) for name in (USER, ITEM)}
        for name, parse in PARSERS.items():
            if name in self.wanted:
                columns[name] = parse(piece[name], self.where[name], skipped)
        if EVENT in self.wanted:
            columns[EVENT] = self.types.add(event_column(piece[EVENT], self.where[EVENT]))
            if len(self.types.values) > _MANY_TYPES:
                check_event_types(len(self.types.values))
        for name in self.missing:
            self.missing[name] += pl.Series(columns[name]).null_count()
        if TIMESTAMP in self.wanted:
            times = read_times(piece[TIMESTAMP], self.where[TIMESTAMP], skipped)
            columns |= {name: one for name, one in ((NUMBER, times.numbers), (DATE, times.dates)) if one is not None}
        return pl.DataFrame(columns)

    def values(self) -> dict[str, pl.Series]:
        """Check the ids and event types of the whole table; those of a table that was set aside as a whole are none."""
        if not self.heights:
            if self.job.aside is None or not self.done:
                raise DataError(f"{self.table.name} has no rows")
            return {}
        found = dict[str, pl.Series]()
        for name, ids in self.ids.items():
            found[name] = ids.checked()
            self.table.prove(self.wanted[name], found[name])
        if EVENT in self.wanted:
            check_events(self.types, self.where[EVENT])
            found[EVENT] = self.types.values
        return found
