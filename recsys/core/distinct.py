"""Find the distinct values of a column."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from recsys.core.ragged import Int32
from recsys.core.vocabulary import Vocabulary


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

    def rows_of(self, chosen: pl.Series) -> int:
        """Count the rows that hold one of the chosen values, bool (n_distinct,)."""
        return int(np.bincount(self.codes, minlength=len(self))[chosen.to_numpy()].sum())
