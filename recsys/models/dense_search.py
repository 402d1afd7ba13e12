"""Exact top-k of inner products in two passes: a cheap one with a proven margin, then float32 for whatever may be best.

The first pass multiplies in bfloat16 where the processor has it (three to four times the pace of float32) and keeps, of
each group of neighbouring items, only the largest score. The k-th largest of these maxima is a lower bound of the k-th best
score, so that all k best items lie in groups whose maximum reaches this bound less twice the error of the first pass. What
reaches it is scored in float32, always in the same order of operations: neither the size of a block of users nor the
number of threads can change an answer.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from recsys.data.row_lists import Bool, Float32, Int64, RowLists, ragged_positions
from recsys.errors import DataError
from recsys.models.device import has_bf16
from recsys.models.stored import Stored
from recsys.recommender import Ranked, check_exclude, check_k

_GROUP = 64
_TILE = 8192
"""Items scored at once, so that their scores are still in the processor's cache when the maxima are taken."""
_BLOCK_BYTES = 192 * 2**20
"""Scores of the first pass held at once."""
_MOST_USERS = 512
_MOST_PAIRS = 1 << 21
"""Pairs of user and item that the second pass takes at once; more, and the block of users is halved."""
_CHUNK = 1 << 16
_OWNER_BITS = 10
_COARSE_ITEMS = 4096
"""Below this a copy in bfloat16 saves nothing."""
_HALF = {torch.bfloat16: 2.0**-9, torch.float32: 2.0**-24}
"""Largest relative error of rounding to the nearest."""
_BITS = {torch.bfloat16: torch.int16, torch.float32: torch.int32}


@dataclass(frozen=True, eq=False)
class Dense:
    """Item vectors, prepared for exact search.

    Attributes
    ----------
    stored : Stored (n, D)
    coarse : bfloat16 or float32 (n, D), or None
        What the first pass reads: the vectors in bfloat16, or float32 where the device has no products in bfloat16 or the
        items are few; None: decoded tile by tile, for less memory.
    dtype : torch.dtype
        Of the first pass.
    norm, error : float
        Largest length of a vector, and of the difference between a vector and what the first pass reads of it.
    """

    stored: Stored
    coarse: Tensor | None
    dtype: torch.dtype
    norm: float
    error: float

    @classmethod
    def of(cls, stored: Stored | Tensor) -> Dense:
        """Prepare vectors, or a float32 table (n, D).

        Raises
        ------
        DataError
            A vector is not finite.
        """
        if isinstance(stored, Tensor):
            stored = Stored.of(stored)
        half = len(stored) >= _COARSE_ITEMS and has_bf16(str(stored.device))
        dtype = torch.bfloat16 if half else torch.float32
        norm = error = 0.0
        for start in range(0, len(stored), _CHUNK):
            part = stored.decoded(slice(start, start + _CHUNK))
            broken = torch.nonzero(~part.isfinite().all(dim=1)).flatten()
            if len(broken):
                raise DataError(f"an item vector is not finite: row {start + int(broken[0])}")
            norm = max(norm, float(part.norm(dim=1).max()))
            error = max(error, float((part.to(dtype).float() - part).norm(dim=1).max()))
        coarse = stored.codes if stored.codes.dtype == dtype else None
        if coarse is None and stored.precision == "float32":
            coarse = stored.codes.to(dtype)
        return cls(stored, coarse, dtype, norm, error)

    def __len__(self) -> int:
        return len(self.stored)

    @property
    def nbytes(self) -> int:
        """Bytes of memory."""
        own = self.coarse is not None and self.coarse is not self.stored.codes
        return self.stored.nbytes + (self.coarse.nbytes if own and self.coarse is not None else 0)

    def tile(self, start: int, stop: int, rows: Tensor | None) -> Tensor:
        """What the first pass reads of a slice of the items, or of a slice of ``rows``; (stop − start, D)."""
        part = slice(start, stop) if rows is None else rows[start:stop]
        return self.stored.decoded(part).to(self.dtype) if self.coarse is None else self.coarse[part]

    def margin(self, queries: Tensor, rounded: Tensor) -> Tensor:
        """float32 (n,): how far the first pass's score of any item may be from the second's, before it is rounded.

        |q·v − q̂·v̂| ≤ |q − q̂||v| + |q̂||v − v̂| by Cauchy and Schwarz, and a sum of D products in float32 errs by at most
        D · 2⁻²⁴ of the lengths' product (Higham, Accuracy and Stability of Numerical Algorithms, section 3.1), twice.
        """
        moved, length = (queries - rounded.float()).norm(dim=1), rounded.float().norm(dim=1)
        sums = 2 * (queries.shape[1] + 1) * 2.0**-24 * (length + moved) * (self.norm + self.error)
        margin: Tensor = moved * self.norm + length * self.error + sums
        return margin


