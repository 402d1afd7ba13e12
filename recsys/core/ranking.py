"""Ranked lists of items, and the rules for how long they may be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from recsys.core.arguments import whole_number
from recsys.core.ragged import Bool, Float32, Int64, Ragged, ragged_positions
from recsys.errors import ConfigError


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
