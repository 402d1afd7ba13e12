"""What is known of the items besides their ids, as tensors that the item tower reads."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import polars as pl
import torch
from torch import Tensor

from recsys.data.catalog import Catalog
from recsys.data.row_lists import Float32
from recsys.errors import DataError

_WORD = re.compile(r"[^\W_]+")


@dataclass(frozen=True)
class Bags:
    """For each item a weighted bag of words and categories.

    Attributes
    ----------
    offsets : int64 (n_items + 1,)
        Bag ``i`` is ``tokens[offsets[i]:offsets[i + 1]]``.
    tokens : int64 (offsets[-1],)
        Numbers below ``size``.
    weights : float32 (offsets[-1],)
        Each bag has length 1.
    size : int
        Distinct tokens.
    """

    offsets: Tensor
    tokens: Tensor
    weights: Tensor
    size: int


@dataclass(frozen=True)
class ItemContent:
    """Inputs of the item tower besides ids; None where the model reads none of the kind.

    Attributes
    ----------
    text, images : float32 (n_items, T), float32 (n_items, I)
        Whitened vectors of a frozen encoder; a row of zeros where an item has none.
    numbers : float32 (n_items, F)
        Numeric columns, standardised; 0, the mean, where a value is missing.
    bags : Bags
        Words of the text and categories.
    """

    text: Tensor | None = None
    images: Tensor | None = None
    numbers: Tensor | None = None
    bags: Bags | None = None

    def __bool__(self) -> bool:
        return any(part is not None for part in (self.text, self.images, self.numbers, self.bags))


def make_bags(catalog: Catalog, categories: Sequence[str], *, words: bool, least: int = 2) -> Bags:
    """Words and pairs of neighbouring words of the items' texts, and values of categorical columns, weighted by rarity.

    Parameters
    ----------
    catalog : Catalog
    categories : sequence of str
        Columns with one value or several (a list, or text with "|" between values).
    words : bool
        Whether the words of the texts count too.
    least : int
        Tokens of fewer items are left out: they tell of nothing but the item itself.

    Returns
    -------
    Bags
        A token of n_t among n items weighs log(n / n_t) + 1, each bag then scaled to length 1.

    Raises
    ------
    DataError
        No token is left.
    ConfigError
        There is no such column.
    """
    parts = [
        pl.DataFrame({"row": pl.arange(len(catalog), eager=True), "token": catalog.listed(column)})
        .explode("token", empty_as_null=True)
        .select("row", (pl.lit(f"{column}=") + pl.col("token").cast(pl.String).str.strip_chars()).alias("token"))
        for column in categories
    ]
    if words:
        found = [_words(text) for text in catalog.texts.to_list()]
        frame = pl.DataFrame(
            {"row": pl.arange(len(catalog), eager=True), "token": pl.Series(found, dtype=pl.List(pl.String))}
        )
        parts.append(frame.explode("token", empty_as_null=True))
    table = pl.concat(parts).drop_nulls().unique().with_columns(pl.len().over("token").alias("items"))
    table = table.filter(pl.col("items") >= least)
    if table.is_empty():
        raise DataError(f"no word or category occurs in {least} items or more; leave out words and categories")
    table = table.with_columns(
        (np.log(len(catalog)) - pl.col("items").log() + 1.0).alias("weight"),
        (pl.col("token").rank("dense") - 1).cast(pl.Int64).alias("number"),
    ).sort("row", "number")
    table = table.with_columns(pl.col("weight") / (pl.col("weight") ** 2).sum().over("row").sqrt())
    lengths = np.bincount(table["row"].to_numpy(), minlength=len(catalog))
    return Bags(
        offsets=torch.from_numpy(np.concatenate([[0], np.cumsum(lengths)])),
        tokens=torch.from_numpy(table["number"].to_numpy().copy()),
        weights=torch.from_numpy(table["weight"].to_numpy().astype(np.float32)),
        size=int(table["number"].max()) + 1,  # type: ignore[arg-type]
    )


def _words(text: str | None) -> list[str]:
    found = _WORD.findall(text.lower()) if text else []
    return found + [f"{one} {two}" for one, two in pairwise(found)]


def make_numbers(catalog: Catalog, columns: Sequence[str]) -> Tensor:
    """Numeric columns with mean 0 and deviation 1 over the items that have a value; float32 (n_items, F).

    Raises
    ------
    DataError
        A column is missing or holds something that is not a number.
    """
    out = np.zeros((len(catalog), len(columns)), dtype=np.float32)
    for place, name in enumerate(columns):
        if name not in catalog.columns.columns:
            raise DataError(f"the catalogue has no column {name!r}; it has {', '.join(catalog.columns.columns)}")
        column = catalog.columns[name]
        values = column.cast(pl.Float64, strict=False)
        if values.null_count() > column.null_count():
            row = int((values.is_null() & column.is_not_null()).arg_max() or 0)
            raise DataError(f"the catalogue's column {name!r} holds {column[row]!r} (row {row + 1}), which is not a number")
        filled: Float32 = values.fill_nan(None).to_numpy().astype(np.float32)
        known = np.isfinite(filled)
        if known.any():
            spread = float(filled[known].std()) or 1.0
            out[known, place] = (filled[known] - filled[known].mean()) / spread
    return torch.from_numpy(out)
