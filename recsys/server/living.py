"""The living corpus: items that come, change and go while the server runs, and again on every bundle that follows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from recsys.bundle.contents import Bundle
from recsys.core.schema import ITEM, TITLE
from recsys.errors import BundleError, DataError, RecsysError, UnknownIdError
from recsys.server.item_changes import Change, ItemChange, Value


def changed(bundle: Bundle, item: str, change: Change, columns: Mapping[str, Value]) -> Bundle:
    """The bundle with one item put, patched or removed.

    Parameters
    ----------
    bundle : Bundle
    item : str
    change : {"put", "patch", "delete"}
    columns : mapping
        Name → value, as in the catalogue.

    Raises
    ------
    UnknownIdError
        An item that is not there is patched or removed.
    DataError
        A column is missing, or a value does not fit it.
    UnsupportedError
        The model cannot read new items.
    """
    row = _row(bundle, item)
    if change == "put":
        frame = _frame(bundle, [(item, dict(columns))])
        return bundle.with_items(frame) if row < 0 else bundle.with_updated_items(frame)
    if row < 0:
        raise UnknownIdError(f"unknown item {item!r:.60}: it is not among the items that can be recommended; put it first")
    if change == "patch":
        return bundle.with_updated_items(_frame(bundle, [(item, _content(bundle, row) | dict(columns))]))
    return bundle.without_items(np.array([row], dtype=np.int32))


def with_changes(bundle: Bundle, changes: Iterable[ItemChange]) -> tuple[Bundle, int]:
    """A bundle with the changes of a store, and how many of them were about items that it lacks.

    A patch of an item that the bundle lacks changes nothing.

    Raises
    ------
    BundleError
        Changes do not fit the bundle.
    """
    put, removed, passed = defaultdict[tuple[bool, tuple[str, ...]], list[tuple[str, dict[str, Any]]]](list), [], 0
    for one in changes:
        row = _row(bundle, one.item_id)
        if one.change == "put" or (one.change == "patch" and row >= 0):
            columns = dict(one.columns) if one.change == "put" else _content(bundle, row) | dict(one.columns)
            put[row >= 0, tuple(sorted(columns))].append((one.item_id, columns))
        elif row < 0:
            passed += one.change == "patch"
        else:
            removed.append(row)
    try:
        for (known, _), items in put.items():
            frame = _frame(bundle, items)
            bundle = bundle.with_updated_items(frame) if known else bundle.with_items(frame)
        if removed:
            bundle = bundle.without_items(np.array(removed, dtype=np.int32))
    except RecsysError as error:
        raise BundleError(f"items that were changed since do not fit this bundle: {error}") from error
    return bundle, passed


def missing_items(active: Bundle, candidate: Bundle) -> pl.Series:
    """Ids of the items that can be recommended now and could not be by another bundle."""
    there = active.items.to_ids(np.flatnonzero(active.index.alive).astype(np.int32))
    rows = candidate.items.find_rows(there)
    gone = rows < 0
    gone[~gone] = ~candidate.index.alive[rows[~gone]]
    return there.filter(pl.Series(gone))


def _row(bundle: Bundle, item: str) -> int:
    """The row of an item that is there; −1 for one that is unknown or removed."""
    row = int(bundle.items.find_rows([item])[0])
    return row if row >= 0 and bundle.index.alive[row] else -1


def _content(bundle: Bundle, row: int) -> dict[str, Any]:
    """What the catalogue says about an item."""
    catalog = bundle.catalog
    title = catalog.titles[row]
    found: dict[str, Any] = {} if title is None else {TITLE: title}
    return found | catalog.columns.row(row, named=True)


def _frame(bundle: Bundle, items: Sequence[tuple[str, dict[str, Any]]]) -> pl.DataFrame:
    """Items as a frame that the bundle reads.

    Raises
    ------
    DataError
        A column is unknown, or its values are of several kinds.
    """
    catalog = bundle.catalog
    known = {**catalog.columns.schema, TITLE: pl.String()}
    columns: dict[str, pl.Series] = {ITEM: pl.Series([item for item, _ in items], dtype=pl.String)}
    for name in dict.fromkeys(name for _, values in items for name in values):
        if name not in known:
            raise DataError(f"the catalogue has no column {name!r:.60}; it has {', '.join(known)}")
        try:
            column = pl.Series(name, [values.get(name) for _, values in items], strict=False)
        except (TypeError, ValueError, OverflowError, pl.exceptions.PolarsError) as error:
            raise DataError(f"column {name}: {str(error).splitlines()[0]:.200}; write values of one kind") from error
        columns[name] = column.cast(known[name]) if column.dtype == pl.Null else column
    return pl.DataFrame(columns)
