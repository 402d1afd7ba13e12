"""The k best of dense scores, with exclusions that bite and ties that never depend on chance."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from recsys.core.ragged import Bool, Ragged
from recsys.core.ranking import Ranked, check_exclude, check_k
from recsys.errors import DataError

BLOCK_BYTES = 64 * 2**20
"""Scores held at once, in bytes; ranking needs about three times as much at its peak."""


def users_per_block(n_items: int) -> int:
    """How many users' float32 scores over ``n_items`` items fit into :data:`BLOCK_BYTES`; at least 1."""
    return max(1, BLOCK_BYTES // (4 * max(1, n_items)))


def top_k(scores: Tensor, k: int, exclude: Ragged | None = None, eligible: Bool | None = None) -> Ranked:
    """Rank the columns of each row of scores.

    Equal scores rank in column order, also across the k-th place, so that neither block size nor thread count can change
    the answer. Excluded items are set to minus infinity and then dropped: they cannot come back where few are left.

    Parameters
    ----------
    scores : float (B, M)
        Overwritten where excluded. Minus infinity means not eligible.
    k : int
        More than M is allowed and gives at most M.
    exclude : Ragged (B), optional
        Columns to leave out, row by row.
    eligible : bool (M,), optional
        Which columns may be returned; by default all.

    Returns
    -------
    Ranked (B)

    Raises
    ------
    ConfigError
        k is below 1, or there are not as many exclusions as rows of scores.
    DataError
        A score is NaN.
    """
    check_k(k)
    if exclude is not None:
        check_exclude(exclude, len(scores))
    width = scores.shape[1]
    if exclude is not None and len(exclude.rows):
        owners = torch.from_numpy(exclude.list_index()).to(scores.device)
        rows = torch.from_numpy(exclude.rows.astype(np.int64)).to(scores.device)
        scores[owners, rows] = -torch.inf
    if eligible is not None:
        chosen = torch.from_numpy(np.flatnonzero(eligible)).to(scores.device)
        scores, width = scores[:, chosen], len(chosen)
        if width == 0:
            return Ranked(Ragged.empty(len(scores)), np.empty(0, dtype=np.float32))
    kept = min(k, width)
    values, columns = torch.topk(scores, min(kept + 1, width), dim=1)  # one more than asked shows a tie at the border
    if bool(values.isnan().any()):
        raise DataError("a score is not a number; the model's vectors are broken")
    if values.shape[1] > kept:
        tied = (values[:, kept - 1] == values[:, kept]) & (values[:, kept] > -torch.inf)
        values, columns = values[:, :kept], columns[:, :kept]
        if bool(tied.any()):
            whole = torch.sort(scores[tied], dim=1, descending=True, stable=True)
            values[tied], columns[tied] = whole.values[:, :kept], whole.indices[:, :kept]
    columns, by_column = columns.sort(dim=1)
    values, by_value = values.gather(1, by_column).sort(dim=1, descending=True, stable=True)
    columns = columns.gather(1, by_value)
    found = values > -torch.inf
    if eligible is not None:
        columns = chosen[columns]
    lengths = found.sum(1).cpu().numpy()
    return Ranked(
        Ragged.from_lengths(lengths, columns[found].cpu().numpy().astype(np.int32)),
        values[found].float().cpu().numpy(),
    )
