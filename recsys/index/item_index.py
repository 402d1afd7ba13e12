"""The index of item vectors: exact or approximate behind one interface, strict exclusions, changes without a rebuild."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch

from recsys.core.ragged import Bool, Float32, Int32, Int64, Ragged, is_in, overlap
from recsys.core.ranking import Ranked, SparseScores, check_exclude, check_k, distinct_eligible, ranked_pairs
from recsys.errors import ConfigError, DataError
from recsys.index.approximate import ApproximateIndex, build_approximate
from recsys.index.exact.search import search
from recsys.index.exact.storage import VectorStorage
from recsys.index.exact.table import VectorTable, pair_scores
from recsys.index.sparse_sum import with_sparse
from recsys.index.spec import IndexSpec

EXACT_BELOW = 20_000
"""Up to this many eligible items, all of them are compared."""
_EXACT_SHARE = 0.05
_BLOCK_CANDIDATES = 4_000_000
"""Most candidates that a block of queries finds at once."""
_WIDENINGS = (1, 4)
_FRESH_SHARE = 0.05
"""Largest share of items outside the finder; with more, the finder is built anew."""


@dataclass(frozen=True, eq=False)
class ItemIndex:
    """Item vectors by row, and a search for those with the largest inner product.

    An index never changes: :meth:`added`, :meth:`updated`, :meth:`removed` and :meth:`compacted` return another one that
    shares what has not changed, so that a search that is running still sees the whole old index.

    An approximate index asks its finder for more eligible items than are asked for, drops what the query excludes, and
    scores the rest with the stored vectors. If a query is left with fewer items than it could have, the index asks again,
    with more ef_search and finally exactly.

    Attributes
    ----------
    dense : VectorTable (n)
        All vectors, removed ones too.
    spec : IndexSpec
    finder : ApproximateIndex or None
        None: exact.
    covered : int64 (m,)
        The item row of each place of the finder, ascending.
    stale : bool (n,)
        Rows that the finder lacks or holds with an older vector; these are always compared.
    alive : bool (n,)
        Rows that are not removed.
    measured : list of dict
        The trade-off between recall, time and memory, as measured when the configuration was chosen.
    """

    dense: VectorTable
    spec: IndexSpec
    finder: ApproximateIndex | None
    covered: Int64
    stale: Bool
    alive: Bool
    measured: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def build(cls, vectors: Float32, spec: IndexSpec | None = None, *, device: str = "cpu") -> ItemIndex:
        """Index item vectors.

        Parameters
        ----------
        vectors : float32 (n_items, D)
        spec : IndexSpec, optional
            By default exact.
        device : str
            Where vectors are compared exactly.

        Raises
        ------
        DataError
            There is no vector, or one is not finite.
        ConfigError
            The spec is not possible for these vectors.
        """
        if vectors.ndim != 2 or len(vectors) == 0:
            raise DataError(f"an index needs at least one vector; got an array of shape {vectors.shape}")
        spec = spec or IndexSpec()
        table = torch.from_numpy(np.ascontiguousarray(vectors, dtype=np.float32)).to(device)
        dense = VectorTable.of(VectorStorage.of(table, spec.precision))
        n = len(vectors)
        return cls(dense, spec, None, np.empty(0, np.int64), np.ones(n, np.bool_), np.ones(n, np.bool_)).compacted()

    def __len__(self) -> int:
        return len(self.alive)

    @property
    def dim(self) -> int:
        """Dimensions of a vector."""
        return int(self.dense.stored.codes.shape[1])

    @property
    def nbytes(self) -> int:
        """Bytes of memory."""
        return self.dense.nbytes + (0 if self.finder is None else self.finder.nbytes)

    def vectors(self) -> Float32:
        """float32 (n_items, D): the vectors in row order."""
        stored: Float32 = self.dense.stored.decoded(slice(None)).cpu().numpy().copy()
        return stored

    @cached_property
    def _all_alive(self) -> bool:
        return bool(self.alive.all())

    @cached_property
    def _stale_rows(self) -> Int64:
        return np.flatnonzero(self.stale)

    def search(
        self,
        queries: Float32,
        k: int,
        exclude: Ragged | None = None,
        eligible: Bool | None = None,
        added: SparseScores | None = None,
    ) -> Ranked:
        """The k best items of each query.

        Parameters
        ----------
        queries : float32 (n, D)
        k : int
        exclude : Ragged (n), optional
            Item rows that must not be returned, query by query.
        eligible : bool (n_items,), optional
            Which items may be returned; by default all.
        added : SparseScores (n), optional
            Scores to add to the inner products; the result is as exact as without them.

        Returns
        -------
        Ranked (n)
            Equal scores in row order; fewer than k items only if fewer are eligible.

        Raises
        ------
        ConfigError
            The queries have another dimension than the index, k is below 1, or exclusions and queries differ in number.
        DataError
            A query is not finite.
        """
        k = min(check_k(k), len(self))
        if queries.ndim != 2 or queries.shape[1] != self.dim:
            raise ConfigError(f"queries have shape {queries.shape}, the index holds vectors of {self.dim} dimensions")
        if exclude is not None:
            check_exclude(exclude, len(queries))
        queries = np.ascontiguousarray(queries, dtype=np.float32)
        if not np.isfinite(queries).all():
            raise DataError("a query vector is not finite")
        mask = self._mask(eligible)
        n_eligible = len(self) if mask is None else int(mask.sum())
        if self.finder is None or n_eligible <= max(EXACT_BELOW, _EXACT_SHARE * len(self)):
            ranked = self._exact(queries, k, exclude, mask)
        else:
            ranked = self._approximate(queries, k, exclude or Ragged.empty(len(queries)), mask, n_eligible)
        if added is None:
            return ranked
        return with_sparse(ranked, added, k, len(self), partial(self.scores, queries), exclude, mask)

    def scores(self, queries: Float32, owners: Int64, rows: Int64) -> Float32:
        """float32 (P,): the scores of pairs, as :meth:`search` gives them.

        Parameters
        ----------
        queries : float32 (n, D)
        owners, rows : int64 (P,)
            Query and item of each pair.
        """
        device = self.dense.stored.device
        at, of, to = (torch.from_numpy(one).to(device) for one in (queries, owners, rows))
        found: Float32 = pair_scores(at, self.dense.stored, of, to).cpu().numpy()
        return found

    def _mask(self, eligible: Bool | None) -> Bool | None:
        if eligible is not None and eligible.shape != (len(self),):
            raise ConfigError(f"a mask of shape {eligible.shape} does not fit {len(self)} items")
        return overlap(None if self._all_alive else self.alive, eligible)

    def _exact(self, queries: Float32, k: int, exclude: Ragged | None, mask: Bool | None) -> Ranked:
        return search(torch.from_numpy(queries), self.dense, k, exclude, mask)

    def _approximate(self, queries: Float32, k: int, exclude: Ragged, mask: Bool | None, n_eligible: int) -> Ranked:
        possible = np.minimum(k, n_eligible - distinct_eligible(exclude, mask, len(self)))
        parts: list[Ranked] = []
        place, done, todo = np.empty(len(queries), dtype=np.int64), 0, np.arange(len(queries))
        for harder in (*_WIDENINGS, None):
            if len(todo) == 0:
                break
            some, excluded = queries[todo], exclude.take(todo)
            ranked = (
                self._exact(some, k, excluded, mask) if harder is None else self._found(some, k, excluded, mask, harder)
            )
            parts.append(ranked)
            place[todo] = done + np.arange(len(todo))
            done += len(todo)
            todo = todo[ranked.lists.lengths < possible[todo]]
        return Ranked.joined(parts).take(place)

    def _found(self, queries: Float32, k: int, exclude: Ragged, mask: Bool | None, harder: int) -> Ranked:
        """Search in blocks of queries with about equally many exclusions, so that a long history slows one block only."""
        fetch = harder * (k * self.spec.fetches_per_item) + exclude.lengths
        order = np.argsort(fetch, kind="stable")
        parts, begin = [], 0
        while begin < len(order):
            most = max(1, _BLOCK_CANDIDATES // int(2 * fetch[order[begin]]))
            end = min(begin + most, int(np.searchsorted(fetch[order], 2 * fetch[order[begin]], side="right")))
            chosen = order[begin:end]
            parts.append(self._found_block(queries[chosen], k, exclude.take(chosen), mask, int(fetch[chosen[-1]]), harder))
            begin = end
        return Ranked.joined(parts).take(np.argsort(order, kind="stable"))

    def _found_block(self, queries: Float32, k: int, exclude: Ragged, mask: Bool | None, fetch: int, harder: int) -> Ranked:
        assert self.finder is not None  # noqa: S101 - the caller has checked it
        usable = overlap(mask, ~self.stale) if len(self._stale_rows) else mask
        places = self.finder.find(queries, fetch, self._of_finder(usable), harder)
        owners, columns = np.nonzero(places >= 0)
        rows = self.covered[places[owners, columns]]
        if usable is not None:  # some finders cannot filter
            kept = usable[rows]
            owners, rows = owners[kept], rows[kept]
        always = self._stale_rows if mask is None else self._stale_rows[mask[self._stale_rows]]
        owners = np.concatenate([owners, np.repeat(np.arange(len(queries)), len(always))])
        keys = owners * len(self) + np.concatenate([rows, np.tile(always, len(queries))])
        keys.sort()
        if len(exclude.rows):
            forbidden = np.sort(exclude.list_index() * len(self) + exclude.rows)
            keys = keys[~is_in(keys, forbidden)]
        owners, rows = np.divmod(keys, len(self))
        return ranked_pairs(owners, rows, self.scores(queries, owners, rows), len(queries), k)

    def _of_finder(self, usable: Bool | None) -> Bool | None:
        """The mask in the order of the finder's places."""
        return usable if usable is None or len(self.covered) == len(self) else usable[self.covered]

    def added(self, vectors: Float32) -> ItemIndex:
        """Return an index with more items after the last row.

        Parameters
        ----------
        vectors : float32 (m, D)

        Raises
        ------
        ConfigError, DataError
            Vectors of another dimension, or one that is not finite.
        """
        self._check(vectors)
        more = np.ones(len(vectors), dtype=np.bool_)
        dense = self.dense.appended(torch.from_numpy(np.ascontiguousarray(vectors, dtype=np.float32)))
        stale, alive = np.concatenate([self.stale, more]), np.concatenate([self.alive, more])
        return replace(self, dense=dense, stale=stale, alive=alive)._rebuilt_if_needed()

    def updated(self, rows: Int32, vectors: Float32) -> ItemIndex:
        """Return an index with new vectors, float32 (len(rows), D), in some rows."""
        self._check(vectors)
        new = self.vectors()
        new[rows] = vectors
        stale = self.stale.copy()
        stale[rows] = self.finder is not None
        dense = VectorTable.of(VectorStorage.of(torch.from_numpy(new).to(self.dense.stored.device), self.spec.precision))
        return replace(self, dense=dense, stale=stale)._rebuilt_if_needed()

    def removed(self, rows: Int32) -> ItemIndex:
        """Return an index that never finds some rows; their vectors stay until the index is compacted."""
        alive = self.alive.copy()
        alive[rows] = False
        return replace(self, alive=alive)

    def restored(self, rows: Int32) -> ItemIndex:
        """Return an index that finds removed rows again."""
        alive = self.alive.copy()
        alive[rows] = True
        return replace(self, alive=alive)

    def compacted(self) -> ItemIndex:
        """Return an index whose finder is built anew from the rows that are not removed."""
        if self.spec.kind == "exact":
            return replace(self, finder=None, covered=np.empty(0, np.int64), stale=np.zeros(len(self), np.bool_))
        covered = np.flatnonzero(self.alive)
        rows = torch.from_numpy(covered).to(self.dense.stored.device)
        vectors = self.dense.stored.decoded(rows).cpu().numpy()
        finder = build_approximate(vectors, self.spec)
        spec = getattr(finder, "spec", self.spec)
        return replace(self, finder=finder, spec=spec, covered=covered, stale=~self.alive)

    def shortened(self, rows: Int32, vectors: Float32) -> ItemIndex:
        """Return an index of some rows only, int32 (m,) ascending, built anew from their vectors, float32 (m, D)."""
        alive, spec = self.alive[rows], self.spec
        if spec.lists > int(alive.sum()):
            spec = replace(spec, lists=0)
        stored = ItemIndex.build(vectors, IndexSpec(precision=spec.precision), device=str(self.dense.stored.device))
        return replace(stored, alive=alive, spec=spec, measured=self.measured).compacted()

    def _rebuilt_if_needed(self) -> ItemIndex:
        if self.finder is None:
            return replace(self, stale=np.zeros(len(self), np.bool_))
        fresh = int((self.stale & self.alive).sum())
        return self.compacted() if fresh > max(EXACT_BELOW, _FRESH_SHARE * len(self)) else self

    def _check(self, vectors: Float32) -> None:
        if vectors.ndim != 2 or vectors.shape[1] != self.dim:
            raise ConfigError(f"vectors of shape {vectors.shape} do not fit an index of {self.dim} dimensions")
        if not np.isfinite(vectors).all():
            raise DataError("a new vector is not finite")
