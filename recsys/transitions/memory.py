"""The transition memory: a weighted table, and the sparse scores that it gives histories."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import scipy.sparse as sp

from recsys.core.ragged import Float32, Int32, Int64, Ragged
from recsys.core.ranking import SparseScores
from recsys.core.schema import RELATION
from recsys.errors import DataError, UnsupportedError
from recsys.transitions.decay import ages, decays
from recsys.transitions.learn import Form
from recsys.transitions.pairs import Matrix
from recsys.transitions.related import Related, longer, some
from recsys.transitions.update import Counted, with_events

TRANSITIONS: Final = "transitions"
"""The name of what it adds to a score, beside the parts of the item tower; relations have names of their own."""
_BLOCK_ENTRIES = 20_000_000
"""Entries gathered at once for a block of histories."""


@dataclass(frozen=True, eq=False)
class TransitionMemory:
    """An item → next-item table with what it takes to read it; never changes.

    A history scores item i with ``weight · Σ_j exp(−age_j / decay) · B[j, i]`` over its newest ``window`` events.

    Attributes
    ----------
    table : CSR float32 (n_items, n_items)
        Positive entries, columns ascending.
    form : Form
    weight : float
        Of the sum beside the towers' scores.
    counted : Counted or None
        Of a table of counts: what :meth:`updated` needs beside it.
    related : Related or None
        What tables of relations add to each entry; it is in ``table``, and not in ``learned``.
    learned : CSR float32 (n_items, n_items) or None
        The table without them; None: it is ``table``.

    Raises
    ------
    DataError
        The table is not square, or has an entry that is not positive and finite.

    Examples
    --------
    >>> from recsys.transitions.learn import Form, learn
    >>> from recsys.transitions.memory import TransitionMemory
    >>> form = Form("counts")
    >>> memory = TransitionMemory(learn(split.train.histories, len(split.train.items), form), form, weight=1.0)
    >>> len(memory.scores(split.test.histories)) == len(split.test)
    True
    """

    table: Matrix
    form: Form
    weight: float
    counted: Counted | None = None
    related: Related | None = None
    learned: Matrix | None = None

    def __post_init__(self) -> None:
        if self.table.shape[0] != self.table.shape[1]:
            raise DataError(f"a transition table must be square, not {self.table.shape}")
        if len(self.table.data) and not (np.isfinite(self.table.data).all() and self.table.data.min() > 0):
            raise DataError("a transition table holds an entry that is not positive and finite")
        if not (np.isfinite(self.weight) and self.weight > 0):
            raise DataError(f"the weight of a transition memory must be above 0 and finite, not {self.weight}")

    def __len__(self) -> int:
        return int(self.table.shape[0])

    def __repr__(self) -> str:
        return f"TransitionMemory({len(self):,} items, {self.table.nnz:,} entries, {self.form.kind})"

    @property
    def alone(self) -> Matrix:
        """The table without what relations add."""
        return self.table if self.learned is None else self.learned

    def with_related(self, related: Related | None) -> TransitionMemory:
        """The learned table, with what other relations add to it.

        Parameters
        ----------
        related : Related or None
            For as many items; None: nothing.
        """
        if related is None or not len(related):
            return replace(self, table=self.alone, related=None, learned=None)
        table = sp.csr_matrix(self.alone + related.total())
        table.sort_indices()
        return replace(self, table=table, related=related, learned=self.alone)

    @property
    def window(self) -> int:
        """Newest events of a history that are read."""
        return self.form.window

    def shares(self, history: Ragged, item: int) -> dict[str, float]:
        """What it adds to the score of an item after a history, Ragged (1): by itself, and by each relation."""
        related = self.relation_shares(history, item)
        whole = float(self.pair_scores(history, np.zeros(1, dtype=np.int64), np.array([item], dtype=np.int32))[0])
        shares = {f"{RELATION}: {name}": share for name, share in related.items()}
        return {TRANSITIONS: whole - sum(related.values())} | shares

    def relation_shares(self, histories: Ragged, item: int) -> dict[str, float]:
        """What each relation adds to the score of an item after a history, Ragged (1), by name."""
        if self.related is None:
            return {}
        read = self._read(histories)
        assert read.times is not None  # noqa: S101 - set by _read
        weights = decays(self.form.window, self.form.decay)[read.times] * np.float32(self.weight)
        return self.related.shares(read.rows, weights, item)

    @property
    def nbytes(self) -> int:
        """Bytes of memory."""
        return int(self.table.data.nbytes + self.table.indices.nbytes + self.table.indptr.nbytes)

    def scores(self, histories: Ragged) -> SparseScores:
        """What is added to the score of each item that the newest events lead to.

        Parameters
        ----------
        histories : Ragged (n)
            Item rows in time order; rows of −1, or past the table's last, lead nowhere.
        """
        read = self._read(histories)
        most = np.cumsum(self._entries_of(read)) if len(read) else np.empty(0, dtype=np.int64)
        parts, start = [], 0
        while start < len(read):
            done = int(most[start - 1]) if start else 0
            stop = max(start + 1, int(np.searchsorted(most, done + _BLOCK_ENTRIES, side="right")))
            parts.append(self._summed(read.block(start, stop)))
            start = stop
        return SparseScores.joined(parts)

    def pair_scores(self, histories: Ragged, owners: Int64, rows: Int32) -> Float32:
        """float32 (P,): what is added to the score of each pair of a history (by number) and an item."""
        found = self.scores(histories)
        keys = found.lists.list_index() * len(self) + found.lists.rows
        asked = owners * len(self) + rows
        place = np.minimum(np.searchsorted(keys, asked), max(len(keys) - 1, 0))
        if len(keys) == 0:
            return np.zeros(len(asked), dtype=np.float32)
        return np.where(keys[place] == asked, found.scores[place], np.float32(0)).astype(np.float32)

    def _read(self, histories: Ragged) -> Ragged:
        newest = histories.without_events().tail(self.form.window)
        inside = (newest.rows >= 0) & (newest.rows < len(self))
        return replace(newest.where(inside), times=ages(newest)[inside])

    def _entries_of(self, read: Ragged) -> Int64:
        """int64 (n,): how many entries of the table each history gathers."""
        sizes = self.table.indptr[read.rows + 1] - self.table.indptr[read.rows]
        return np.bincount(read.list_index(), weights=sizes, minlength=len(read)).astype(np.int64)

    def _summed(self, read: Ragged) -> SparseScores:
        """The sums of some histories, whose ``times`` are ages. In the same order of operations however many there are."""
        assert read.times is not None  # noqa: S101 - set by _read
        weights = decays(self.form.window, self.form.decay)[read.times] * np.float32(self.weight)
        distinct, rows = np.unique(read.rows, return_inverse=True)
        table = self.table[distinct]
        columns, places = np.unique(table.indices, return_inverse=True)
        narrow = sp.csr_matrix((table.data, places.astype(np.int32), table.indptr), shape=(len(distinct), len(columns)))
        asked = sp.csr_matrix((weights, rows.astype(np.int32), read.offsets), shape=(len(read), len(distinct)))
        found = asked @ narrow
        found.sort_indices()
        lists = Ragged(found.indptr.astype(np.int64), columns[found.indices].astype(np.int32))
        return SparseScores(lists, found.data.astype(np.float32))

    def extended(self, n_items: int) -> TransitionMemory:
        """For more items, of which it knows nothing yet."""
        counted = None if self.counted is None else self.counted.extended(n_items)
        related = None if self.related is None else self.related.extended(n_items)
        learned = None if self.learned is None else longer(self.learned, n_items)
        return replace(self, table=longer(self.table, n_items), counted=counted, related=related, learned=learned)

    def shortened(self, rows: Int32) -> TransitionMemory:
        """Of some items alone, int32 (m,) ascending."""
        counted = None if self.counted is None else self.counted.of_items(rows)
        related = None if self.related is None else self.related.shortened(rows)
        learned = None if self.learned is None else some(self.learned, rows)
        return replace(self, table=some(self.table, rows), counted=counted, related=related, learned=learned)

    def updated(self, histories: Ragged, new: Int64) -> TransitionMemory:
        """After more events, without learning it again; see :func:`recsys.transitions.update.with_events`.

        Parameters
        ----------
        histories : Ragged (n)
            Whole histories in item rows, the new events last.
        new : int64 (n,)
            How many events of each are new.

        Raises
        ------
        UnsupportedError
            The table is not of counts, or was made by an older version.
        DataError
            The numbers do not fit the histories, or these have items that the table does not know.
        """
        if self.counted is None:
            raise UnsupportedError(
                "only a table of counts that borrows nothing takes events one by one; fit with transitions='counts' "
                "(--transitions counts), or fit again with these events"
            )
        table, counted = with_events(self.alone, self.counted, self.form, histories, new)
        return replace(self, table=table, counted=counted, learned=None).with_related(self.related)

    def described(self) -> dict[str, Any]:
        """The form, the weight and the size, for reports."""
        found = self.form.to_dict() | {"weight": self.weight, "stored": int(self.table.nnz)}
        if self.related is not None:
            found["relations"] = {
                name: int(one.nnz) for name, one in zip(self.related.names, self.related.tables, strict=True)
            }
        return found
