"""Item-kNN: items similar to those in the history."""

from __future__ import annotations

import warnings

import numpy as np
import scipy.sparse as sp

from recsys.baselines.scoring import DenseScorer, history_matrix, presence
from recsys.core.arguments import whole_number
from recsys.core.ragged import Float32, Int32, Ragged
from recsys.data.interactions import Interactions


class ItemKNN(DenseScorer):
    """Sum of the cosine similarities to the history's items; each item keeps its nearest neighbours (implicit's kNN).

    Parameters
    ----------
    neighbours : int
        Similar items kept for each item.

    Examples
    --------
    >>> model = recsys.ItemKNN(neighbours=10).fit(split.train)
    >>> recsys.evaluate(model, split.test, k=10)["ndcg@10"]
    0.8...
    """

    name = "item-kNN"

    def __init__(self, neighbours: int = 20) -> None:
        super().__init__()
        self.neighbours = whole_number(neighbours, "neighbours")

    def _learn(self, train: Interactions) -> None:
        from implicit.nearest_neighbours import CosineRecommender  # noqa: PLC0415
        from implicit.utils import ParameterWarning  # noqa: PLC0415

        model = CosineRecommender(K=self.neighbours + 1)  # implicit counts the item itself
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ParameterWarning)  # about its own conversion of its own matrix
            model.fit(presence(train.matrix()), show_progress=False)
        similarity = sp.csr_matrix(model.similarity, dtype=np.float32)
        similarity.setdiag(0.0)
        similarity.eliminate_zeros()
        self._similarity = _strongest(similarity, self.neighbours)

    def _scores(self, histories: Ragged, users: Int32 | None) -> Float32:
        scores: Float32 = (history_matrix(histories, len(self.items)) @ self._similarity).toarray()
        return scores


def _strongest(similarity: sp.csr_matrix[np.float32], neighbours: int) -> sp.csr_matrix[np.float32]:
    """At most ``neighbours`` per row; implicit keeps one more if others are as near as the item itself."""
    lengths = np.diff(similarity.indptr)
    owners = np.repeat(np.arange(len(lengths)), lengths)
    order = np.lexsort((similarity.indices, -similarity.data, owners))
    kept = order[np.arange(len(order)) - np.repeat(similarity.indptr[:-1], lengths) < neighbours]
    return sp.csr_matrix((similarity.data[kept], (owners[kept], similarity.indices[kept])), shape=similarity.shape)
