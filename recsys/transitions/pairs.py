"""Pairs of events of one history, summed by item: what the closed forms of the transition memory are made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TypeAlias

import numpy as np
import scipy.sparse as sp

from recsys.core.ragged import Float32, Int32, Int64, Ragged
from recsys.transitions.decay import ages, decays

Matrix: TypeAlias = "sp.csr_matrix[np.float32]"

_PAIRS_AT_ONCE = 30_000_000


@dataclass(frozen=True, eq=False)
class PairSums:
    """Sums over all positions t of all histories of what was met up to t, ``x_t``, and of the event after it, ``y_t``.

    ``x_t = Σ_a exp(−a / decay) · e[item_{t−a}]`` over the last ``window`` events up to t, ``y_t = e[item_{t+1}]``. Without
    an order (an infinite decay) there is one t for each user: x is the set of its items, and y the same set, an item never
    being its own target.

    Attributes
    ----------
    cross : CSR float32 (n_items, n_items)
        ``XᵀY``: row j, column i tells how often i came after j.
    squares : float32 (n_items,)
        The diagonal of ``XᵀX``.
    targets : float32 (n_items,)
        How often each item is a target.
    ordered : bool
    make_gram : callable
        Makes :attr:`gram`.
    """

    cross: Matrix
    squares: Float32
    targets: Float32
    ordered: bool
    make_gram: Callable[[], Matrix]

    @cached_property
    def gram(self) -> Matrix:
        """``XᵀX``, CSR float32 (n_items, n_items); made at first use, as counts do without it."""
        return self.make_gram()


def pair_sums(histories: Ragged, n_items: int, window: int, decay: float) -> PairSums:
    """Sum the pairs of events of histories.

    Parameters
    ----------
    histories : Ragged (n)
        Item rows, in time order unless the decay is infinite.
    n_items, window : int
    decay : float
        In events.
    """
    if np.isinf(decay):
        return _without_order(histories.tail(window), n_items)
    events = _Positions.of(histories)
    follows = np.ones(len(histories.rows), dtype=np.bool_)
    follows[histories.offsets[:-1][histories.lengths > 0]] = False
    targets = np.bincount(histories.rows[follows], minlength=n_items).astype(np.float32)
    cross, squares = _cross(events, n_items, window, decay), _squares(events, n_items, window, decay)
    return PairSums(cross, squares, targets, True, partial(_gram, events, n_items, window, decay))


def _without_order(histories: Ragged, n_items: int) -> PairSums:
    ones = np.ones(len(histories.rows), dtype=np.float32)
    shape = (len(histories), n_items)
    events = sp.csr_matrix((ones, histories.rows.copy(), histories.offsets.copy()), shape=shape)
    events.sum_duplicates()
    events.data[:] = 1.0
    gram = sp.csr_matrix(events.T @ events)
    counts = gram.diagonal()
    cross = sp.csr_matrix(gram - sp.diags_array(counts))
    cross.eliminate_zeros()
    return PairSums(cross, counts, counts, False, lambda: gram)


@dataclass(frozen=True, eq=False)
class _Positions:
    """The events of histories in one row: the item of each, int32 (n,), and how many come after it, int64 (n,)."""

    rows: Int32
    left: Int64

    @classmethod
    def of(cls, histories: Ragged) -> _Positions:
        return cls(histories.rows, ages(histories))

    def earlier(self, distance: int) -> Int64:
        """int64 (m,): the events that another one follows at this distance within the history."""
        return np.flatnonzero(self.left[: max(len(self.rows) - distance, 0)] >= distance)


def _cross(events: _Positions, n_items: int, window: int, decay: float) -> Matrix:
    weights, sums = decays(window, decay), _Adder(n_items)
    for distance in range(1, window + 1):
        first = events.earlier(distance)
        sums.add(events.rows[first], events.rows[first + distance], np.full(len(first), weights[distance - 1]))
    return sums.total()


def _together(events: _Positions, window: int, decay: float, distance: int) -> tuple[Int64, Float32]:
    """Events that are in some x_t with the one at this distance after them, and what the pair adds to ``Σ x_t x_tᵀ``.

    The pair is together in x_t for M + 1 values of t, the newer event of age 0 to M, and so adds
    ``exp(−distance / decay) · Σ_{m ≤ M} exp(−2m / decay)``.
    """
    up_to = np.exp(-2 * np.arange(window) / decay).cumsum()
    first = events.earlier(distance)
    first = first[events.left[first] > distance]  # the newer one of the pair has a next event
    most = np.minimum(window - 1 - distance, events.left[first + distance] - 1)
    return first, (np.exp(-distance / decay) * up_to[most]).astype(np.float32)


def _gram(events: _Positions, n_items: int, window: int, decay: float) -> Matrix:
    sums = _Adder(n_items)
    for distance in range(window):
        first, values = _together(events, window, decay, distance)
        sums.add(events.rows[first], events.rows[first + distance], values if distance else values * np.float32(0.5))
    half = sums.total()
    return sp.csr_matrix(half + half.T)


def _squares(events: _Positions, n_items: int, window: int, decay: float) -> Float32:
    total = np.zeros(n_items)
    for distance in range(window):
        first, values = _together(events, window, decay, distance)
        again = events.rows[first] == events.rows[first + distance]
        rows, added = events.rows[first][again], values[again] * (2 if distance else 1)
        total += np.bincount(rows, weights=added, minlength=n_items)
    return total.astype(np.float32)


class _Adder:
    """Adds up values by pair of items, some million at a time."""

    def __init__(self, n_items: int) -> None:
        none = np.empty(0, dtype=np.int32)
        self._total: Matrix = sp.coo_matrix((none.astype(np.float32), (none, none)), shape=(n_items, n_items)).tocsr()
        self._pending: list[tuple[Int32, Int32, Float32]] = []

    def add(self, before: Int32, after: Int32, values: Float32) -> None:
        """Add values, float32 (m,), at row ``before`` and column ``after``, int32 (m,)."""
        self._pending.append((before, after, values))
        if sum(len(one[2]) for one in self._pending) >= _PAIRS_AT_ONCE:
            self._flush()

    def _flush(self) -> None:
        before, after, values = (np.concatenate(parts) for parts in zip(*self._pending, strict=True))
        self._total = self._total + sp.coo_matrix((values, (before, after)), shape=self._total.shape).tocsr()
        self._pending = []

    def total(self) -> Matrix:
        """CSR (n_items, n_items), no entry twice."""
        if self._pending:
            self._flush()
        return self._total
