"""Random sets of the catalogue's rows whose inclusion probabilities are known exactly."""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor

from recsys.errors import ConfigError


class Proposal(Protocol):
    """A random set of the catalogue's rows, a new one for every batch."""

    def sample(self, generator: torch.Generator) -> Tensor:
        """int64 (·,) on the CPU: distinct rows."""
        ...

    def log_not_sampled(self, rows: Tensor) -> Tensor:
        """float32 (M,): log of the probability that each row is not sampled; −inf for one that always is."""
        ...


class UniformProposal:
    """Sample rows evenly, without replacement: each with probability ``negatives / n_items``.

    Parameters
    ----------
    n_items : int
    negatives : int
        Size of the sample; where there are fewer items, all of them.

    Raises
    ------
    ConfigError
        ``negatives`` is below 1.
    """

    def __init__(self, n_items: int, negatives: int) -> None:
        self.n_items = n_items
        self.negatives = min(_at_least_one(negatives), n_items)

    def sample(self, generator: torch.Generator) -> Tensor:
        return torch.randperm(self.n_items, generator=generator)[: self.negatives]

    def log_not_sampled(self, rows: Tensor) -> Tensor:
        absent = -math.inf if self.negatives == self.n_items else math.log1p(-self.negatives / self.n_items)
        return torch.full(rows.shape, absent, device=rows.device)


class PopularityProposal:
    """Sample rows in proportion to ``counts ** power`` without replacement, with exact inclusion probabilities.

    Poisson sampling (Hájek 1964): each row is in or out by a coin of its own, with probability ``π_j = min(1, c · p_j)``.
    So π_j is the inclusion probability, which no scheme of fixed size has in closed form. In return the size of the sample
    varies: c is chosen so that its mean is ``negatives``, and its standard deviation is at most √negatives.

    Parameters
    ----------
    counts : (n_items,)
        How often each item is a target in training. Items that never are have p = 0 and are not sampled (power 0: evenly).
    negatives : int
        Expected size of the sample; where fewer rows have p > 0, all of these.
    power : float
        At least 0.

    Raises
    ------
    ConfigError
        ``negatives`` is below 1, ``power`` below 0, or the counts are not counts.
    """

    def __init__(self, counts: Tensor, negatives: int, power: float = 0.75) -> None:
        if not 0.0 <= power < math.inf:
            raise ConfigError(f"power must be a number of at least 0, not {power}")
        self.inclusion = poisson_inclusion(checked_counts(counts) ** power, _at_least_one(negatives))
        self._log_not_sampled = torch.log1p(-self.inclusion).float()

    def sample(self, generator: torch.Generator) -> Tensor:
        coins = torch.rand(len(self.inclusion), generator=generator, dtype=torch.float64)
        return (coins < self.inclusion).nonzero()[:, 0]

    def log_not_sampled(self, rows: Tensor) -> Tensor:
        self._log_not_sampled = self._log_not_sampled.to(rows.device)
        return self._log_not_sampled[rows]


def poisson_inclusion(sizes: Tensor, expected: int) -> Tensor:
    """Inclusion probabilities in proportion to size whose sum is the expected number of draws.

    Parameters
    ----------
    sizes : float64 (n,)
        Not negative.
    expected : int

    Returns
    -------
    float64 (n,)
        ``min(1, c · size)``; rows of size above 0 all have 1 where there are at most ``expected`` of them.
    """
    ordered = sizes.sort(descending=True).values
    if expected >= int((ordered > 0).sum()):
        return (sizes > 0).double()
    rest = ordered.flip(0).cumsum(0).flip(0)  # rest[k]: sum of all but the k largest
    # With the k largest certain, c = (expected − k) / rest[k]; the least k whose next one is then not certain is right.
    scales = (expected - torch.arange(expected, dtype=torch.float64)) / rest[:expected]
    certain = min(int((scales * ordered[:expected] >= 1.0).sum()), expected - 1)
    return (scales[certain] * sizes).clamp(max=1.0)


def checked_counts(counts: Tensor) -> Tensor:
    """The counts as float64 (n_items,).

    Raises
    ------
    ConfigError
        One is negative or not finite, or all are 0.
    """
    counts = counts.double()
    if not (bool((counts >= 0).all()) and 0.0 < float(counts.sum()) < math.inf):
        raise ConfigError("counts must be how often each item is a target: finite, not negative, and some above 0")
    return counts


def _at_least_one(negatives: int) -> int:
    if negatives < 1:
        raise ConfigError(f"negatives must be at least 1, not {negatives}")
    return negatives
