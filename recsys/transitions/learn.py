"""Closed forms of the transition memory: counts and ridge regression, of the order of events or of their company alone."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import scipy.sparse as sp

from recsys.core.ragged import Bool, Float32, Int64, Ragged, ragged_positions
from recsys.transitions.pairs import Matrix, PairSums, pair_sums

if TYPE_CHECKING:
    from torch import Tensor

Kind: TypeAlias = Literal["counts", "ridge"]
TransitionKind: TypeAlias = Literal["auto", "ridge", "counts", "none"]
"""What to try: one kind, the better of both, or nothing."""

_COLUMNS_AT_ONCE = 16_384
_ENTRIES_AT_ONCE = 40_000_000
"""Bounds on what is dense, or nearly, between solving and pruning; some hundred MB each."""
_SPARSE = 12
"""How many times as long a product with a sparse matrix takes for each number as one with a dense matrix."""
_PRIOR = 10.0
"""Events that each item is held to have had with no other, so that few counts do not look certain."""


@dataclass(frozen=True)
class Form:
    """How a table is learned and read.

    Attributes
    ----------
    kind : {"counts", "ridge"}
    decay : float
        Of an event's weight with its age, in events: ``exp(−age / decay)``. Infinite: the order does not count.
    window : int
        Newest events of a history that are read.
    regularisation : float
        λ of a ridge table.
    entries : int
        Most entries kept in a row.
    solved : int
        Items, those with most events, whose rows of a ridge table are solved together; the others follow from these.
    borrow : float
        How much items with few events borrow from items of like text: :func:`recsys.transitions.borrow.borrowed`, which
        comes after the learning. 0: nothing.
    debias : float
        Exponent of the events of each item, by which a ridge table's column is divided: :func:`debiased`. 0: not at all.
    """

    kind: Kind = "counts"
    decay: float = 3.0
    window: int = 15
    regularisation: float = 200.0
    entries: int = 200
    solved: int = 1500
    borrow: float = 0.0
    debias: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """The form as plain values for JSON; an infinite decay is None."""
        return asdict(self) | {"decay": None if np.isinf(self.decay) else self.decay}


def window_of(decay: float) -> int:
    """How many events are worth reading at a decay: four times as many, or 500 of a history without an order."""
    return 500 if np.isinf(decay) else min(50, max(5, round(4 * decay) + 1))


def default_form(kind: TransitionKind, entries: int = 200, *, ordered: bool = True) -> Form:
    """The form that does well on most logs, for one without validation to choose by; ``kind`` "auto" is ridge."""
    decay = Form.decay if ordered else np.inf
    return Form("counts" if kind == "counts" else "ridge", decay, window_of(decay), entries=entries)


def learn(histories: Ragged, n_items: int, form: Form) -> Matrix:
    """The table of a form: row j holds what is added to the score of each item i when j was met.

    Parameters
    ----------
    histories : Ragged (n)
        Item rows, in time order unless the form's decay is infinite.
    n_items : int
    form : Form

    Returns
    -------
    CSR float32 (n_items, n_items)
        Positive entries alone, at most ``form.entries`` a row, columns ascending.

    Examples
    --------
    >>> from recsys.transitions.learn import Form, learn
    >>> learn(split.train.histories, len(split.train.items), Form("counts", entries=5)).shape
    (30, 30)
    """
    return learn_from(pair_sums(histories, n_items, form.window, form.decay), form)


def learn_from(sums: PairSums, form: Form) -> Matrix:
    """As :func:`learn`, from sums that were made before (they depend on the form's window and decay alone)."""
    if form.kind == "counts":
        return pruned(normed_counts(sums.cross, sums.squares, sums.targets), form.entries)
    return debiased(_ridge(sums, form), sums.targets, form.debias)


def debiased(table: Matrix, targets: Float32, exponent: float) -> Matrix:
    """The table with each column divided by ``((10 + Σy) / (10 + mean of Σy))^exponent``: popular items count for less.

    Held against the mean, a table of more events keeps the weight that one of fewer was given.
    Negative entries, which a linear model has mostly towards popular items, are not kept; this makes up for most of them.
    A negative exponent undoes it.
    """
    if not exponent:
        return table
    found = table.copy()
    relative = (_PRIOR + targets) / (_PRIOR + targets.mean())
    found.data *= (relative**-exponent)[found.indices].astype(np.float32)
    return found


def normed_counts(counts: Matrix, squares: Float32, targets: Float32, *, undo: bool = False) -> Matrix:
    """``C / sqrt((Σx² + 10)(Σy + 10))`` with ``C = XᵀY``; with ``undo`` the C of such a table."""
    before, after = (np.sqrt(one + _PRIOR) ** (1 if undo else -1) for one in (squares, targets))
    table = counts.copy()
    table.data *= np.repeat(before, np.diff(table.indptr)) * after[table.indices]
    return table


def relearn(sums: PairSums, form: Form, before: Matrix, touched: Bool) -> Matrix:
    """A ridge table of more events, for the part of its cost that their items have in it.

    Rows of items that have new events, or stand in the windows of these, are solved as :func:`learn_from` solves them, with
    the sums of all events; the others stay as they were. They would change a little, through what the solved ones explain
    now, and do so when an event of theirs comes, or at the next fit.

    Parameters
    ----------
    sums : PairSums
        Of all events.
    form : Form
        A ridge one.
    before : CSR float32 (n_items, n_items)
        The table so far, longer by empty rows for new items.
    touched : bool (n_items,)
        The items whose rows are solved.
    """
    plain = debiased(before, sums.targets, -form.debias)
    return debiased(_ridge(sums, form, (plain, touched)), sums.targets, form.debias)


def touched_items(histories: Ragged, new: Bool, n_items: int, window: float) -> Bool:
    """The items whose sums of pairs new events change: theirs, and those that are read together with them.

    Parameters
    ----------
    histories : Ragged (n)
    new : bool (len(histories.rows),)
    n_items : int
    window : float
        Newest events that are read with each; infinite: whole histories.

    Returns
    -------
    bool (n_items,)
    """
    places, owners = np.arange(len(histories.rows)), histories.list_index()
    first = np.full(len(histories), np.inf)
    np.minimum.at(first, owners[new], places[new])
    found = np.zeros(n_items, dtype=np.bool_)
    found[histories.rows[places >= first[owners] - min(window, len(places))]] = True
    return found


def _ridge(sums: PairSums, form: Form, known: tuple[Matrix, Bool] | None = None) -> Matrix:
    """``(XᵀX + λI)⁻¹ XᵀY``: solved whole for the items with most events, then once more for the others given these.

    A row of a rare item is ``(XᵀY − XᵀX B)_j / (XᵀX + λI)_jj`` with B the rows of the frequent ones: one step of block
    Gauss–Seidel, exact but for what rare items explain of one another. Without an order the target of each event is the
    rest of its history, which makes the frequent block EASE (Steck, WWW 2019, eq. 8). ``known`` is a table, and which rows
    of it are to be solved anew.
    """
    import torch  # noqa: PLC0415 - names of this package are read without it

    n = sums.cross.shape[0]
    asked = np.ones(n, dtype=np.bool_) if known is None else known[1]
    often = np.argsort(-sums.squares, kind="stable")[: form.solved]
    often = np.sort(often[sums.squares[often] > 0])
    left = torch.from_numpy(sums.gram[often][:, often].toarray())
    left.diagonal().add_(form.regularisation)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(left))
    some = np.flatnonzero(asked[often])
    found = _placed(_frequent_rows(sums, form, often, some, inverse), often[some], n)
    if known is not None:
        kept = np.flatnonzero(~asked)
        found = found + _placed(known[0][kept], kept, n)
    rest = np.setdiff1d(np.flatnonzero((sums.squares > 0) & asked), often)
    if len(rest):
        found = found + _placed(_other_rows(sums, form, often, rest, sp.csr_matrix(found[often])), rest, n)
    table = sp.csr_matrix(found)
    table.sort_indices()
    return table


