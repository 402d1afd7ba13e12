"""Ranking metrics as pure functions: a matrix of hits in, one value per user out. Nothing here imports torch."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from recsys.core.ragged import Bool, Int64, Ragged

Values: TypeAlias = NDArray[np.float64]


def hit_matrix(ranked: Ragged, targets: Ragged, k: int) -> Bool:
    """Which places of each ranked list hold a target.

    Parameters
    ----------
    ranked, targets : Ragged (n)
        Item rows; no item twice in a list.
    k : int

    Returns
    -------
    bool (n, k)
        False behind the end of a list shorter than k.
    """
    shown = ranked.head(np.full(len(ranked), k, dtype=np.int64))
    width = 1 + max((int(part.rows.max()) for part in (shown, targets) if len(part.rows)), default=0)
    keys = shown.list_index() * width + shown.rows
    wanted = np.sort(targets.list_index() * width + targets.rows)
    place = np.minimum(np.searchsorted(wanted, keys), max(len(wanted) - 1, 0))
    hits = np.zeros((len(ranked), k), dtype=np.bool_)
    if len(wanted):
        column = np.arange(len(keys)) - np.repeat(shown.offsets[:-1], shown.lengths)
        hits[shown.list_index(), column] = wanted[place] == keys
    return hits


def recall(hits: Bool, relevant: Int64, k: int) -> Values:
    """recall@k = hits among the first k / number of relevant items; in [0, 1].

    Divided by all relevant items, not by min(k, relevant): with more than k relevant items, 1 cannot be reached.

    Parameters
    ----------
    hits : bool (n, K)
        As :func:`hit_matrix` gives them, with K ≥ k or every place of the longest list; the same for every metric below.
    relevant : int64 (n,)
        Relevant items per user, at least 1.
    k : int

    Returns
    -------
    float64 (n,)
    """
    values: Values = hits[:, :k].sum(1) / relevant
    return values


def hit_rate(hits: Bool, relevant: Int64, k: int) -> Values:
    """hit_rate@k = 1 where any of the first k is relevant, else 0."""
    values: Values = (hits[:, :k].sum(1) > 0).astype(np.float64)
    return values


def precision(hits: Bool, relevant: Int64, k: int) -> Values:
    """precision@k = hits among the first k / k; in [0, 1]. A list shorter than k is divided by k all the same."""
    values: Values = hits[:, :k].sum(1) / k
    return values


def ndcg(hits: Bool, relevant: Int64, k: int) -> Values:
    """NDCG@k with binary gains (Järvelin and Kekäläinen, 2002); in [0, 1].

    DCG = Σ hit_i / log2(i + 1) over places i = 1 .. k; divided by the DCG of min(k, relevant) hits in the first places.
    Both are summed in the order of places: a matrix product would round differently for each number of users.
    """
    cut = hits[:, :k]
    discounts = 1.0 / np.log2(np.arange(2, 2 + max(cut.shape[1], int(np.minimum(relevant, k).max(initial=1)))))
    ideal = np.cumsum(discounts)[np.minimum(relevant, k) - 1]
    values: Values = np.cumsum(cut * discounts[: cut.shape[1]], axis=1)[:, -1] / ideal
    return values


def reciprocal_rank(hits: Bool, relevant: Int64, k: int) -> Values:
    """1 / place of the first hit within k, 0 without one; its mean is MRR@k."""
    cut = hits[:, :k]
    return np.where(cut.any(1), 1.0 / (cut.argmax(1) + 1), 0.0)


def average_precision(hits: Bool, relevant: Int64, k: int) -> Values:
    """AP@k = Σ hit_i · precision@i over places i ≤ k / number of relevant items; in [0, 1]; its mean is MAP@k.

    Divided by all relevant items, as recall is.
    """
    cut = hits[:, :k]
    at_place = np.cumsum(cut, axis=1) / np.arange(1, cut.shape[1] + 1)
    values: Values = (at_place * cut).sum(1) / relevant
    return values


PER_USER = {
    "recall": recall,
    "hit_rate": hit_rate,
    "precision": precision,
    "ndcg": ndcg,
    "mrr": reciprocal_rank,
    "map": average_precision,
}
"""The metrics that :func:`recsys.evaluate` computes for each user and each k, by the name it prints."""
