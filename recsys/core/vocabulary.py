"""Number the distinct values of a column that comes in pieces, in order of first appearance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.core.ragged import Int32, Int64

_BLOCK = 1 << 16
"""Rows that are looked up together: they stay in the processor's cache."""
_CHECKED = 1 << 18
"""Rows that are compared with their values together."""
_FULL = 0.4
"""Share of the slots that may be taken."""
_SPREAD, _STEP = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F)
"""Odd numbers: a multiplication moves other bits of a hash to the top."""
_FREE = -1
_WHOLE = (pl.Int8, pl.Int16, pl.Int32, pl.Int64, pl.UInt8, pl.UInt16, pl.UInt32, pl.UInt64)
"""Types whose values are keys themselves."""


class Vocabulary:
    """Distinct values, numbered in order of first appearance; pieces of a column are added one after the other.

    Each value has a 64-bit key: a whole number itself, otherwise its hash. The codes of the keys stand in a table of slots.
    Every row is then compared with the value that it was given, so that two values of one hash are never merged.

    Attributes
    ----------
    values : Series (n_distinct,)
        In order of first appearance; null counts as a value.
    first : int64 (n_distinct,)
        The first row of each value, ascending.
    rows : int
        Rows of all pieces so far.
    """

    def __init__(self, dtype: pl.DataType) -> None:
        self.values = pl.Series(dtype=dtype)
        self.first: Int64 = np.zeros(0, dtype=np.int64)
        self.rows = 0
        self._keys = _Keys()
        self._told_apart = True

    def __len__(self) -> int:
        return len(self.values)

    def add(self, piece: pl.Series) -> Int32:
        """Number the values of a piece of the column.

        Parameters
        ----------
        piece : Series (n,)
            Of any type that polars can hash, and always the same one.

        Returns
        -------
        int32 (n,)
            The position in ``values`` of each row's value.
        """
        exact = piece.dtype in _WHOLE and piece.null_count() == 0
        if exact != self._keys.exact and len(self):
            self._keys = _Keys.of(_hashed(self.values))
        self._keys.exact = exact
        found = self._by_key(piece) if self._told_apart else None
        if found is None:
            self._told_apart = False
            found = self._by_value(piece)
        codes, new = found
        self.first = np.concatenate([self.first, self.rows + new])
        self.rows += len(piece)
        return codes

    def _by_key(self, piece: pl.Series) -> tuple[Int32, Int64] | None:
        """Codes, and the first rows of new values; None, and nothing is added, if two values share a key."""
        exact = self._keys.exact
        keys = piece.cast(pl.Int64, wrap_numerical=True).to_numpy().view(np.uint64) if exact else _hashed(piece)
        before = len(self)
        codes = np.empty(len(piece), dtype=np.int32)
        fresh = [np.zeros(0, dtype=np.int64)]
        for start in range(0, len(piece), _BLOCK):
            codes[start : start + _BLOCK], new = self._keys.add(keys[start : start + _BLOCK])
            fresh.append(start + new)
        rows = np.concatenate(fresh)
        values = self.values
        if len(rows):
            values = pl.concat([values, piece.gather(pl.Series(rows, dtype=pl.UInt32))], rechunk=True)
        for start in range(0, 0 if exact else len(piece), _CHECKED):
            given = values.gather(pl.Series(codes[start : start + _CHECKED], dtype=pl.UInt32))
            if not given.eq_missing(piece.slice(start, _CHECKED)).all():
                self._keys.forget(before)
                return None
        self.values = values
        return codes, rows

    def _by_value(self, piece: pl.Series) -> tuple[Int32, Int64]:
        """Codes, and the first rows of new values, without keys, which is slower."""
        both = pl.concat([self.values, piece])
        values = both.unique(maintain_order=True)
        table = pl.DataFrame({"value": values, "code": np.arange(len(values), dtype=np.int32)})
        joined = (
            piece.alias("value").to_frame().join(table, on="value", how="left", nulls_equal=True, maintain_order="left")
        )
        codes = joined["code"].to_numpy()
        distinct, rows = np.unique(codes, return_index=True)
        new = rows[distinct >= len(self)].astype(np.int64)
        self.values = values
        return codes, new


def _hashed(values: pl.Series) -> NDArray[np.uint64]:
    hashes: NDArray[np.uint64] = values.hash().to_numpy()
    return hashes