def _frequent_rows(sums: PairSums, form: Form, often: Int64, some: Int64, inverse: Tensor) -> Matrix:
    """Some rows of the frequent items, CSR (len(some), n_items), for some columns at a time."""
    import torch  # noqa: PLC0415

    n, cross, own = sums.cross.shape[0], sp.csc_matrix(sums.cross[often]), inverse[torch.from_numpy(some)]
    columns = np.flatnonzero(np.diff(cross.indptr))
    sparse = cross.nnz * _SPARSE < len(often) * len(columns)
    parts = []
    for start in range(0, len(columns), _COLUMNS_AT_ONCE):
        part = columns[start : start + _COLUMNS_AT_ONCE]
        if sparse:
            rows = torch.from_numpy((sp.csr_matrix(cross[:, part].T) @ own.numpy().T).T.copy())
        else:
            rows = own @ torch.from_numpy(cross[:, part].toarray())
        if not sums.ordered:  # no item explains itself: the columns of the frequent ones are EASE's
            among = torch.from_numpy(np.isin(often, part))
            weights = -own / inverse.diagonal()
            weights[torch.arange(len(some)), torch.from_numpy(some)] = 0.0
            rows[:, torch.from_numpy(np.isin(part, often))] = weights[:, among]
        parts.append(_largest(rows.numpy(), form.entries, part, n))
    found = parts[0] if parts else _largest(np.zeros((len(some), 0), np.float32), form.entries, columns, n)
    for other in parts[1:]:
        found = pruned(sp.csr_matrix(found + other), form.entries)
    return found


