"""Pairs of events of one history, summed by item: what the closed forms of the transition memory are made of."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import pairwise
from typing import TypeAlias

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recsys.core.cluster import each
from recsys.core.ragged import Float32, Int32, Int64, Ragged, ragged_positions
from recsys.transitions.decay import ages, decays

Matrix: TypeAlias = "sp.csr_matrix[np.float32]"
Float64: TypeAlias = NDArray[np.float64]

_PAIRS_AT_ONCE = 20_000_000
_EVENTS_AT_ONCE = 2_000_000
"""Events whose sums are made together, by one process."""


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

    Within :func:`recsys.core.cluster.engine`, the processes of a cluster sum parts of the histories.
    """
    lists = histories.without_events()
    if np.isinf(decay):
        return _without_order(lists.tail(window), n_items)
    asked = partial(_asked, lists, n_items, window, decay)
    cross, squares, targets = _empty(n_items), np.zeros(n_items), np.zeros(n_items, dtype=np.int64)
    for one in each()(counted, asked()):
        cross = cross + one.cross
        squares += one.squares
        targets += one.targets
    gram = partial(_gram, asked, n_items)
    return PairSums(cross, squares.astype(np.float32), targets.astype(np.float32), True, gram)


@dataclass(frozen=True, eq=False)
class PairJob:
    """Some of the histories whose pairs are to be summed; the attributes are the parameters of :func:`pair_sums`."""

    histories: Ragged
    n_items: int
    window: int
    decay: float


@dataclass(frozen=True, eq=False)
class PairCounts:
    """The sums over some histories; the attributes are those of :class:`PairSums`, in float64 and int64."""

    cross: Matrix
    squares: Float64
    targets: Int64


