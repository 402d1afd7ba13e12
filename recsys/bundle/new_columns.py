"""Columns of new items, in the types of the catalogue that they join: one odd value must not change what a column is."""

from __future__ import annotations

from difflib import get_close_matches

import polars as pl

from recsys.core.progress import warn
from recsys.data.parse import number_hint
from recsys.data.times.columns import MISSING_WORDS, read_times
from recsys.errors import DataError

_CODE = r"^\s*-?0\d"
"""A number with a leading zero, such as 007, is a code."""


def as_numbers(column: pl.Series) -> pl.Series:
    """A text column of which every value is a number or blank, as numbers; any other, such as codes like 007, as it is."""
    if column.dtype != pl.String or column.null_count() == len(column) or column.str.contains(_CODE).any():
        return column
    tidy = _tidy(column, ("",))
    for dtype in (pl.Int64, pl.Float64):
        cast = tidy.cast(dtype, strict=False)
        if cast.null_count() == tidy.null_count() < len(tidy):
            return cast
    return column


def tell_columns(old: pl.DataFrame, new: pl.DataFrame, known: tuple[str, ...]) -> None:
    """Warn about columns that only the new items have, which are left out, and those that they lack, which are null."""
    strange = [name for name in new.columns if name not in old.columns and name not in known]
    if strange:
        near = {name: get_close_matches(name, old.columns, n=1) for name in strange}
        told = ", ".join(f"{name!r}" + (f" (did you mean {near[name][0]!r}?)" if near[name] else "") for name in strange)
        warn(f"the new items' columns {told} are left out: the catalogue has {', '.join(old.columns) or 'no columns'}")
    absent = [name for name in old.columns if name not in new.columns]
    if absent:
        warn(f"the table of new items lacks the columns {', '.join(map(repr, absent))}; these items have no values in them")


def text_of_numbers(column: pl.Series) -> bool | None:
    """Whether all values of a text column are numbers; None where all are blank, so that new values will decide."""
    if column.dtype != pl.String:
        return False
    if _tidy(column, ("",)).null_count() == len(column):
        return None
    return as_numbers(column).dtype.is_numeric()


def fitted(old: pl.Series, new: pl.Series, ids: pl.Series, *, numbers: bool | None = None) -> tuple[pl.Series, pl.Series]:
    """A column of the catalogue and that of new items, in one type; whole numbers become floats where a fraction comes.

    Parameters
    ----------
    old : Series (n_items,)
    new : Series (n_new,)
    ids : Series (n_new,)
        Of the new items, for messages.
    numbers : bool, optional
        What :func:`text_of_numbers` says of ``old``, if that is known.

    Raises
    ------
    DataError
        A value does not fit: text among numbers, say. The message names column, item and value.
    """
    if new.dtype == pl.Null or new.null_count() == len(new):
        return old, pl.Series(new.name, [None] * len(new), dtype=old.dtype)
    if old.dtype == pl.String and (text_of_numbers(old) if numbers is None else numbers):
        return old, _numbers(old, new, ids, codes=True).cast(pl.String)
    if old.dtype.is_numeric():
        return _in_one_type(old, _numbers(old, new, ids, codes=False))
    if old.dtype == pl.List and new.dtype == pl.String:
        new = new.str.split("|").list.eval(pl.element().str.strip_chars())
    if old.dtype == pl.String and new.dtype == pl.List and not new.dtype.inner.is_nested():  # type: ignore[attr-defined]
        new = new.cast(pl.List(pl.String)).list.join("|", ignore_nulls=True)
    if old.dtype in (pl.Date, pl.Datetime) and new.dtype == pl.String:
        read = read_times(new, f"the new items' column {new.name!r}")
        new = new if read.dates is None or read.numbers is not None else read.dates.alias(new.name)
    if old.dtype == pl.Boolean and new.dtype == pl.String:
        flags = {"true": True, "false": False}
        lower = _tidy(new, ("", *MISSING_WORDS)).str.to_lowercase()
        _refuse(new, lower.is_not_null() & ~lower.is_in(list(flags)), ids, "true or false")
        new = lower.replace_strict(flags, return_dtype=pl.Boolean).alias(new.name)
    if old.dtype == pl.Boolean and new.dtype != pl.Boolean:
        _refuse(new, new.is_not_null(), ids, "true or false")
    try:
        return old, new.cast(old.dtype)
    except pl.exceptions.PolarsError as error:
        raise DataError(
            f"the new items' column {new.name!r} is {new.dtype}, the catalogue's {old.dtype}: {str(error).splitlines()[0]}"
        ) from error


def _numbers(old: pl.Series, new: pl.Series, ids: pl.Series, *, codes: bool) -> pl.Series:
    """The new values as numbers, blanks as null; ``codes`` refuses those with leading zeros."""
    expected = "a number, as all others in the catalogue are"
    if new.dtype.is_numeric():
        return new
    if new.dtype != pl.String:
        raise DataError(f"the new items' column {new.name!r} is {new.dtype}, the catalogue's is of numbers ({old.dtype})")
    tidy = _tidy(new, ("", *MISSING_WORDS))
    real = tidy.cast(pl.Float64, strict=False)
    odd = tidy.is_not_null() & ~real.is_finite().fill_null(False)
    _refuse(new, odd | tidy.str.contains(_CODE).fill_null(False) if codes else odd, ids, expected)
    whole = tidy.cast(pl.Int64, strict=False)
    return whole if whole.null_count() == tidy.null_count() else real


def _in_one_type(old: pl.Series, new: pl.Series) -> tuple[pl.Series, pl.Series]:
    """Two columns of numbers in a type that holds both without loss."""
    same = new.cast(old.dtype, strict=False)
    if same.null_count() == new.null_count() and (old.dtype.is_float() or bool((same == new).all())):
        return old, same
    wide = pl.Int64 if old.dtype.is_integer() and new.dtype.is_integer() else pl.Float64
    return old.cast(wide), new.cast(wide)


def _tidy(column: pl.Series, missing: tuple[str, ...]) -> pl.Series:
    text = column.str.strip_chars()
    return text.set(text.is_in(list(missing)).fill_null(False), None)


def _refuse(new: pl.Series, odd: pl.Series, ids: pl.Series, expected: str) -> None:
    rows = odd.fill_null(False).arg_true()
    if len(rows):
        raise DataError(
            f"the new items' column {new.name!r} has {new[rows[0]]!r} for item {ids[rows[0]]!r}, expected {expected} "
            f"({len(rows)} such items); mend it, or leave it blank{number_hint(new[rows[0]])}"
        )