@dataclass(eq=False)
class _Keys:
    """Codes of 64-bit keys in a table with open addressing.

    Attributes
    ----------
    exact : bool
        The keys are whole numbers, which are often dense: their lowest bits tell the first slot.
    slots : int32 (2^bits,)
        A code, or -1.
    known : uint64 (at least n,)
        The key of each code.
    """

    exact: bool = False
    n: int = 0

    def __post_init__(self) -> None:
        self.slots = np.full(1 << 8, _FREE, dtype=np.int32)
        self.known = np.zeros(0, dtype=np.uint64)

    @classmethod
    def of(cls, keys: NDArray[np.uint64]) -> _Keys:
        made = cls()
        made.known, made.n = keys.copy(), len(keys)
        made._rebuild(0)
        return made

    def forget(self, n: int) -> None:
        """Keep the first n keys."""
        self.n = n
        self._rebuild(0)

    def add(self, keys: NDArray[np.uint64]) -> tuple[Int32, Int64]:
        """Look up a block of keys; those unknown are numbered in order of first appearance.

        Returns
        -------
        int32 (n,), int64 (n_new,)
            Codes, and the first rows of new keys.
        """
        n, size = self.n, len(keys)
        self._reserve(n + size)
        slot = self._first_slot(keys)
        codes = self.slots[slot]
        left = np.flatnonzero((codes < 0) | (self.known[codes] != keys))
        if len(left) == 0:
            return codes, left
        self.known[n : n + size] = keys  # for now, each row is its own code
        leaders = [left[:0]]
        places = [left[:0]]
        wanted, slot = keys[left], slot[left]
        step = self._steps(wanted)
        while len(left):
            here = self.slots[slot]
            free = np.flatnonzero(here == _FREE)
            if len(free):
                self.slots[slot[free[::-1]]] = n + left[free[::-1]]  # the last assignment stays: that of the first row
                here[free] = self.slots[slot[free]]
                led = free[here[free] == n + left[free]]
                leaders.append(left[led])
                places.append(slot[led])
            codes[left] = here
            rest = np.flatnonzero(self.known[here] != wanted)
            left, wanted, step = left[rest], wanted[rest], step[rest]
            slot = (slot[rest] + step) & (len(self.slots) - 1)
        new, place = np.concatenate(leaders), np.concatenate(places)
        order = np.argsort(new)
        new, place = new[order], place[order]
        numbered = np.arange(n, n + len(new), dtype=np.int32)
        final = np.empty(size, dtype=np.int32)
        final[new] = numbered
        fresh = codes >= n
        codes[fresh] = final[codes[fresh] - n]
        self.slots[place] = numbered
        self.known[n : n + len(new)] = keys[new]
        self.n += len(new)
        return codes, new

    def _first_slot(self, keys: NDArray[np.uint64]) -> Int64:
        if self.exact:
            return (keys & np.uint64(len(self.slots) - 1)).view(np.int64)
        return ((keys * _SPREAD) >> self._shift).view(np.int64)

    def _steps(self, keys: NDArray[np.uint64]) -> Int64:
        return ((keys * _STEP) >> self._shift).view(np.int64) | 1

    @property
    def _shift(self) -> np.uint64:
        return np.uint64(65 - len(self.slots).bit_length())

    def _reserve(self, n: int) -> None:
        """Make room for n keys."""
        if n > len(self.known):
            grown = np.empty(max(n, len(self.known) * 3 // 2), dtype=np.uint64)
            grown[: self.n] = self.known[: self.n]
            self.known = grown
        if n > _FULL * len(self.slots):
            self._rebuild(n)

    def _rebuild(self, n: int) -> None:
        """Place all keys anew in a table that has room for n."""
        bits = len(self.slots).bit_length() - 1
        while max(n, self.n) > _FULL * (1 << bits):
            bits += 1
        self.slots = np.full(1 << bits, _FREE, dtype=np.int32)
        for start in range(0, self.n, _BLOCK):
            codes = np.arange(start, min(start + _BLOCK, self.n), dtype=np.int32)
            keys = self.known[codes]
            slot, step = self._first_slot(keys), self._steps(keys)
            while len(codes):
                free = self.slots[slot] == _FREE
                self.slots[slot[free]] = codes[free]
                left = self.slots[slot] != codes
                codes, step = codes[left], step[left]
                slot = (slot[left] + step) & (len(self.slots) - 1)
