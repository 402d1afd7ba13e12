"""EASE: a linear item-to-item model in closed form."""

from __future__ import annotations

import numpy as np

from recsys.baselines.scoring import DenseScorer, history_matrix, presence
from recsys.core.arguments import number
from recsys.core.ragged import Float32, Int32, Ragged
from recsys.data.interactions import Interactions
from recsys.errors import ConfigError

_MOST_ITEMS = 40_000


class EASE(DenseScorer):
    """Embarrassingly shallow autoencoder: ``B = I − P / diag(P)``, ``P = (XᵀX + λI)⁻¹`` (Steck, WWW 2019, eq. 8).

    Parameters
    ----------
    regularisation : float
        λ, above 0 and finite. The Gram matrix is inverted in float64: memory grows with the square of the items.

    Examples
    --------
    >>> model = recsys.EASE(regularisation=50.0).fit(split.train)
    >>> recsys.evaluate(model, split.test, k=10)["ndcg@10"]
    0.8...
    """

    name = "EASE"

    def __init__(self, regularisation: float = 200.0) -> None:
        super().__init__()
        regularisation = number(regularisation, "regularisation")
        if not 0 < regularisation < np.inf:
            raise ConfigError(f"regularisation must be above 0 and finite, not {regularisation}")
        self.regularisation = regularisation

    def _learn(self, train: Interactions) -> None:
        n = len(train.items)
        if n > _MOST_ITEMS:
            need = 2 * 8 * n * n / 2**30
            raise ConfigError(
                f"EASE on {n:,} items needs about {need:,.0f} GiB of memory; it is limited to {_MOST_ITEMS:,} items"
            )
        matrix = presence(train.matrix()).astype(np.float64)
        gram = (matrix.T @ matrix).toarray()
        gram[np.diag_indices(n)] += self.regularisation
        inverse = np.linalg.inv(gram)
        weights = -inverse / np.diag(inverse)
        np.fill_diagonal(weights, 0.0)
        self._weights = weights.astype(np.float32)

    def _scores(self, histories: Ragged, users: Int32 | None) -> Float32:
        scores: Float32 = history_matrix(histories, len(self.items)) @ self._weights
        return np.asarray(scores, dtype=np.float32)
