"""The k best of a dense score plus a sparse one, from the k best of the dense score alone.

A sparse score is never below 0. An item that is neither among the k best by the dense score nor touched by the sparse one
has k items before it whose sum is no less than their dense score, so that it is not among the k best of the sum: these lie
among (k best of the dense score) and (touched items). Any index stays as exact as it is.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from recsys.core.ragged import Bool, Float32, Int64, Ragged, is_in
from recsys.core.ranking import Ranked, SparseScores, ranked_pairs
from recsys.errors import ConfigError

_BLOCK_PAIRS = 20_000_000


def with_sparse(
    ranked: Ranked,
    sparse: SparseScores,
    k: int,
    n_items: int,
    dense_scores: Callable[[Int64, Int64], Float32],
    exclude: Ragged | None = None,
    eligible: Bool | None = None,
) -> Ranked:
    """Rank by the sum of both scores.

    Parameters
    ----------
    ranked : Ranked (n)
        The k best by the dense score, of what is eligible and not excluded.
    sparse : SparseScores (n)
    k, n_items : int
    dense_scores : callable
        The dense scores, float32 (P,), of pairs of a query and an item, int64 (P,) each.
    exclude : Ragged (n), optional
        Item rows that must not be returned, query by query.
    eligible : bool (n_items,), optional
        Which items may be returned; by default all.

    Returns
    -------
    Ranked (n)
        Equal scores in row order.

    Raises
    ------
    ConfigError
        There are not as many sparse lists as queries.
    """
    if len(sparse) != len(ranked):
        raise ConfigError(f"there are sparse scores for {len(sparse)} queries, and {len(ranked)} queries")
    pairs = np.cumsum(ranked.lists.lengths + sparse.lists.lengths)
    parts, start = [], 0
    while start < len(ranked):
        done = int(pairs[start - 1]) if start else 0
        stop = max(start + 1, int(np.searchsorted(pairs, done + _BLOCK_PAIRS, side="right")))
        hidden = None if exclude is None else exclude.block(start, stop)
        parts.append(
            _block(ranked.block(start, stop), sparse.block(start, stop), k, n_items, dense_scores, hidden, eligible, start)
        )
        start = stop
    return Ranked.joined(parts)


def _block(
    ranked: Ranked,
    sparse: SparseScores,
    k: int,
    n_items: int,
    dense_scores: Callable[[Int64, Int64], Float32],
    exclude: Ragged | None,
    eligible: Bool | None,
    first: int,
) -> Ranked:
    touched, values = sparse.lists.list_index() * n_items + sparse.lists.rows, sparse.scores
    kept = np.ones(len(touched), dtype=np.bool_) if eligible is None else eligible[sparse.lists.rows]
    if exclude is not None and len(exclude.rows):
        forbidden = np.sort(exclude.list_index() * n_items + exclude.rows)
        kept &= ~is_in(touched, forbidden)
    touched, values = touched[kept], values[kept]
    best = np.sort(ranked.lists.list_index() * n_items + ranked.lists.rows)
    alone = best[~is_in(best, touched)]
    owners, rows = np.divmod(np.concatenate([touched, alone]), n_items)
    scores = dense_scores(first + owners, rows)
    scores[: len(touched)] += values
    return ranked_pairs(owners, rows, scores, len(ranked), k)
