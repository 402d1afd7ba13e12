"""Find the distinct values of a column in a few passes over its hashes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.core.ragged import Int32

_FACTORS = (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0xD6E8FEB86659FD93)
"""Odd numbers: each multiplication moves other bits of a hash to the top."""
_BLOCK = 1 << 18
"""Rows that are looked at together."""
_MOST_BITS = 24
"""The table of slots holds at most 64 MiB."""


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
        """Find the distinct values of a column of any type that polars can hash.

        The rows are grouped by their hashes, in a few random accesses each. Every row is then compared with the value that
        it was given, so that two values of one hash are never merged.
        """
        leaders = _first_of_hash(column.hash().to_numpy())
        rows = np.arange(len(column), dtype=np.int32)
        new = leaders == rows
        values = column.filter(pl.Series(new)).rechunk()
        first = np.flatnonzero(new).astype(np.int32)
        rows[first] = np.arange(len(first), dtype=np.int32)
        codes = rows[leaders]
        for start in range(0, len(column), _BLOCK):
            own = column.slice(start, _BLOCK)
            if not values.gather(pl.Series(codes[start : start + _BLOCK], dtype=pl.UInt32)).eq_missing(own).all():
                return cls._by_value(column)
        return cls(values, first, codes)

    @classmethod
    def _by_value(cls, column: pl.Series) -> Distinct:
        """Find them without hashes, which is slower."""
        values = column.unique(maintain_order=True)
        table = pl.DataFrame({"value": values, "code": np.arange(len(values), dtype=np.int32)})
        joined = (
            column.alias("value").to_frame().join(table, on="value", how="left", nulls_equal=True, maintain_order="left")
        )
        codes = joined["code"].to_numpy()
        return cls(values, np.unique(codes, return_index=True)[1].astype(np.int32), codes)

    def __len__(self) -> int:
        return len(self.values)

    def rows_of(self, chosen: pl.Series) -> int:
        """Count the rows that hold one of the chosen values, bool (n_distinct,)."""
        return int(np.bincount(self.codes, minlength=len(self))[chosen.to_numpy()].sum())


def _first_of_hash(hashes: NDArray[np.uint64]) -> Int32:
    """int32 (n,): the first row that has the same hash as each row.

    Each hash has a slot in a table, which keeps the first row that falls into it. Rows that share their slot with another
    hash are tried again with another table. All is done in blocks, so that little memory is needed beside the result.
    """
    found = np.arange(len(hashes), dtype=np.int32)
    left = found.copy()
    bits = min(max(len(hashes).bit_length() - 1, 4), _MOST_BITS)
    slots = np.empty(1 << bits, dtype=np.int32)
    for factor in _FACTORS:
        blocks = [left[start : start + _BLOCK] for start in range(0, len(left), _BLOCK)]
        for block in reversed(blocks):
            slots[_slot(hashes[block], factor, bits)[::-1]] = block[
                ::-1
            ]  # the last assignment stays: that of the first row
        rest = [left[:0]]
        for block in blocks:
            mine = hashes[block]
            leaders = slots[_slot(mine, factor, bits)]
            found[block] = leaders
            rest.append(block[hashes[leaders] != mine])
        left = np.concatenate(rest)
        if len(left) == 0:
            return found
    _, first, places = np.unique(hashes[left], return_index=True, return_inverse=True)
    found[left] = left[first][places]
    return found


def _slot(hashes: NDArray[np.uint64], factor: int, bits: int) -> NDArray[np.uint64]:
    """The upper bits of a product."""
    product: NDArray[np.uint64] = hashes * np.uint64(factor)
    product >>= np.uint64(64 - bits)
    return product
