"""Exact search of item vectors by inner product, with exclusions that bite."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import numpy as np
import torch

from recsys.data.row_lists import Bool, Float32, Int32, Int64, RowLists
from recsys.errors import BundleError, ConfigError, DataError
from recsys.index.library import faiss
from recsys.models.towers import rank_vectors
from recsys.recommender import Ranked, check_exclude, check_k

_BLOCK_CANDIDATES = 4_000_000
"""Candidates fetched at once, over all queries of a block."""


class ExactIndex:
    """A FAISS flat index whose position is the item row.

    FAISS knows nothing of what a single query excludes: each query fetches as many items more as it excludes, and one
    over, drops the excluded, and fetches everything in the rare case that a tie reaches past what was fetched.

    Parameters
    ----------
    index : faiss.IndexFlatIP
    """

    def __init__(self, index: Any) -> None:
        self._index = index

    @classmethod
    def build(cls, vectors: Float32) -> Self:
        """Index item vectors.

        Parameters
        ----------
        vectors : float32 (n_items, D)

        Raises
        ------
        DataError
            There are none, or one is not finite.
        """
        if vectors.ndim != 2 or len(vectors) == 0:
            raise DataError(f"an index needs at least one vector; got an array of shape {vectors.shape}")
        broken = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
        if len(broken):
            raise DataError(f"{len(broken)} item vectors are not finite, the first is row {broken[0]}")
        index = faiss().IndexFlatIP(vectors.shape[1])
        index.add(np.ascontiguousarray(vectors, dtype=np.float32))
        return cls(index)

    def __len__(self) -> int:
        return int(self._index.ntotal)

    @property
    def dim(self) -> int:
        """Dimensions of a vector."""
        return int(self._index.d)

    def vectors(self) -> Float32:
        """float32 (n_items, D): the vectors in row order."""
        stored: Float32 = self._index.reconstruct_n(0, len(self))
        return stored

    def save(self, file: Path) -> None:
        """Write the index in FAISS's own format."""
        faiss().write_index(self._index, str(file))

    @classmethod
    def load(cls, file: Path) -> Self:
        """Read what :meth:`save` wrote.

        Raises
        ------
        BundleError
            The file is not a flat inner-product index.
        """
        library = faiss()
        try:
            index = library.read_index(str(file))
        except RuntimeError as error:
            raise BundleError(f"{file} is not a FAISS index: {str(error).splitlines()[0]}") from error
        if not isinstance(index, library.IndexFlatIP):
            raise BundleError(f"{file} holds a {type(index).__name__}, expected IndexFlatIP")
        return cls(index)

    def search(self, queries: Float32, k: int, exclude: RowLists | None = None, candidates: Int32 | None = None) -> Ranked:
        """The k best items of each query.

        Parameters
        ----------
        queries : float32 (n, D)
        k : int
        exclude : RowLists (n), optional
            Item rows that must not be returned, query by query.
        candidates : int32 (C,), optional
            The only item rows that may be returned, ascending; the search is then a dense one over these.

        Returns
        -------
        Ranked (n)
            Equal scores in row order; fewer than k items only where fewer are eligible.

        Raises
        ------
        ConfigError
            The queries' dimension is not the index's, k is below 1, or there are not as many exclusions as queries.
        DataError
            A query is not finite.
        """
        check_k(k)
        if queries.ndim != 2 or queries.shape[1] != self.dim:
            raise ConfigError(f"queries have shape {queries.shape}, the index holds vectors of {self.dim} dimensions")
        if not np.isfinite(queries).all():
            raise DataError("a query vector is not finite")
        if exclude is None:
            exclude = RowLists.empty(len(queries))
        check_exclude(exclude, len(queries))
        if candidates is not None:
            return self._search_among(queries, k, exclude, candidates)
        fetch = np.minimum(k + exclude.lengths + 1, len(self))
        parts: list[Ranked] = []
        order = np.argsort(fetch, kind="stable")  # alike together, so that one long history costs only its own block
        begin = 0
        while begin < len(order):
            end = begin + 1
            while end < len(order) and (end - begin + 1) * fetch[order[end]] <= _BLOCK_CANDIDATES:
                end += 1
            chosen = order[begin:end]
            parts.append(self._search_block(queries[chosen], k, exclude.take(chosen), int(fetch[chosen[-1]])))
            begin = end
        return Ranked.joined(parts).take(np.argsort(order, kind="stable"))

    def _search_among(self, queries: Float32, k: int, exclude: RowLists, candidates: Int32) -> Ranked:
        few = self.vectors()[candidates]
        place = np.full(len(self), -1, dtype=np.int32)
        place[candidates] = np.arange(len(candidates), dtype=np.int32)
        hidden = RowLists(exclude.offsets, place[exclude.rows])
        hidden = hidden.where(hidden.rows >= 0)
        found = rank_vectors(torch.from_numpy(queries), torch.from_numpy(few), k, hidden)
        return Ranked(RowLists(found.lists.offsets, candidates[found.lists.rows]), found.scores)

    def _search_block(self, queries: Float32, k: int, exclude: RowLists, fetch: int) -> Ranked:
        scores, rows = self._index.search(np.ascontiguousarray(queries, dtype=np.float32), fetch)
        keep = (rows >= 0) & ~_excluded(rows, exclude, len(self))  # -1: FAISS drops a score of minus infinity
        order = np.lexsort((rows, -scores, ~keep))  # per query: kept before excluded, best first, ties by row
        rows, scores = np.take_along_axis(rows, order, 1), np.take_along_axis(scores, order, 1)
        counts = np.minimum(keep.sum(1), k)
        taken = np.arange(fetch) < counts[:, None]
        found = Ranked(RowLists.from_lengths(counts, rows[taken].astype(np.int32)), scores[taken])
        if fetch == len(self):
            return found
        last_kept = scores[np.arange(len(scores)), np.maximum(counts, 1) - 1]
        unsure = np.flatnonzero(last_kept == scores.min(1))
        if len(unsure) == 0:
            return found
        step = max(1, _BLOCK_CANDIDATES // len(self))
        again = [unsure[begin : begin + step] for begin in range(0, len(unsure), step)]
        whole = [self._search_block(queries[part], k, exclude.take(part), len(self)) for part in again]
        place = np.arange(len(queries))
        place[unsure] = len(queries) + np.arange(len(unsure))
        return Ranked.joined([found, *whole]).take(place)


def _excluded(rows: Int64, exclude: RowLists, n_items: int) -> Bool:
    """bool (n, fetch): whether each fetched row is excluded for its query."""
    if len(exclude.rows) == 0:
        return np.zeros(rows.shape, dtype=np.bool_)
    forbidden = np.sort(exclude.owners() * n_items + exclude.rows)
    keys = np.arange(len(rows))[:, None] * n_items + rows
    place = np.minimum(np.searchsorted(forbidden, keys), len(forbidden) - 1)
    found: Bool = forbidden[place] == keys
    return found
