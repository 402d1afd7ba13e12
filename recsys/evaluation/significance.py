"""How certain a figure is: bootstrap intervals, a paired randomisation test and Holm's correction. Nothing imports torch.

Each function draws from its own generator, seeded by the caller; NumPy's global generator is not used.
"""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike

from recsys.core.ragged import Int64
from recsys.errors import ConfigError, DataError
from recsys.evaluation.metrics import Values

NORMAL_ABOVE = 50_000
"""With more users than this, :func:`bootstrap_intervals` expands the bootstrap's distribution and draws nothing."""

_CELLS = 1 << 20
"""Draws held at once (8 MB)."""


def bootstrap_interval(
    values: ArrayLike, *, level: float = 0.95, samples: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """Percentile bootstrap of a mean (Efron and Tibshirani, 1993): :func:`bootstrap_intervals` of one metric.

    Parameters
    ----------
    values : float (n,)
        One per user; NaN is ignored.
    level, samples, seed
        As there.

    Returns
    -------
    low, high : float
        NaN if every value is NaN.

    Raises
    ------
    ConfigError, DataError
        As there.
    """
    column = np.asarray(values, dtype=np.float64)
    if column.ndim != 1:
        raise DataError(f"values must be of one dimension, one per user, not of shape {column.shape}")
    low, high = bootstrap_intervals(column[:, None], level=level, samples=samples, seed=seed)
    return float(low[0]), float(high[0])


def bootstrap_intervals(
    values: ArrayLike, *, level: float = 0.95, samples: int = 1000, seed: int = 0
) -> tuple[Values, Values]:
    """Percentile bootstrap of the means of several metrics, all on the same resamples of users.

    A resample draws n of the n users with replacement and takes each metric's mean over those drawn for whom it is
    defined; the interval reaches from the (1 − level) / 2 to the (1 + level) / 2 quantile of these means. They are one
    product per block: how often each user was drawn, (block, n), times the values, (n, m).

    Above :data:`NORMAL_ABOVE` users nothing is drawn. The distribution of the resampled mean is known well enough there:
    its mean is the mean x̄, its standard deviation s / √n and its skewness g / √n, with s and g of the values themselves, so
    that the quantile at the normal quantile z is x̄ + s / √n · (z + g (z² − 1) / (6 √n)), the first terms of Cornish and
    Fisher (1938). What is left out is of the order of s / n^1.5, less than the noise of 1000 draws, unless a metric is 0
    for all but a handful of users.

    Parameters
    ----------
    values : float (n, m)
        A row per user, a column per metric; NaN if a metric is undefined for a user.
    level : float
        Share of the resampled means inside the interval, between 0 and 1.
    samples : int
        Resamples.
    seed : int

    Returns
    -------
    low, high : float64 (m,)
        NaN for a metric without any value.

    Raises
    ------
    ConfigError
        The level is not between 0 and 1, or samples is below 1.
    DataError
        There is no user, a value is infinite, or ``values`` is not a matrix.
    """
    table = np.asarray(values, dtype=np.float64)
    if not 0.0 < level < 1.0:
        raise ConfigError(f"level must lie between 0 and 1, not at {level}")
    _check_samples(samples)
    if table.ndim != 2:
        raise DataError(f"values must be of two dimensions, users by metrics, not of shape {table.shape}")
    if len(table) == 0:
        raise DataError("values has 0 rows, so no user can be resampled")
    if np.isinf(table).any():
        raise DataError(f"{int(np.isinf(table).sum())} of {table.size} values are infinite")
    table = table[~np.isnan(table).all(axis=1)]
    ends = ((1.0 - level) / 2.0, (1.0 + level) / 2.0)
    if len(table) > NORMAL_ABOVE:
        low, high = np.transpose([_expanded(column[~np.isnan(column)], ends) for column in table.T])
        return low, high
    low, high = np.full((2, table.shape[1]), np.nan)
    if len(table) == 0:
        return low, high
    means = _resampled_means(table, samples, seed)
    found = ~np.isnan(means).all(axis=0)
    low[found], high[found] = np.nanquantile(means[:, found], ends, axis=0)
    return low, high


def paired_test(a: ArrayLike, b: ArrayLike, *, samples: int = 10_000, seed: int = 0) -> float:
    """Paired randomisation test of a difference in means, two-sided (Fisher, 1935; Smucker et al., CIKM 2007).

    If the models were equally good, each user's difference d = a − b could as well have the other sign. p is the share of
    random signs whose |Σ ± d| reaches the observed |Σ d|, as (1 + reaching) / (1 + samples), so that it is never 0
    (Phipson and Smyth, 2010); in [1 / (1 + samples), 1]. A sum within 1e-12 of Σ |d| of the observed one reaches it:
    that much is rounding. Users without a difference cannot change a sum and are left out; the signs of c equal |d| are
    drawn together, as one binomial number of c, where that is cheaper than c signs. Neither changes the distribution.

    Parameters
    ----------
    a, b : float (n,)
        One value per user, the same users in the same order; a user who is NaN in both is left out.
    samples : int
        Random signs for all users.
    seed : int

    Returns
    -------
    float
        1 for equal arrays.

    Raises
    ------
    ConfigError
        Samples is below 1.
    DataError
        The lengths differ, a user is NaN in one only, a value is infinite, or no user is left.
    """
    one, other = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    _check_samples(samples)
    if one.shape != other.shape or one.ndim != 1:
        raise DataError(f"a paired test needs one value per user in both, not the shapes {one.shape} and {other.shape}")
    defined, also = ~np.isnan(one), ~np.isnan(other)
    if (defined != also).any():
        raise DataError(f"a has {int(defined.sum())} values and b {int(also.sum())}, not of the same users")
    if not defined.any():
        raise DataError(f"no user can be tested: none of the {len(one)} values is defined")
    if np.isinf(one).any() or np.isinf(other).any():
        raise DataError(f"{int(np.isinf(one).sum())} values of a and {int(np.isinf(other).sum())} of b are infinite")
    difference = (one - other)[defined]
    sizes, times = np.unique(np.abs(difference[difference != 0.0]), return_counts=True)
    reach = abs(float(difference.sum())) - 1e-12 * float(sizes @ times)
    if 16 * len(sizes) > times.sum():  # a binomial number costs about as much as 16 signs
        sizes, times = np.repeat(sizes, times), np.ones(int(times.sum()), dtype=np.int64)
    generator = np.random.default_rng(seed)
    extreme = 0
    for count in _blocks(samples, len(sizes)):
        up = _heads(generator, times, count) @ sizes
        extreme += int((np.abs(2.0 * up - sizes @ times) >= reach).sum())
    return (1 + extreme) / (1 + samples)


def holm(p_values: ArrayLike) -> Values:
    """Holm's step-down correction of several p-values (Scandinavian Journal of Statistics, 1979).

    With p_(1) ≤ … ≤ p_(m), the adjusted p_(i) is the largest of (m − j + 1) · p_(j) over j ≤ i, at most 1: rejecting what
    is at most α keeps the chance of any false rejection at most α, however the tests depend on each other.

    Parameters
    ----------
    p_values : float (m,)
        In [0, 1].

    Returns
    -------
    float64 (m,)
        In the order given, none below its p-value.

    Raises
    ------
    DataError
        There is none, or one is not in [0, 1].
    """
    given = np.asarray(p_values, dtype=np.float64)
    if given.ndim != 1 or len(given) == 0:
        raise DataError(f"holm needs a list of p-values, not the shape {given.shape}")
    if not ((given >= 0.0) & (given <= 1.0)).all():
        wrong = given[~((given >= 0.0) & (given <= 1.0))][0]
        raise DataError(f"a p-value lies in [0, 1], not at {wrong}")
    order = np.argsort(given, kind="stable")
    adjusted = np.empty(len(given))
    adjusted[order] = np.minimum(np.maximum.accumulate(np.arange(len(given), 0, -1) * given[order]), 1.0)
    return adjusted


def _check_samples(samples: int) -> None:
    if samples < 1:
        raise ConfigError(f"samples must be at least 1, not {samples}")


def _blocks(samples: int, width: int) -> list[int]:
    """How many samples to draw at a time, each of ``width`` numbers."""
    size = max(1, _CELLS // max(1, width))
    return [min(size, samples - start) for start in range(0, samples, size)]


def _resampled_means(table: Values, samples: int, seed: int) -> Values:
    """float64 (samples, m): means of the columns over resampled rows; NaN where no drawn row has a value."""
    n, m = table.shape
    defined = ~np.isnan(table)
    partial = ~defined.all(axis=0)
    summed = np.hstack([np.where(defined, table, 0.0), defined[:, partial]])
    generator = np.random.default_rng(seed)
    means = np.empty((samples, m))
    start = 0
    for count in _blocks(samples, n):
        drawn = generator.integers(0, n, (count, n)) + n * np.arange(count)[:, None]
        times = np.bincount(drawn.ravel(), minlength=count * n).reshape(count, n).astype(np.float64)
        sums = times @ summed
        sizes = np.full((count, m), float(n))
        sizes[:, partial] = sums[:, m:]
        means[start : start + count] = np.divide(sums[:, :m], sizes, out=np.full((count, m), np.nan), where=sizes > 0)
        start += count
    return means


def _expanded(column: Values, ends: tuple[float, float]) -> Values:
    """float64 (2,): the quantiles of the bootstrap's distribution by Cornish and Fisher's first terms."""
    if len(column) == 0:
        return np.full(2, np.nan)
    mean, root = column.mean(), np.sqrt(len(column))
    away = column - mean
    spread = np.sqrt(away @ away / len(away))
    skewness = (away * away) @ away / len(away) / spread**3 if spread > 0 else 0.0
    z = np.array([NormalDist().inv_cdf(end) for end in ends])
    quantiles: Values = mean + spread / root * (z + skewness * (z**2 - 1.0) / (6.0 * root))
    return quantiles


def _heads(generator: np.random.Generator, times: Int64, count: int) -> Values:
    """float64 (count, len(times)): heads among ``times`` throws of a coin; throws of one coin come from random bits."""
    if len(times) and times.max() > 1:
        return generator.binomial(times, 0.5, (count, len(times))).astype(np.float64)
    bits = np.frombuffer(generator.bytes((count * len(times) + 7) // 8), dtype=np.uint8)
    return np.unpackbits(bits, count=count * len(times)).reshape(count, len(times)).astype(np.float64)
