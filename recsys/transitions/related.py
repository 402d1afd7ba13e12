"""Rows of the transition memory that are known, not learned: items that a table relates to others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from recsys.core.ragged import Float32, Int32
from recsys.transitions.learn import pruned
from recsys.transitions.pairs import Matrix

ENTRIES = 200
"""Most related items of an item that are read in one relation."""


@dataclass(frozen=True, eq=False)
class Related:
    """What relations add to a table of transitions.

    Attributes
    ----------
    names : tuple of str
    tables : tuple of CSR float32 (n_items, n_items)
        One for each name, in the units of the table that they are added to: positive entries, columns ascending.
    """

    names: tuple[str, ...]
    tables: tuple[Matrix, ...]

    def __len__(self) -> int:
        return len(self.names)

    def total(self) -> Matrix:
        """The sum of all tables."""
        found = self.tables[0]
        for other in self.tables[1:]:
            found = sp.csr_matrix(found + other)
        return found

    def extended(self, n_items: int) -> Related:
        """For more items, which are related to none."""
        return Related(self.names, tuple(longer(one, n_items) for one in self.tables))

    def shortened(self, rows: Int32) -> Related:
        """Of some items alone, int32 (m,) ascending."""
        return Related(self.names, tuple(some(one, rows) for one in self.tables))

    def moved(self, rows: Int32, n_items: int) -> Related:
        """In other rows: item ``i`` has the row ``rows[i]``, int32 (n,), among so many items; −1 leaves it out."""
        kept = np.flatnonzero(rows >= 0)
        place = sp.csr_matrix((np.ones(len(kept), np.float32), (kept, rows[kept])), shape=(len(rows), n_items))
        tables = []
        for one in self.tables:
            table = sp.csr_matrix(place.T @ one @ place)
            table.sort_indices()
            tables.append(table)
        return Related(self.names, tuple(tables))

    def shares(self, before: Int32, weights: Float32, item: int) -> dict[str, float]:
        """What each relation adds to the score of an item.

        Parameters
        ----------
        before : int32 (m,)
            Items of a history.
        weights : float32 (m,)
            How much each of them counts.
        item : int
        """
        found = {}
        for name, table in zip(self.names, self.tables, strict=True):
            entries = np.asarray(table[before][:, [item]].todense()).ravel()
            found[name] = float(entries @ weights)
        return found


def longer(table: Matrix, n_items: int) -> Matrix:
    """A square table of more items, without entries of the new ones."""
    more = n_items - table.shape[0]
    offsets = np.concatenate([table.indptr, np.full(more, table.indptr[-1], dtype=table.indptr.dtype)])
    return sp.csr_matrix((table.data, table.indices, offsets), shape=(n_items, n_items))


def some(table: Matrix, rows: Int32) -> Matrix:
    """A square table of some items alone, int32 (m,) ascending."""
    found = sp.csr_matrix(table[rows][:, rows])
    found.sort_indices()
    return found


def related_tables(pairs: Mapping[str, tuple[Int32, Int32, Float32]], n_items: int) -> Related:
    """Tables whose largest entry is 1, the largest of each row alone.

    Parameters
    ----------
    pairs : mapping of (int32 (m,), int32 (m,), float32 (m,))
        By relation: items, those that they lead to, and weights; no pair twice.
    n_items : int
    """
    tables = []
    for before, after, weights in pairs.values():
        shape = (n_items, n_items)
        table: Matrix = sp.coo_matrix((weights / weights.max(), (before, after)), shape=shape).tocsr()
        tables.append(pruned(table, ENTRIES))
    return Related(tuple(pairs), tuple(tables))
