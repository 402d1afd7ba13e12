"""What is served: the latest answers, and what users of the training log would get."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from recsys.core.ragged import Int32, Int64
from recsys.evaluation.drift import Bins, popularity_bins, psi
from recsys.server.metrics import Drift
from recsys.server.model import Model

_SHARES: Final = 10
"""Bins of items: the first holds the most popular, and each holds a tenth of all interactions."""
_PLACES: Final = 100
"""Items of a list that are looked at."""


@dataclass(frozen=True, eq=False)
class Seen:
    """What is kept of an answer.

    Attributes
    ----------
    history_length : int
    best : float or None
        Score of the first item; None: the model gave none.
    rows : int32 (m,)
    """

    history_length: int
    best: float | None
    rows: Int32


@dataclass(frozen=True, eq=False)
class ItemShares:
    """How popular the items of a bundle were in its log.

    Attributes
    ----------
    counts : int64 (n_items,)
    usual : float
        Mean count of an interaction's item: what users themselves chose.
    share : int64 (n_items,)
        The bin of each item.
    """

    counts: Int64
    usual: float
    share: Int64

    @classmethod
    def of(cls, model: Model) -> ItemShares:
        """The items of a bundle by their events in its histories."""
        counts = np.bincount(model.histories.rows, minlength=len(model.items)).astype(np.int64)
        total = int(counts.sum())
        usual = float((counts.astype(np.float64) ** 2).sum() / total) if total else math.nan
        return cls(counts, usual, popularity_bins(counts, _SHARES))

    def count_of(self, rows: Int32) -> Int64:
        """int64 (m,): events of each item; 0 for items that came later."""
        found = np.zeros(len(rows), dtype=np.int64)
        known = rows < len(self.counts)
        found[known] = self.counts[rows[known]]
        return found

    def shares_of(self, rows: Int32) -> Int64:
        """int64 (b,): how many of the items are in each bin; items that came later are in the last."""
        bins = np.full(len(rows), _SHARES - 1, dtype=np.int64)
        known = rows < len(self.share)
        bins[known] = self.share[rows[known]]
        return np.bincount(bins, minlength=_SHARES).astype(np.int64)


@dataclass(frozen=True, eq=False)
class Baseline:
    """What users of the training log are and would get.

    Attributes
    ----------
    lengths, scores : Bins
    length_counts, score_counts, item_counts : int64 (b,)
    """

    lengths: Bins
    scores: Bins
    length_counts: Int64
    score_counts: Int64
    item_counts: Int64

    @classmethod
    def of(cls, model: Model, shares: ItemShares, answers: Sequence[Seen]) -> Baseline:
        """From the histories of a bundle, and the answers to some of its users."""
        lengths = model.histories.lengths[model.histories.lengths > 0]
        scores = np.array([one.best for one in answers if one.best is not None], dtype=np.float64)
        of_lengths, of_scores = Bins.of(lengths), Bins.of(scores)
        rows = np.concatenate([np.empty(0, dtype=np.int32), *(one.rows for one in answers)])
        items = shares.shares_of(rows.astype(np.int32))
        return cls(of_lengths, of_scores, of_lengths.count(lengths), of_scores.count(scores), items)


class ServedLists:
    """The latest answers, and how often each item is among them; memory is bounded by both.

    Parameters
    ----------
    shares : ItemShares
    most : int
        Answers that are kept.
    """

    def __init__(self, shares: ItemShares, most: int) -> None:
        self._shares, self._most = shares, most
        self._kept: deque[tuple[Seen, Int64]] = deque()
        self._times = np.zeros(len(shares.counts), dtype=np.int32)
        self._distinct = self._shown = self._popularity = self._cold = 0
        self._item_counts = np.zeros(_SHARES, dtype=np.int64)

    def __len__(self) -> int:
        return len(self._kept)

    def add(self, one: Seen) -> None:
        """Keep an answer, and let go of the oldest if there are too many."""
        one = Seen(one.history_length, one.best, one.rows[:_PLACES])
        if len(one.rows) and int(one.rows.max()) >= len(self._times):
            grown = np.zeros(max(int(one.rows.max()) + 1, len(self._times) * 9 // 8), dtype=np.int32)
            grown[: len(self._times)] = self._times
            self._times = grown
        self._kept.append((one, self._shares.shares_of(one.rows)))
        self._count(one, self._kept[-1][1], 1)
        if len(self._kept) > self._most:
            self._count(*self._kept.popleft(), -1)

    def _count(self, one: Seen, shares: Int64, by: int) -> None:
        """Add an answer to the sums, or take it away; a list holds no item twice."""
        before = self._times[one.rows]
        self._times[one.rows] = before + by
        self._distinct += by * int((before == (0 if by > 0 else 1)).sum())
        self._shown += by * len(one.rows)
        self._popularity += by * int(self._shares.count_of(one.rows).sum())
        self._cold += by * (one.history_length == 0)
        self._item_counts += by * shares

    def coverage(self, candidates: int) -> float:
        """Distinct items among the answers, of the most that could have been: all candidates, or all places.

        Parameters
        ----------
        candidates : int
            Items that can be recommended.
        """
        return self._distinct / min(candidates, self._shown) if candidates and self._shown else math.nan

    def popularity_lift(self) -> float:
        """(mean count of the items served − mean count of an interaction's item) / the latter; NaN without interactions."""
        if not self._shown or not self._shares.usual > 0:
            return math.nan
        return self._popularity / self._shown / self._shares.usual - 1

    def cold_share(self) -> float:
        """Share of answers to people of whom nothing is known."""
        return self._cold / len(self._kept) if self._kept else math.nan

    def drift(self, baseline: Baseline) -> dict[Drift, float]:
        """The population stability index of each thing, against training."""
        lengths = np.array([one.history_length for one, _ in self._kept], dtype=np.int64)
        scores = np.array([one.best for one, _ in self._kept if one.best is not None], dtype=np.float64)
        return {
            "history_length": psi(baseline.length_counts, baseline.lengths.count(lengths)),
            "score": psi(baseline.score_counts, baseline.scores.count(scores)),
            "item_share": psi(baseline.item_counts, self._item_counts),
        }
