"""The first pass: read tables piece by piece, number their ids, and keep what else is read on disk."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import polars as pl

from recsys.core.distinct import Counter
from recsys.core.progress import warn
from recsys.core.ragged import Int32
from recsys.core.schema import EVENT, ITEM, ORDER, TIMESTAMP, USER, WEIGHT
from recsys.core.vocabulary import Vocabulary
from recsys.data.event_types import check_event_types
from recsys.data.formats.table import Table
from recsys.data.log_request import LogRequest
from recsys.data.parse import PARSERS, check_events, event_column
from recsys.data.quarantine import Quarantine, refuse_all
from recsys.data.streaming.bounds import Bounds
from recsys.data.streaming.ids import IdColumn, MergedIds
from recsys.data.streaming.progress import rows_read
from recsys.data.times.columns import Times, read_times
from recsys.errors import DataError

Words: TypeAlias = Callable[[Table], bool | None]
_MANY_TYPES = 10_000
"""Event types of one table from which on the rest is not read any more."""
NUMBER, DATE = "number", "date"
"""The two columns of times whose unit is not decided yet; see :class:`recsys.data.times.columns.Times`."""


@dataclass(frozen=True, eq=False)
class Scanned:
    """A table that was read: its rows lie in files, one for each piece.

    Attributes
    ----------
    name : str
        For messages.
    names : mapping
        Our name → the table's, of the columns that were read.
    files : list of Path
        Arrow files: numbers of users and items within the table, and the other columns, parsed.
    heights : list of int
        The rows of each.
    maps : dict of Path
        ``user_id``, ``item_id`` and ``event_type`` → a file of the row of each of the table's numbers.
    missing : dict of int
        Order and weight → their rows without a value.
    """

    name: str
    names: Mapping[str, str]
    files: list[Path]
    heights: list[int]
    maps: dict[str, Path]
    missing: dict[str, int]

    @property
    def height(self) -> int:
        """The number of rows."""
        return sum(self.heights)

    def pieces(self) -> Iterator[pl.DataFrame]:
        """The rows, with users, items and event types numbered among those of all tables."""
        maps = {name: np.load(file) for name, file in self.maps.items()}
        for file in self.files:
            frame = stored(file).collect()
            yield frame.with_columns(pl.Series(name, rows[frame[name].to_numpy()]) for name, rows in maps.items())

    def times(self) -> Times | None:
        """The times of all rows."""
        if TIMESTAMP not in self.names:
            return None
        read = [mapped(file, (NUMBER, DATE)) for file in self.files]
        number, date = (
            _joined([frame.get_column(name, default=None) for frame in read], self.heights) for name in (NUMBER, DATE)
        )
        return Times(f"{self.name}, column {self.names[TIMESTAMP]!r}", number, date)


def stored(file: Path) -> pl.LazyFrame:
    """The columns of a piece that was written."""
    return pl.scan_ipc(file, glob=False, hive_partitioning=False)


def mapped(file: Path, names: Sequence[str]) -> pl.DataFrame:
    """Those of some columns that a piece has; as maps of the file if pyarrow is there, otherwise read into memory."""
    present = [name for name in names if name in stored(file).collect_schema()]
    if importlib.util.find_spec("pyarrow") is None:
        return stored(file).select(present).collect()
    import pyarrow as pa  # noqa: PLC0415 - heavy, and not a dependency

    with pa.memory_map(str(file)) as stream:
        table = pa.ipc.open_file(stream).read_all().select(present)
    found = pl.from_arrow(table, rechunk=False)
    assert isinstance(found, pl.DataFrame)  # noqa: S101 - for the type checker
    return found


def _joined(parts: list[pl.Series | None], heights: list[int]) -> pl.Series | None:
    """One column of pieces, of which some lack it; of floats if some are."""
    dtypes = {part.dtype for part in parts if part is not None}
    if not dtypes:
        return None
    dtype = pl.Float64() if pl.Float64 in dtypes else next(iter(dtypes))
    return pl.concat(
        [
            pl.Series([None], dtype=dtype).new_from_index(0, height) if part is None else part.cast(dtype)
            for part, height in zip(parts, heights, strict=True)
        ],
        rechunk=False,
    )


@dataclass(frozen=True, eq=False)
class Scan:
    """All tables of a log.

    Attributes
    ----------
    tables : list of Scanned
    users, items : MergedIds
    types : Vocabulary
        Event types; the column of the pieces holds their numbers.
    others : tuple of str
        The columns that were not read.
    """

    tables: list[Scanned]
    users: MergedIds
    items: MergedIds
    types: Vocabulary
    others: tuple[str, ...]


def scan(
    tables: Iterator[Table],
    request: LogRequest,
    folder: Path,
    bounds: Bounds,
    words: Words,
    aside: Quarantine | None = None,
) -> Scan:
    """Read all tables, piece by piece.

    Parameters
    ----------
    tables : iterator of Table
        Each is opened when its turn comes.
    request : LogRequest
    folder : Path
        For the pieces.
    bounds : Bounds
    words : callable
        Table → whether to refuse ids such as NULL in it; see :func:`recsys.data.parse.check_ids`.
    aside : Quarantine, optional
        For the rows that cannot be used, which are then left out.

    Raises
    ------
    DataError
        A table or a value cannot be used; the message names it. Too many rows are set aside.
    """
    users, items, types = MergedIds("user"), MergedIds("item"), Vocabulary(pl.String())
    found, others = list[Scanned](), dict[str, None]()
    with rows_read("reading") as told:
        for number, table in enumerate(tables):
            wanted = request.columns_of(table)
            others |= dict.fromkeys(name for name in table.columns if name not in wanted.values())
            one = _Reader(table, wanted, folder, f"{number:06}", words(table), aside)
            for height, share in one.read(bounds):
                told(height, table.name, share)
            if one.heights or aside is None or not one.done:
                found.append(one.scanned(users, items, types))
    if aside is not None:
        aside.check()
        if not found:
            refuse_all()
    return Scan(found, users, items, types, tuple(others))


class _Reader:
    """One table that is being read."""

    def __init__(
        self,
        table: Table,
        wanted: dict[str, str],
        folder: Path,
        stem: str,
        words: bool | None,
        aside: Quarantine | None,
    ) -> None:
        self.table, self.wanted, self.folder, self.stem = table, wanted, folder, stem
        self.words, self.aside, self.done = words, aside, 0
        self.types = Counter(pl.String())
        self.where = {ours: f"{table.name}, column {theirs!r}" for ours, theirs in wanted.items()}
        self.ids = {name: IdColumn(self.where[name], words) for name in (USER, ITEM)}
        self.files, self.heights = list[Path](), list[int]()
        self.missing: dict[str, int] = {name: 0 for name in (ORDER, WEIGHT) if name in wanted}

    def read(self, bounds: Bounds) -> Iterator[tuple[int, float]]:
        """Parse the pieces and write them; yield the rows of each, and the share of the table that is read by then."""
        for raw, share in self.table.pieces(self.wanted, bounds.rows):
            if raw.height == 0:
                continue
            if raw.height > 2 * bounds.rows and self.table.format is not None:
                warn(
                    f"{self.table.name}: its {raw.height:,} rows were read at once, as its format ({self.table.format}) "
                    f"allows no other way, and may have taken more memory than was allowed; write it as Parquet, or in "
                    f"several files"
                )
            piece = raw
            if self.aside is not None:
                piece = self.aside.sift(raw, self.wanted, self.table.name, words=self.words, skipped=self.done)
            self.done += raw.height
            if piece.height:
                file = self.folder / f"{self.stem}-{len(self.files):06}.arrow"
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

    def scanned(self, users: MergedIds, items: MergedIds, types: Vocabulary) -> Scanned:
        """Check the ids and event types of the whole table, and merge them."""
        if not self.heights:
            raise DataError(f"{self.table.name} has no rows")
        maps = dict[str, Path]()
        for name, merged in ((USER, users), (ITEM, items)):
            maps[name] = self.folder / f"{self.stem}-{name}.npy"
            values = self.ids[name].checked()
            self.table.prove(self.wanted[name], values)
            np.save(maps[name], merged.add(values))
        if EVENT in self.wanted:
            check_events(self.types, self.where[EVENT])
            maps[EVENT] = self.folder / f"{self.stem}-{EVENT}.npy"
            np.save(maps[EVENT], types.add(self.types.values))
            check_event_types(len(types))
        return Scanned(self.table.name, self.wanted, self.files, self.heights, maps, self.missing)
