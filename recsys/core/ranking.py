"""Ranked lists of items, and the rules for how long they may be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from recsys.core.arguments import whole_number
from recsys.core.ragged import Bool, Float32, Int64, Ragged, ragged_positions
from recsys.errors import ConfigError

_OWNER_BITS, _ROW_BITS = 10, 22


@dataclass(frozen=True, eq=False)
class ItemScores:
    """Some items for each request, and a score for each item.

    Attributes
    ----------
    lists : Ragged (n)
        Item rows.
    scores : float32 (len(lists.rows),)
        Aligned with ``lists.rows``.
    """

    lists: Ragged
    scores: Float32

    def __len__(self) -> int:
        return len(self.lists)

    def take(self, indices: NDArray[np.integer]) -> Self:
        """The lists at ``indices``, in that order."""
        starts, lengths = self.lists.offsets[indices], self.lists.lengths[indices]
        return type(self)(self.lists.take(indices), self.scores[ragged_positions(starts, lengths)])

    def block(self, start: int, stop: int) -> Self:
        """Lists ``start .. stop``, as a view."""
        stop, offsets = min(stop, len(self)), self.lists.offsets
        return type(self)(self.lists.block(start, stop), self.scores[offsets[start] : offsets[stop]])

    @classmethod
    def nothing(cls) -> Self:
        """No request, no list."""
        return cls(Ragged.empty(0), np.empty(0, dtype=np.float32))

    @classmethod
    def joined(cls, parts: list[Self]) -> Self:
        """The lists of several blocks, one after the other."""
        if not parts:
            return cls.nothing()
        lengths = np.concatenate([part.lists.lengths for part in parts])
        rows = np.concatenate([part.lists.rows for part in parts])
        return cls(Ragged.from_lengths(lengths, rows), np.concatenate([part.scores for part in parts]))


@dataclass(frozen=True, eq=False)
class Ranked(ItemScores):
    """Ranked items, best first, equal scores in row order; higher is better.

    A list is shorter than k where fewer items are eligible, never padded.
    """


@dataclass(frozen=True, eq=False)
class SparseScores(ItemScores):
    """Scores of 0 or more to be added to a dense score, those of all other items being 0; rows ascend, none twice."""


def check_k(k: object) -> int:
    """How many items a list may have at most, as an int: the one rule of every function that takes a ``k``.

    A k above the number of eligible items is no error: there are fewer rows then.

    Raises
    ------
    ConfigError
        k is no whole number (a bool, a float and a text are none), or below 1.
    """
    return whole_number(k, "k")


def check_exclude(exclude: Ragged, n: int) -> None:
    """Refuse exclusions that are not one list per request.

    Raises
    ------
    ConfigError
        There are more or fewer than ``n``.
    """
    if len(exclude) != n:
        raise ConfigError(f"exclude has {len(exclude)} lists for {n} requests; it needs one for each")


def distinct_eligible(exclude: Ragged, mask: Bool | None, n_items: int) -> Int64:
    """int64 (n,): how many eligible items each query excludes, each counted once."""
    keys = np.unique(exclude.list_index() * n_items + exclude.rows)
    owners, rows = np.divmod(keys, n_items)
    counted = owners if mask is None else owners[mask[rows]]
    return np.bincount(counted, minlength=len(exclude))


def ranked_pairs(owners: Int64, rows: Int64, scores: Float32, n: int, k: int) -> Ranked:
    """The k best of each owner's pairs, equal scores in row order.

    Parameters
    ----------
    owners, rows : int64 (P,)
        No pair twice.
    scores : float32 (P,)
    n : int
        Owners.
    k : int
    """
    bits = (scores + np.float32(0.0)).view(np.uint32)  # + 0: minus zero is zero
    falling = np.where(bits >> 31, bits, bits ^ np.uint32(0x7FFFFFFF))
    counts = np.bincount(owners, minlength=n)
    kept = np.minimum(counts, k)
    first = ragged_positions(np.cumsum(counts) - counts, kept)
    if n > 1 << _OWNER_BITS or (len(rows) and int(rows.max()) >= 1 << _ROW_BITS):
        order = np.lexsort((rows, falling, owners))[first]
        return Ranked(Ragged.from_lengths(kept, rows[order].astype(np.int32)), scores[order])
    keys = owners.astype(np.uint64) << np.uint64(64 - _OWNER_BITS)  # one whole number tells it all
    keys |= falling.astype(np.uint64) << np.uint64(_ROW_BITS)
    keys |= rows.astype(np.uint64)
    keys.sort()
    keys = keys[first]
    falling = (keys >> np.uint64(_ROW_BITS)).astype(np.uint32)
    bits = np.where(falling >> 31, falling, falling ^ np.uint32(0x7FFFFFFF))
    best = (keys & np.uint64((1 << _ROW_BITS) - 1)).astype(np.int32)
    return Ranked(Ragged.from_lengths(kept, best), bits.view(np.float32))
