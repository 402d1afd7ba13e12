"""Convert numbers to instants: the values of all files together show the unit; impossible ones are refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal, TypeAlias, get_args

import polars as pl

from recsys.core.progress import log, warn
from recsys.data.times.columns import Times, alike, read_times
from recsys.data.times.compact_dates import COMPACT, written, written_range
from recsys.errors import ConfigError, DataError

TimeUnit: TypeAlias = Literal["s", "ms", "us", "ns"]

LOG_YEARS = (1900, 2200)
"""First and last year of an event."""
DATE_YEARS = (1, 9999)
"""First and last year of a date in a catalogue."""
_PER_SECOND: dict[str, int] = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_NAMES = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}
_ASK = "set time_unit= (--time-unit), one of s, ms, us, ns"
_INT64 = 2**63 - 1


_SHEET = "the days of a spreadsheet"
_WRITE = "write dates such as 2024-05-31, or seconds since 1970"
_OTHER_UNITS = (
    ("years", 1980, 2101, _WRITE),
    ("months such as 202405", 198_001, 210_013, _WRITE),
    ("days since 1970", 10_957, 29_221, f"{_WRITE}, which are the days times 86400"),
    (_SHEET, 29_221, 73_051, "save the column as dates, or write seconds since 1970, which are (days - 25569) * 86400"),
    ("hours since 1970", 262_968, 1_139_568, f"{_WRITE}, which are the hours times 3600"),
    ("minutes since 1970", 15_778_080, 68_374_080, f"{_WRITE}, which are the minutes times 60"),
)
"""Other ways to write times as small numbers: name, the least and the least above (2000 or 1980 to 2100), what to do."""


def _since_1970(year: int) -> int:
    return int((datetime(year, 1, 1, tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds())


FIRST, LAST = _since_1970(1980), _since_1970(2100)
"""Plausible times, 1980 to 2100: in this window, a number fits one unit only."""
EARLIEST = _since_1970(1900)


def instants(
    columns: Sequence[Times], unit: TimeUnit | None = None, *, years: tuple[int, int] = LOG_YEARS, what: str = "times"
) -> list[pl.Series]:
    """Convert all columns to one type: Int64 seconds if all are whole seconds, Datetime (UTC, no zone) otherwise.

    Parameters
    ----------
    columns : sequence of Times
        The same column of each file.
    unit : {"s", "ms", "us", "ns"}, optional
        The unit of numbers. By default, the one in which the values lie between 1980 and 2100. Numbers too small for any,
        such as 0, 1, 2, are kept as seconds; whole numbers that all look like 20240531 are dates.
    years : pair of int
        The first and the last year that a value may lie in.
    what : str
        What messages call the times.

    Returns
    -------
    list of Series
        One for each column; nulls stay null.

    Raises
    ------
    DataError
        Units are mixed, no unit fits, or a value lies outside ``years``; the message names column, row and value.
    ConfigError
        The unit is unknown.
    """
    if unit is not None and unit not in get_args(TimeUnit):
        raise ConfigError(f"time_unit must be one of {', '.join(get_args(TimeUnit))}, not {unit!r}")
    numbered = [_Numbers.of(one.numbers, one.where) for one in columns if one.numbers is not None and len(one.numbers)]
    numbered = [one for one in numbered if one.low is not None]
    form = (unit or _found(numbered, what)) if numbered else "s"
    bounds = _since_1970(years[0]), _since_1970(years[1] + 1) if years[1] < 9999 else _since_1970(9999) + 365 * 86_400
    for one in numbered:
        if form in _PER_SECOND:
            one.check(form, bounds, years)
            if years == LOG_YEARS and not (unit is None and _all_small(numbered)):
                one.doubt(form)
    whole = (
        form == "s" and all(one.dates is None for one in columns) and all(one.values.dtype == pl.Int64 for one in numbered)
    )
    made = [_converted(one, form, whole=whole) for one in columns]
    for one in numbered:
        _report_dates(one, columns)
    if not whole:
        fine = any(one.dtype == pl.Datetime("ns") for one in made) and years == LOG_YEARS
        if len({one.dtype for one in made}) > 1:
            made = [one.cast(pl.Datetime("ns" if fine else "us")) for one in made]
        for dates, column in zip(made, columns, strict=True):
            _check_dates(dates, column, bounds, years)
    return made


@dataclass(frozen=True, eq=False)
class _Numbers:
    """A column of numbers with its least and greatest."""

    values: pl.Series
    where: str
    low: float | None
    high: float | None

    @classmethod
    def of(cls, values: pl.Series, where: str) -> _Numbers:
        return cls(values, where, values.min(), values.max())  # type: ignore[arg-type]

    def within(self, low: int, high: int) -> bool:
        return self.low is not None and self.high is not None and low <= self.low and self.high < high

    def first(self, chosen: pl.Series) -> str:
        row = chosen.fill_null(False).arg_true()[0]
        return f"row {row + 1} is {self.values[row]}"

    def check(self, unit: str, bounds: tuple[int, int], years: tuple[int, int]) -> None:
        """Refuse numbers outside the calendar."""
        scale = _PER_SECOND[unit]
        if not self.within(bounds[0] * scale, bounds[1] * scale):
            outside = ~self.values.is_between(
                max(bounds[0] * scale, -_INT64), min(bounds[1] * scale, _INT64), closed="left"
            )
            raise DataError(
                f"{self.where}: {self.first(outside)}, which as {_NAMES[unit]} since 1970 is not between the years "
                f"{years[0]} and {years[1]}{alike(int(outside.sum()))}; correct these rows, or {_ASK}"
            )

    def doubt(self, unit: str) -> None:
        """Warn about numbers outside the plausible calendar."""
        low, high = FIRST * _PER_SECOND[unit], min(LAST * _PER_SECOND[unit], _INT64)
        if self.within(low, high):
            return
        outside = ~self.values.is_between(low, high, closed="left")
        warn(
            f"{self.where}: {int(outside.sum()):,} of {len(self.values):,} times lie before 1980 or after 2100, the "
            f"first: {self.first(outside)}, {_NAMES[unit]} since 1970; are they placeholders, or in another unit?"
        )


def _found(columns: list[_Numbers], what: str) -> str:
    """Find the unit, or the number of digits of written dates (as text)."""
    for unit, scale in _PER_SECOND.items():
        if all(one.within(FIRST * scale, min(LAST * scale, _INT64)) for one in columns):
            log(f"{what} are numbers, read as {_NAMES[unit]} since 1970: {_span(columns, scale)}")
            return unit
    for digits, name in COMPACT.items():
        if all(one.values.dtype == pl.Int64 and one.within(*written_range(digits)) for one in columns):
            _refuse_unwritten(columns, digits)
            log(f"{what} are numbers, read as {name}")
            return str(digits)
    hits = {unit: scale for unit, scale in _PER_SECOND.items() if any(_in_window(one, scale).any() for one in columns)}
    if len(hits) > 1:
        raise DataError(f"{what} are in several units: {_examples(columns, hits)}; convert them to one unit, or {_ASK}")
    _refuse_somewritten(columns)
    if hits:
        unit, scale = next(iter(hits.items()))
        log(f"{what} are numbers, most of them {_NAMES[unit]} since 1970; all are read so")
        return unit
    if _all_small(columns):
        low, high = _ends(columns)
        _tell_other_units(columns, what, low, high)
        log(
            f"{what} are numbers from {low:.15g} to {high:.15g}, too small for dates after 1980: kept as seconds; "
            f"if they are in another unit, {_ASK}"
        )
        return "s"
    odd = next(one for one in columns if not one.within(EARLIEST, FIRST))
    outside = ~odd.values.is_between(EARLIEST, FIRST, closed="left")
    raise DataError(
        f"{odd.where}: {odd.first(outside)}, which lies between 1980 and 2100 in no unit (seconds, milliseconds, "
        f"microseconds or nanoseconds since 1970); {_ASK}, or write dates such as 2024-05-31T18:00:00"
    )


def _tell_other_units(columns: list[_Numbers], what: str, low: float, high: float) -> None:
    """Warn about numbers that look like years, days or minutes; refuse those of a spreadsheet that hold a time of day.

    Raises
    ------
    DataError
        The numbers are days of a spreadsheet with fractions: read as seconds, all events of a day would share their time.
    """
    likely = next((one for one in _OTHER_UNITS if one[1] <= low and high < one[2]), None)
    if likely is None:
        return
    name, _, _, remedy = likely
    said = f"{what} are numbers from {low:.15g} to {high:.15g}, which look like {name}"
    if name == _SHEET and any(one.values.dtype.is_float() for one in columns):
        raise DataError(f"{said}; {remedy}; if they are seconds after all, set time_unit='s' (--time-unit s)")
    warn(f"{said}, and are read as seconds since 1970: distances in time are wrong; {remedy}")


def _all_small(columns: list[_Numbers]) -> bool:
    return all(one.within(EARLIEST, FIRST) for one in columns)


def _ends(columns: list[_Numbers]) -> tuple[float, float]:
    return min(one.low or 0 for one in columns), max(one.high or 0 for one in columns)


def _span(columns: list[_Numbers], scale: int) -> str:
    return " to ".join(f"{datetime(1970, 1, 1) + timedelta(seconds=float(end / scale)):%Y-%m-%d}" for end in _ends(columns))


def _in_window(column: _Numbers, scale: int) -> pl.Series:
    return column.values.is_between(FIRST * scale, min(LAST * scale, _INT64), closed="left").fill_null(False)


def _examples(columns: list[_Numbers], hits: dict[str, int]) -> str:
    found = []
    for unit, scale in hits.items():
        one = next(one for one in columns if _in_window(one, scale).any())
        found.append(f"{one.where}, {one.first(_in_window(one, scale))} ({_NAMES[unit]})")
    return "; ".join(found)


def _refuse_unwritten(columns: list[_Numbers], digits: int) -> None:
    for one in columns:
        bad = one.values.is_not_null() & written(one.values, digits).is_null()
        if bad.any():
            raise DataError(
                f"{one.where}: {one.first(bad)}, which is not a date although the numbers look like {COMPACT[digits]}"
                f"{alike(int(bad.sum()))}; correct these rows, or {_ASK}"
            )


def _refuse_somewritten(columns: list[_Numbers]) -> None:
    """Refuse columns if half of the values or more, but not all, are written dates, or some are beside an epoch."""
    epochs = any(_in_window(one, scale).any() for one in columns for scale in _PER_SECOND.values())
    for digits, name in COMPACT.items():
        if not any(one.values.is_between(*written_range(digits), closed="left").any() for one in columns):
            continue
        dated = [(one, written(one.values, digits).is_not_null()) for one in columns if one.values.dtype == pl.Int64]
        share = sum(int(known.sum()) for _, known in dated) / sum(len(one.values) for one in columns)
        if share >= 0.5 or (share and epochs):
            one, known = next((one, known) for one, known in dated if known.any())
            other = next(
                one
                for one in columns
                if not (one.values.dtype == pl.Int64 and written(one.values, digits).is_not_null().all())
            )
            rest = other.values.is_not_null() & ~written(other.values.cast(pl.Int64, strict=False), digits).is_not_null()
            raise DataError(
                f"times are written in several ways: {one.where}, {one.first(known)} ({name}); {other.where}, "
                f"{other.first(rest)}; write them in one way, or {_ASK}"
            )


def _converted(column: Times, form: str, *, whole: bool) -> pl.Series:
    """Convert one column to its final type."""
    numbers = column.numbers
    if numbers is None or (numbers.null_count() == len(numbers) and column.dates is not None):
        assert column.dates is not None  # noqa: S101 - a column has numbers or dates
        return column.dates
    if whole:
        return numbers.cast(pl.Int64)
    made = written(numbers, int(form)) if form.isdigit() else _scaled(numbers, form)
    if column.dates is None:
        return made
    return made.to_frame("n").select(pl.coalesce(pl.col("n").cast(column.dates.dtype), pl.lit(column.dates))).to_series()


def _report_dates(numbers: _Numbers, columns: Sequence[Times]) -> None:
    """Log that a column holds dates beside its numbers, which the line about the unit does not cover."""
    column = next(one for one in columns if one.where == numbers.where)
    dated = 0 if column.dates is None else int(column.dates.is_not_null().sum())
    if dated:
        row = column.dates.is_not_null().arg_true()[0]  # type: ignore[union-attr]
        warn(
            f"{column.where}: {dated:,} of {len(numbers.values):,} times are written as dates and the others as numbers, "
            f"the first date in row {row + 1}; both are read"
        )


def _scaled(numbers: pl.Series, unit: str) -> pl.Series:
    if unit == "ns":
        return (numbers.round() if numbers.dtype.is_float() else numbers).cast(pl.Int64).cast(pl.Datetime("ns"))
    times = 10**6 // _PER_SECOND[unit]
    scaled = numbers * times
    return (scaled.round() if scaled.dtype.is_float() else scaled).cast(pl.Int64).cast(pl.Datetime("us"))


def _check_dates(dates: pl.Series, column: Times, bounds: tuple[int, int], years: tuple[int, int]) -> None:
    """Refuse dates outside the calendar; compare their numbers, as such a date cannot be printed."""
    scale = _PER_SECOND[dates.dtype.time_unit]  # type: ignore[attr-defined]
    physical = dates.to_physical()
    low, high = max(bounds[0] * scale, -_INT64), min(bounds[1] * scale, _INT64)
    outside = ~physical.is_between(low, high, closed="left").fill_null(True)
    if outside.any():
        row = outside.arg_true()[0]
        raise DataError(
            f"{column.where}: row {column.skipped + row + 1} is not between the years {years[0]} and {years[1]} "
            f"({physical[row] / scale:.0f} seconds from 1970){alike(int(outside.sum()))}; correct or drop them"
        )
    if years == LOG_YEARS and column.numbers is None:
        doubtful = ~physical.is_between(FIRST * scale, min(LAST * scale, _INT64), closed="left").fill_null(True)
        if doubtful.any():
            row = doubtful.arg_true()[0]
            warn(
                f"{column.where}: {int(doubtful.sum()):,} of {len(dates):,} times lie before 1980 or after 2100, the "
                f"first in row {column.skipped + row + 1}; are they placeholders?"
            )


def parse_timestamp(raw: pl.Series, where: str, unit: TimeUnit | None = None, skipped: int = 0) -> pl.Series:
    """Parse one column of times of a log as Int64 seconds since 1970 or Datetime; see :func:`instants`."""
    return instants([read_times(raw, where, skipped)], unit, what=f"{where}: times")[0]
