"""The living corpus: items that come, change and go while the server runs, and again on every bundle that follows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from recsys.core.schema import ITEM, TITLE
from recsys.errors import BundleError, DataError, RecsysError, UnknownIdError
from recsys.server.item_changes import Change, ItemChange, Value
from recsys.server.model import Model


def changed(model: Model, item: str, change: Change, columns: Mapping[str, Value]) -> Model:
    """The bundle with one item put, patched or removed.

    Parameters
    ----------
    model : Model
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
    row = _row(model, item)
    if change == "put":
        frame = _frame(model, [(item, dict(columns))])
        return model.with_items(frame) if row < 0 else model.with_updated_items(frame)
    if row < 0:
        raise UnknownIdError(f"unknown item {item!r:.60}: it is not among the items that can be recommended; put it first")
    if change == "patch":
        return model.with_updated_items(_frame(model, [(item, _content(model, row) | dict(columns))]))
    return model.without_items(np.array([row], dtype=np.int32))


def with_changes(model: Model, changes: Iterable[ItemChange]) -> tuple[Model, int]:
    """A bundle with the changes of a store, and how many of them were about items that it lacks.

    A patch of an item that the bundle lacks changes nothing.

    Raises
    ------
    BundleError
        Changes do not fit the bundle.
    """
    put, removed, passed = defaultdict[tuple[bool, tuple[str, ...]], list[tuple[str, dict[str, Any]]]](list), [], 0
    for one in changes:
        row = _row(model, one.item_id)
        if one.change == "put" or (one.change == "patch" and row >= 0):
            columns = dict(one.columns) if one.change == "put" else _content(model, row) | dict(one.columns)
            put[row >= 0, tuple(sorted(columns))].append((one.item_id, columns))
        elif row < 0:
            passed += one.change == "patch"
        else:
            removed.append(row)
    try:
        for (known, _), items in put.items():
            frame = _frame(model, items)
            model = model.with_updated_items(frame) if known else model.with_items(frame)
        if removed:
            model = model.without_items(np.array(removed, dtype=np.int32))
    except RecsysError as error:
        raise BundleError(f"items that were changed since do not fit this bundle: {error}") from error
    return model, passed


def missing_items(active: Model, candidate: Model) -> pl.Series:
    """Ids of the items that can be recommended now and could not be by another bundle."""
    there = active.items.to_ids(np.flatnonzero(active.alive).astype(np.int32))
    rows = candidate.items.find_rows(there)
    gone = rows < 0
    gone[~gone] = ~candidate.alive[rows[~gone]]
    return there.filter(pl.Series(gone))


def _row(model: Model, item: str) -> int:
    """The row of an item that is there; −1 for one that is unknown or removed."""
    row = int(model.items.find_rows([item])[0])
    return row if row >= 0 and model.alive[row] else -1


def _content(model: Model, row: int) -> dict[str, Any]:
    """What the catalogue says about an item."""
    catalog = model.catalog
    title = catalog.titles[row]
    found: dict[str, Any] = {} if title is None else {TITLE: title}
    return found | catalog.columns.row(row, named=True)


def _frame(model: Model, items: Sequence[tuple[str, dict[str, Any]]]) -> pl.DataFrame:
    """Items as a frame that the bundle reads.

    Raises
    ------
    DataError
        A column is unknown, or its values are of several kinds.
    """
    catalog = model.catalog
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
