"""Decide after the first pass what only all tables together can tell: units of time, and which events are known."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl

from recsys.core.id_map import encode
from recsys.core.ragged import Int32, Int64
from recsys.core.schema import EVENT, ITEM, ORDER, TIMESTAMP, USER, WEIGHT
from recsys.data.events import log_unordered, refuse_empty, refuse_some_untimed, refuse_unordered, refuse_unweighted
from recsys.data.log_request import DROP_HINT, LogRequest
from recsys.data.streaming.read_table import DATE, NUMBER
from recsys.data.streaming.scan import Scan, Scanned, mapped, stored
from recsys.data.times.units import instants


@dataclass(frozen=True, eq=False)
class TableEvents:
    """The events of one table, in file order and without those that are left out.

    Attributes
    ----------
    table : Scanned
    times : Series, Path or None
        The times of its rows; or an Arrow file with them.
    renumbered : dict of int32 or Path
        ``user_id`` and ``item_id`` → the new row of each merged id, where some have no event any more; or a file with them.
    floats : bool
        Whether the column of the order holds fractions in any table.
    before : int
        The events of the tables before it.
    """

    table: Scanned
    times: pl.Series | Path | None
    renumbered: dict[str, Int32 | Path]
    floats: bool
    before: int = 0

    def pieces(self) -> Iterator[pl.DataFrame]:
        """The events piece by piece: users, items, times, orders, weights, and numbers of event types."""
        times = mapped(self.times, [TIMESTAMP])[TIMESTAMP] if isinstance(self.times, Path) else self.times
        renumbered = {name: loaded(one) for name, one in self.renumbered.items()}
        for frame in _known([self.table], [times], floats=self.floats):
            yield frame.with_columns(pl.Series(name, rows[frame[name].to_numpy()]) for name, rows in renumbered.items())

    def saved(self, folder: Path, stem: str) -> TableEvents:
        """The same, with files in place of what another process would have to be sent."""
        times, renumbered = self.times, dict[str, Int32 | Path]()
        if isinstance(times, pl.Series):
            file = folder / f"{stem}-times.arrow"
            times.alias(TIMESTAMP).to_frame().write_ipc(file, compression="uncompressed")
            times = file
        for name, rows in self.renumbered.items():
            renumbered[name] = file = folder / f"renumbered-{name}.npy"
            if not isinstance(rows, Path) and not file.exists():  # it is that of all tables
                np.save(file, rows)
        return replace(self, times=times, renumbered=renumbered)


def loaded(rows: Int32 | Path) -> Int32:
    """An array, or the one in a file."""
    return np.load(rows) if isinstance(rows, Path) else rows


@dataclass(frozen=True, eq=False)
class Settled:
    """The events of a log, in file order and without those that are left out.

    Attributes
    ----------
    tables : list of TableEvents
    users, items : Series
        Raw ids, in order of first appearance.
    lengths : int64 (n_users,)
        The events of each user.
    type_counts : int64 (n_types,)
        The events of each type.
    """

    tables: list[TableEvents]
    users: pl.Series
    items: pl.Series
    lengths: Int64
    type_counts: Int64

    @property
    def events(self) -> int:
        """The number of events."""
        return int(self.lengths.sum())


def settle(found: Scan, request: LogRequest) -> Settled:
    """Decide the unit of times, refuse or leave out events without an order, and number what is left.

    Raises
    ------
    DataError
        As for :func:`recsys.data.events.join_columns`.
    """
    tables = found.tables
    columns = [table.times() for table in tables]
    refuse_some_untimed([(table.name, times is not None) for table, times in zip(tables, columns, strict=True)])
    timed = iter(instants([one for one in columns if one is not None], request.time_unit, what="the timestamps"))
    times = [None if one is None else next(timed) for one in columns]
    floats = any(stored(file).collect_schema().get(ORDER) == pl.Float64 for table in tables for file in table.files)
    left_out = _refuse_unknown(tables, times, request)
    users, items, renumbered = found.users.ids, found.items.ids, dict[str, Int32 | Path]()
    if left_out:
        numbers = {name: _Renumbered(len(ids)) for name, ids in ((USER, users), (ITEM, items))}
        for frame in _known(tables, times, floats=floats):
            for name, one in numbers.items():
                one.meet(frame[name].to_numpy())
        users, renumbered[USER] = numbers[USER].among(users, "user")
        items, renumbered[ITEM] = numbers[ITEM].among(items, "item")
    lengths, type_counts = np.zeros(len(users), np.int64), np.zeros(len(found.types), np.int64)
    events, before = list[TableEvents](), 0
    for table, column in zip(tables, times, strict=True):
        events.append(TableEvents(table, column, renumbered, floats, before))
        for frame in events[-1].pieces():
            before += frame.height
            lengths += np.bincount(frame[USER].to_numpy(), minlength=len(users))
            if EVENT in frame.columns:
                type_counts += np.bincount(frame[EVENT].to_numpy(), minlength=len(found.types))
    return Settled(events, users, items, lengths, type_counts)


class _Renumbered:
    """New rows of ids, in order of first appearance among the events that are left."""

    def __init__(self, n: int) -> None:
        self.rows: Int32 = np.full(n, -1, dtype=np.int32)
        self._n = 0

    def meet(self, rows: Int32) -> None:
        fresh = rows[self.rows[rows] < 0]
        distinct, first = np.unique(fresh, return_index=True)
        in_order = distinct[np.argsort(first)]
        self.rows[in_order] = np.arange(self._n, self._n + len(in_order), dtype=np.int32)
        self._n += len(in_order)

    def among(self, ids: pl.Series, kind: str) -> tuple[pl.Series, Int32]:
        """The ids that are left, and the new row of each old one; −1 for those that are not."""
        old = np.flatnonzero(self.rows >= 0)
        old = old[np.argsort(self.rows[old])]
        left, places = encode(ids.gather(pl.Series(old, dtype=pl.UInt32)), kind)  # all of them may be whole numbers now
        return left.ids, np.where(self.rows < 0, np.int32(-1), places[self.rows])


def _refuse_unknown(tables: list[Scanned], times: list[pl.Series | None], request: LogRequest) -> bool:
    """Refuse events without an order or a weight; tell whether any is left out."""
    left_out, events = False, sum(table.height for table in tables)
    for table, column in zip(tables, times, strict=True):
        missing = {ORDER: table.missing.get(ORDER, 0), TIMESTAMP: 0 if column is None else column.null_count()}
        for name, count in missing.items():
            if count:
                told = table.name, count, table.height, table.names[name]
                log_unordered(*told) if request.drop_unordered else refuse_unordered(*told, DROP_HINT)
        left_out = left_out or any(missing.values())
        if not (any(missing.values()) or table.missing.get(WEIGHT)):
            continue
        height = unweighted = 0
        for frame in _known([table], [column], floats=False):
            height += frame.height
            unweighted += frame[WEIGHT].null_count() if WEIGHT in frame.columns else 0
        if unweighted:
            refuse_unweighted(table.name, unweighted, height, table.names[WEIGHT])
        events += height - table.height
    if events == 0:
        refuse_empty(tables[0].name)
    return left_out


def _known(tables: list[Scanned], times: list[pl.Series | None], *, floats: bool) -> Iterator[pl.DataFrame]:
    """The events whose order is known."""
    for table, column in zip(tables, times, strict=True):
        done = 0
        for piece in table.pieces():
            columns = [pl.all().exclude(NUMBER, DATE)]
            if floats and ORDER in piece.columns:
                columns = [pl.all().exclude(NUMBER, DATE, ORDER), pl.col(ORDER).cast(pl.Float64)]
            if column is not None:
                columns.append(pl.lit(column.slice(done, piece.height)).alias(TIMESTAMP))
            done += piece.height
            frame = piece.select(columns)
            if orders := [name for name in (ORDER, TIMESTAMP) if name in frame.columns]:
                frame = frame.drop_nulls(orders)
            if frame.height:
                yield frame
