"""Check and parse the raw columns of a table, each once; each error names file, column, row and value."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl

from recsys.core.distinct import Distinct, Tally
from recsys.core.id_map import IdMap, encode
from recsys.core.progress import log, warn
from recsys.core.ragged import Int32
from recsys.core.schema import EVENT, ITEM, ORDER, TIMESTAMP, USER, WEIGHT, canonical_ids, exact_below
from recsys.data.look_alikes import tell_look_alikes
from recsys.data.times.columns import MISSING_WORDS, Times, alike, read_times
from recsys.data.times.units import parse_timestamp
from recsys.errors import DataError


@dataclass(frozen=True, eq=False)
class ParsedColumns:
    """The columns of one file or frame, parsed; the unit of its times is decided with those of the other files.

    Attributes
    ----------
    source : str
        The file, for messages.
    names : mapping
        Our name → the file's, of the columns that are read.
    users, items : IdMap
    table : DataFrame
        As in :class:`recsys.data.events.Events`, without the timestamp; an order or weight may be null.
    times : Times or None
    """

    source: str
    names: Mapping[str, str]
    users: IdMap
    items: IdMap
    table: pl.DataFrame
    times: Times | None


def parse_columns(
    raw: pl.DataFrame,
    names: Mapping[str, str],
    source: str,
    *,
    words: bool | None,
    prove: Callable[[str, pl.Series], None] | None = None,
) -> ParsedColumns:
    """Check and parse the raw columns of one file or frame.

    Parameters
    ----------
    raw : DataFrame
        Columns under our names.
    names : mapping
        Our name → the source's, of the columns to parse: ``user_id``, ``item_id`` and any others of a log.
    source : str
        What messages call the file or frame.
    words : bool or None
        Whether to refuse ids such as NULL; None: warn about them.
    prove : callable, optional
        To call with the source's name of each column of ids, and its distinct ids.

    Raises
    ------
    DataError
        A value cannot be used; the message names source, column, row and value.
    """
    where = {ours: f"{source}, column {theirs!r}" for ours, theirs in names.items()}
    found = list[tuple[IdMap, Int32]]()
    for name, kind in ((USER, "user"), (ITEM, "item")):
        distinct = check_ids(raw[name], where[name], words=words)
        if prove is not None:
            prove(names[name], distinct.values)
        found.append(encode(distinct, kind))
        raw = raw.drop(name)  # free each column as soon as it is parsed
    (users, user_rows), (items, item_rows) = found
    parsed = {name: parse(raw[name], where[name], 0) for name, parse in PARSERS.items() if name in names}
    if EVENT in names:
        parsed[EVENT] = parse_event(raw[EVENT], where[EVENT])
    times = read_times(raw[TIMESTAMP], where[TIMESTAMP]) if TIMESTAMP in names else None
    return ParsedColumns(source, names, users, items, pl.DataFrame({USER: user_rows, ITEM: item_rows} | parsed), times)


def check_ids(column: pl.Series, where: str, *, words: bool | None = False) -> Distinct:
    """Refuse a column in which a row holds no id: null, blank text or NaN.

    Log a warning about ids with blanks around them and about ids that look alike, and a line about whole numbers that are
    written like 4.0.

    Parameters
    ----------
    column : Series
        Raw ids.
    where : str
        File and column, for the message.
    words : bool or None
        Whether to refuse texts such as NULL, which programs write for a missing value; None: warn about them.

    Returns
    -------
    Distinct
        The distinct ids, and which of them each row holds.

    Raises
    ------
    DataError
        A row holds no id, or the column is of a type that holds none.
    """
    distinct = Distinct.of(id_column(column, where))
    check_distinct(distinct, where, words=words)
    return distinct


def id_column(column: pl.Series, where: str) -> pl.Series:
    """Refuse a column of a type that holds no ids; categories become text.

    Raises
    ------
    DataError
        The column is of such a type.
    """
    if column.dtype.is_nested() or column.dtype == pl.Object or (column.dtype.is_temporal() and column.dtype != pl.Date):
        raise DataError(f"{where}: is of type {column.dtype}, expected ids: whole numbers or text")
    return column.cast(pl.String) if column.dtype in (pl.Categorical, pl.Enum) else column


def check_distinct(distinct: Tally, where: str, *, words: bool | None) -> None:
    """Do the checks of :func:`check_ids` on the distinct values of a column.

    Raises
    ------
    DataError
        A row holds no id.
    """
    ids = distinct.values
    if ids.dtype == pl.String and len(ids) and ids.cast(pl.Int64, strict=False).null_count() == 0:
        if ids.str.starts_with("0").any():
            tell_look_alikes(ids, distinct, where)
        return  # whole numbers throughout: nothing else can be wrong with them
    missing = ids.is_null()
    text = None
    if ids.dtype.is_float():
        missing = missing | ids.is_nan().fill_null(True)
        _refuse_inexact(ids, distinct, where)
    elif not ids.dtype.is_integer():
        try:
            text = ids.cast(pl.String)
        except pl.exceptions.PolarsError as error:
            raise DataError(f"{where}: is of type {ids.dtype} and not UTF-8 text; write the ids as text") from error
        stripped = text.str.strip_chars()
        lengths = stripped.str.len_bytes()
        missing = missing | (lengths == 0).fill_null(True)
    if missing.any():
        raise DataError(
            f"{where}: {distinct.rows_of(missing)} of {distinct.height} rows {have(distinct.rows_of(missing))} no value, "
            f"the first is row {_first_row(distinct, missing)}; each row needs an id: fill it in, or remove the row"
        )
    if text is None or text.is_empty():
        return
    if words is not False:
        _missing_words(text, distinct, where, refuse=words is True)
    padded = lengths != text.str.len_bytes()
    if padded.any():
        at = padded.arg_true()[0]
        warn(
            f"{where}: {distinct.rows_of(padded):,} of {distinct.height:,} ids have blanks around them, such as "
            f"{text[at]!r} in row {_first_row(distinct, padded)}; the blanks are kept, so {text[at]!r} and "
            f"{stripped[at]!r} are two ids"
        )
    if text[0].endswith(".0") and canonical_ids(text).dtype == pl.Int64:
        _refuse_inexact(text.cast(pl.Float64), distinct, where)
        log(f"{where}: ids are written like {text[0]}, and read as whole numbers like {text[0][:-2]}")
    else:
        tell_look_alikes(text, distinct, where)


def unique_ids(column: pl.Series, where: str, kind: str, *, words: bool | None = False) -> IdMap:
    """Check a column in which each row must hold a different id; see :func:`check_ids`.

    Raises
    ------
    DataError
        A row holds no id, or the id of an earlier row.
    """
    ids, rows = encode(check_ids(column, where, words=words), kind)
    if len(ids) < len(column):
        repeated = np.flatnonzero(np.bincount(rows) > 1)
        one, other = np.flatnonzero(rows == repeated[0])[:2] + 1
        raise DataError(
            f"{where}: the {kind} id {ids.ids[int(repeated[0])]!r} occurs more than once, in rows {one} and {other}"
            f"{_repeated(len(repeated), kind)}; each {kind} must have one row"
        )
    return ids


def have(count: int) -> str:
    """The verb of a number of rows."""
    return "has" if count == 1 else "have"


def _repeated(count: int, kind: str) -> str:
    return f" ({count:,} {kind}s are repeated)" if count > 1 else ""


def _first_row(distinct: Tally, chosen: pl.Series) -> int:
    """The number, counted from 1, of the first row that holds one of the chosen values."""
    return int(distinct.first[int(chosen.arg_true()[0])]) + 1


def _refuse_inexact(ids: pl.Series, distinct: Tally, where: str) -> None:
    """Refuse floats that are too large to represent every whole number: several ids have become one."""
    inexact = (ids.fill_nan(None).abs() >= exact_below(ids.dtype)).fill_null(False)
    if inexact.any():
        raise DataError(
            f"{where}: row {_first_row(distinct, inexact)} is {ids.filter(inexact)[0]!r}, a float too large to be exact"
            f"{alike(distinct.rows_of(inexact))}, so different ids have become one; write the ids "
            f"as integers or text"
        )


def _missing_words(text: pl.Series, distinct: Tally, where: str, *, refuse: bool) -> None:
    """Refuse ids that are words for a missing value, or warn about them."""
    found = text.is_in(list(MISSING_WORDS))
    if not found.any():
        return
    count = distinct.rows_of(found)
    are = "is a word" if count == 1 else "are words"
    message = (
        f"{where}: {count:,} of {distinct.height:,} ids {are} for a missing value, "
        f"the first is {text.filter(found)[0]!r} in row {_first_row(distinct, found)}"
    )
    if refuse:
        raise DataError(
            f"{message}; remove these rows, or name the texts that mean a missing value, null_values= (--null-values): "
            f"all other texts are then ids"
        )
    warn(f"{message}; all rows with the same word share one id")


def event_column(raw: pl.Series, where: str) -> pl.Series:
    """A column of event types (text, categories, whole numbers or truth values) as String, as they are written.

    Raises
    ------
    DataError
        The column has another type.
    """
    if not (raw.dtype.is_integer() or raw.dtype in (pl.String, pl.Categorical, pl.Enum, pl.Boolean, pl.Null)):
        raise DataError(f"{where}: is of type {raw.dtype}, expected event types: text or whole numbers")
    return raw.cast(pl.String)


def check_events(distinct: Tally, where: str) -> None:
    """Refuse rows without an event type.

    Raises
    ------
    DataError
        A row has no value.
    """
    missing = distinct.values.is_null() | (distinct.values.str.strip_chars() == "").fill_null(False)
    if count := distinct.rows_of(missing):
        raise DataError(
            f"{where}: {count} of {distinct.height} rows {have(count)} no value, the first is row "
            f"{_first_row(distinct, missing)}; each event needs a type: fill it in, or remove the row"
        )


def parse_event(raw: pl.Series, where: str) -> pl.Series:
    """Parse a column of event types; see :func:`event_column` and :func:`check_events`."""
    text = event_column(raw, where)
    check_events(Distinct.of(text), where)
    return text


def _first_bad(raw: pl.Series, parsed: pl.Series, where: str, expected: str, skipped: int) -> None:
    bad = (raw.is_not_null() & parsed.is_null()).arg_true()
    if len(bad):
        row = bad[0]
        raise DataError(
            f"{where}: row {skipped + row + 1} is {raw[row]!r}, expected {expected}{alike(len(bad))}{number_hint(raw[row])}"
        )


def number_hint(value: object) -> str:
    """The end of a message about a value that is no number: what to write instead, if its look tells."""
    if not isinstance(value, str):
        return ""
    if re.fullmatch(r"\s*[-+]?[\d.\s']*\d,\d+\s*", value):
        return "; write a point before decimals, and nothing between thousands: 1234.5, not 1.234,5"
    if re.match(r"\s*\d{4}-\d\d-\d\d", value):
        return "; if it is a time, name the column with timestamp= (--timestamp)"
    return ""


def _stripped(raw: pl.Series) -> pl.Series:
    """Strip white space; blank text becomes null."""
    text = raw.str.strip_chars()
    return text.set(text == "", None)


def parse_number(raw: pl.Series, where: str, skipped: int = 0) -> pl.Series:
    """Parse a column of finite numbers as Float64; nulls stay null."""
    if raw.dtype == pl.String:
        raw = _stripped(raw)
    if not (raw.dtype.is_numeric() or raw.dtype == pl.String):
        raise DataError(f"{where}: is of type {raw.dtype}, expected numbers")
    parsed = raw.cast(pl.Float64, strict=False)
    _first_bad(raw, parsed.set(~parsed.is_finite(), None), where, "a finite number", skipped)
    return parsed


def parse_weight(raw: pl.Series, where: str, skipped: int = 0) -> pl.Series:
    """Parse a column of numbers as Float32; nulls stay null."""
    number = parse_number(raw, where, skipped)
    small = number.cast(pl.Float32)
    _first_bad(raw, small.set(~small.is_finite(), None), where, "a number that fits into 32 bits", skipped)
    return small


def _whole(raw: pl.Series, where: str, skipped: int = 0) -> pl.Series:
    number = raw.cast(pl.Int64, strict=False)
    _first_bad(raw, number, where, "a number that fits into 64 bits", skipped)
    return number


def parse_order(raw: pl.Series, where: str, skipped: int = 0) -> pl.Series:
    """Parse a column to sort by as Int64, or Float64 if it has fractions; nulls stay null."""
    if raw.dtype.is_temporal():
        return parse_timestamp(raw, where, skipped=skipped).cast(pl.Datetime("us")).to_physical()
    if raw.dtype.is_integer():
        return _whole(raw, where, skipped)
    if raw.dtype == pl.String:
        raw = _stripped(raw)
        exact = raw.cast(pl.Int64, strict=False)
        if exact.null_count() == raw.null_count():
            return exact  # Float64 would merge large integers
    number = parse_number(raw, where, skipped)
    whole = number.cast(pl.Int64, strict=False)
    return whole if whole.cast(pl.Float64).eq_missing(number).all() else number  # beyond 64 bits, it would be null


PARSERS: Final[Mapping[str, Callable[[pl.Series, str, int], pl.Series]]] = {
    ORDER: parse_order,
    WEIGHT: parse_weight,
}
"""Our name of a column → its parser: of the raw column, its name for messages, and the rows before it."""