@torch.inference_mode()
def search(queries: Tensor, items: Dense, k: int, exclude: RowLists | None = None, eligible: Bool | None = None) -> Ranked:
    """The k best items of each query by inner product.

    Parameters
    ----------
    queries : float32 (n, D)
    items : Dense
    k : int
    exclude : RowLists (n), optional
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
    queries = queries.float()
    if not bool(queries.isfinite().all()):
        raise DataError("a query vector is not finite")
    rows = None if eligible is None else torch.from_numpy(np.flatnonzero(eligible)).to(queries.device)
    hidden = RowLists.empty(len(queries)) if exclude is None else _hidden(exclude, rows, len(items))
    n = len(items) if rows is None else len(rows)
    if len(queries) == 0 or n == 0:
        return Ranked(RowLists.empty(len(queries)), np.empty(0, dtype=np.float32))
    k, group = min(k, n), _GROUP
    while group > 1 and n < 4 * group * k:
        group //= 2
    block = max(1, min(_MOST_USERS, len(queries), _BLOCK_BYTES // (items.dtype.itemsize * n)))
    scores = torch.empty(block, -(-n // group) * group, dtype=items.dtype, device=queries.device)
    scores[:, n:] = -torch.inf
    parts: list[Ranked] = []
    for start in range(0, len(queries), block):
        some = queries[start : start + block]
        made = scores[: len(some)]
        bits = _first_pass(made, some, items, rows, hidden.block(start, start + block), n, group)
        parts += _second_pass(made, bits, some, items, rows, k, group)
    return Ranked.joined(parts)


def _hidden(exclude: RowLists, rows: Tensor | None, n_items: int) -> RowLists:
    """The exclusions in rows of the table that is searched."""
    if rows is None:
        return exclude
    place = np.full(n_items, -1, dtype=np.int32)
    place[rows.cpu().numpy()] = np.arange(len(rows), dtype=np.int32)
    moved = exclude.bare().renamed(place)
    return moved.where(moved.rows >= 0)


def _first_pass(
    scores: Tensor, queries: Tensor, items: Dense, rows: Tensor | None, hidden: RowLists, n: int, group: int
) -> Tensor:
    """Fill ``scores`` (B, width) tile by tile; the largest bits of each group, (B, width / group).

    As whole numbers, bits are compared several times faster than floats. They order positive scores as these are, and
    put every negative one below.
    """
    rounded, bits = queries.to(items.dtype), _BITS[scores.dtype]
    largest = torch.empty(len(scores), scores.shape[1] // group, dtype=bits, device=scores.device)
    order = np.argsort(hidden.rows)
    columns = hidden.rows[order].astype(np.int64)
    owners, places = (torch.from_numpy(one).to(scores.device) for one in (hidden.owners()[order], columns))
    nothing = torch.tensor(-torch.inf, dtype=scores.dtype, device=scores.device)
    for start in range(0, scores.shape[1], _TILE):
        stop = min(start + _TILE, scores.shape[1])
        torch.mm(rounded, items.tile(start, min(stop, n), rows).T, out=scores[:, start : min(stop, n)])
        low, high = np.searchsorted(columns, [start, stop])
        if high > low:
            scores.index_put_((owners[low:high], places[low:high]), nothing)
        if group > 1:
            groups = scores[:, start:stop].view(bits).view(len(scores), -1, group)
            largest[:, start // group : stop // group] = groups.amax(-1)
    return largest if group > 1 else scores.view(bits)


def _second_pass(
    scores: Tensor, bits: Tensor, queries: Tensor, items: Dense, rows: Tensor | None, k: int, group: int
) -> list[Ranked]:
    """Score in float32 what may be among the k best, and rank it."""
    values, largest = scores.view(bits.dtype), bits
    floor = _floor(_kth(bits, k).view(scores.dtype), queries, items)
    if bool((floor > 0).all()):
        lowest = floor.to(torch.float32).view(torch.int32)
        lowest = lowest if scores.dtype == torch.float32 else (lowest >> 16).to(torch.int16)
    else:
        values, largest = scores, scores.view(len(scores), -1, group).amax(-1)
        floor = _floor(_kth(largest, k), queries, items)
        lowest = (floor - 2 * _HALF[scores.dtype] * floor.abs()).to(scores.dtype).clamp(min=torch.finfo(scores.dtype).min)
    owners, columns = torch.nonzero(largest >= lowest[:, None], as_tuple=True)
    if len(owners) * group > 8 * _MOST_PAIRS and len(queries) > 1:
        return _halved(scores, bits, queries, items, rows, k, group)
    if group > 1:
        members = values.view(len(values), -1, group)[owners, columns]  # (P, group)
        pair, inside = torch.nonzero(members >= lowest[owners, None], as_tuple=True)
        owners, columns = owners[pair], columns[pair] * group + inside
    if len(owners) > _MOST_PAIRS and len(queries) > 1:
        return _halved(scores, bits, queries, items, rows, k, group)
    places = columns if rows is None else rows[columns]
    exact = pair_scores(queries, items.stored, owners, places)
    return [ranked_pairs(owners.cpu().numpy(), places.cpu().numpy(), exact.cpu().numpy(), len(queries), k)]


def _halved(
    scores: Tensor, bits: Tensor, queries: Tensor, items: Dense, rows: Tensor | None, k: int, group: int
) -> list[Ranked]:
    """The second pass in two parts, where so many scores are close that their pairs would take too much memory."""
    middle = len(queries) // 2
    halves = (slice(0, middle), slice(middle, None))
    both = [_second_pass(scores[half], bits[half], queries[half], items, rows, k, group) for half in halves]
    return [part for one in both for part in one]


def _kth(values: Tensor, k: int) -> Tensor:
    """The k-th largest of each row, (B,)."""
    if values.device.type == "cpu" and values.dtype != torch.bfloat16:
        array = values.numpy()
        return torch.from_numpy(np.partition(array, array.shape[1] - k, axis=1)[:, -k].copy())
    return values.topk(k, dim=1).values[:, -1]


def _floor(kth: Tensor, queries: Tensor, items: Dense) -> Tensor:
    """float64 (B,): no item of the k best has a lower score in the first pass, before rounding.

    ``kth`` is rounded, so that k items have at least a half step less than it; all k best are at most twice the margin
    below these.
    """
    kth = kth.double()
    step = (1.01 * _HALF[items.dtype] + 2.0**-22) * kth.abs()
    floor = kth - step - 2 * items.margin(queries, queries.to(items.dtype)).double()
    return torch.where(floor.isnan(), -torch.inf, floor)


def pair_scores(queries: Tensor, stored: Stored, owners: Tensor, rows: Tensor) -> Tensor:
    """Inner products of pairs, each summed in the same order whatever else is asked for.

    Parameters
    ----------
    queries : float32 (n, D)
    stored : Stored (n_items, D)
    owners, rows : int64 (P,)

    Returns
    -------
    float32 (P,)
    """
    out = torch.empty(len(owners), dtype=torch.float32, device=queries.device)
    for start in range(0, len(owners), _CHUNK):
        part = slice(start, start + _CHUNK)
        left, right = queries.index_select(0, owners[part]), stored.decoded(rows[part])
        out[part] = torch.bmm(left[:, None, :], right[:, :, None]).flatten()
    return out


def ranked_pairs(owners: Int64, rows: Int64, scores: Float32, n: int, k: int) -> Ranked:
    """The k best of each owner's pairs, equal scores in row order.

    Parameters
    ----------
    owners, rows : int64 (P,)
        Ascending by owner, then row.
    scores : float32 (P,)
    n : int
        Owners.
    k : int
    """
    bits = (scores + np.float32(0.0)).view(np.uint32)  # + 0: minus zero is zero
    falling = np.where(bits >> 31, bits, bits ^ np.uint32(0x7FFFFFFF))
    if n <= 1 << _OWNER_BITS and len(owners) <= 1 << (32 - _OWNER_BITS):  # one whole number tells it all
        keys = owners.astype(np.uint64) << np.uint64(64 - _OWNER_BITS)
        keys |= falling.astype(np.uint64) << np.uint64(32 - _OWNER_BITS)
        keys |= np.arange(len(owners), dtype=np.uint64)
        keys.sort()
        order = (keys & np.uint64((1 << (32 - _OWNER_BITS)) - 1)).astype(np.int64)
    else:
        order = np.lexsort((falling, owners))
    counts = np.bincount(owners, minlength=n)
    kept = np.minimum(counts, k)
    order = order[ragged_positions(np.cumsum(counts) - counts, kept)]
    return Ranked(RowLists.from_lengths(kept, rows[order].astype(np.int32)), scores[order])
