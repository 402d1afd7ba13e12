"""Read interaction logs and item catalogues from files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import polars as pl

from recsys.data.catalog import Catalog
from recsys.data.interactions import Interactions
from recsys.data.parse import parse_number, parse_order, parse_timestamp, refuse_nulls
from recsys.data.tables import Format, PathLike, collect, expand, format_of, scan
from recsys.errors import DataError
from recsys.schema import (
    ITEM,
    MOVIELENS_CATALOG,
    MOVIELENS_INTERACTIONS,
    ORDER,
    TEXT_COLUMNS,
    TIMESTAMP,
    USER,
    WEIGHT,
    canonical_ids,
)

Parser = Callable[[pl.Series, str], pl.Series]


def _columns(file: Path, fmt: Format | None, movielens_columns: Sequence[str]) -> list[str]:
    if (fmt or format_of(file)) == "movielens":
        return list(movielens_columns)
    try:
        return scan(file, fmt, movielens_columns).collect_schema().names()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(f"{file} cannot be read: {str(error).splitlines()[0]}") from error


def read_interactions(
    path: PathLike | Sequence[PathLike],
    *,
    format: Format | None = None,
    user: str = USER,
    item: str = ITEM,
    timestamp: str | None = None,
    order: str | None = None,
    weight: str | None = None,
    drop_unordered: bool = False,
) -> Interactions:
    """Read an interaction log.

    Parameters
    ----------
    path : path, glob, folder, or a list of these
        CSV, TSV, MovieLens ``::``, Parquet or NDJSON; text formats may be gzipped. Several files are read in sorted order.
    format : str, optional
        Told from each file's ending by default.
    user, item : str
        The columns that hold the ids.
    timestamp : str, optional
        Column of instants: integer seconds, dates or ISO 8601 text. By default ``timestamp`` where there is such a column
        and no ``order`` is named.
    order : str, optional
        Column to sort each user's events by (any numbers); wins over the timestamp. Ties keep file order, always; with
        neither column, file order is the order.
    weight : str, optional
        Column with the strength of an event, such as a rating.
    drop_unordered : bool
        Leave out rows whose timestamp or order is null, instead of refusing them.

    Returns
    -------
    Interactions

    Raises
    ------
    DataError
        A file, column or value that cannot be used; the message names it.
    """
    frames = []
    for file in expand(path):
        present = _columns(file, format, MOVIELENS_INTERACTIONS)
        wanted, parsers = {USER: user, ITEM: item}, dict[str, Parser]()
        if timestamp is not None or (order is None and TIMESTAMP in present):
            wanted[TIMESTAMP], parsers[TIMESTAMP] = timestamp or TIMESTAMP, parse_timestamp
        if order is not None:
            wanted[ORDER], parsers[ORDER] = order, parse_order
        if weight is not None:
            wanted[WEIGHT], parsers[WEIGHT] = weight, parse_number
        frame = collect(file, format, MOVIELENS_INTERACTIONS, wanted)
        for name in (USER, ITEM):
            refuse_nulls(frame[name], f"{file}, column {wanted[name]!r}")
        frame = frame.with_columns(
            parse(frame[name], f"{file}, column {wanted[name]!r}").alias(name) for name, parse in parsers.items()
        )
        frames.append(_ordered(frame, wanted, file, drop_unordered))
    return Interactions.from_frame(_stacked(frames))


def _ordered(frame: pl.DataFrame, wanted: dict[str, str], file: Path, drop_unordered: bool) -> pl.DataFrame:
    for name in (ORDER, TIMESTAMP):
        if name in wanted and (missing := frame[name].null_count()):
            if not drop_unordered:
                raise DataError(
                    f"{file}: {missing:,} of {frame.height:,} rows have no value in the column {wanted[name]!r} that "
                    f"orders them; mend them, or leave them out with drop_unordered=True (--drop-unordered)"
                )
            frame = frame.filter(pl.col(name).is_not_null())
    if WEIGHT in wanted and (missing := frame[WEIGHT].null_count()):
        raise DataError(f"{file}: {missing:,} of {frame.height:,} rows have no value in the column {wanted[WEIGHT]!r}")
    if frame.height == 0:
        raise DataError(f"{file}: no row has a value in the column that orders it")
    return frame


def _stacked(frames: list[pl.DataFrame]) -> pl.DataFrame:
    """Concatenate; ids that are numbers in one file and text in another become text."""
    if len(frames) == 1:
        return frames[0]
    columns = set.intersection(*(set(frame.columns) for frame in frames))
    names = [name for name in frames[0].columns if name in columns]
    if any(len(frame.columns) != len(names) for frame in frames):
        raise DataError("some of the files have a timestamp column and some have not; name the order column")
    frames = [frame.with_columns(canonical_ids(frame[name]) for name in (USER, ITEM)) for frame in frames]
    return pl.concat([frame.select(names) for frame in frames], how="vertical_relaxed")


def read_catalog(
    path: PathLike | Sequence[PathLike],
    *,
    format: Format | None = None,
    item: str = ITEM,
    text: Sequence[str] | None = None,
    title: str | None = None,
) -> Catalog:
    """Read an item catalogue.

    Parameters
    ----------
    path, format
        As for :func:`read_interactions`.
    item : str
        The column that holds the id.
    text : sequence of str, optional
        Columns that the item's text is made of, in this order. By default those present of ``title``, ``name``,
        ``description``, ``categories``, ``category``, ``genres`` and ``brand``.
    title : str, optional
        The column shown to people; by default the first text column.

    Returns
    -------
    Catalog

    Raises
    ------
    DataError
        A file, column or value that cannot be used, or an item that occurs twice.
    """
    frames = []
    for file in expand(path):
        present = _columns(file, format, MOVIELENS_CATALOG)
        chosen = list(text) if text is not None else [name for name in TEXT_COLUMNS if name in present]
        if not chosen:
            raise DataError(f"{file}: say which columns make the text, text=[...] (--text); it has {', '.join(present)}")
        wanted = {ITEM: item} | {name: name for name in present if name not in (item, ITEM)}
        wanted |= {name: name for name in (*chosen, *([title] if title else [])) if name not in wanted}
        frame = collect(file, format, MOVIELENS_CATALOG, wanted)
        refuse_nulls(frame[ITEM], f"{file}, column {item!r}")
        repeated = frame.filter(frame[ITEM].is_duplicated())
        if repeated.height:
            first = repeated[ITEM][0]
            rows = (frame[ITEM] == first).arg_true().head(2) + 1
            raise DataError(
                f"{file}, column {item!r}: item {first!r} stands in rows {rows[0]} and {rows[1]} "
                f"({repeated[ITEM].n_unique()} items are repeated); each item must have one row"
            )
        frames.append(frame)
    frame = pl.concat(frames, how="diagonal_relaxed") if len(frames) > 1 else frames[0]
    return Catalog.from_frame(frame, text=chosen, title=title or chosen[0])
