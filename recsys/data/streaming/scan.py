"""The first pass: read all tables, and number their ids together."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from recsys.core.cluster import Each
from recsys.core.schema import EVENT, ITEM, TIMESTAMP, USER
from recsys.core.vocabulary import Vocabulary
from recsys.data.event_types import check_event_types
from recsys.data.look_alikes import tell_zeros
from recsys.data.quarantine import Quarantine, refuse_all
from recsys.data.streaming.ids import MergedIds
from recsys.data.streaming.read_table import DATE, NUMBER, ReadJob, Told, read_table
from recsys.data.times.columns import Times


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
    jobs: Iterable[ReadJob],
    folder: Path,
    aside: Quarantine | None = None,
    each: Each = map,
    tell: Told | None = None,
) -> Scan:
    """Read all tables, and merge their ids.

    Parameters
    ----------
    jobs : iterable of ReadJob
        The tables in their order; where they are read here, each is opened when its turn comes.
    folder : Path
        For the rows of the ids.
    aside : Quarantine, optional
        Gets what each of the jobs sets aside.
    each : callable
        Maps the reading over the tables.
    tell : callable, optional
        To call with each table, where the jobs do not tell of their pieces.

    Raises
    ------
    DataError
        A table or a value cannot be used; the message names it. Too many rows are set aside.
    """
    merged = {USER: MergedIds("user"), ITEM: MergedIds("item")}
    types, found, others = Vocabulary(pl.String()), list[Scanned](), dict[str, None]()
    for number, read in enumerate(each(read_table, jobs)):
        others |= dict.fromkeys(read.others)
        if tell is not None:
            tell(read.rows, read.name, 1.0)
        if aside is not None and read.aside is not None:
            aside.take(read.aside)
        if not read.heights:
            continue
        maps = dict[str, Path]()
        for name, values in read.values.items():
            maps[name] = folder / f"{number:06}-{name}.npy"
            np.save(maps[name], types.add(values) if name == EVENT else merged[name].add(values))
        if EVENT in read.values:
            check_event_types(len(types))
        found.append(Scanned(read.name, read.names, read.files, read.heights, maps, read.missing))
    if aside is not None:
        aside.check()
        if not found:
            refuse_all()
    for kind, ids in merged.items() if len(found) > 1 else ():
        tell_zeros(ids.ids, kind.removesuffix("_id"))
    return Scan(found, merged[USER], merged[ITEM], types, tuple(others))
