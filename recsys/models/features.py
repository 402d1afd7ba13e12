"""What is known of the items besides their ids, as tensors that the item tower reads."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
import torch
from torch import Tensor

from recsys.core.progress import log
from recsys.data.catalog import Catalog
from recsys.data.parse import number_hint
from recsys.errors import DataError
from recsys.models.networks.content import TokenBags

_WORD = r"[^\W_]+"
"""Letters and digits of any script."""
MOST_TOKENS = 200_000


@dataclass(frozen=True, eq=False)
class TokenVocabulary:
    """The words, pairs of words and categories that a catalogue has, each with its number and its weight.

    Attributes
    ----------
    table : DataFrame
        ``token``, ``number`` (by alphabet; those of later items behind), ``weight``: log(n / n_t) + 1 for a token of n_t
        among n items.
    categories : tuple of str
        Columns with one value or several (a list, or text with "|" between values).
    words : bool
        Whether the words of the texts count too; case does not matter.
    paths : str, optional
        Separator of categories that are paths: each beginning of one is a category too, so that what is rare shares the
        strength of what it belongs to.
    """

    table: pl.DataFrame
    categories: tuple[str, ...]
    words: bool
    paths: str | None = None

    @classmethod
    def of(
        cls,
        catalog: Catalog,
        categories: Sequence[str],
        *,
        words: bool,
        paths: str | None = None,
        least: int = 2,
        most: int = MOST_TOKENS,
    ) -> TokenVocabulary:
        """Read them from a catalogue.

        Parameters
        ----------
        catalog : Catalog
        categories : sequence of str
        words : bool
        paths : str, optional
        least : int
            Tokens of fewer items are left out: they say nothing about other items.
        most : int
            If there are more tokens, those of the most items are kept: each one has a vector to store and train.

        Raises
        ------
        DataError
            No token is left.
        ConfigError
            The catalogue has no such column.
        """
        table = _occurrences(catalog, categories, words, paths).group_by("token").agg(pl.len().alias("items"))
        table = table.filter(pl.col("items") >= least).sort("items", "token", descending=[True, False])
        if len(table) > most:
            log(f"of {len(table):,} words and categories, the {most:,} that most items have are read")
        table = table.head(most).sort("token")
        if table.is_empty():
            raise DataError(f"no word or category occurs in {least} items or more; leave out words and categories")
        table = table.select(
            "token",
            pl.int_range(pl.len(), dtype=pl.Int64).alias("number"),
            (math.log(len(catalog)) - pl.col("items").log() + 1.0).alias("weight"),
        )
        return cls(table, tuple(categories), words, paths)

    def extended(self, catalog: Catalog, *, least: int = 2, most: int = MOST_TOKENS) -> TokenVocabulary:
        """The same tokens with their numbers and weights, and behind them those that now occur in enough items.

        Parameters
        ----------
        catalog : Catalog
            All items, old and new; weights of new tokens are by how many of them have one.
        least, most : int
            As for :meth:`of`; ``most`` of old and new ones together.
        """
        occurring = _occurrences(catalog, self.categories, self.words, self.paths)
        found = occurring.group_by("token").agg(pl.len().alias("items"))
        fresh = found.filter(pl.col("items") >= least).join(self.table, on="token", how="anti")
        fresh = fresh.sort("items", "token", descending=[True, False]).head(max(0, most - len(self))).sort("token")
        if fresh.is_empty():
            return self
        more = fresh.select(
            "token",
            pl.int_range(len(self), len(self) + pl.len(), dtype=pl.Int64).alias("number"),
            (math.log(len(catalog)) - pl.col("items").log() + 1.0).alias("weight"),
        )
        return replace(self, table=pl.concat([self.table, more]))

    def __len__(self) -> int:
        return len(self.table)

    def bags(self, catalog: Catalog) -> TokenBags:
        """The bag of each item of this or another catalogue, however often it has a token, scaled to length 1."""
        found = _occurrences(catalog, self.categories, self.words, self.paths).join(self.table, on="token")
        found = found.select(
            "row", "number", (pl.col("weight") / (pl.col("weight") ** 2).sum().over("row").sqrt()).cast(pl.Float32)
        ).sort("row", "number")
        lengths = np.bincount(found["row"].to_numpy(), minlength=len(catalog))
        return TokenBags(
            offsets=torch.from_numpy(np.concatenate([[0], np.cumsum(lengths)])),
            tokens=torch.from_numpy(found["number"].to_numpy().copy()),
            weights=torch.from_numpy(found["weight"].to_numpy().copy()),
            size=len(self),
        )


def _occurrences(catalog: Catalog, categories: Sequence[str], words: bool, paths: str | None) -> pl.DataFrame:
    """``row`` and ``token``, each pair once."""
    parts = [_values(catalog, column, paths) for column in categories]
    if words:
        parts += _words(catalog.texts)
    return pl.concat(parts).drop_nulls().unique()


def recurring(catalog: Catalog) -> bool:
    """Whether some word occurs in the texts of two items."""
    words = _words(catalog.texts)[0].drop_nulls()
    return bool(words.unique()["token"].is_duplicated().any())


def _values(catalog: Catalog, column: str, paths: str | None) -> pl.DataFrame:
    """``row`` and ``token`` of each value of a categorical column, and of each beginning of a path."""
    matrix, names = catalog.memberships(column)
    rows, places = matrix.nonzero()
    ways = [[name] if paths is None else _beginnings(name, paths) for name in names]
    tokens = pl.Series([[f"{column}\0{one}" for one in way] for way in ways], dtype=pl.List(pl.String))
    found = {"row": pl.Series(rows, dtype=pl.UInt32), "token": tokens.gather(pl.Series(places, dtype=pl.UInt32))}
    return pl.DataFrame(found).explode("token", empty_as_null=True)  # no word, and of no other column


def _beginnings(path: str, separator: str) -> list[str]:
    """``a``, ``a > b`` and ``a > b > c`` of ``a > b > c``."""
    steps = [step for one in path.split(separator.strip()) if (step := one.strip())]
    return [f" {separator.strip()} ".join(steps[:length]) for length in range(1, len(steps) + 1)]


def _words(texts: pl.Series) -> list[pl.DataFrame]:
    """``row`` and ``token`` of each word, and of each pair of neighbouring words with a space between them."""
    found = texts.alias("token").to_frame().with_row_index("row")
    words = found.with_columns(pl.col("token").str.to_lowercase().str.extract_all(_WORD)).explode(
        "token", empty_as_null=True
    )
    return [words, words.with_columns(pl.col("token") + " " + pl.col("token").shift(-1).over("row"))]


@dataclass(frozen=True, eq=False)
class Standardiser:
    """Mean and deviation of numeric columns.

    Attributes
    ----------
    columns : tuple of str
    means, deviations : DataFrame (1, F)
        A deviation is 0 where all items have the same value.
    """

    columns: tuple[str, ...]
    means: pl.DataFrame
    deviations: pl.DataFrame

    @classmethod
    def of(cls, catalog: Catalog, columns: Sequence[str]) -> Standardiser:
        """Read them from a catalogue, over the items that have a value.

        Raises
        ------
        DataError
            A column holds something that is not a finite number.
        ConfigError
            The catalogue has no such column.
        """
        frame = pl.DataFrame([_numbers(catalog, name) for name in columns])
        spread = pl.when(pl.all().max() > pl.all().min()).then(pl.all().std(ddof=0)).otherwise(0.0).fill_null(0.0)
        return cls(tuple(columns), frame.select(pl.all().mean()), frame.select(spread))

    def table(self, catalog: Catalog) -> Tensor:
        """float32 (n_items, F) of this or another catalogue: 0 where a value is missing or is always the same."""
        scaled = [
            ((_numbers(catalog, name) - self.means[name][0]) / self.deviations[name][0]).fill_null(0.0)
            if self.deviations[name][0]
            else pl.zeros(len(catalog), dtype=pl.Float64, eager=True).alias(name)
            for name in self.columns
        ]
        return torch.from_numpy(pl.DataFrame(scaled).cast(pl.Float32).to_numpy().copy())


def _numbers(catalog: Catalog, name: str) -> pl.Series:
    """A column as Float64; blanks are null."""
    column = catalog.column(name)
    if column.dtype == pl.String:
        column = column.str.strip_chars()
        column = column.set(column == "", None)
    elif not (column.dtype.is_numeric() or column.dtype in (pl.Boolean, pl.Null)):
        raise DataError(f"the catalogue's column {name!r} is of type {column.dtype}, expected numbers")
    values = column.cast(pl.Float64, strict=False)
    strange = (column.is_not_null() & ~values.is_finite().fill_null(False)).arg_true()
    if len(strange):
        row = strange[0]  # named by its item: rows are no longer those of the file
        raise DataError(
            f"the catalogue's column {name!r} has {column[row]!r} for item {catalog.items.ids[row]!r}, expected a finite "
            f"number or nothing ({len(strange)} such items){number_hint(column[row])}"
        )
    return values.rename(name)
