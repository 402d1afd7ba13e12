"""Join the parsed columns of the files of a log into one table of events."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

import numpy as np
import polars as pl

from recsys.core.distinct import Distinct
from recsys.core.id_map import IdMap, encode
from recsys.core.progress import log
from recsys.core.ragged import Int32
from recsys.core.schema import ITEM, ORDER, TIMESTAMP, USER, WEIGHT
from recsys.data.look_alikes import tell_zeros
from recsys.data.parse import ParsedColumns, have
from recsys.data.times.units import TimeUnit, instants
from recsys.errors import DataError


@dataclass(frozen=True, eq=False)
class Events:
    """The events of a log in file order.

    Attributes
    ----------
    users, items : IdMap
        Raw ids in order of first appearance.
    table : DataFrame (n rows)
        ``user_id`` and ``item_id`` as rows (int32); if they were read, ``timestamp`` (Int64 seconds or Datetime),
        ``order`` (Int64 or Float64), ``weight`` (Float32) and ``event_type`` (String). No nulls.
    order_column : str or None
        The source's own name of the column that orders the events.
    """

    users: IdMap
    items: IdMap
    table: pl.DataFrame
    order_column: str | None


def join_columns(
    parts: Sequence[ParsedColumns], time_unit: TimeUnit | None = None, *, drop_unordered: bool = False, hint: str = ""
) -> Events:
    """Join the columns of several files: one unit of time for all, and one row per id.

    Parameters
    ----------
    parts : sequence of ParsedColumns
        In the order of the files.
    time_unit : {"s", "ms", "us", "ns"}, optional
        The unit of times that are numbers; by default, the values decide.
    drop_unordered : bool
        Leave out events without a value in the column that orders them.
    hint : str
        What to do about such events, as the end of a message.

    Raises
    ------
    DataError
        Some files have times and others do not, their units differ, or an event lacks a time, order or weight.
    """
    refuse_some_untimed([(part.source, part.times is not None) for part in parts])
    timed = [part for part in parts if part.times is not None]
    columns = instants([part.times for part in timed if part.times is not None], time_unit, what="the timestamps")
    tables = [part.table for part in parts]
    if timed:
        tables = [table.with_columns(times.alias(TIMESTAMP)) for table, times in zip(tables, columns, strict=True)]
    kept = [_known(table, part, drop_unordered, hint) for table, part in zip(tables, parts, strict=True)]
    if not any(table.height for table in kept):
        refuse_empty(parts[0].source)
    users, user_rows = _joined([part.users for part in parts], [table[USER] for table in kept], "user")
    items, item_rows = _joined([part.items for part in parts], [table[ITEM] for table in kept], "item")
    joined = pl.concat(kept, how="vertical_relaxed").with_columns(pl.Series(USER, user_rows), pl.Series(ITEM, item_rows))
    if joined.height < sum(table.height for table in tables):  # leave out the ids that have no event any more
        users, user_rows = encode(users.to_ids(user_rows), "user")
        items, item_rows = encode(items.to_ids(item_rows), "item")
        joined = joined.with_columns(pl.Series(USER, user_rows), pl.Series(ITEM, item_rows))
    names = parts[0].names
    return Events(users, items, joined, next((names[name] for name in (ORDER, TIMESTAMP) if name in names), None))


def refuse_some_untimed(sources: Sequence[tuple[str, bool]]) -> None:
    """Refuse a log of which some tables have times and others do not: (name, whether it has times).

    Raises
    ------
    DataError
        The message names one of each.
    """
    timed = [yes for _, yes in sources]
    if any(timed) and not all(timed):
        with_times, without = sources[timed.index(True)][0], sources[timed.index(False)][0]
        raise DataError(
            f"{with_times} has a column {TIMESTAMP!r} and {without} has none; name the column that orders the events of "
            f"both, order= (--order)"
        )


def refuse_unordered(source: str, missing: int, height: int, column: str, hint: str) -> NoReturn:
    """Refuse events without a value in the column that orders them; ``hint`` ends the message. Raises DataError."""
    raise DataError(
        f"{source}: {missing:,} of {height:,} rows {have(missing)} no value in the column "
        f"{column!r} that orders them; fill them in{hint}"
    )


def log_unordered(source: str, missing: int, height: int, column: str) -> None:
    """Log how many events are left out as they have no value in the column that orders them."""
    log(f"{source}: left out {missing:,} of {height:,} rows, which have no value in the column {column!r} that orders them")


def refuse_unweighted(source: str, missing: int, height: int, column: str) -> NoReturn:
    """Refuse events without a weight. Raises DataError."""
    raise DataError(
        f"{source}: {missing:,} of {height:,} rows {have(missing)} no value in the column "
        f"{column!r}; fill them in, or remove these rows"
    )


def refuse_empty(source: str) -> NoReturn:
    """Refuse a log none of whose events has an order; ``source`` is its first table. Raises DataError."""
    raise DataError(f"{source}: no row has a value in the column that orders the events")


def _known(table: pl.DataFrame, part: ParsedColumns, drop_unordered: bool, hint: str) -> pl.DataFrame:
    """The events whose order and weight are known."""
    for name in (ORDER, TIMESTAMP):
        if name in table.columns and (missing := table[name].null_count()):
            if not drop_unordered:
                refuse_unordered(part.source, missing, table.height, part.names[name], hint)
            log_unordered(part.source, missing, table.height, part.names[name])
            table = table.filter(pl.col(name).is_not_null())
    if WEIGHT in table.columns and (missing := table[WEIGHT].null_count()):
        refuse_unweighted(part.source, missing, table.height, part.names[WEIGHT])
    return table


def _joined(maps: Sequence[IdMap], rows: Sequence[pl.Series], kind: str) -> tuple[IdMap, Int32]:
    """One map for the ids of all files, and the rows of their events in it.

    Ids that are numbers in one file and text in another become text.
    """
    if len(maps) == 1:
        return maps[0], rows[0].to_numpy()
    ids = [one.ids for one in maps]
    if len({one.dtype for one in ids}) > 1:
        ids = [one.cast(pl.String) for one in ids]
    distinct = Distinct.of(pl.concat(ids))
    ends = np.cumsum([len(one) for one in maps])
    places = np.split(distinct.codes, ends[:-1])
    joined = np.concatenate([place[one.to_numpy()] for place, one in zip(places, rows, strict=True)])
    tell_zeros(distinct.values, kind)
    return IdMap(distinct.values, kind, checked=True), joined
