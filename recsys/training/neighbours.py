"""The items whose texts are nearest to an item's own, for all items at once."""

from __future__ import annotations

import numpy as np

from recsys.core.ragged import Bool, Float32, Int32, Int64, ragged_positions
from recsys.errors import ConfigError, DataError

_TILE = 1024
"""Items compared with as many others at once: 4 MB of cosines."""

_STEPS = 100_000
"""Cosines are compared in steps of 1e-5, so that the rounding of a matrix product does not decide between equal texts."""


def nearest_by_text(vectors: Float32, known: Bool, m: int) -> Int32:
    """The m other items of highest cosine, for each item that has a text.

    Cosines closer than about 1e-5 count as equal and are sorted by row; items with the same text are each other's nearest.
    Time grows with the square of the items that have a text; memory does not (a few arrays of a tile's size, and a
    copy of the vectors).

    Parameters
    ----------
    vectors : float32 (n, E)
        Text vectors, of any length but zero.
    known : bool (n,)
        Whether an item has a text; the vectors of the others are not read.
    m : int
        Neighbours per item.

    Returns
    -------
    int32 (n, m)
        Item rows, nearest first: never the item itself, and only items with a text. An item without a text has no
        neighbours: its line repeats its own row.

    Raises
    ------
    ConfigError
        m is below 1, or there are not m other items with a text.
    DataError
        The arrays' lengths differ, or the vector of a text is zero or not finite.
    """
    if vectors.ndim != 2 or known.shape != (len(vectors),):
        raise DataError(f"text vectors of shape {vectors.shape} and known of shape {known.shape} are not (n, E) and (n,)")
    rows = np.flatnonzero(known)
    if not 1 <= m < len(rows):
        raise ConfigError(
            f"neighbours={m} must be at least 1 and below the number of items with a text, which is {len(rows)}"
        )
    units = _units(vectors, rows)
    nearest = np.repeat(np.arange(len(vectors), dtype=np.int32)[:, None], m, axis=1)
    for start in range(0, len(rows), _TILE):
        block = slice(start, start + _TILE)
        nearest[rows[block]] = rows[_nearest(units, block, m)]
    return nearest


def _units(vectors: Float32, rows: Int64) -> Float32:
    """float32 (len(rows), E): the vectors of these rows at unit length."""
    chosen = vectors[rows]
    lengths = np.linalg.norm(chosen, axis=1, keepdims=True)
    broken = np.flatnonzero(~((lengths > 0.0) & (lengths < np.inf)))
    if len(broken):
        raise DataError(f"{len(broken)} text vectors are zero or not finite, the first is row {rows[broken[0]]}")
    chosen /= lengths
    return chosen


def _nearest(units: Float32, block: slice, m: int) -> Int64:
    """int64 (B, m): the places in ``units`` of the m nearest to each of a block, found tile by tile."""
    queries = units[block]
    best = np.full((len(queries), m), -np.inf, dtype=np.float32)
    places = np.full((len(queries), m), -1, dtype=np.int64)
    for start in range(0, len(units), _TILE):
        cosines = queries @ units[start : start + _TILE].T
        cosines *= _STEPS
        np.rint(cosines, out=cosines)
        if start == block.start:
            np.fill_diagonal(cosines, -np.inf)
        lines, columns = np.nonzero(cosines > best[:, -1:])  # an equal one of a later row comes too late
        found = np.bincount(lines, minlength=len(queries))
        slots = m + ragged_positions(np.zeros_like(found), found)
        wider = ((0, 0), (0, int(found.max())))
        scores, rows = np.pad(best, wider, constant_values=-np.inf), np.pad(places, wider)
        scores[lines, slots], rows[lines, slots] = cosines[lines, columns], start + columns
        order = np.argsort(-scores, axis=1, kind="stable")[:, :m]  # (B, m): equal ones stand in row order
        best, places = np.take_along_axis(scores, order, axis=1), np.take_along_axis(rows, order, axis=1)
    return places
