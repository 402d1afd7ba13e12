"""The weight of sparse scores beside the scores of fitted towers, judged on validation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from recsys.core.ragged import Float32, Int64, Ragged, is_in, ragged_positions
from recsys.core.ranking import SparseScores
from recsys.index.item_index import ItemIndex

Float64: TypeAlias = NDArray[np.float64]

_DEPTH = 100
_TARGETS = 5
"""Targets of a user that are counted: the next ones."""
_WEIGHTS = tuple(float(2.0**power) for power in np.arange(-4, 4.5, 0.5))


@dataclass(frozen=True, eq=False)
class Asked:
    """Held-out users in the model's item rows, and their vectors.

    Attributes
    ----------
    histories, targets : Ragged (n)
    queries : float32 (n, D)
    index : ItemIndex
        The towers' item vectors.
    filter_seen : bool
    """

    histories: Ragged
    targets: Ragged
    queries: Float32
    index: ItemIndex
    filter_seen: bool


class Scale:
    """Weighs sparse scores of the same users beside the same best items of the towers.

    Parameters
    ----------
    asked : Asked
    n_items : int
    """

    def __init__(self, asked: Asked, n_items: int) -> None:
        self.asked, self.n_items = asked, n_items
        self._seen = asked.histories.without_events() if asked.filter_seen else Ragged.empty(len(asked.histories))
        self._best = asked.index.search(asked.queries, _DEPTH, self._seen)
        nothing = SparseScores(Ragged.empty(len(asked.targets)), np.empty(0, np.float32))
        self.alone = self._gains(nothing, [0.0])[0]
        """float64 (n,): each user's NDCG@100 by the towers alone."""

    def best(self, sparse: SparseScores) -> tuple[float, Float64]:
        """The best weight of sparse scores, and each user's NDCG@100 with it, float64 (n,)."""
        unit = self.unit(sparse)
        weights = [unit * one for one in _WEIGHTS]
        gains = self._gains(sparse, weights)
        at = int(np.argmax([one.mean() for one in gains]))
        return weights[at], gains[at]

    def gains(self, sparse: SparseScores, weight: float) -> Float64:
        """Each user's NDCG@100 with sparse scores of a given weight, float64 (n,)."""
        return self._gains(sparse, [weight])[0]

    def unit(self, sparse: SparseScores) -> float:
        """The weight at which the memory's best item is worth what lies between the towers' best and 100th item."""
        lists = self._best.lists
        filled = np.flatnonzero(lists.lengths > 1)
        spread = self._best.scores[lists.offsets[filled]] - self._best.scores[lists.offsets[filled + 1] - 1]
        tops = np.zeros(len(sparse), dtype=np.float32)
        np.maximum.at(tops, sparse.lists.list_index(), sparse.scores)
        top = float(tops[tops > 0].mean()) if (tops > 0).any() else 1.0
        wide = float(spread.mean()) if len(filled) else 1.0
        return (wide if wide > 0 else 1.0) / top

    def _gains(self, sparse: SparseScores, weights: list[float]) -> list[Float64]:
        """For each weight float64 (n,): the mean over a user's targets of ``1 / log2(1 + rank)``, 0 beyond rank 100."""
        keys, values = self._candidates(sparse)
        owners, rows = np.divmod(keys, self.n_items)
        dense = self.asked.index.scores(self.asked.queries, owners, rows)
        starts = np.searchsorted(owners, np.arange(len(self.asked.targets) + 1))
        gains = [np.zeros(len(self.asked.targets)) for _ in weights]
        counted = np.minimum(self.asked.targets.lengths, _TARGETS)
        for users, targets in self._target_slots():
            wanted = users * self.n_items + targets
            place = np.minimum(np.searchsorted(keys, wanted), max(len(keys) - 1, 0))
            met = keys[place] == wanted if len(keys) else np.zeros(len(wanted), dtype=np.bool_)
            found, place = users[met], place[met]
            lengths = starts[found + 1] - starts[found]
            pairs = ragged_positions(starts[found], lengths)
            own, earlier = np.repeat(np.arange(len(found)), lengths), pairs < np.repeat(place, lengths)
            for at, weight in enumerate(weights):
                scores = dense + np.float32(weight) * values
                bar = np.repeat(scores[place], lengths)
                before = (scores[pairs] > bar) | ((scores[pairs] == bar) & earlier)
                ranks = np.bincount(own[before], minlength=len(found))
                gains[at][found] += np.where(ranks < _DEPTH, 1 / np.log2(ranks + 2), 0) / counted[found]
        return gains

    def _candidates(self, sparse: SparseScores) -> tuple[Int64, Float32]:
        """Users' best and touched items, as ``user * n_items + row`` ascending, int64 (P,), and their sparse scores."""
        n = self.n_items
        touched = sparse.lists.list_index() * n + sparse.lists.rows  # ascending, none twice
        kept = ~is_in(touched, np.sort(self._seen.list_index() * n + self._seen.rows))
        touched = touched[kept]
        best = self._best.lists.list_index() * n + self._best.lists.rows
        alone = best[~is_in(best, touched)]
        keys = np.concatenate([touched, alone])
        order = np.argsort(keys, kind="stable")
        values = np.concatenate([sparse.scores[kept], np.zeros(len(alone), dtype=np.float32)])
        return keys[order], values[order]

    def _target_slots(self) -> list[tuple[Int64, Int64]]:
        """The first target of each user, the second of those who have two, and so on: users and rows, int64 (m,) each."""
        targets, slots = self.asked.targets, []
        for slot in range(min(_TARGETS, int(targets.lengths.max()))):
            users = np.flatnonzero(targets.lengths > slot)
            slots.append((users, targets.rows[targets.offsets[users] + slot].astype(np.int64)))
        return slots


def really_better(gains: Float64, than: Float64) -> bool:
    """Whether the same users gain more, by more than two standard errors of their differences; float64 (n,) each."""
    difference = gains - than
    return len(difference) > 1 and bool(difference.mean() > 2 * difference.std() / np.sqrt(len(difference)))
