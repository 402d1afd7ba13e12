"""Candidates of an exact search, picked out of each tile of scores while it is still in the processor's cache."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from recsys.core.ragged import Int64, Ragged
from recsys.index.exact.table import BITS, VectorTable, bits_of, floor_of, kth_largest

TILE = 8192
"""Items scored at once."""
MOST_USERS = 512
MOST_PAIRS = 1 << 21
"""Pairs of user and item that float32 scores are made for at once."""
MOST_HELD = 1 << 26
"""Scores of the first pass that are kept for the second."""
_GROUPS = (64, 32, 16, 8, 4)


def by_tile(excluded: Ragged, tiles: int) -> tuple[Tensor, Tensor, Int64]:
    """Excluded pairs tile by tile: queries and columns, int64 (P,) each, and where each tile begins, (tiles + 1,)."""
    if tiles == 1:
        return (
            torch.from_numpy(excluded.list_index()),
            torch.from_numpy(excluded.rows.astype(np.int64)),
            np.array([0, len(excluded.rows)]),
        )
    tile = (excluded.rows // TILE).astype(np.uint16)  # two bytes are sorted by counting
    order = np.argsort(tile, kind="stable")
    starts = np.concatenate([[0], np.cumsum(np.bincount(tile, minlength=tiles))])
    return torch.from_numpy(excluded.list_index()[order]), torch.from_numpy(excluded.rows[order].astype(np.int64)), starts


def candidates(
    queries: Tensor, items: VectorTable, rows: Tensor | None, excluded: Ragged, n: int, k: int
) -> tuple[Tensor, Tensor, Int64] | None:
    """What may be among the k best of each query.

    After the first tile, the k-th largest of the groups' maxima so far bounds the k-th best score from below, and does
    so ever more closely; it is found anew when the number of tiles has doubled. Groups that reach it are copied out of
    each tile, and at last the items that reach the last bound are picked out of these.

    Parameters
    ----------
    queries : float32 (B, D)
    items : VectorTable
    rows : int64 (n,) or None
        The items to search among.
    excluded : Ragged (B)
        Columns that each query excludes.
    n, k : int

    Returns
    -------
    tuple or None
        Queries and columns of the pairs, int64 (P,) each, in no order; and the queries, int64, of which a bound is not
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
    whose, places, starts = by_tile(excluded, tiles)
    at = places % TILE
    nothing, never = torch.tensor(-torch.inf, dtype=items.dtype), torch.iinfo(bits).max
    unsure = torch.zeros(count, dtype=torch.bool)
    lowest = torch.empty(count, dtype=bits)
    held = _Held(count, tiles * groups, group)
    for number in range(tiles):
        start, stop = number * TILE, min(number * TILE + TILE, n)
        torch.mm(rounded, items.tile(start, stop, rows).T, out=scores[:, : stop - start])
        if stop - start < TILE:
            scores[:, stop - start :] = -torch.inf
        if (low := starts[number]) < (high := starts[number + 1]):
            scores.index_put_((whose[low:high], at[low:high]), nothing)
        tops = members.amax(-1).view(count, groups)
        largest[:, number * groups : (number + 1) * groups] = tops
        if (number & (number + 1)) == 0 or number + 1 == tiles:  # 1, 2, 4, 8 ... tiles, and all
            kth = _bound(largest[:, : (number + 1) * groups], k).view(items.dtype)
            floor = floor_of(kth, queries, items)
            unsure |= ~(floor > 0)
            lowest = torch.where(unsure, never, bits_of(floor.clamp(min=0), items.dtype))
        reached = np.flatnonzero((tops >= lowest[:, None]).numpy())
        held.add(members, reached, number * groups, groups)
        if held.size > MOST_HELD:
            return None
    owners, columns = held.reaching(largest, lowest)
    if len(owners) > MOST_PAIRS:
        return None
    return torch.from_numpy(owners), torch.from_numpy(columns), np.flatnonzero(unsure.numpy())


def _bound(largest: Tensor, k: int) -> Tensor:
    """Bits (B,) that at least k items of each query reach: the k-th largest maximum of groups, merged where they are many.

    Of eight times k groups, few hold two of the k best, so that larger groups cost the bound next to nothing.
    """
    merged = 1
    while largest.shape[1] % (2 * merged) == 0 and largest.shape[1] >= 16 * merged * k:
        merged *= 2
    if merged > 1:
        largest = largest.reshape(len(largest), -1, merged).amax(-1)
    return kth_largest(largest, k)


class _Held:
    """Groups of scores that were copied out of tiles.

    Parameters
    ----------
    count, n_groups, group : int
        Queries, groups of each query over all tiles, and members of a group.
    """

    def __init__(self, count: int, n_groups: int, group: int) -> None:
        self.n_groups, self.group = n_groups, group
        self.size = 0
        self._parts: list[tuple[Int64, Tensor]] = []

    def add(self, members: Tensor, reached: Int64, first: int, groups: int) -> None:
        """Copy the rows ``reached`` of the members (B · groups, group) of a tile whose first group is ``first``."""
        keys = reached // groups * (self.n_groups - groups) + reached + first
        self._parts.append((keys, members.index_select(0, torch.from_numpy(reached))))
        self.size += len(reached) * self.group

    def reaching(self, largest: Tensor, lowest: Tensor) -> tuple[Int64, Int64]:
        """Queries and columns, int64 (P,) each, of the members that reach the bounds (B,)."""
        tops, bounds = largest.view(-1).numpy(), lowest.numpy()
        owners, columns = [], []
        for keys, scores in self._parts:
            kept = np.flatnonzero(tops[keys] >= bounds[keys // self.n_groups])
            whose, which = np.divmod(keys[kept], self.n_groups)
            some = scores.index_select(0, torch.from_numpy(kept))
            found = np.flatnonzero((some >= lowest[torch.from_numpy(whose)][:, None]).numpy())
            place, inside = found // self.group, found % self.group
            owners.append(whose[place])
            columns.append(which[place] * self.group + inside)
        return np.concatenate(owners), np.concatenate(columns)
