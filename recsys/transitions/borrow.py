"""What items with few events borrow from the items of nearest text: their rows, and their places in the rows of others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from recsys.core.ragged import Float32, Int32, Int64, Ragged
from recsys.index.item_index import ItemIndex
from recsys.transitions.learn import pruned
from recsys.transitions.pairs import Matrix

MOST_ITEMS = 100_000
"""All texts are compared with all: above so many items nothing is borrowed."""
_NEIGHBOURS = 5
_BLOCK = 4096


@dataclass(frozen=True, eq=False)
class Alike:
    """The items nearest to each one by text.

    Attributes
    ----------
    rows : int32 (n_items, m)
    shares : float32 (n_items, m)
        How much of what an item borrows comes from each: the cubes of their cosines, by their sum. Zeros without a text.
    """

    rows: Int32
    shares: Float32

    @classmethod
    def of(cls, vectors: Float32) -> Alike:
        """By the cosines of text vectors, float32 (n_items, E) of unit length; zeros without a text."""
        n = len(vectors)
        m = min(_NEIGHBOURS, n - 1)
        itself = Ragged.from_lengths(np.ones(n, dtype=np.int64), np.arange(n, dtype=np.int32))
        found = ItemIndex.build(vectors).search(vectors, m, itself)
        cubes = np.maximum(found.scores.reshape(n, m), 0) ** 3
        return cls(found.lists.rows.reshape(n, m), cubes / np.maximum(cubes.sum(axis=1, keepdims=True), 1e-12))

    def matrix(self) -> Matrix:
        """CSR float32 (n_items, n_items): the shares."""
        n, m = self.rows.shape
        return sp.csr_matrix((self.shares.ravel(), self.rows.ravel(), np.arange(n + 1, dtype=np.int64) * m), shape=(n, n))


def borrowed(table: Matrix, alike: Alike, counts: Int64, borrow: float, entries: int) -> Matrix:
    """The table, with more of the neighbours' the fewer events an item has.

    Where item j has c_j events, ``a_j = borrow / (borrow + c_j)``. Its row becomes ``B_j + a_j Σ_k share_jk B_k``; then
    its column, in these rows, becomes ``B_·j + a_j Σ_k share_jk B_·k``.

    Parameters
    ----------
    table : CSR float32 (n_items, n_items)
    alike : Alike
    counts : int64 (n_items,)
        Events of each item.
    borrow : float
        At so many events an item borrows half of what one without events does.
    entries : int
        Most entries in a row.

    Returns
    -------
    CSR float32 (n_items, n_items)
        Columns ascending; nothing that is borrowed leads from an item to itself.
    """
    shares = alike.matrix()
    lean = sp.diags_array((borrow / (borrow + counts)).astype(np.float32))
    own, into = sp.csr_matrix(lean @ shares), sp.csr_matrix((lean @ shares).T)
    rows = _with(table, lambda block: own[block] @ table, entries)
    return _with(rows, lambda block: rows[block] @ into, entries)


def _with(table: Matrix, more: Callable[[slice], Matrix], entries: int) -> Matrix:
    """The table and what is added to it, some rows at a time."""
    parts = []
    for start in range(0, table.shape[0], _BLOCK):
        block = slice(start, min(start + _BLOCK, table.shape[0]))
        added = more(block).tocoo()
        other = added.col != added.row + start
        kept = sp.csr_matrix((added.data[other], (added.row[other], added.col[other])), shape=added.shape)
        parts.append(pruned(sp.csr_matrix(table[block] + kept), entries))
    return sp.csr_matrix(sp.vstack(parts, format="csr"))