def _other_rows(sums: PairSums, form: Form, often: Int64, rest: Int64, table: Matrix) -> Matrix:
    """The rows of the other items, CSR (len(rest), n_items), some at a time: before pruning they are far from sparse."""
    gram, cross = sums.gram[rest][:, often], sums.cross[rest]
    filled = np.diff(gram.indptr) * np.int64(form.entries) + np.diff(cross.indptr)
    block = np.cumsum(filled) // _ENTRIES_AT_ONCE
    edges = [0, *(np.flatnonzero(np.diff(block)) + 1).tolist(), len(rest)]
    scale = (1 / (sums.squares[rest] + form.regularisation)).astype(np.float32)
    parts = []
    for start, end in pairwise(edges):
        some = slice(start, end)
        made = sp.diags_array(scale[some]) @ (cross[some] - gram[some] @ table)
        parts.append(pruned(sp.csr_matrix(made), form.entries))
    return sp.csr_matrix(sp.vstack(parts))


def _placed(rows: Matrix, at: Int64, n_items: int) -> Matrix:
    """The rows at these places of a table of all items."""
    lengths = np.zeros(n_items, dtype=np.int64)
    lengths[at] = np.diff(rows.indptr)
    return sp.csr_matrix((rows.data, rows.indices, np.concatenate([[0], np.cumsum(lengths)])), shape=(n_items, n_items))


def _largest(table: Float32, entries: int, columns: Int64, n_items: int) -> Matrix:
    """The largest positive entries of each row of a dense table with these columns; CSR (len(table), n_items)."""
    n, width = table.shape
    kept = min(entries, width)
    chosen = np.empty((n, kept), dtype=np.int64)
    for start in range(0, n, 1024):
        part = table[start : start + 1024]
        chosen[start : start + 1024] = np.sort(np.argpartition(-part, kept - 1, axis=1)[:, :kept], axis=1)
    values = np.maximum(np.take_along_axis(table, chosen, axis=1), 0).ravel()
    offsets = np.arange(n + 1, dtype=np.int64) * kept
    found = sp.csr_matrix((values, columns[chosen.ravel()].astype(np.int32), offsets), shape=(n, n_items))
    found.eliminate_zeros()
    return found


def pruned(table: Matrix, entries: int) -> Matrix:
    """The largest positive entries of each row, columns ascending."""
    positive = table.data > 0
    owners = np.repeat(np.arange(table.shape[0], dtype=np.int64), np.diff(table.indptr))
    lengths = np.bincount(owners[positive], minlength=table.shape[0])
    values, columns = table.data[positive], table.indices[positive]
    starts = np.cumsum(lengths) - lengths
    kept = np.ones(len(values), dtype=np.bool_)
    order = np.argsort(lengths, kind="stable")
    begin = int(np.searchsorted(lengths[order], entries, side="right"))  # shorter rows stay whole
    while begin < len(order):  # rows of like lengths together, each filled up to the longest of them
        end = min(begin + 1024, int(np.searchsorted(lengths[order], 2 * lengths[order[begin]], side="right")))
        rows = order[begin:end]
        inside = ragged_positions(np.zeros(len(rows), dtype=np.int64), lengths[rows])
        block = np.full((len(rows), int(lengths[rows[-1]])), -np.inf, dtype=np.float32)
        block[np.repeat(np.arange(len(rows)), lengths[rows]), inside] = values[
            ragged_positions(starts[rows], lengths[rows])
        ]
        least = np.argpartition(-block, entries - 1, axis=1)[:, entries:]
        owner, place = np.nonzero(least < lengths[rows][:, None])
        kept[starts[rows[owner]] + least[owner, place]] = False
        begin = end
    offsets = np.concatenate([[0], np.cumsum(np.minimum(lengths, entries))])
    found = sp.csr_matrix((values[kept], columns[kept], offsets), shape=table.shape)
    found.sort_indices()
    return found
