"""Shape the rows of a file into our columns; every row that is left out is counted, with the reason."""

from __future__ import annotations

import html

import polars as pl

from recsys.data.recipes.sieve import Sieve
from recsys.data.recipes.spec import Column, Source
from recsys.data.recipes.waterfall import Waterfall

_EXCEL_EPOCH = 25_569
"""Days from 1899-12-30, from which workbooks count, to 1970."""


def kept(frame: pl.DataFrame, source: Source, counted: Waterfall) -> pl.DataFrame:
    """Leave out the rows for which a condition of the recipe holds."""
    for one in source.drop:
        holds = frame.select(pl.sql_expr(one.where).fill_null(value=False).alias("holds"))["holds"]
        counted.dropped(one.why, int(holds.sum()))
        frame = frame.filter(~holds)
    return frame


def readable(frame: pl.DataFrame, source: Source, ids: tuple[str, ...], sieve: Sieve) -> pl.DataFrame:
    """Leave out rows without an id or a time, and rows whose numbers or times cannot be read.

    Parameters
    ----------
    frame : DataFrame
        Columns of text, as the file names them.
    source : Source
    ids : tuple of str
        Our columns without which a row is worth nothing.
    sieve : Sieve
        Gets what is left out.

    Raises
    ------
    DataError
        By the caller's wish, for the first of them.
    """
    for ours, one in source.take.items():
        if one.kind == "row":
            continue
        missing = frame[one.source].is_null()
        needed = ours in ids or (one.kind in ("time", "whole") and not one.optional)
        lost = missing if needed else missing & False
        frame = sieve.leave_out(frame, lost, f"no {ours}", one.source)
        if one.kind in ("whole", "number", "time"):
            there = frame[one.source]
            unread = taken(there, one).is_null() & there.is_not_null()
            frame = sieve.leave_out(frame, unread, f"the {ours} cannot be read", one.source)
    return frame


def shaped(frame: pl.DataFrame, source: Source, first: int) -> pl.DataFrame:
    """Take our columns from the file's.

    Parameters
    ----------
    frame : DataFrame
        From :func:`readable`.
    source : Source
    first : int
        The place of its first row among all rows.

    Returns
    -------
    DataFrame
        Whole numbers as Int64, other numbers as Float64, times as Datetime or Date, the rest as String.
    """
    return pl.DataFrame(
        pl.int_range(first, first + frame.height, dtype=pl.Int64, eager=True).alias(ours)
        if one.kind == "row"
        else taken(frame[one.source], one).alias(ours)
        for ours, one in source.take.items()
    )


def taken(series: pl.Series, one: Column) -> pl.Series:
    """A column of text as the recipe wants it; null where it cannot be read."""
    if one.kind == "whole":
        return series.str.strip_suffix(".0").cast(pl.Int64, strict=False)
    if one.kind == "number":
        found = series.cast(pl.Float64, strict=False)
        return found.set(~found.is_finite(), None)
    if one.kind == "clean":
        return clean(series, one.unless)
    if one.kind == "time":
        return _time(series, one)
    return series


def _time(series: pl.Series, one: Column) -> pl.Series:
    if one.unit is not None:
        number = series.cast(pl.Int64, strict=False)
        number = number.fill_null(series.cast(pl.Float64, strict=False).cast(pl.Int64, strict=False))
        found = (number * 1000 if one.unit == "s" else number).cast(pl.Datetime("ms"))
    else:
        texts = pl.col(series.name)
        tried = [texts.str.to_datetime(form, time_unit="ms", strict=False) for form in one.written]
        days = texts.cast(pl.Float64, strict=False)
        tried.append((((days - _EXCEL_EPOCH) * 86_400).round() * 1000).cast(pl.Int64).cast(pl.Datetime("ms")))
        found = series.to_frame().select(pl.coalesce(tried)).to_series()
    return found.cast(pl.Date) if one.day else found


def clean(series: pl.Series, unless: str = "") -> pl.Series:
    """Text without HTML: scripts, styles and tags go, entities become letters, white space becomes one blank.

    Parameters
    ----------
    series : Series of str
    unless : str
        What holds this text becomes null.
    """
    found = series
    if unless:
        found = found.set(found.str.contains(unless, literal=True).fill_null(value=False), None)
    found = found.str.replace_all(r"(?is)<(script|style)\b.*?</(script|style)>", " ").str.replace_all(
        r"<[a-zA-Z/!][^>]*>", " "
    )
    coded = found.str.contains("&", literal=True).fill_null(value=False)
    if coded.any():
        plain = [html.unescape(text) for text in found.filter(coded)]
        found = found.scatter(coded.arg_true(), pl.Series(plain, dtype=pl.String))
    return found.str.replace_all(r"\s+", " ").str.strip_chars().replace("", None)
