"""The most popular items, for people of whom nothing is known."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from recsys.core.ragged import Bool, Int32, Ragged, is_in
from recsys.core.ranking import Ranked

_BLOCK = 1024


class Popularity:
    """Items by their number of interactions, as :meth:`recsys.serving.retriever.Retriever.recommend` falls back to.

    Parameters
    ----------
    histories : Ragged
        Of all users.
    """

    def __init__(self, histories: Ragged) -> None:
        self._histories = histories

    @cached_property
    def _counts(self) -> Int32:
        return np.bincount(self._histories.rows).astype(np.int32)

    @cached_property
    def _order(self) -> Int32:
        """The items that occur, the most frequent first, equally frequent ones by row."""
        return np.lexsort((np.arange(len(self._counts)), -self._counts)).astype(np.int32)

    def counts(self, n: int) -> Int32:
        """int32 (n,): interactions of the first n items."""
        return np.pad(self._counts, (0, max(0, n - len(self._counts))))[:n]

    def prepare(self) -> None:
        """Count now and not at the first request."""
        _ = self._order

    def best(self, k: int, candidates: Bool, excluded: Int32) -> Ranked:
        """One list.

        Parameters
        ----------
        k : int
        candidates : bool (n_items,)
            Items that may be returned.
        excluded : int32 (m,)
            Rows of items that may not.
        """
        never, parts, left = np.unique(excluded).astype(np.int64), list[Int32](), k
        order = np.concatenate([self._order, np.arange(len(self._order), len(candidates), dtype=np.int32)])
        start = 0
        while left > 0 and start < len(order):
            some = order[start : start + max(_BLOCK, 2 * k)]
            start += len(some)
            some = some[candidates[some]]
            some = some[~is_in(some.astype(np.int64), never)][:left]
            parts.append(some)
            left -= len(some)
        rows = np.concatenate(parts) if parts else np.empty(0, dtype=np.int32)
        counts = np.zeros(len(rows), dtype=np.float32)
        known = rows < len(self._counts)
        counts[known] = self._counts[rows[known]]
        return Ranked(Ragged.from_lists([rows]), counts)
