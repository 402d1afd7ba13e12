"""Noise for differential privacy: Gaussian noise and coins that nobody can guess or repeat, unless a seed is given."""

from __future__ import annotations

import os
from typing import Final

import numpy as np
from numpy.typing import NDArray

_SUMMED: Final = 4
"""Gaussian numbers that are added up to make one; see :meth:`Noise.normal`."""


class Noise:
    """A source of random numbers for a private training.

    Parameters
    ----------
    seed : int or None
        None: bytes of the operating system's secure generator, which nobody can repeat. A number: repeatable, so whoever
        knows it can take the noise off again, and nothing is promised; for tests.

    Examples
    --------
    >>> Noise(0).normal(2).tolist() == Noise(0).normal(2).tolist()
    True
    >>> Noise(None).normal(2).tolist() == Noise(None).normal(2).tolist()
    False
    """

    def __init__(self, seed: int | None) -> None:
        self._generator = None if seed is None else np.random.default_rng((seed, 0x6E6F697365))

    @property
    def secure(self) -> bool:
        """Whether nobody can repeat it."""
        return self._generator is None

    def uniform(self, n: int) -> NDArray[np.float64]:
        """float64 (n,): even in (0, 1), both ends excluded."""
        if self._generator is None:
            whole = np.frombuffer(os.urandom(8 * n), dtype=np.uint64) >> np.uint64(12)
        else:
            whole = self._generator.integers(0, 2**52, n, dtype=np.uint64)
        return (whole.astype(np.float64) + 0.5) / 2**52

    def normal(self, n: int) -> NDArray[np.float64]:
        """float64 (n,): standard normal.

        Each is half the sum of four of Box and Muller's, so that the gaps between floating-point numbers, which a single
        one has in places that depend on nothing but its size, tell nothing of what it was added to (Holohan & Braghin,
        "Secure random sampling in differential privacy", arXiv 2107.10138; opacus' secure mode does the same).
        """
        radius = np.sqrt(-2.0 * np.log(self.uniform(_SUMMED * n)))
        angles = 2.0 * np.pi * self.uniform(_SUMMED * n)
        made: NDArray[np.float64] = (radius * np.cos(angles)).reshape(_SUMMED, n).sum(axis=0) / np.sqrt(_SUMMED)
        return made
