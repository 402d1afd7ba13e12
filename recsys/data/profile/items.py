"""How a catalogue meets its log: coverage, texts, and columns that give popularity away."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from recsys.data.catalog import Catalog
from recsys.data.interactions import Interactions
from recsys.data.profile.tail import quantiles

_MOST_COLUMNS = 60
_LEAST_ITEMS = 30
"""Items without which a correlation says nothing."""


def catalogue(log: Interactions, catalog: Catalog) -> dict[str, Any]:
    """Count a catalogue against its log.

    Returns
    -------
    dict
        ``items``, those with events and with text; ``events_on_unknown_items`` and ``events_on_items_without_text`` as
        shares of all events; ``repeated_texts``; ``characters``, quantiles of the texts' lengths; ``columns``, each with
        the share of missing values, how many are distinct, and the rank correlation of its numbers with popularity.
    """
    rows = catalog.items.find_rows(log.items.ids)
    known = rows >= 0
    counts = np.zeros(len(catalog), np.int64)
    counts[rows[known]] = log.item_counts[known]
    has_text = catalog.texts.is_not_null()
    texts, total = catalog.texts.filter(has_text), max(1, len(log))
    return {
        "items": len(catalog),
        "with_events": int((counts > 0).sum()),
        "with_text": int(has_text.sum()),
        "with_both": int(((counts > 0) & has_text.to_numpy()).sum()),
        "unknown_items_with_events": int((log.item_counts[~known] > 0).sum()),
        "events_on_unknown_items": float(log.item_counts[~known].sum() / total),
        "events_on_items_without_text": float(counts[~has_text.to_numpy()].sum() / total),
        "repeated_texts": len(texts) - texts.n_unique(),
        "text_columns": list(catalog.text_columns),
        "characters": quantiles(texts.str.len_chars().to_numpy().astype(np.int64)) if len(texts) else None,
        "columns": [_column(one, counts) for one in catalog.columns.get_columns()[:_MOST_COLUMNS]],
    }


def _column(column: pl.Series, counts: np.ndarray[Any, np.dtype[np.int64]]) -> dict[str, Any]:
    plain = column.dtype.is_numeric() or column.dtype in (pl.String, pl.Boolean) or column.dtype.is_temporal()
    return {
        "name": column.name,
        "type": str(column.dtype).split("(", maxsplit=1)[0],
        "missing": column.null_count() / max(1, len(column)),
        "distinct": column.n_unique() if plain else None,
        "with_popularity": _correlation(column, counts),
    }


def _correlation(column: pl.Series, counts: np.ndarray[Any, np.dtype[np.int64]]) -> float | None:
    """Spearman's rank correlation of numbers with the popularity of their items; None where it says nothing."""
    numbers = column.cast(pl.Float64, strict=False) if column.dtype == pl.String or column.dtype.is_numeric() else None
    if numbers is None or numbers.null_count() > len(column) // 2:
        return None
    both = pl.DataFrame({"one": numbers, "other": counts}).drop_nulls().filter(pl.col("one").is_finite())
    if both.height < _LEAST_ITEMS or both["one"].n_unique() < 3 or both["other"].n_unique() < 2:
        return None
    return float(both.select(pl.corr(pl.col("one").rank(), pl.col("other").rank())).item())
