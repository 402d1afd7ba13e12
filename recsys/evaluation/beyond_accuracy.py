"""Metrics beyond accuracy as pure functions: ranked lists in, one value per user or per item out; nothing imports torch.

A value per user is float64 (n,), a mean over the places shown (not over k), NaN if the list is empty or the docstring
says so. A k below 1 or clashing lengths raise ConfigError, a row outside the catalogue DataError. Arguments, throughout:

ranked, histories : Ragged (n)
    Item rows, best first, no row twice in a list, cut at k; item rows of the same users, each as often as it occurs.
item_users, counts : int64 (n_items,)
    Distinct training users who touched each item; training interactions with each item.
vectors : float32 (n_items, D)
    Of any length: normalised here, in float64.
categories : sparse CSR (n_items, n_categories)
    Bool or a number: a value other than 0 says that the item is of the category.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recsys.core.ragged import Bool, Float32, Int64, Ragged
from recsys.core.ranking import check_k
from recsys.errors import ConfigError, DataError
from recsys.evaluation.metrics import Values

Counts: TypeAlias = NDArray[np.integer]
Categories: TypeAlias = "sp.csr_matrix[Any]"
_CELLS = 1 << 22  # numbers that a block of users may hold at once (32 MB)


def novelty(ranked: Ragged, item_users: Counts, n_users: int, k: int) -> Values:
    """Mean self-information: mean of −log2(item_users / n_users) over the list; in [0, log2(n_users)].

    An item without users counts as touched by one user. Zhou et al. (PNAS 2010); RecTools' MeanInvUserFreq, where
    ``n_users`` are the users who touched anything at all.
    """
    shown = _shown(ranked, len(item_users), k)
    users = np.maximum(item_users[shown.rows], 1)
    if (most := int(users.max(initial=1))) > n_users:
        raise DataError(f"an item has {most} users, yet n_users is {n_users}")
    return _mean(shown, np.log2(n_users / users))


def average_popularity(ranked: Ragged, counts: Counts, k: int) -> Values:
    """ARP@k: mean of ``counts`` over the list; in [0, max(counts)]. Yin et al. (VLDB 2012); RecTools' AvgRecPopularity."""
    shown = _shown(ranked, len(counts), k)
    return _mean(shown, counts[shown.rows])


def popularity_lift(ranked: Ragged, histories: Ragged, counts: Counts, k: int) -> Values:
    """(mean count of the list − mean count of the history) / mean count of the history; in [−1, ∞), 0 without bias.

    NaN also if the history is empty or none of its items has interactions. Abdollahpouri et al. (RecSys 2020) divide the
    means of a group of users; this is the lift of a group of one.
    """
    before = _mean(_shown(histories, len(counts), n=len(ranked)), counts[histories.rows])
    return _ratio(average_popularity(ranked, counts, k) - before, before)


def diversity(ranked: Ragged, vectors: Float32, k: int) -> Values:
    """Intra-list diversity: mean over pairs of 1 − cosine; in [0, 2], above m / (m − 1) never. Ziegler et al. (WWW 2005).

    With the sum S of the m unit vectors the mean cosine is (|S|² − m) / (m (m − 1)): no pair is formed. An item whose
    vector is 0 is left out. NaN for fewer than two, where RecTools' IntraListDiversity (of any distance) says 0.
    """
    shown = _shown(ranked, len(vectors), k)
    values = np.empty(len(shown))
    for start, stop in _blocks(shown.lengths * vectors.shape[1]):
        part = shown.block(start, stop)
        items, place = np.unique(part.rows, return_inverse=True)
        units = vectors[items].astype(np.float64)
        norms = np.sqrt(np.einsum("id,id->i", units, units))
        units /= np.where(norms > 0, norms, 1.0)[:, None]
        sums = _picks(part.offsets, place, len(items)) @ units
        sizes = np.bincount(part.list_index(), weights=norms[place] > 0, minlength=len(part))
        values[start:stop] = 1.0 - _ratio(np.einsum("id,id->i", sums, sums) - sizes, sizes * (sizes - 1))
    return np.clip(values, 0.0, 2.0)  # of rounding: equal vectors would give −1e-16


