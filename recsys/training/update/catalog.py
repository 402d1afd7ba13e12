"""The items of a bundle, with those that a new log or a new catalogue brings."""

from __future__ import annotations

import numpy as np
import polars as pl

from recsys.bundle.contents import Bundle
from recsys.bundle.corpus import merged
from recsys.core.ragged import Int32
from recsys.core.schema import TITLE
from recsys.data.catalog import Catalog
from recsys.data.interactions import Interactions
from recsys.errors import DataError


def grown_catalog(bundle: Bundle, catalog: Catalog | None, log: Interactions) -> tuple[Catalog, Int32]:
    """All items, those of the bundle first and in its rows, and which of them must be read.

    Parameters
    ----------
    bundle : Bundle
    catalog : Catalog, optional
        Of new items, and of old ones if something about them changed; what it does not name stays as it is.
    log : Interactions

    Returns
    -------
    Catalog
    int32 (m,)
        New items, and old ones whose text changed.

    Raises
    ------
    DataError
        The catalogue's texts are made of other columns than the bundle's, or a value does not fit.
    """
    old = bundle.catalog
    if catalog is None:
        items = old.items.extended(_touched(log))
        return merged(old, Catalog.without_text(type(items)(items.ids[:0], "item")), items), _new_rows(old, items)
    if old.text_columns and catalog.text_columns != old.text_columns:
        raise DataError(
            f"an item's text is made of the columns {', '.join(old.text_columns)} in the bundle, and of "
            f"{', '.join(catalog.text_columns) or 'none'} in the new catalogue; read the same columns, text= (--text)"
        )
    items = old.items.extended(catalog.items.ids).extended(_touched(log))
    place = old.items.find_rows(catalog.items.ids)
    other = _differs(old, catalog, place)
    told = np.flatnonzero((place < 0) | other)
    few = catalog.aligned(type(catalog.items)(catalog.items.to_ids(told.astype(np.int32)), "item"))
    new = merged(old, few, items)
    changed = place[(place >= 0) & other]
    texts = old.texts.gather(pl.Series(changed, dtype=pl.UInt32)).ne_missing(
        new.texts.gather(pl.Series(changed, dtype=pl.UInt32))
    )
    return new, np.concatenate([np.sort(changed[texts.to_numpy()]), _new_rows(old, items)]).astype(np.int32)


def _touched(log: Interactions) -> pl.Series:
    """The items of a log that have an event."""
    return log.items.to_ids(np.flatnonzero(log.item_counts).astype(np.int32))


def _new_rows(old: Catalog, items: object) -> Int32:
    return np.arange(len(old), len(items), dtype=np.int32)  # type: ignore[arg-type]


def _differs(old: Catalog, new: Catalog, place: Int32) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """bool (len(new),): the items of a catalogue of which the old one says something else, in text or columns."""
    rows = pl.Series(place, dtype=pl.Int64).set(pl.Series(place < 0), None)
    pairs = [(old.texts, new.texts)]
    if new.titles.null_count() < len(new):
        pairs.append((old.titles, new.titles))
    pairs += [
        (old.columns[name], new.columns[name])
        for name in new.columns.columns
        if name in old.columns.columns and name != TITLE
    ]
    found = np.zeros(len(new), dtype=np.bool_)
    for before, after in pairs:
        was = before.gather(rows)
        if was.dtype == after.dtype:
            found |= was.ne_missing(after).to_numpy()
        elif was.dtype.is_nested() or after.dtype.is_nested():
            found[:] = True  # as read they are equal or not; writing equal values again changes nothing
        else:
            found |= was.cast(pl.String, strict=False).ne_missing(after.cast(pl.String, strict=False)).to_numpy()
    return found & (place >= 0)
