"""The core of a log: the largest part in which each user and each item has enough events."""

from __future__ import annotations

import numpy as np

from recsys.core.ragged import Bool, Int32


def core(owners: Int32, rows: Int32, sizes: tuple[int, int], *, user_min: int, item_min: int) -> Bool:
    """Tell which events lie in the core; each round counts only the events that are left.

    Parameters
    ----------
    owners, rows : int32 (n,)
        The user and the item of each event.
    sizes : int, int
        Above every owner, above every row.
    user_min, item_min : int
        The fewest events of a user and of an item.

    Returns
    -------
    bool (n,)
    """
    alive = np.ones(len(owners), dtype=np.bool_)
    while True:
        enough = np.bincount(owners, minlength=sizes[0]) >= user_min
        kept = enough[owners]
        enough = np.bincount(rows, minlength=sizes[1]) >= item_min
        kept &= enough[rows]
        if kept.all():
            return alive
        alive[alive] = kept
        owners, rows = owners[kept], rows[kept]
