"""Popularity: the same list for every user."""

from __future__ import annotations

import numpy as np

from recsys.baselines.scoring import DenseScorer
from recsys.core.ragged import Float32, Int32, Ragged
from recsys.data.interactions import Interactions


class Popularity(DenseScorer):
    """Score an item by the number of users who touched it in training.

    Examples
    --------
    >>> model = recsys.Popularity().fit(split.train)
    >>> recsys.evaluate(model, split.test, k=10)["ndcg@10"]
    0.2291...
    """

    name = "popularity"

    def _learn(self, train: Interactions) -> None:
        self._counts = train.matrix().getnnz(axis=0).astype(np.float32)

    def _scores(self, histories: Ragged, users: Int32 | None) -> Float32:
        return np.tile(self._counts, (len(histories), 1))
