"""Exact top-k of inner products in two passes: a cheap one with a proven margin, then float32 for whatever may be best.

The first pass multiplies in bfloat16 where the processor has it (three to four times the pace of float32) and keeps, of
each group of neighbouring items, only the largest score. The k-th largest of these maxima is a lower bound of the k-th best
score, so that all k best items lie in groups whose maximum reaches this bound less twice the error of the first pass. What
reaches it is scored in float32, always in the same order of operations: neither the size of a block of users nor the
number of threads can change an answer.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from recsys.core.ragged import Bool, Int64, Ragged
from recsys.core.ranking import Ranked, check_exclude, check_k, ranked_pairs
from recsys.errors import DataError
from recsys.index.exact.table import BITS, HALF, VectorTable, bits_of, floor_of, kth_largest, pair_scores
from recsys.index.exact.tiles import MOST_PAIRS, MOST_USERS, TILE, by_tile, candidates

_GROUP = 64
_BLOCK_BYTES = 192 * 2**20
"""Scores of the first pass held at once."""


@torch.inference_mode()
def search(
    queries: Tensor, items: VectorTable, k: int, exclude: Ragged | None = None, eligible: Bool | None = None
) -> Ranked:
    """The k best items of each query by inner product.

    Parameters
    ----------
    queries : float32 (n, D)
        On any device.
    items : VectorTable
    k : int
    exclude : Ragged (n), optional
        Item rows that must not be returned, query by query.
    eligible : bool (n_items,), optional
        The items that may be returned at all; by default all.

    Returns
    -------
    Ranked (n)
        Equal scores in row order; fewer than k items only where fewer are eligible.

    Raises
    ------
    ConfigError
        k is below 1, or there are not as many exclusions as queries.
    DataError
        A query is not finite.
    """
    check_k(k)
    if exclude is not None:
        check_exclude(exclude, len(queries))
    queries = queries.to(items.stored.codes.device).float()
    if not bool(queries.isfinite().all()):
        raise DataError("a query vector is not finite")
    rows, n = None, len(items)
    excluded = Ragged.empty(len(queries)) if exclude is None else exclude
    if eligible is not None:
        places = np.flatnonzero(eligible)
        rows, excluded = torch.from_numpy(places).to(queries.device), _by_place(excluded, places, n)
        n = len(places)
    if len(queries) == 0 or n == 0:
        return Ranked(Ragged.empty(len(queries)), np.empty(0, dtype=np.float32))
    k, parts = min(k, n), list[Ranked]()
    for start in range(0, len(queries), MOST_USERS):
        some, own = queries[start : start + MOST_USERS], excluded.block(start, start + MOST_USERS)
        found = candidates(some, items, rows, own, n, k) if queries.device.type == "cpu" else None
        if found is None:
            parts.append(_whole(some, items, rows, own, n, k))
            continue
        owners, columns, left = found
        ranked = _ranked(some, items, rows, owners, columns, k)
        if len(left):
            place = np.arange(len(some))
            place[left] = len(some) + np.arange(len(left))
            rest = _whole(some[torch.from_numpy(left)], items, rows, own.take(left), n, k)
            ranked = Ranked.joined([ranked, rest]).take(place)
        parts.append(ranked)
    return Ranked.joined(parts)


def _whole(queries: Tensor, items: VectorTable, rows: Tensor | None, excluded: Ragged, n: int, k: int) -> Ranked:
    """With the scores of all items held at once, block by block."""
    group = _GROUP
    while group > 1 and n < 4 * group * k:
        group //= 2
    block = max(1, min(len(queries), _BLOCK_BYTES // (items.dtype.itemsize * n)))
    scores = torch.empty(block, -(-n // group) * group, dtype=items.dtype, device=queries.device)
    scores[:, n:] = -torch.inf
    parts: list[Ranked] = []
    for start in range(0, len(queries), block):
        some = queries[start : start + block]
        made = scores[: len(some)]
        bits = _first_pass(made, some, items, rows, excluded.block(start, start + block), n, group)
        parts += _second_pass(made, bits, some, items, rows, k, group)
    return Ranked.joined(parts)


def _by_place(exclude: Ragged, rows: Int64, n_items: int) -> Ragged:
    """The exclusions by their places among the rows that are searched, int64 (n,)."""
    place = np.full(n_items, -1, dtype=np.int32)
    place[rows] = np.arange(len(rows), dtype=np.int32)
    moved = exclude.without_events().remap(place)
    return moved.where(moved.rows >= 0)


def _first_pass(
    scores: Tensor, queries: Tensor, items: VectorTable, rows: Tensor | None, excluded: Ragged, n: int, group: int
) -> Tensor:
    """Fill ``scores`` (B, width) tile by tile; the largest bits of each group, (B, width / group).

    As whole numbers, bits are compared several times faster than floats. They order positive scores as these are, and
    put every negative one below.
    """
    rounded, bits = queries.to(items.dtype), BITS[scores.dtype]
    largest = torch.empty(len(scores), scores.shape[1] // group, dtype=bits, device=scores.device)
    owners, places, starts = by_tile(excluded, -(-n // TILE))
    owners, places = owners.to(scores.device), places.to(scores.device)
    nothing = torch.tensor(-torch.inf, dtype=scores.dtype, device=scores.device)
    for number, start in enumerate(range(0, n, TILE)):
        stop = min(start + TILE, scores.shape[1])
        torch.mm(rounded, items.tile(start, min(stop, n), rows).T, out=scores[:, start : min(stop, n)])
        if (low := starts[number]) < (high := starts[number + 1]):
            scores.index_put_((owners[low:high], places[low:high]), nothing)
        if group > 1:
            groups = scores[:, start:stop].view(bits).view(len(scores), -1, group)
            largest[:, start // group : stop // group] = groups.amax(-1)
    return largest if group > 1 else scores.view(bits)


def _second_pass(
    scores: Tensor, bits: Tensor, queries: Tensor, items: VectorTable, rows: Tensor | None, k: int, group: int
) -> list[Ranked]:
    """Score in float32 what may be among the k best, and rank it."""
    values, largest = scores.view(bits.dtype), bits
    floor = floor_of(kth_largest(bits, k).view(scores.dtype), queries, items)
    if bool((floor > 0).all()):
        lowest = bits_of(floor, scores.dtype)
    else:
        values, largest = scores, scores.view(len(scores), -1, group).amax(-1)
        floor = floor_of(kth_largest(largest, k), queries, items)
        lowest = (floor - 2 * HALF[scores.dtype] * floor.abs()).to(scores.dtype).clamp(min=torch.finfo(scores.dtype).min)
    owners, columns = torch.nonzero(largest >= lowest[:, None], as_tuple=True)
    if len(owners) * group > 8 * MOST_PAIRS and len(queries) > 1:
        return _halved(scores, bits, queries, items, rows, k, group)
    if group > 1:
        members = values.view(-1, group).index_select(0, owners * largest.shape[1] + columns)  # (P, group)
        pair, inside = torch.nonzero(members >= lowest[owners, None], as_tuple=True)
        owners, columns = owners[pair], columns[pair] * group + inside
    if len(owners) > MOST_PAIRS and len(queries) > 1:
        return _halved(scores, bits, queries, items, rows, k, group)
    return [_ranked(queries, items, rows, owners, columns, k)]


def _ranked(queries: Tensor, items: VectorTable, rows: Tensor | None, owners: Tensor, columns: Tensor, k: int) -> Ranked:
    """The k best of pairs by their scores in float32."""
    places = columns if rows is None else rows[columns]
    exact = pair_scores(queries, items.stored, owners, places)
    return ranked_pairs(owners.cpu().numpy(), places.cpu().numpy(), exact.cpu().numpy(), len(queries), k)


def _halved(
    scores: Tensor, bits: Tensor, queries: Tensor, items: VectorTable, rows: Tensor | None, k: int, group: int
) -> list[Ranked]:
    """The second pass in two parts, where so many scores are close that their pairs would take too much memory."""
    middle = len(queries) // 2
    halves = (slice(0, middle), slice(middle, None))
    both = [_second_pass(scores[half], bits[half], queries[half], items, rows, k, group) for half in halves]
    return [part for one in both for part in one]
