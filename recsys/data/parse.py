"""Turn raw columns into checked ids, times and numbers; every refusal names file, column, row and value."""

from __future__ import annotations

import polars as pl

from recsys.errors import DataError

_INTEGER_MESSAGE = "whole seconds since 1970, or dates such as 2024-05-31T18:00:00"


def refuse_nulls(column: pl.Series, where: str) -> None:
    """Raise a DataError that counts the nulls (and empty strings) of an id column and names the first row.

    Parameters
    ----------
    column : Series
        Raw ids.
    where : str
        File and column, for the message.
    """
    missing = column.is_null()
    if column.dtype == pl.String:
        missing = missing | (column.str.strip_chars() == "").fill_null(True)
    rows = missing.arg_true()
    if len(rows):
        raise DataError(f"{where}: {len(rows)} of {len(column)} rows have no value, the first is row {rows[0] + 1}")


def _first_bad(raw: pl.Series, parsed: pl.Series, where: str, expected: str) -> None:
    bad = (raw.is_not_null() & parsed.is_null()).arg_true()
    if len(bad):
        row = bad[0]
        raise DataError(
            f"{where}: row {row + 1} is {raw[row]!r}, expected {expected}"
            + (f" ({len(bad)} such rows)" if len(bad) > 1 else "")
        )


def parse_number(raw: pl.Series, where: str) -> pl.Series:
    """A column of finite numbers as Float64; nulls stay null."""
    if raw.dtype == pl.String:
        text = raw.str.strip_chars()
        raw = text.set(text == "", None)
    if not (raw.dtype.is_numeric() or raw.dtype == pl.String):
        raise DataError(f"{where}: is of type {raw.dtype}, expected numbers")
    parsed = raw.cast(pl.Float64, strict=False)
    _first_bad(raw, parsed.set(~parsed.is_finite(), None), where, "a finite number")
    return parsed


def parse_order(raw: pl.Series, where: str) -> pl.Series:
    """A column that rows are sorted by, as Int64 (or Float64 where fractions occur); nulls stay null."""
    if raw.dtype.is_temporal():
        return parse_timestamp(raw, where)
    if raw.dtype.is_integer():
        return raw.cast(pl.Int64)
    number = parse_number(raw, where)
    whole = number.cast(pl.Int64, strict=False)
    return whole if bool((whole.cast(pl.Float64) == number).fill_null(True).all()) else number


def parse_timestamp(raw: pl.Series, where: str) -> pl.Series:
    """A column of instants as Int64 seconds since 1970 (UTC); nulls stay null.

    Integers and whole floats are seconds; dates, datetimes and ISO 8601 text are converted (text without a zone is UTC).

    Raises
    ------
    DataError
        A value is none of these.
    """
    if raw.dtype.is_integer():
        return raw.cast(pl.Int64)
    if raw.dtype == pl.Date or isinstance(raw.dtype, pl.Datetime):
        return raw.cast(pl.Datetime("us")).dt.epoch("s")
    if raw.dtype.is_float():
        parsed = raw.cast(pl.Int64, strict=False)
        _first_bad(raw, parsed.set((parsed.cast(pl.Float64) != raw).fill_null(False), None), where, _INTEGER_MESSAGE)
        return parsed
    if raw.dtype != pl.String:
        raise DataError(f"{where}: is of type {raw.dtype}, expected {_INTEGER_MESSAGE}")
    text = raw.str.strip_chars()
    text = text.set(text == "", None)
    seconds = text.cast(pl.Int64, strict=False)
    if seconds.null_count() > text.null_count():
        seconds = seconds.to_frame("s").with_columns(t=text).select(
            pl.coalesce(
                "s",
                pl.col("t").str.to_datetime("%+", strict=False, time_zone="UTC").dt.epoch("s"),
                pl.col("t").str.to_datetime("%Y-%m-%dT%H:%M:%S%.f", strict=False).dt.epoch("s"),
                pl.col("t").str.to_datetime("%Y-%m-%d %H:%M:%S%.f", strict=False).dt.epoch("s"),
                pl.col("t").str.to_date("%Y-%m-%d", strict=False).cast(pl.Datetime("us")).dt.epoch("s"),
            )
        ).to_series()  # fmt: skip
    _first_bad(text, seconds, where, _INTEGER_MESSAGE)
    return seconds
