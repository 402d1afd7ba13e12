"""How far a distribution has moved: bins that are fixed once, and two distances between counts over them.

Fifty thousand items are no bins: most would hold a few events, and their noise would be all that is measured. Items are put
into bins by popularity instead, each of which holds about as many events (:func:`popularity_bins`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from recsys.core.ragged import Int64

Edges: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Bins:
    """Bins of numbers.

    Attributes
    ----------
    edges : float64 (b − 1,)
        Ascending; a value equal to an edge belongs above it.
    """

    edges: Edges

    @classmethod
    def of(cls, values: NDArray[Any], n: int = 10) -> Bins:
        """Bins that hold about equally many of these values each; fewer than ``n`` where values are equal.

        Parameters
        ----------
        values : numbers (m,)
        n : int
        """
        if not len(values):
            return cls(np.empty(0))
        inner = np.quantile(values.astype(np.float64), np.arange(1, n) / n)
        return cls(np.unique(inner))

    def __len__(self) -> int:
        return len(self.edges) + 1

    def place(self, values: NDArray[Any] | float) -> Int64:
        """int64, as many as values: the bin of each."""
        return np.searchsorted(self.edges, values, side="right").astype(np.int64)

    def count(self, values: NDArray[Any]) -> Int64:
        """int64 (b,): how many values each bin holds."""
        return np.bincount(self.place(values), minlength=len(self)).astype(np.int64)


def popularity_bins(counts: Int64, n: int = 10) -> Int64:
    """Put items into bins by popularity, each with about an n-th of all events; the most popular are in bin 0.

    Parameters
    ----------
    counts : int64 (n_items,)
        Events of each item.
    n : int

    Returns
    -------
    int64 (n_items,)
        Items without an event are in the last bin.

    Examples
    --------
    >>> popularity_bins(np.array([1, 6, 0, 3]), 2).tolist()
    [1, 0, 1, 1]
    """
    if not counts.any():
        return np.full(len(counts), n - 1, dtype=np.int64)
    order = np.argsort(-counts, kind="stable")
    before = np.cumsum(counts[order]) - counts[order]
    bins = np.empty(len(counts), dtype=np.int64)
    bins[order] = np.minimum(before * n // int(counts.sum()), n - 1)
    return bins


def jensen_shannon(expected: Int64, found: Int64) -> float:
    """Jensen–Shannon distance: root of the mean divergence of both from their mean, in bits; 0 is equal, 1 is disjoint.

    It needs no smoothing, is bounded and symmetric, and a metric (Endres and Schindelin, IEEE Trans. Inf. Theory 2003).

    Parameters
    ----------
    expected, found : int64 (b,)
        Counts of the same bins.

    Returns
    -------
    float
        NaN if one of them has counted nothing.

    Examples
    --------
    >>> jensen_shannon(np.array([1, 1, 0]), np.array([0, 0, 5]))
    1.0
    """
    if not expected.sum() or not found.sum():
        return float("nan")
    p, q = (one / one.sum() for one in (expected, found))
    middle = (p + q) / 2
    parts = [np.sum(one[one > 0] * np.log2(one[one > 0] / middle[one > 0])) for one in (p, q)]
    return float(np.sqrt(max(0.0, sum(parts) / 2)))


def psi(expected: Int64, found: Int64) -> float:
    """Population stability index: sum over bins of (q − p) · ln(q / p); 0 is equal, above 0.25 is usually called a shift.

    Half a count is added to each bin, so that an empty bin gives a large number and not infinity.

    Parameters
    ----------
    expected, found : int64 (b,)
        Counts of the same bins.

    Returns
    -------
    float
        NaN if one of them has counted nothing.

    Examples
    --------
    >>> round(psi(np.array([50, 50]), np.array([500, 500])), 3)
    0.0
    >>> round(psi(np.array([50, 50]), np.array([900, 100])), 1)
    0.9
    """
    if not expected.sum() or not found.sum():
        return float("nan")
    p, q = ((one + 0.5) / (one.sum() + 0.5 * len(one)) for one in (expected, found))
    return float(np.sum((q - p) * np.log(q / p)))
