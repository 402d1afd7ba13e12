"""Lists that do not repeat themselves: maximal marginal relevance, and caps per value."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recsys.core.ragged import Bool, Float32, Int32, Int64, ragged_positions

Float64: TypeAlias = NDArray[np.float64]
Members: TypeAlias = "sp.csr_matrix[Any]"

_CELLS = 1 << 24
"""Numbers of candidates' vectors held at once (64 MB)."""
_DECIMALS = 5
"""Of a cosine, so that pairs of equal vectors are equally alike whatever rounding made of them."""


def marginal_relevance(rows: Int32, scores: Float32, vectors: Float32, norms: Float32, trade: float, k: int) -> Int64:
    """Order candidates by maximal marginal relevance: Carbonell & Goldstein, SIGIR 1998.

    Each of the first k places goes to the candidate with the highest ``trade · relevance − (1 − trade) · nearest``, where
    nearest is the largest cosine to an item already placed (0 for the first place) and relevance is the score scaled to
    [0, 1] over the request's candidates, so that ``trade`` means the same whatever the model's scores look like. Equal
    values keep their order. Candidates that got no place follow in their order.

    Parameters
    ----------
    rows : int32 (n, P)
        Candidates, best first; −1 where a list has ended.
    scores : float32 (n, P)
    vectors : float32 (n_items, D)
    norms : float32 (n_items,)
        Their lengths; an item whose vector is 0 is like no other.
    trade : float
        Between 0 and 1; 1 leaves the order as it is.
    k : int
        Places to fill.

    Returns
    -------
    int64 (n, P)
        Which column comes at each place; columns of −1 stay last.
    """
    order = np.empty(rows.shape, dtype=np.int64)
    step = max(1, _CELLS // max(1, rows.shape[1] * vectors.shape[1]))
    lengths = np.where(norms > 0, norms, np.float32(1.0))
    for start in range(0, len(rows), step):
        part = slice(start, start + step)
        relevance = _relevance(rows[part], scores[part])
        units = vectors[rows[part]]
        units /= lengths[rows[part]][..., None]
        order[part] = _placed(rows[part] >= 0, relevance, units, trade, k)
    return order


def _relevance(rows: Int32, scores: Float32) -> Float64:
    """Scores scaled to [0, 1] over each list; 0 where all are equal."""
    valid, wide = rows >= 0, scores.astype(np.float64)
    low = np.where(valid, wide, np.inf).min(axis=1, keepdims=True)
    high = np.where(valid, wide, -np.inf).max(axis=1, keepdims=True)
    spread = np.where(high > low, high - low, 1.0)
    return np.where(valid, wide - np.where(np.isfinite(low), low, 0.0), 0.0) / spread


def _placed(free: Bool, relevance: Float64, units: Float32, trade: float, k: int) -> Int64:
    """The order of one block: bool (n, P), float64 (n, P), float32 (n, P, D) → int64 (n, P)."""
    n, width = free.shape
    places = min(k, width)
    everyone, free = np.arange(n), free.copy()
    place = np.broadcast_to(places + np.arange(width), (n, width)).copy()
    nearest = np.zeros((n, width))
    for here in range(places):
        value = np.where(free, trade * relevance - (1.0 - trade) * nearest, -np.inf)
        best = value.argmax(axis=1)
        going = free[everyone, best]
        place[everyone[going], best[going]] = here
        free[everyone, best] = False
        # einsum sums along D alone, so that an item's cosine depends neither on its column nor on the other requests
        cosine = np.einsum("npd,nd->np", units, units[everyone, best]).astype(np.float64).round(_DECIMALS)
        nearest = cosine if here == 0 else np.maximum(nearest, cosine)
    return np.argsort(place, axis=1, kind="stable")


def first_under_caps(
    rows: Int32, fixed: Bool, free: Bool, wanted: Int64, members: Sequence[Members], at_most: Sequence[int]
) -> tuple[Bool, Int64]:
    """The first candidates of each list, passing over those that have too many of their kind above them.

    Parameters
    ----------
    rows : int32 (n, W)
        Candidates, best first; anything where neither ``fixed`` nor ``free``.
    fixed, free : bool (n, W)
        What is in the list whatever the caps say, and counts; what may be chosen.
    wanted : int64 (n,)
        How many to choose.
    members : sequence of bool CSR (n_items, n_values)
        For each cap, which values an item has.
    at_most : sequence of int
        For each cap, how many items of one value a list may hold.

    Returns
    -------
    bool (n, W), int64 (n, W)
        What is chosen, and the first cap without room for a candidate when its turn came (``len(at_most)``: all had).
    """
    n, width = rows.shape
    if not members:
        free = free & ~fixed
        return free & (free.cumsum(axis=1) <= wanted[:, None]), np.zeros((n, width), dtype=np.int64)
    closed = np.full(n * width, len(at_most), dtype=np.int64)
    choosable, taken = (free & ~fixed).ravel().copy(), np.zeros(n * width, dtype=np.bool_)
    cells, kinds, room, cap_of = _kinds_of(rows, np.flatnonzero((fixed | free).ravel()), members, at_most)
    cells_of_kind, kind_starts, kind_lengths = _inverted(kinds, cells, len(room))
    kinds_of_cell, cell_starts, cell_lengths = _inverted(cells, kinds, n * width)

    def count(chosen: Int64) -> None:
        """Count one chosen cell per list; where that makes a kind full, close its other cells."""
        met = kinds_of_cell[ragged_positions(cell_starts[chosen], cell_lengths[chosen])]
        causes = np.repeat(chosen, cell_lengths[chosen])
        room[met] -= 1
        spent = room[met] <= 0
        full, causes = met[spent], causes[spent]
        shut = cells_of_kind[ragged_positions(kind_starts[full], kind_lengths[full])]
        later = shut > np.repeat(causes, kind_lengths[full])
        np.minimum.at(closed, shut[later], np.repeat(cap_of[full], kind_lengths[full])[later])
        choosable[shut] = False

    for column in np.flatnonzero(fixed.any(axis=0)):
        count(np.flatnonzero(fixed[:, column]) * width + column)
    missing = wanted.copy()
    while len(going := np.flatnonzero((missing > 0) & choosable.reshape(n, width).any(axis=1))):
        chosen = going * width + choosable.reshape(n, width)[going].argmax(axis=1)
        taken[chosen], choosable[chosen] = True, False
        missing[going] -= 1
        count(chosen)
    return taken.reshape(n, width), closed.reshape(n, width)


def _kinds_of(
    rows: Int32, cells: Int64, members: Sequence[Members], at_most: Sequence[int]
) -> tuple[Int64, Int64, Int64, Int64]:
    """Every pair of a cell and a kind, where a kind is one value of one cap in one list.

    Returns
    -------
    int64 (pairs,), int64 (pairs,), int64 (kinds,), int64 (kinds,)
        Cell and kind of each pair; how many more each kind may have, and its cap.
    """
    owners, items = cells // rows.shape[1], rows.ravel()[cells]
    all_cells, all_kinds, room, cap_of, n_kinds = [], [], [], [], 0
    for place, (table, most) in enumerate(zip(members, at_most, strict=True)):
        starts, lengths = table.indptr[items].astype(np.int64), np.diff(table.indptr)[items].astype(np.int64)
        values = table.indices[ragged_positions(starts, lengths)].astype(np.int64)
        distinct, kinds = np.unique(np.repeat(owners, lengths) * table.shape[1] + values, return_inverse=True)
        all_cells.append(np.repeat(cells, lengths))
        all_kinds.append(kinds + n_kinds)
        room.append(np.full(len(distinct), most, dtype=np.int64))
        cap_of.append(np.full(len(distinct), place, dtype=np.int64))
        n_kinds += len(distinct)
    return np.concatenate(all_cells), np.concatenate(all_kinds), np.concatenate(room), np.concatenate(cap_of)


def _inverted(keys: Int64, values: Int64, n: int) -> tuple[Int64, Int64, Int64]:
    """Values grouped by key 0 … n − 1: int64 (len(keys),), and start and length of each group, int64 (n,)."""
    lengths = np.bincount(keys, minlength=n)
    return values[np.argsort(keys, kind="stable")], np.cumsum(lengths) - lengths, lengths
