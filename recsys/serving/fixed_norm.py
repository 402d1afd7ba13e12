"""The norm of the item tower, held at what it is for one item: so each summand of the item has a share of its score."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from recsys.core.ragged import Float32

BIAS: Final = "bias"
"""What the norm's offset adds to a score."""


@dataclass(frozen=True, eq=False)
class Norm:
    """The norm of an item tower, and what comes behind it.

    Attributes
    ----------
    gain, offset : float32 (D,)
    eps : float
    members : int
        Of the ensemble; each norms its own part of the D directions.
    cosine : bool
        Whether vectors are scaled to unit length.
    """

    gain: Float32
    offset: Float32
    eps: float
    members: int
    cosine: bool


@dataclass(frozen=True, eq=False)
class FixedNorm:
    """The score as a linear function of what goes into the norm of the item tower, for items of fixed deviation and length.

    Each of the M members of the tower norms its own share of the D directions. There a user ``u`` scores
    ``Σ_d u_d (g_d (x_d − mean(x)) / σ + b_d) / length``. Taking the mean from x is the same as taking it from ``u ⊙ g``,
    which is there once for all items.

    Attributes
    ----------
    pull : float64 (M, D / M)
        ``u ⊙ g`` less its mean.
    divisor : float64 (m, M)
        ``σ · length``.
    bias : float64 (m,)
        What the offset b adds to the score.
    """

    pull: NDArray[np.float64]
    divisor: NDArray[np.float64]
    bias: NDArray[np.float64]

    @classmethod
    def at(cls, norm: Norm, user: Float32, total: Float32, factors: Float32) -> FixedNorm:
        """For a user vector, float32 (D,), items by the sums of their parts, float32 (m, D), and their factors (m,)."""
        gain, offset, x = (_shares(one, norm.members) for one in (norm.gain, norm.offset, total))
        centred = x - x.mean(axis=-1, keepdims=True)
        deviation = np.sqrt((centred**2).mean(axis=-1) + norm.eps)  # (m, M)
        vectors = centred / deviation[..., None] * gain + offset
        length = np.maximum(np.linalg.norm(vectors, axis=-1), 1e-12) if norm.cosine else np.ones(x.shape[:2])
        length *= norm.members**0.5 / factors[:, None]
        user_parts = _shares(user, norm.members)
        pull = user_parts * gain
        bias = ((user_parts * offset).sum(axis=-1) / length).sum(axis=-1)
        return cls(pull - pull.mean(axis=-1, keepdims=True), deviation * length, bias)

    def share(self, part: Float32) -> Float32:
        """Float32 (m,): what a summand, float32 (m, D), adds to the score; of one item, summands (t, D) give (t,)."""
        by_member = (_shares(part, len(self.pull)) * self.pull).sum(axis=-1)  # (m, M)
        shares: Float32 = (by_member / self.divisor).sum(axis=-1).astype(np.float32)
        return shares


def _shares(vectors: Float32, members: int) -> NDArray[np.float64]:
    """Each member's part of vectors (..., D), as (..., members, D / members)."""
    return vectors.astype(np.float64).reshape(*vectors.shape[:-1], members, vectors.shape[-1] // members)
