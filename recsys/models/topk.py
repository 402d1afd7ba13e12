"""The k best of dense scores, with exclusions that bite and ties that never depend on chance."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from recsys.data.row_lists import RowLists
from recsys.errors import DataError
from recsys.recommender import Ranked, check_exclude, check_k


def top_k(scores: Tensor, k: int, exclude: RowLists | None = None) -> Ranked:
    """Rank the columns of each row of scores.

    Equal scores rank in column order, also across the k-th place, so that neither block size nor thread count can change
    the answer. Excluded items are set to minus infinity and then dropped: they cannot come back where few are left.

    Parameters
    ----------
    scores : float (B, M)
        Overwritten where excluded. Minus infinity means not eligible.
    k : int
        More than M is allowed and gives at most M.
    exclude : RowLists (B), optional
        Columns to leave out, row by row.

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
        owners = torch.from_numpy(exclude.owners()).to(scores.device)
        rows = torch.from_numpy(exclude.rows.astype(np.int64)).to(scores.device)
        scores[owners, rows] = -torch.inf
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
    eligible = values > -torch.inf
    lengths = eligible.sum(1).cpu().numpy()
    return Ranked(
        RowLists.from_lengths(lengths, columns[eligible].cpu().numpy().astype(np.int32)),
        values[eligible].float().cpu().numpy(),
    )
