"""The second pass: events to ranges of users, and each range sorted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.core.progress import track
from recsys.core.ragged import Float32, Int8, Int32, Int64
from recsys.core.schema import EVENT
from recsys.data.sorting import first_of_equals, ordering_keys, sorted_columns
from recsys.data.streaming.buckets import Part, divide, read_range
from recsys.data.streaming.settle import TableEvents, loaded

_PLACE = "place"
"""The position of an event among all, where the log has no order."""
Column: TypeAlias = "NDArray[Any] | Path"


@dataclass(frozen=True, eq=False)
class DivideJob:
    """Tables whose events are to be divided by ranges of users.

    Attributes
    ----------
    name : str
        Of the part that they become.
    tables : sequence of TableEvents
    of_user : int32 (n_users,), or Path
        The range of each user.
    count : int
        Number of ranges.
    folder : Path
    numbered : bool
        Whether each event is given its position among all.
    shown : bool
        Whether to show how far the work has come.
    """

    name: str
    tables: Sequence[TableEvents]
    of_user: Int32 | Path
    count: int
    folder: Path
    numbered: bool
    shown: bool = True

    def frames(self) -> Iterator[pl.DataFrame]:
        """The events of all tables, piece by piece."""
        for table in self.tables:
            done = table.before
            for frame in table.pieces():
                places = [pl.Series(_PLACE, np.arange(done, done + frame.height))] if self.numbered else []
                yield frame.with_columns(places)
                done += frame.height


def divided(job: DivideJob) -> Part:
    """Divide the events of some tables by ranges of users."""
    frames = job.frames()
    if job.shown:
        pieces = sum(len(one.table.files) for one in job.tables)
        frames = track(frames, total=pieces, what="dividing by users", unit="piece")
    return divide(frames, loaded(job.of_user), job.count, job.folder, job.name)


@dataclass(frozen=True, eq=False)
class SortJob:
    """A range of users whose events are to be sorted.

    Attributes
    ----------
    number : int
    first_user, n_users : int
    parts : sequence of Part
    codes : int8 (n_types,)
        The code of each number of an event type.
    by_type : float32 (n_codes,), optional
        The weight of each code.
    drop_duplicates : bool
    shuffle : int64 (n,), Path or None
        A random order of all events by their positions, where the log has no order; or a file with it.
    places : int32 (n_items,), Path or None
        Orders the items of one time, where ties are ordered by item; or a file with it.
    out : Path, optional
        A folder for the columns; by default they are returned as arrays.
    """

    number: int
    first_user: int
    n_users: int
    parts: Sequence[Part]
    codes: Int8
    by_type: Float32 | None
    drop_duplicates: bool
    shuffle: Int64 | Path | None = None
    places: Int32 | Path | None = None
    out: Path | None = None


@dataclass(frozen=True, eq=False)
class SortedRange:
    """The events of a range, user by user and in order.

    Attributes
    ----------
    lengths : int64 (n_users,)
    columns : dict of array or Path
        ``rows`` and, where the log has them, ``times``, ``weights`` and ``events``; or files with them.
    compared : list of str
        By which columns duplicates were left out.
    """

    lengths: Int64
    columns: dict[str, Column]
    compared: list[str]

    @property
    def events(self) -> int:
        """The number of events."""
        return int(self.lengths.sum())


def sorted_range(job: SortJob) -> SortedRange:
    """Sort the events of a range of users."""
    table, compared = read_range(job.parts, job.number, job.first_user), list[str]()
    if job.drop_duplicates:
        table, compared = first_of_equals(table)
    codes: Int8 | None = job.codes[table[EVENT].to_numpy()] if EVENT in table.columns else None
    shuffle = np.load(job.shuffle, mmap_mode="r") if isinstance(job.shuffle, Path) else job.shuffle
    keys: Any = ordering_keys(table) if shuffle is None else shuffle[table[_PLACE].to_numpy()]
    places = None if job.places is None else loaded(job.places)
    events = table.drop(_PLACE, strict=False)
    histories, weights = sorted_columns(events, job.n_users, keys, codes=codes, places=places)
    if job.by_type is not None and histories.events is not None:
        weights = job.by_type[histories.events]
    found: dict[str, NDArray[Any] | None] = {
        "rows": histories.rows, "times": histories.times, "weights": weights, "events": histories.events,
    }  # fmt: skip
    columns = dict[str, Column]()
    for name, column in found.items():
        if column is not None and job.out is not None:
            columns[name] = file = job.out / f"range-{job.number:06}-{name}.npy"
            np.save(file, column)
        elif column is not None:
            columns[name] = column
    return SortedRange(histories.lengths, columns, compared)


def kept_places(parts: Sequence[Part], number: int) -> Int64:
    """The positions of the events of a range that repeat no earlier one."""
    places: Int64 = first_of_equals(read_range(parts, number, 0))[0][_PLACE].to_numpy()
    return places
