"""Whitening: text vectors of mean zero whose directions all carry the same weight."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recsys.core.ragged import Bool, Float32
from recsys.errors import DataError

_SHRINKAGE = 0.01
"""Share of the mean variance that is added to each direction, so that the weakest are not blown up into noise."""


@dataclass(frozen=True, eq=False)
class Whitening:
    """Centre, rotate to the leading principal directions, and scale each to equal variance (arXiv 2402.10602).

    Attributes
    ----------
    mean : float32 (E,)
    matrix : float32 (E, T)
        ``(x − mean) @ matrix`` has uncorrelated coordinates, and squared length 1 on average.
    """

    mean: Float32
    matrix: Float32

    @classmethod
    def fit(cls, vectors: Float32, dim: int) -> Whitening:
        """Learn from the vectors of distinct texts.

        Parameters
        ----------
        vectors : float32 (n, E)
        dim : int
            Directions to keep; fewer where ``n`` or ``E`` allow no more.

        Raises
        ------
        DataError
            Fewer than two texts.
        """
        if len(vectors) < 2:
            raise DataError(f"whitening needs at least 2 distinct texts, there are {len(vectors)}")
        mean = vectors.mean(axis=0, dtype=np.float64)
        centred = vectors.astype(np.float64) - mean
        variances, directions = np.linalg.eigh(centred.T @ centred / len(vectors))
        kept = min(dim, vectors.shape[1], len(vectors) - 1)
        variances, directions = variances[::-1][:kept], directions[:, ::-1][:, :kept]
        scale = 1.0 / np.sqrt(np.maximum(variances, 0.0) + _SHRINKAGE * max(float(variances.mean()), 1e-12))
        return cls(mean.astype(np.float32), (directions * (scale / np.sqrt(kept))).astype(np.float32))

    def __call__(self, vectors: Float32) -> Float32:
        """Whitened vectors, float32 (n, T)."""
        out: Float32 = ((vectors - self.mean) @ self.matrix).astype(np.float32)
        return out

    def undo(self, whitened: Float32) -> Float32:
        """Back into the encoder's space, save for the directions that were not kept.

        Parameters
        ----------
        whitened : float32 (n, T)

        Returns
        -------
        float32 (n, E)
        """
        out: Float32 = (whitened @ np.linalg.pinv(self.matrix) + self.mean).astype(np.float32)
        return out

    def table(self, vectors: Float32, known: Bool) -> Float32:
        """One row per item: whitened where the item has a text, zeros elsewhere.

        Parameters
        ----------
        vectors : float32 (known.sum(), E)
            Text vectors of the items with a text, in item order.
        known : bool (n_items,)

        Returns
        -------
        float32 (n_items, T)
        """
        out = np.zeros((len(known), self.matrix.shape[1]), dtype=np.float32)
        out[known] = self(vectors)
        return out
