"""Find the distinct values of a column, and count them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import polars as pl

from recsys.core.ragged import Int32, Int64
from recsys.core.vocabulary import Vocabulary


class Tally(Protocol):
    """The distinct values of a column in order of first appearance, where each is first, and how many rows hold it."""

    @property
    def values(self) -> pl.Series:
        """Series (n_distinct,): null counts as a value."""

    @property
    def first(self) -> Int32 | Int64:
        """int (n_distinct,): the first row of each value, ascending."""

    @property
    def height(self) -> int:
        """The number of rows."""

    def rows_of(self, chosen: pl.Series) -> int:
        """Count the rows that hold one of the chosen values, bool (n_distinct,)."""


@dataclass(frozen=True, eq=False)
class Distinct:
    """The distinct values of a column, and which of them each row holds.

    Attributes
    ----------
    values : Series (n_distinct,)
        In order of first appearance; null counts as a value.
    first : int32 (n_distinct,)
        The first row of each value, ascending.
    codes : int32 (n,)
        The position in ``values`` of each row's value.
    """

    values: pl.Series
    first: Int32
    codes: Int32

    @classmethod
    def of(cls, column: pl.Series) -> Distinct:
        """Find the distinct values of a column of any type that polars can hash."""
        vocabulary = Vocabulary(column.dtype)
        codes = vocabulary.add(column)
        return cls(vocabulary.values, vocabulary.first.astype(np.int32), codes)

    def __len__(self) -> int:
        return len(self.values)

    @property
    def height(self) -> int:
        """The number of rows."""
        return len(self.codes)

    def rows_of(self, chosen: pl.Series) -> int:
        """Count the rows that hold one of the chosen values, bool (n_distinct,)."""
        return int(np.bincount(self.codes, minlength=len(self))[chosen.to_numpy()].sum())


class Counter:
    """The distinct values of a column that comes in pieces.

    Attributes
    ----------
    values, first, height
        As of :class:`Tally`.
    counts : int64 (n_distinct,)
        How many rows hold each value.
    """

    def __init__(self, dtype: pl.DataType) -> None:
        self._vocabulary = Vocabulary(dtype)
        self.counts: Int64 = np.zeros(0, dtype=np.int64)

    @property
    def values(self) -> pl.Series:
        """Series (n_distinct,): in order of first appearance."""
        return self._vocabulary.values

    @property
    def first(self) -> Int64:
        """int64 (n_distinct,): the first row of each value."""
        return self._vocabulary.first

    @property
    def height(self) -> int:
        """The number of rows so far."""
        return self._vocabulary.rows

    def add(self, piece: pl.Series) -> Int32:
        """Number the values of a piece; see :meth:`~recsys.core.vocabulary.Vocabulary.add`."""
        codes = self._vocabulary.add(piece)
        counts = np.bincount(codes, minlength=len(self._vocabulary))
        counts[: len(self.counts)] += self.counts
        self.counts = counts
        return codes

    def rows_of(self, chosen: pl.Series) -> int:
        """Count the rows that hold one of the chosen values, bool (n_distinct,)."""
        return int(self.counts[chosen.to_numpy()].sum())