def category_diversity(ranked: Ragged, categories: Categories, k: int) -> Values:
    """Mean over pairs of 1 − |A ∩ B| / |A ∪ B|, A and B the categories of two items of the list; in [0, 1].

    Items without a category are left out; NaN if fewer than two others are in the list.
    """
    members = _members(categories)
    shown = _shown(ranked, members.shape[0], k)
    shown = shown.where(np.diff(members.indptr)[shown.rows] > 0)
    values = np.empty(len(shown))
    for start, stop in _blocks(shown.lengths**2):
        part = shown.block(start, stop)
        owners, of = part.list_index(), members[part.rows]
        sizes = np.diff(of.indptr)
        # One column per user and category, so that the product holds pairs of the same list only.
        used, columns = np.unique(np.repeat(owners, sizes) * members.shape[1] + of.indices, return_inverse=True)
        table = _picks(of.indptr, columns, len(used))
        common = sp.coo_matrix(table @ table.T)
        above = common.row < common.col
        left, right, both = common.row[above], common.col[above], common.data[above]
        alike = np.bincount(owners[left], weights=both / (sizes[left] + sizes[right] - both), minlength=len(part))
        values[start:stop] = 1.0 - _ratio(alike, part.lengths * (part.lengths - 1) / 2)
    return values


def serendipity(ranked: Ragged, hits: Bool, item_users: Counts, k: int) -> Values:
    """Mean over the places i of the list of max(p_user − p_any, 0) · hit_i, as RecTools' Serendipity; in [0, 1].

    p_user = (N + 1 − i) / N for N items, p_any = (N + 1 − popularity rank) / N, 0 for an item without users. The
    most popular item has rank 1; items of equal popularity share a rank, and the next rank follows without a gap.
    RecTools' formula divides by k, its code by the places shown, as here; it ranks by interactions, so that on a log with
    repeats ``counts`` in place of ``item_users`` gives its numbers. ``hits`` : bool (n, K ≥ k), of ``metrics.hit_matrix``.
    """
    shown, n_items = _shown(ranked, len(item_users), k), len(item_users)
    longest = int(shown.lengths.max(initial=0))
    if len(hits) != len(ranked) or hits.shape[1] < longest:
        raise ConfigError(f"hits has the shape {hits.shape}, not {(len(ranked), longest)} for the first {k} places")
    levels = np.unique(item_users)
    rank = len(levels) - np.searchsorted(levels, item_users)
    by_any = np.where(item_users > 0, (n_items + 1 - rank) / n_items, 0.0)[shown.rows]
    place = np.arange(len(shown.rows)) - np.repeat(shown.offsets[:-1], shown.lengths)
    surprise = np.maximum((n_items - place) / n_items - by_any, 0.0)
    return _mean(shown, surprise * hits[shown.list_index(), place])


def calibration(ranked: Ragged, histories: Ragged, categories: Categories, k: int) -> Values:
    """Miscalibration, Σ_g p_g ln(p_g / q̃_g) with q̃ = (1 − α) q + α p and α = 0.01 (Steck, RecSys 2018).

    p and q are the category shares of history and list; an item spreads its weight evenly over its categories, one without
    is left out. In [0, −ln α = 4.605], 0 if the shares agree; NaN if list or history has no item with a category.
    """
    alpha, spread = 0.01, _members(categories)
    spread.data /= np.repeat(np.diff(spread.indptr), np.diff(spread.indptr))
    shown, seen = _shown(ranked, spread.shape[0], k), _shown(histories, spread.shape[0], n=len(ranked))
    values = np.empty(len(shown))
    for start, stop in _blocks(seen.lengths + shown.lengths):
        (given, of_list), (wanted, of_history) = (_shares(part.block(start, stop), spread) for part in (shown, seen))
        entropy, smooth = wanted.copy(), (1.0 - alpha) * given + alpha * wanted
        entropy.data *= np.log(entropy.data)
        smooth.data = np.log(smooth.data)
        divergence = np.asarray((entropy - wanted.multiply(smooth)).sum(axis=1)).ravel()
        values[start:stop] = np.where((of_list > 0) & (of_history > 0), np.maximum(divergence, 0.0), np.nan)
    return values


def exposure(ranked: Ragged, n_items: int, k: int) -> Int64:
    """int64 (n_items,): in how many lists each item is shown."""
    return np.bincount(_shown(ranked, n_items, k).rows, minlength=n_items).astype(np.int64)


def gini(shown: Counts) -> float:
    """Gini index Σ (2i − N − 1) x_i / (N Σ x), x the ascending exposure of N items; in [0, 1 − 1/N], NaN if all are 0."""
    n, total = len(shown), int(shown.sum())
    return int((2 * np.arange(1, n + 1) - n - 1) @ np.sort(shown).astype(np.int64)) / (n * total) if total else float("nan")


def catalog_coverage(shown: Counts) -> float:
    """coverage@k: items with an :func:`exposure` above 0 / items in the catalogue; in [0, 1], NaN for an empty one."""
    return int(np.count_nonzero(shown)) / len(shown) if len(shown) else float("nan")


