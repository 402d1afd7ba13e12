"""Parse the times of a request, by the same rules as those of a log."""

from __future__ import annotations

import time
from datetime import date
from typing import Any, TypeAlias

import numpy as np
import polars as pl

from recsys.core.ragged import Int64
from recsys.data.times.columns import WANTED, read_times
from recsys.data.times.compact_dates import written_range
from recsys.data.times.units import EARLIEST, FIRST, LAST, instants
from recsys.errors import DataError

Instant: TypeAlias = int | float | str | date
"""One time in a request: a number since 1970, ISO 8601 text, a date or a datetime."""


def seconds_of(given: Any, where: str) -> Int64:
    """Convert one time or many to whole seconds since 1970, by the same rules as the times of a log.

    Parameters
    ----------
    given : number, text, date, datetime, or a sequence or array of one kind of these
        Numbers are seconds, milliseconds, microseconds or nanoseconds since 1970; text is ISO 8601.
    where : str
        The argument, for messages.

    Returns
    -------
    int64 (n,)

    Raises
    ------
    DataError
        A value is missing or is not a time, or the units are mixed.
    """
    if isinstance(given, int | np.integer) and not isinstance(given, bool) and FIRST <= given < LAST:
        return np.array([given], dtype=np.int64)
    values = [given] if isinstance(given, str | bytes) or np.ndim(given) == 0 else given
    try:
        column = (
            values
            if isinstance(values, pl.Series)
            else pl.Series(values if isinstance(values, np.ndarray) else list(values))
        )
    except (TypeError, ValueError, OverflowError, pl.exceptions.PolarsError) as error:
        raise DataError(f"{where}: must be times of one kind, expected {WANTED}: {str(error).splitlines()[0]}") from error
    if len(column) == 0:
        return np.empty(0, dtype=np.int64)
    read = read_times(column, where)
    plain = read.numbers is not None and read.numbers.dtype == pl.Int64 and read.dates is None
    near = plain and bool(read.numbers.is_between(EARLIEST, LAST, closed="left").all())  # type: ignore[union-attr]
    if near and not read.numbers.is_between(*written_range(8), closed="left").any():  # type: ignore[union-attr]
        made = read.numbers
    else:
        made = instants([read], what=where)[0]
    if made is None or made.null_count():
        raise DataError(f"{where}: a time is missing; expected {WANTED}")
    return (made.dt.epoch("s") if made.dtype.is_temporal() else made).cast(pl.Int64).to_numpy()


def request_second(request_time: Instant | None) -> int:
    """The time of a request in seconds since 1970: what was given, or now.

    Raises
    ------
    DataError
        This is not one time.
    """
    if request_time is None:
        return int(time.time())
    given = seconds_of(request_time, "request_time=")
    if len(given) != 1:
        raise DataError(f"request_time= must be one time, not {len(given)}; expected {WANTED}")
    return int(given[0])
