"""Candidates of an exact search, picked out of each tile of scores while it is still in the processor's cache."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from recsys.data.row_lists import Int64, RowLists
from recsys.models.dense import BITS, Dense, bits_of, floor_of, kth_largest

TILE = 8192
"""Items scored at once."""
MOST_USERS = 512
MOST_PAIRS = 1 << 21
"""Pairs of user and item that float32 scores are made for at once."""
_GROUPS = (64, 32, 16, 8, 4)


def by_tile(hidden: RowLists, tiles: int) -> tuple[Tensor, Tensor, Int64]:
    """Excluded pairs tile by tile: queries and columns, int64 (P,) each, and where each tile begins, (tiles + 1,)."""
    if tiles == 1:
        return (
            torch.from_numpy(hidden.owners()),
            torch.from_numpy(hidden.rows.astype(np.int64)),
            np.array([0, len(hidden.rows)]),
        )
    tile = (hidden.rows // TILE).astype(np.uint16)  # two bytes are sorted by counting
    order = np.argsort(tile, kind="stable")
    starts = np.concatenate([[0], np.cumsum(np.bincount(tile, minlength=tiles))])
    return torch.from_numpy(hidden.owners()[order]), torch.from_numpy(hidden.rows[order].astype(np.int64)), starts


def candidates(
    queries: Tensor, items: Dense, rows: Tensor | None, hidden: RowLists, n: int, k: int
) -> tuple[Tensor, Tensor, Int64] | None:
    """What may be among the k best of each query.

    After the first tile, the k-th largest of the groups' maxima so far bounds the k-th best score from below, and does
    so ever more closely; it is found anew when the number of tiles has doubled. What reaches it is picked out of each
    tile, and at last what reaches the last bound.

    Parameters
    ----------
    queries : float32 (B, D)
    items : Dense
    rows : int64 (n,) or None
        The items to search among.
    hidden : RowLists (B)
        Columns that each query excludes.
    n, k : int

    Returns
    -------
    tuple or None
        Queries and columns of the pairs, int64 (P,) each, ascending; and the queries, int64, of which a bound is not
        positive, so that comparing bits tells nothing. None where there are too few items, or too many close ones.
    """
    group = next((one for one in _GROUPS if 5 * k * one <= 4 * TILE), 0)
    if n < 2 * TILE or group == 0:
        return None
    rounded, bits = queries.to(items.dtype), BITS[items.dtype]
    count, groups, tiles = len(queries), TILE // group, -(-n // TILE)
    scores = torch.empty(count, TILE, dtype=items.dtype)
    members = scores.view(bits).view(-1, group)  # (B · groups, group)
    largest = torch.empty(count, tiles * groups, dtype=bits)
    whose, places, starts = by_tile(hidden, tiles)
    at = places % TILE
    nothing, never = torch.tensor(-torch.inf, dtype=items.dtype), torch.iinfo(bits).max
    unsure = torch.zeros(count, dtype=torch.bool)
    lowest = torch.empty(count, dtype=bits)
    found: list[tuple[Tensor, Tensor, Tensor]] = []
    for number in range(tiles):
        start, stop = number * TILE, min(number * TILE + TILE, n)
        torch.mm(rounded, items.tile(start, stop, rows).T, out=scores[:, : stop - start])
        scores[:, stop - start :] = -torch.inf
        if (low := starts[number]) < (high := starts[number + 1]):
            scores.index_put_((whose[low:high], at[low:high]), nothing)
        tops = members.amax(-1).view(count, groups)
        largest[:, number * groups : (number + 1) * groups] = tops
        if (number & (number + 1)) == 0 or number + 1 == tiles:  # 1, 2, 4, 8 ... tiles, and all
            kth = kth_largest(largest[:, : (number + 1) * groups], k).view(items.dtype)
            floor = floor_of(kth, queries, items)
            unsure |= ~(floor > 0)
            lowest = torch.where(unsure, never, bits_of(floor.clamp(min=0), items.dtype))
        owners, columns = torch.nonzero(tops >= lowest[:, None], as_tuple=True)
        if len(owners) * group > 8 * MOST_PAIRS:
            return None
        some = members.index_select(0, owners * groups + columns)
        pair, inside = torch.nonzero(some >= lowest[owners, None], as_tuple=True)
        found.append((owners[pair], columns[pair] * group + (inside + start), some[pair, inside]))
    owners, columns, values = (torch.cat(parts) for parts in zip(*found, strict=True))
    kept = values >= lowest[owners]
    keys = (owners[kept] * n + columns[kept]).numpy()
    if len(keys) > MOST_PAIRS:
        return None
    keys.sort()
    pairs = np.divmod(keys, n)
    return torch.from_numpy(pairs[0]), torch.from_numpy(pairs[1]), np.flatnonzero(unsure.numpy())
