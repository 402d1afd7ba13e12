"""The transition memory, read without scipy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recsys.core.ragged import Float32, Int32, Int64, Ragged, ragged_positions
from recsys.core.ranking import SparseScores
from recsys.transitions.decay import ages, decays

_BLOCK_ENTRIES = 5_000_000


@dataclass(frozen=True, eq=False)
class Memory:
    """An item → next-item table; see :class:`recsys.transitions.memory.TransitionMemory`, whose scores it gives.

    Attributes
    ----------
    offsets : int64 (n_items + 1,)
    columns : int32 (m,)
    values : float32 (m,)
    weight, decay : float
    window : int
    """

    offsets: Int64
    columns: Int32
    values: Float32
    weight: float
    decay: float
    window: int

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def scores(self, histories: Ragged) -> SparseScores:
        """What is added to the score of each item that the newest events of each history lead to."""
        newest = histories.without_events().tail(self.window)
        weights = decays(self.window, self.decay)[ages(newest)] * np.float32(self.weight)
        starts = self.offsets[newest.rows]
        sizes = self.offsets[newest.rows.astype(np.int64) + 1] - starts
        ends = np.concatenate([[0], np.cumsum(sizes)])[newest.offsets]
        parts, start = [], 0
        while start < len(newest):
            stop = max(start + 1, int(np.searchsorted(ends, ends[start] + _BLOCK_ENTRIES, side="right")) - 1)
            events = slice(newest.offsets[start], newest.offsets[stop])
            owners = newest.list_index()[events] - start
            parts.append(self._summed(owners, starts[events], sizes[events], weights[events], stop - start))
            start = stop
        return SparseScores.joined(parts)

    def _summed(self, owners: Int64, starts: Int64, sizes: Int64, weights: Float32, n: int) -> SparseScores:
        places = ragged_positions(starts, sizes)
        keys = np.repeat(owners, sizes) * len(self) + self.columns[places]
        values = self.values[places] * np.repeat(weights, sizes)
        touched, which = np.unique(keys, return_inverse=True)
        sums = np.zeros(len(touched), dtype=np.float32)
        np.add.at(sums, which, values)  # oldest event first, as in a sparse product
        of, rows = np.divmod(touched, len(self))
        lists = Ragged.from_lengths(np.bincount(of, minlength=n), rows.astype(np.int32))
        return SparseScores(lists, sums)

    def pair_scores(self, histories: Ragged, owners: Int64, rows: Int32) -> Float32:
        """float32 (P,): what is added to the score of each pair of a history (by number) and an item."""
        found = self.scores(histories)
        keys, asked = found.lists.list_index() * len(self) + found.lists.rows, owners * len(self) + rows
        if not len(keys):
            return np.zeros(len(asked), dtype=np.float32)
        place = np.minimum(np.searchsorted(keys, asked), len(keys) - 1)
        return np.where(keys[place] == asked, found.scores[place], np.float32(0)).astype(np.float32)