def _asked(histories: Ragged, n_items: int, window: int, decay: float) -> Iterator[PairJob]:
    """The histories in parts whose sums are added up in order, whoever computes them."""
    cuts = np.flatnonzero(np.diff(histories.offsets[1:] // _EVENTS_AT_ONCE, prepend=0))
    for start, end in pairwise([0, *cuts[cuts > 0].tolist(), len(histories)]):
        yield PairJob(histories.block(start, end), n_items, window, decay)


def counted(job: PairJob) -> PairCounts:
    """The sums over some histories."""
    histories = job.histories
    follows = np.ones(len(histories.rows), dtype=np.bool_)
    follows[histories.offsets[:-1][histories.lengths > 0]] = False
    targets = np.bincount(histories.rows[follows], minlength=job.n_items)
    events, how = _Positions.of(histories), (job.n_items, job.window, job.decay)
    return PairCounts(_cross(events, *how), _squares(events, *how), targets)


def _without_order(histories: Ragged, n_items: int) -> PairSums:
    gram = _empty(n_items)
    for one in each()(_together_at_all, _asked(histories, n_items, 0, np.inf)):
        gram = gram + one  # whole numbers, in any order
    counts = gram.diagonal()
    cross = sp.csr_matrix(gram - sp.diags_array(counts))
    cross.eliminate_zeros()
    return PairSums(cross, counts, counts, False, lambda: gram)


def _together_at_all(job: PairJob) -> Matrix:
    """How many of some histories hold each pair of items."""
    histories = job.histories
    ones = np.ones(len(histories.rows), dtype=np.float32)
    shape = (len(histories), job.n_items)
    events = sp.csr_matrix((ones, histories.rows.copy(), histories.offsets.copy()), shape=shape)
    events.sum_duplicates()
    events.data[:] = 1.0
    return sp.csr_matrix(events.T @ events)


def _empty(n_items: int) -> Matrix:
    none = np.empty(0, dtype=np.int32)
    return sp.coo_matrix((none.astype(np.float32), (none, none)), shape=(n_items, n_items)).tocsr()


@dataclass(frozen=True, eq=False)
class _Positions:
    """The events of histories in one row: the item of each, int32 (n,), and how many come before and after, int64 (n,)."""

    rows: Int32
    before: Int64
    left: Int64

    @classmethod
    def of(cls, histories: Ragged) -> _Positions:
        left = ages(histories)
        return cls(histories.rows, np.repeat(histories.lengths - 1, histories.lengths) - left, left)


def _cross(events: _Positions, n_items: int, window: int, decay: float) -> Matrix:
    weights = decays(window, decay)
    after = np.flatnonzero(events.before)
    reach = np.minimum(events.before[after], window)
    found = _pairs(events, n_items, after, reach, 1, lambda distances, _: weights[distances - 1])
    return sp.csr_matrix(found.T)


def _gram(asked: Callable[[], Iterator[PairJob]], n_items: int) -> Matrix:
    half = _empty(n_items)
    for one in each()(_half_gram, asked()):
        half = half + one
    return sp.csr_matrix(half + sp.csr_matrix(half.T))


def _half_gram(job: PairJob) -> Matrix:
    events, window = _Positions.of(job.histories), job.window
    table = _together(window, job.decay)
    table[0] *= np.float32(0.5)  # both halves have the diagonal
    newer, left = np.flatnonzero(events.left), np.minimum(events.left, window) - 1
    reach = np.minimum(events.before[newer] + 1, window)
    half = _pairs(events, job.n_items, newer, reach, 0, lambda distances, owners: table[distances, left[owners]])
    return sp.csr_matrix(half.T)  # columns are in order after one turn


def _squares(events: _Positions, n_items: int, window: int, decay: float) -> Float64:
    table, total = _together(window, decay), np.zeros(n_items)
    for distance in range(window):
        first = np.flatnonzero(events.left[: max(len(events.rows) - distance, 0)] > distance)
        newer = first[events.rows[first] == events.rows[first + distance]] + distance
        values = table[distance, np.minimum(events.left[newer], window) - 1]
        total += np.bincount(events.rows[newer], weights=values * (2 if distance else 1), minlength=n_items)
    return total


def _together(window: int, decay: float) -> Float32:
    """What two events add to ``Σ x_t x_tᵀ``, float32 (window, window): by distance, and events after the newer − 1.

    They are together in x_t for M + 1 values of t, the newer event of age 0 to M, and so add ``exp(−distance / decay) ·
    Σ_{m ≤ M} exp(−2m / decay)``.
    """
    at, up_to = np.arange(window), np.exp(-2 * np.arange(window) / decay).cumsum()
    most = np.minimum(window - 1 - at[:, None], at)
    table: Float32 = (np.exp(-at / decay)[:, None] * up_to[most]).astype(np.float32)
    return table


def _pairs(
    events: _Positions,
    n_items: int,
    newer: Int64,
    reach: Int64,
    nearest: int,
    value: Callable[[Int64, Int64], Float32],
) -> Matrix:
    """``Σ value · e[newer] e[older]ᵀ`` over pairs of events of one history, CSR (n_items, n_items), columns in any order.

    A product of two sparse matrices, some million pairs at a time: a row of sums stays in the processor's cache, where
    sorting the pairs would go through memory again and again.

    Parameters
    ----------
    events : _Positions
    n_items : int
    newer : int64 (m,)
        The newer events.
    reach : int64 (m,)
        How many older ones are paired with each.
    nearest : int
        The distance of the first of them.
    value : callable
        float32 (pairs,) of their distances and newer events, both int64 (pairs,).
    """
    none = np.empty(0, dtype=np.int32)
    total: Matrix = sp.csr_matrix(
        (none.astype(np.float32), none, np.zeros(n_items + 1, dtype=np.int32)), (n_items, n_items)
    )
    part = np.cumsum(reach) // _PAIRS_AT_ONCE
    edges = [0, *(np.flatnonzero(np.diff(part)) + 1).tolist(), len(newer)]
    for start, end in pairwise(edges):
        some, lengths = newer[start:end], reach[start:end]
        distances = ragged_positions(np.full(len(some), nearest), lengths)
        owners = np.repeat(some, lengths)
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        older = value(distances, owners), events.rows[owners - distances], offsets.astype(np.int32)
        ones = np.ones(len(some), dtype=np.float32)
        targets = sp.csc_matrix((ones, events.rows[some], np.arange(len(some) + 1, dtype=np.int32)), (n_items, len(some)))
        total = total + targets.tocsr() @ sp.csr_matrix(older, (len(some), n_items))
    return total
