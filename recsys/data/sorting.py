"""Sort parsed events into histories."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.core.ragged import Float32, Int8, Int32, Int64, Ragged, sorted_events, stable_order
from recsys.core.schema import EVENT, ITEM, ORDER, TIMESTAMP, USER, WEIGHT

_SHUFFLE = 0
"""Seed of the order of the histories in a log without an order."""


def shuffled(n: int) -> Int64:
    """int64 (n,): the order of the events of a log without one; the same at every call."""
    return np.random.Generator(np.random.PCG64(_SHUFFLE)).permutation(n)


def ordering_keys(table: pl.DataFrame) -> NDArray[Any] | None:
    """int64 or float64 (n,): what orders the events of a table, its order or its times; None: their position."""
    name = next((name for name in (ORDER, TIMESTAMP) if name in table.columns), None)
    return None if name is None else table[name].to_physical().to_numpy()


def first_of_equals(table: pl.DataFrame) -> tuple[pl.DataFrame, list[str]]:
    """Keep the first of rows that are equal in user, item, time, order and event type; return also what was compared."""
    compared: list[str] = [name for name in (USER, ITEM, TIMESTAMP, ORDER, EVENT) if name in table.columns]
    return table.unique(subset=compared, keep="first", maintain_order=True), compared


def sorted_columns(
    table: pl.DataFrame,
    n_users: int,
    keys: NDArray[Any] | None,
    *,
    codes: Int8 | None = None,
    places: Int32 | None = None,
) -> tuple[Ragged, Float32 | None]:
    """Sort the events of a table by user and key.

    Parameters
    ----------
    table : DataFrame (n rows)
        As in :class:`recsys.data.events.Events`.
    n_users : int
        Above every row of a user.
    keys : int or float (n,), optional
        None: each user's events keep their order.
    codes : int8 (n,), optional
        Event types.
    places : int32 (n_items,), optional
        A number of each item: events of one user with equal keys are ordered by it.

    Returns
    -------
    Ragged (n_users), and float32 (n,) or None
        The histories, and the weights of their events.
    """
    user_rows, item_rows = table[USER].to_numpy(), table[ITEM].to_numpy()
    lengths = np.bincount(user_rows, minlength=n_users)
    timed, weighted = TIMESTAMP in table.columns, WEIGHT in table.columns
    by_time = timed and keys is not None and ORDER not in table.columns
    if codes is None and places is None and not weighted and timed == by_time:  # only the item has to be carried along
        rows, ordered = sorted_events(user_rows, keys, item_rows)
        seconds = _in_seconds(pl.Series(ordered).cast(table[TIMESTAMP].dtype)) if by_time else None
        return Ragged.from_lengths(lengths, rows, seconds), None
    if places is None:
        order = stable_order(user_rows, keys)
    else:
        first = stable_order(places[item_rows], None)
        order = first[stable_order(user_rows[first], None if keys is None else keys[first])]
    times = _in_seconds(table[TIMESTAMP])[order] if timed else None
    histories = Ragged.from_lengths(lengths, item_rows[order], times, None if codes is None else codes[order])
    return histories, table[WEIGHT].to_numpy()[order] if weighted else None


def _in_seconds(times: pl.Series) -> Int64:
    """Seconds since 1970 of a column of seconds or of Datetime."""
    return (times.dt.epoch("s") if times.dtype.is_temporal() else times).to_numpy()
