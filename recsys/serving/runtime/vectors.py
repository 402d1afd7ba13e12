"""Item vectors, and the search for those with the largest inner product."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import numpy as np

from recsys.core.ragged import Bool, Float32, Int64, Ragged, overlap
from recsys.core.ranking import Ranked, SparseScores, distinct_eligible, ranked_pairs
from recsys.index.faiss_library import faiss
from recsys.index.sparse_sum import with_sparse

_BLOCK_SCORES = 8_000_000
"""Scores held at once."""
_ROUNDING = 1e-5
"""How far a score of the first pass may be off, as a share of the longest vectors' product."""
_EXACT_BELOW, _EXACT_SHARE = 20_000, 0.05
"""With so few eligible items, all of them are compared; as in :class:`recsys.index.item_index.ItemIndex`."""
_WIDENINGS = (1, 4)


@dataclass(frozen=True, eq=False)
class Finder:
    """An approximate index of FAISS.

    Attributes
    ----------
    index : faiss.Index
    spec : dict
        ``kind``, ``lists``, ``nprobe``, ``ef_search`` and ``fetches_per_item`` of the bundle's index.
    covered : int64 (m,)
        The item row of each place.
    """

    index: Any
    spec: dict[str, Any]
    covered: Int64

    def find(self, queries: Float32, fetch: int, usable: Bool | None, harder: int) -> tuple[Int64, Int64]:
        """Queries and item rows of what is probably among the best, int64 (P,) each."""
        library, given = faiss(), {}
        if usable is not None:
            given["sel"] = library.IDSelectorBitmap(np.packbits(usable[self.covered], bitorder="little"))
        fetch = min(fetch, int(self.index.ntotal))
        if self.spec["kind"] == "hnsw":
            chosen = library.SearchParametersHNSW(efSearch=max(self.spec["ef_search"] * harder, fetch), **given)
        else:
            nprobe = min(self.spec["lists"], self.spec["nprobe"] * harder)
            chosen = library.SearchParametersIVF(nprobe=nprobe, **given)
        places = self.index.search(np.ascontiguousarray(queries), fetch, params=chosen)[1]
        owners, columns = np.nonzero(places >= 0)
        return owners, self.covered[places[owners, columns]]


@dataclass(frozen=True, eq=False)
class Vectors:
    """Item vectors by row.

    Attributes
    ----------
    rows : float32 (n, D)
    alive : bool (n,)
        Rows that are not removed.
    finder : Finder or None
        None: every vector is compared.
    """

    rows: Float32
    alive: Bool
    finder: Finder | None = field(default=None)

    def __len__(self) -> int:
        return len(self.alive)

    @cached_property
    def _longest(self) -> float:
        return float(np.sqrt(np.einsum("ij,ij->i", self.rows, self.rows).max(initial=0.0)))

    @cached_property
    def _uncovered(self) -> Int64:
        """Rows that the finder lacks: always compared."""
        assert self.finder is not None  # noqa: S101 - asked of approximate ones alone
        lacking = np.ones(len(self), dtype=np.bool_)
        lacking[self.finder.covered] = False
        return np.flatnonzero(lacking & self.alive)

    def scores(self, queries: Float32, owners: Int64, rows: Int64) -> Float32:
        """float32 (P,): the score of each pair of a query and an item, in the same order of operations always."""
        found: Float32 = np.einsum("ij,ij->i", queries[owners], self.rows[rows])
        return found

    def search(
        self,
        queries: Float32,
        k: int,
        exclude: Ragged | None = None,
        eligible: Bool | None = None,
        added: SparseScores | None = None,
    ) -> Ranked:
        """The k best items of each query; as :meth:`recsys.index.item_index.ItemIndex.search`."""
        k = min(k, len(self))
        mask = overlap(None if self.alive.all() else self.alive, eligible)
        possible = len(self) if mask is None else int(mask.sum())
        hidden = Ragged.empty(len(queries)) if exclude is None else exclude
        if self.finder is None or possible <= max(_EXACT_BELOW, _EXACT_SHARE * len(self)):
            ranked = self._exact(queries, k, hidden, mask)
        else:
            ranked = self._approximate(queries, k, hidden, mask, possible)
        if added is None:
            return ranked
        return with_sparse(ranked, added, k, len(self), partial(self.scores, queries), exclude, mask)

    def _exact(self, queries: Float32, k: int, exclude: Ragged, mask: Bool | None) -> Ranked:
        """A first pass by matrix products, then all that may be among the k best scored pair by pair."""
        block, parts = max(1, _BLOCK_SCORES // len(self)), []
        for start in range(0, len(queries), block):
            some, hidden = queries[start : start + block], exclude.block(start, start + block)
            rough = some @ self.rows.T
            if mask is not None:
                rough[:, ~mask] = -np.inf
            rough[hidden.list_index(), hidden.rows] = -np.inf
            margin = _ROUNDING * self._longest * np.linalg.norm(some, axis=1)
            kth = np.partition(rough, len(self) - k, axis=1)[:, len(self) - k]
            owners, rows = np.nonzero((rough >= (kth - 2 * margin)[:, None]) & (rough > -np.inf))
            parts.append(ranked_pairs(owners, rows, self.scores(some, owners, rows), len(some), k))
        return Ranked.joined(parts)

    def _approximate(self, queries: Float32, k: int, exclude: Ragged, mask: Bool | None, possible: int) -> Ranked:
        assert self.finder is not None  # noqa: S101 - the caller has checked it
        enough = np.minimum(k, possible - distinct_eligible(exclude, mask, len(self)))
        always = self._uncovered if mask is None else self._uncovered[mask[self._uncovered]]
        parts: list[Ranked] = []
        place, done, todo = np.empty(len(queries), dtype=np.int64), 0, np.arange(len(queries))
        for harder in (*_WIDENINGS, None):
            if not len(todo):
                break
            some, hidden = queries[todo], exclude.take(todo)
            if harder is None:
                ranked = self._exact(some, k, hidden, mask)
            else:
                fetch = harder * (k * self.finder.spec["fetches_per_item"]) + int(hidden.lengths.max(initial=0))
                owners, rows = self.finder.find(some, fetch, mask, harder)
                owners = np.concatenate([owners, np.repeat(np.arange(len(some)), len(always))])
                keys = owners * len(self) + np.concatenate([rows, np.tile(always, len(some))])
                keys = np.setdiff1d(keys, hidden.list_index() * len(self) + hidden.rows)
                owners, rows = np.divmod(keys, len(self))
                ranked = ranked_pairs(owners, rows, self.scores(some, owners, rows), len(some), k)
            parts.append(ranked)
            place[todo] = done + np.arange(len(todo))
            done += len(todo)
            todo = todo[ranked.lists.lengths < enough[todo]]
        return Ranked.joined(parts).take(place)
