"""New events change a table of counts, without learning it again."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from recsys.core.ragged import Float32, Int32, Int64, Ragged
from recsys.errors import DataError
from recsys.transitions.learn import Form, normed_counts, pruned
from recsys.transitions.pairs import Matrix, PairSums, pair_sums

_ROUNDING = 1e-5
"""Differences of sums below this are rounding; the oldest event of a window counts for more."""


@dataclass(frozen=True, eq=False)
class Counted:
    """What a table of counts was divided by; see :class:`recsys.transitions.pairs.PairSums`.

    Attributes
    ----------
    squares, targets : float32 (n_items,)
    """

    squares: Float32
    targets: Float32

    def of_items(self, rows: Int32) -> Counted:
        """Of some items alone."""
        return Counted(self.squares[rows], self.targets[rows])

    def extended(self, n_items: int) -> Counted:
        """For more items, without an event yet."""
        more = n_items - len(self.squares)
        return Counted(np.pad(self.squares, (0, more)), np.pad(self.targets, (0, more)))


def with_events(table: Matrix, counted: Counted, form: Form, histories: Ragged, new: Int64) -> tuple[Matrix, Counted]:
    """A table of counts after more events: the one that would be learned from all events, but for entries cut off before.

    An entry that was not among the largest of its row counts from 0 again. Takes time by the table's entries, and by the
    events of these histories.

    Parameters
    ----------
    table : CSR float32 (n_items, n_items)
    counted : Counted
    form : Form
        Of counts.
    histories : Ragged (n)
        Whole histories, the new events last.
    new : int64 (n,)
        How many events of each are new.

    Raises
    ------
    DataError
        There are not as many numbers as histories, or one of them is below 0 or above the length of its history.
    """
    if new.shape != (len(histories),) or (len(new) and not (new.min() >= 0 and (new <= histories.lengths).all())):
        raise DataError(f"{len(histories)} histories need as many numbers of new events, from 0 to their lengths")
    n = table.shape[0]
    if len(histories.rows) and not 0 <= histories.rows.min() <= histories.rows.max() < n:
        raise DataError(f"histories name items that are none of the {n} of the table; extend it first")
    read, old = histories.without_events(), histories.lengths - new
    if not np.isinf(form.decay):  # what is older changes nothing
        read = read.tail(form.window + int(new.max(initial=0)))
        old = np.maximum(old - (histories.lengths - read.lengths), 0)
    before, after = read.head(old), read
    rows = np.unique(read.rows)
    if not len(rows):
        return table, counted
    sums = [_local(one, rows, form) for one in (before, after)]
    squares, targets = counted.squares.copy(), counted.targets.copy()
    squares[rows] += sums[1].squares - sums[0].squares
    targets[rows] += sums[1].targets - sums[0].targets
    changed = sp.csr_matrix(sums[1].cross - sums[0].cross).tocoo()
    real = np.abs(changed.data) > _ROUNDING
    more = sp.csr_matrix((changed.data[real], (rows[changed.row[real]], rows[changed.col[real]])), shape=(n, n))
    counts = normed_counts(table, counted.squares, counted.targets, undo=True)
    kept = normed_counts(sp.csr_matrix(counts + more), squares, targets)
    return pruned(kept, form.entries), Counted(squares, targets)


def _local(histories: Ragged, rows: Int32, form: Form) -> PairSums:
    """The sums of histories whose items are numbered by their place in ``rows``, int32 (m,) ascending."""
    numbered = Ragged(histories.offsets, np.searchsorted(rows, histories.rows).astype(np.int32))
    return pair_sums(numbered, len(rows), form.window, form.decay)
