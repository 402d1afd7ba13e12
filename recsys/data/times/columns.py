"""Read columns of times: numbers since 1970, dates, datetimes, or text of any of these."""

from __future__ import annotations

import re
from dataclasses import dataclass

import polars as pl

from recsys.core.progress import warn
from recsys.errors import DataError

WANTED = "whole seconds since 1970, or dates such as 2024-05-31T18:00:00 or 31.05.2024"
MISSING_WORDS = ("NULL", "null", "None", "NA", "N/A", "nan", "NaN", "NaT", "\\N", "<NA>")
"""Words that programs write for a missing value; none of them is a time."""
_CUT = r"^\d(?:[.,]\d{1,8})?E\+(?:09|1\d)$"
"""A time since 1970 whose last digits are missing."""
_FORMS = ("%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f%#z", "%Y-%m-%d %H:%M:%S%.f%#z", "%Y-%m-%d")
_LOOSE = (
    r"^(?<y>\d{4})(?<sep>[-/]?)(?<m>\d\d)[-/]?(?<d>\d\d)"
    r"(?:[Tt ]?(?<H>\d\d):?(?<M>\d\d)(?::?(?<S>\d\d)(?:[.,](?<f>\d+))?)?)?"
    r"\s*(?<zone>[Zz]|UTC|GMT|[+-]\d\d(?::?\d\d)?)?$"
)
_POINTS = ((r"^(\d)\.", "0${1}."), (r"^(\d\d)\.(\d)\.", "${1}.0${2}."), (r"^(\d\d)\.(\d\d)\.(\d{4}),?", "${3}-${2}-${1}"))
"""Turns dates with points, which are written day first wherever points are used, into dates with dashes."""
_SLASHES = r"^\d{1,2}/\d{1,2}/\d{4}"
"""A date whose day and month cannot be told apart: countries differ."""


@dataclass(frozen=True, eq=False)
class Times:
    """A column of times, whose numbers have no unit yet.

    Attributes
    ----------
    where : str
        File and column, for messages.
    numbers : Series of Int64 or Float64 (n,), or None
        Null if a row holds no number.
    dates : Series of Datetime (n,), or None
        UTC, without a zone; null if a row holds no date.
    skipped : int
        Rows before these, for messages.
    """

    where: str
    numbers: pl.Series | None
    dates: pl.Series | None
    skipped: int = 0


def read_times(raw: pl.Series, where: str, skipped: int = 0) -> Times:
    """Read a column of numbers, dates, datetimes, or text of these; text without a zone is UTC.

    Blanks, and the words that programs write for a missing value, become null. The column may be a piece, before which
    ``skipped`` rows stand.

    Raises
    ------
    DataError
        The column is of another type, or a value is none of these; the message names the first row.
    """
    dtype = raw.dtype
    if dtype in (pl.Categorical, pl.Enum):
        return read_times(raw.cast(pl.String), where, skipped)
    if dtype == pl.Null:
        return Times(where, raw.cast(pl.Int64), None)
    if dtype.is_integer():
        return Times(
            where, _fitting(raw, raw.cast(pl.Int64, strict=False), where, "a number that fits into 64 bits", skipped), None
        )
    if dtype.is_float() or dtype.is_decimal():
        return Times(where, _numbers(raw, raw.cast(pl.Float64), where, skipped), None)
    if dtype == pl.Date:
        return Times(where, None, raw.cast(pl.Datetime("us")), skipped)
    if isinstance(dtype, pl.Datetime):
        return Times(where, None, raw.cast(pl.Datetime("ns" if dtype.time_unit == "ns" else "us")), skipped)
    if dtype != pl.String:
        raise DataError(f"{where}: is of type {dtype}, expected {WANTED}")
    whole = raw.cast(pl.Int64, strict=False)
    if whole.null_count() == raw.null_count():
        return Times(where, whole, None)
    text = raw.str.strip_chars()
    text = text.set(text.is_in(["", *MISSING_WORDS]), None)
    real = text.cast(pl.Float64, strict=False)
    _tell_cut(text, where)
    if real.null_count() == text.null_count():
        exact = text.cast(pl.Int64, strict=False)
        whole_ = exact.null_count() == text.null_count()
        return Times(where, exact if whole_ else _numbers(text, real, where, skipped), None)
    dates = _dates(text.set(real.is_not_null(), None))
    if real.null_count() == len(real):
        return Times(where, None, _fitting(text, dates, where, WANTED, skipped))
    lost = (text.is_not_null() & dates.is_null() & real.is_null()).arg_true()
    if len(lost):
        _fitting(text, dates.set(real.is_not_null(), 0), where, WANTED, skipped)
    return Times(where, _numbers(text.set(real.is_null(), None), real, where, skipped), dates)


def _tell_cut(text: pl.Series, where: str) -> None:
    """Warn about numbers that a spreadsheet has cut, as 1.7E+12 for the milliseconds of three hours."""
    if (cut := text.str.contains("E+", literal=True)).any() and (cut := text.str.contains(_CUT)).any():
        first = text[int(cut.arg_true()[0])]
        warn(
            f"{where}: {int(cut.sum()):,} times are written like {first!r}, as spreadsheets cut long numbers: the seconds "
            f"are lost, and different times have become one; export them as whole numbers"
        )


