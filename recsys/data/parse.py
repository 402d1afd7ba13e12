"""Turn raw columns into checked ids, event types, times and numbers; every refusal names file, column, row and value."""

from __future__ import annotations

import polars as pl

from recsys.core.progress import log, warn
from recsys.core.schema import canonical_ids, exact_below
from recsys.data.times.columns import MISSING_WORDS
from recsys.data.times.units import parse_timestamp
from recsys.errors import DataError


def check_ids(column: pl.Series, where: str, *, words: bool | None = False) -> None:
    """Raise a DataError unless every row of a column holds an id: a number or some text, not null, blank or NaN.

    Ids with blanks round them, and whole numbers that are written 4.0, are told of.

    Parameters
    ----------
    column : Series
        Raw ids.
    where : str
        File and column, for the message.
    words : bool or None
        Whether texts such as NULL, which programs write for a missing value, are refused; None: they are told of.
    """
    if column.dtype.is_nested() or column.dtype == pl.Object or (column.dtype.is_temporal() and column.dtype != pl.Date):
        raise DataError(f"{where}: is of type {column.dtype}, expected ids: whole numbers or text")
    if column.dtype == pl.String and len(column) and column.cast(pl.Int64, strict=False).null_count() == 0:
        return  # whole numbers throughout: nothing else can be wrong with them
    missing = column.is_null()
    text = None
    if column.dtype.is_float():
        missing = missing | column.is_nan().fill_null(True)
        _refuse_inexact(column, where)
    elif not column.dtype.is_integer():
        try:
            text = column.cast(pl.String)
        except pl.exceptions.PolarsError as error:
            raise DataError(f"{where}: is of type {column.dtype} and not UTF-8 text; write the ids as text") from error
        stripped = text.str.strip_chars()
        lengths = stripped.str.len_bytes()
        missing = missing | (lengths == 0).fill_null(True)
    rows = missing.arg_true()
    if len(rows):
        raise DataError(
            f"{where}: {len(rows)} of {len(column)} rows have no value, the first is row {rows[0] + 1}; "
            f"an id is needed in each: fill it in, or take the row out"
        )
    if text is None or text.is_empty():
        return
    if words is not False:
        _missing_words(text, lengths, where, refuse=words is True)
    padded = (lengths != text.str.len_bytes()).arg_true()
    if len(padded):
        warn(
            f"{where}: {len(padded):,} of {len(text):,} ids have blanks round them, such as {text[padded[0]]!r} in row "
            f"{padded[0] + 1}; they are kept, so that {text[padded[0]]!r} and {stripped[padded[0]]!r} are two ids"
        )
    if text[0].endswith(".0") and canonical_ids(text).dtype == pl.Int64:
        _refuse_inexact(text.cast(pl.Float64), where)
        log(f"{where}: ids are written like {text[0]}, and read as whole numbers like {text[0][:-2]}")


def _refuse_inexact(column: pl.Series, where: str) -> None:
    """Refuse floats so large that they cannot tell neighbours apart: several ids have become one."""
    inexact = (column.fill_nan(None).abs() >= exact_below(column.dtype)).fill_null(False).arg_true()
    if len(inexact):
        raise DataError(
            f"{where}: row {inexact[0] + 1} is {column[inexact[0]]!r}, a float too large to tell it from its neighbours "
            f"({len(inexact)} such rows), so that different ids have become one; write the ids as integers or text"
        )


def _missing_words(text: pl.Series, lengths: pl.Series, where: str, *, refuse: bool) -> None:
    """Refuse, or tell of, ids that are words for a missing value."""
    short = text.filter(lengths <= max(map(len, MISSING_WORDS)))
    if not short.is_in(list(MISSING_WORDS)).any():
        return
    rows = text.is_in(list(MISSING_WORDS)).arg_true()
    said = (
        f"{where}: {len(rows):,} of {len(text):,} ids are words for a missing value, the first is {text[rows[0]]!r} in row"
    )
    if refuse:
        raise DataError(
            f"{said} {rows[0] + 1}, so that strangers would be one; take these rows out, or say which texts stand for "
            "missing ones, null_values= (--null-values), and all others are ids"
        )
    warn(f"{said} {rows[0] + 1}; they are taken for one and the same id")


def parse_event(raw: pl.Series, where: str) -> pl.Series:
    """A column of event types (text, categories, whole numbers or truth values) as String, just as they are written.

    Raises
    ------
    DataError
        The column is of another type, or a row has no value.
    """
    if not (raw.dtype.is_integer() or raw.dtype in (pl.String, pl.Categorical, pl.Enum, pl.Boolean, pl.Null)):
        raise DataError(f"{where}: is of type {raw.dtype}, expected event types: text or whole numbers")
    text = raw.cast(pl.String)
    rows = (text.is_null() | (text.str.strip_chars() == "")).arg_true()
    if len(rows):
        raise DataError(
            f"{where}: {len(rows)} of {len(raw)} rows have no value, the first is row {rows[0] + 1}; "
            f"each event needs a type: fill it in, or take the row out"
        )
    return text


def _first_bad(raw: pl.Series, parsed: pl.Series, where: str, expected: str) -> None:
    bad = (raw.is_not_null() & parsed.is_null()).arg_true()
    if len(bad):
        row = bad[0]
        raise DataError(
            f"{where}: row {row + 1} is {raw[row]!r}, expected {expected}"
            + (f" ({len(bad)} such rows)" if len(bad) > 1 else "")
        )


def _stripped(raw: pl.Series) -> pl.Series:
    """Text without the white space around it; blank is null."""
    text = raw.str.strip_chars()
    return text.set(text == "", None)


def parse_number(raw: pl.Series, where: str) -> pl.Series:
    """A column of finite numbers as Float64; nulls stay null."""
    if raw.dtype == pl.String:
        raw = _stripped(raw)
    if not (raw.dtype.is_numeric() or raw.dtype == pl.String):
        raise DataError(f"{where}: is of type {raw.dtype}, expected numbers")
    parsed = raw.cast(pl.Float64, strict=False)
    _first_bad(raw, parsed.set(~parsed.is_finite(), None), where, "a finite number")
    return parsed


def parse_weight(raw: pl.Series, where: str) -> pl.Series:
    """A column of numbers as Float32; nulls stay null."""
    number = parse_number(raw, where)
    small = number.cast(pl.Float32)
    _first_bad(raw, small.set(~small.is_finite(), None), where, "a number that fits into 32 bits")
    return small


def _whole(raw: pl.Series, where: str) -> pl.Series:
    number = raw.cast(pl.Int64, strict=False)
    _first_bad(raw, number, where, "a number that fits into 64 bits")
    return number


def parse_order(raw: pl.Series, where: str) -> pl.Series:
    """A column that rows are sorted by, as Int64 (or Float64 where fractions occur); nulls stay null."""
    if raw.dtype.is_temporal():
        return parse_timestamp(raw, where).cast(pl.Datetime("us")).to_physical()
    if raw.dtype.is_integer():
        return _whole(raw, where)
    if raw.dtype == pl.String:
        raw = _stripped(raw)
        exact = raw.cast(pl.Int64, strict=False)
        if exact.null_count() == raw.null_count():
            return exact  # not by way of Float64, which cannot tell two large integers apart
    number = parse_number(raw, where)
    whole = number.cast(pl.Int64, strict=False)
    return whole if bool((whole.cast(pl.Float64) == number).fill_null(True).all()) else number