def exposure_share(shown: Counts, groups: Counts, n_groups: int = 0) -> Values:
    """float64 (≥ n_groups,): share of all places per group; NaN if nothing is shown. ``groups``: a label ≥ 0 an item."""
    if len(shown) != len(groups):
        raise ConfigError(f"exposure is of {len(shown)} items, groups of {len(groups)}")
    taken = np.bincount(groups, weights=shown, minlength=n_groups)
    return _ratio(taken, np.full(len(taken), taken.sum()))


def quality(ranked: Ragged, n_items: int, k: int) -> dict[str, int]:
    """Counts of users with fewer than k items or none, and of places with a repeated or an unknown item."""
    check_k(k)
    shown = ranked.head(np.full(len(ranked), k, dtype=np.int64))
    keys = np.sort((shown.list_index() << 32) + shown.rows)
    return {
        "users_with_fewer_than_k": int((shown.lengths < k).sum()),
        "users_with_none": int((shown.lengths == 0).sum()),
        "repeated_items": int((keys[1:] == keys[:-1]).sum()),
        "unknown_items": int(((shown.rows < 0) | (shown.rows >= n_items)).sum()),
    }


def popularity_thirds(counts: Counts) -> NDArray[np.int8]:
    """int8 (n_items,): 0 head, 1 middle, 2 tail, 3 cold (count 0), from interactions per item, int64 (n_items,).

    By falling count, equal counts by row: the head is the shortest run of items that holds a third of all interactions,
    head and middle the shortest that holds two thirds. Where few items hold much, the middle or the tail may be empty.
    """
    if (least := int(counts.min(initial=0))) < 0:
        raise DataError(f"counts must be at least 0, not {least}")
    order = np.argsort(-counts.astype(np.int64), kind="stable")
    ahead = np.cumsum(counts[order]) - counts[order]
    labels, total = np.empty(len(counts), dtype=np.int8), int(counts.sum())
    labels[order] = np.where(counts[order] == 0, 3, (3 * ahead >= total).astype(np.int8) + (3 * ahead >= 2 * total))
    return labels


def _shown(lists: Ragged, n_items: int, k: int | None = None, n: int | None = None) -> Ragged:
    """The first k of each list; refuses rows outside the catalogue, and histories that are not one for each of n lists."""
    if n is not None and len(lists) != n:
        raise ConfigError(f"there are {len(lists)} histories for {n} lists; it needs one for each")
    if k is not None:
        check_k(k)
        lists = lists.head(np.full(len(lists), k, dtype=np.int64))
    wrong = lists.rows[(lists.rows < 0) | (lists.rows >= n_items)]
    if len(wrong):
        raise DataError(f"row {wrong[0]} is not among the {n_items} items of the catalogue")
    return lists


def _blocks(cells: Int64) -> Iterator[tuple[int, int]]:
    """Start and stop of blocks of users, from how many numbers each user needs."""
    size = max(1, _CELLS // int(cells.max(initial=1)))
    return ((start, min(start + size, len(cells))) for start in range(0, len(cells), size))


def _ratio(part: NDArray[Any], whole: NDArray[Any]) -> Values:
    """Part / whole, NaN if the whole is 0 or NaN."""
    values: Values = np.divide(part, whole, out=np.full(len(part), np.nan), where=whole > 0)
    return values


def _mean(lists: Ragged, values: NDArray[Any]) -> Values:
    """Mean per list of a value per element, added in the order of places; NaN for an empty list."""
    return _ratio(np.bincount(lists.list_index(), weights=values, minlength=len(lists)), lists.lengths)


def _picks(offsets: Counts, columns: Counts, width: int) -> Categories:
    """float64 CSR of ones: row ``i`` holds ``columns[offsets[i]:offsets[i + 1]]``."""
    return sp.csr_matrix((np.ones(len(columns)), columns, offsets), shape=(len(offsets) - 1, width))


def _members(categories: Categories) -> Categories:
    """A float64 copy with a 1 for each category of an item and nothing else stored."""
    members = sp.csr_matrix(categories, dtype=np.float64, copy=True)
    members.sum_duplicates()
    members.eliminate_zeros()
    members.data[:] = 1.0
    return members


def _shares(lists: Ragged, spread: Categories) -> tuple[Categories, Values]:
    """Category shares of each list, CSR (n, n_categories), and how many of its items have a category."""
    table = sp.csr_matrix(_picks(lists.offsets, lists.rows, spread.shape[0]) @ spread)
    totals = np.asarray(table.sum(axis=1), dtype=np.float64).ravel()
    table.data /= np.repeat(totals, np.diff(table.indptr))
    return table, totals