def unreadable(raw: pl.Series) -> pl.Series:
    """Tell which values :func:`read_times` would refuse, as a Boolean column; none where it refuses the column's type."""
    nothing = pl.Series(raw.name, [False]).new_from_index(0, len(raw))
    if raw.dtype.is_float() or raw.dtype.is_decimal():
        real = raw.cast(pl.Float64)
        return (~real.is_finite() | (real.abs() >= 2.0**63)).fill_null(False)
    if raw.dtype.is_integer():
        return raw.is_not_null() & raw.cast(pl.Int64, strict=False).is_null()
    if raw.dtype != pl.String:
        return nothing
    text = raw.str.strip_chars()
    text = text.set(text.is_in(["", *MISSING_WORDS]), None)
    real = text.cast(pl.Float64, strict=False)
    odd = (~real.is_finite() | (real.abs() >= 2.0**63)).fill_null(False)
    return odd | (text.is_not_null() & real.is_null() & _dates(text.set(real.is_not_null(), None)).is_null())


def _numbers(raw: pl.Series, real: pl.Series, where: str, skipped: int) -> pl.Series:
    """Check that floats are finite; convert them to Int64 if all are whole. ``raw`` is for messages."""
    real = _fitting(
        raw, real.set((~real.is_finite() | (real.abs() >= 2.0**63)).fill_null(False), None), where, WANTED, skipped
    )
    whole = real.cast(pl.Int64, strict=False)
    return whole if bool((whole.cast(pl.Float64) == real).fill_null(True).all()) else real


def _dates(text: pl.Series) -> pl.Series:
    """Parse text as Datetime in microseconds, null if it is not a date: by the form that fits first, then by others."""
    left = text.rename("text").to_frame().with_row_index("row").drop_nulls("text")
    found = []
    while left.height:
        first = left["text"][:1]
        read = next((made for form in _FORMS if (made := _by_form(left["text"], form, first)) is not None), None)
        read = _loosely(left["text"]) if read is None else read
        known = read.is_not_null()
        if not known.any():
            break
        found.append(left.select("row").with_columns(read.alias("date")).filter(known))
        left = left.filter(~known)
    place = pl.concat(found) if found else pl.DataFrame(schema={"row": pl.UInt32, "date": pl.Datetime("us")})
    if place.height == len(text):
        return place.sort("row")["date"] if len(found) > 1 else place["date"]
    rows = pl.DataFrame({"row": pl.int_range(len(text), dtype=pl.UInt32, eager=True)})
    return rows.join(place, on="row", how="left", maintain_order="left")["date"]


def _by_form(text: pl.Series, form: str, first: pl.Series) -> pl.Series | None:
    """Parse the column by one form; None if that does not fit its first value."""

    def read(values: pl.Series) -> pl.Series:
        if form == "%Y-%m-%d":
            return values.str.to_date(form, strict=False).cast(pl.Datetime("us"))
        if form.endswith("z"):
            zoned = values.str.to_datetime(form, strict=False, time_unit="us", time_zone="UTC")
            return zoned.dt.replace_time_zone(None)
        return values.str.to_datetime(form, strict=False, time_unit="us")

    return None if read(first).null_count() else read(text)


def _loosely(text: pl.Series) -> pl.Series:
    """Parse dates without dashes or with points, minutes without seconds, a comma before the fraction, zones in words."""
    if text.str.contains(".", literal=True).any():
        for form, dashed in _POINTS:
            text = text.str.replace(form, dashed)
    parts = text.str.extract_groups(_LOOSE).struct.unnest()
    parts = parts.with_columns(pl.col("H", "M", "S").fill_null("00"))
    zone = pl.col("zone").str.replace(":", "")
    minutes = zone.str.slice(1, 2).cast(pl.Int64, strict=False).fill_null(0) * 60 + (
        zone.str.slice(3, 2).cast(pl.Int64, strict=False).fill_null(0)
    )
    east = pl.when(zone.str.starts_with("-")).then(-minutes).otherwise(minutes).fill_null(0)
    plain = pl.format("{}-{}-{} {}:{}:{}", *(pl.col(name) for name in ("y", "m", "d", "H", "M", "S")))
    fraction = pl.col("f").str.slice(0, 6).str.pad_end(6, "0").cast(pl.Int64).fill_null(0)
    instant = plain.str.to_datetime("%Y-%m-%d %H:%M:%S", strict=False, time_unit="us")
    return parts.select(
        pl.when(minutes.fill_null(0) < 24 * 60).then(
            instant + pl.duration(microseconds=fraction) - pl.duration(minutes=east)
        )
    ).to_series()


def alike(count: int) -> str:
    """The end of a message about one row, if other rows are like it."""
    return f" ({count:,} such rows)" if count > 1 else ""


def _fitting(raw: pl.Series, parsed: pl.Series, where: str, expected: str, skipped: int) -> pl.Series:
    """Return what was parsed, if no value was lost.

    Raises
    ------
    DataError
        A value was lost; the message names the first row.
    """
    if parsed.null_count() > raw.null_count():
        bad = (raw.is_not_null() & parsed.is_null()).arg_true()
        first = raw[bad[0]]
        hint = ""
        if isinstance(first, str) and re.match(_SLASHES, first.strip()):
            hint = "; in some countries the day comes first and in some the month: write the year first, as in 2024-05-31"
        raise DataError(f"{where}: row {skipped + bad[0] + 1} is {first!r}, expected {expected}{alike(len(bad))}{hint}")
    return parsed
