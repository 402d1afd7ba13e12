"""Hold out whole items, to be ranked by their content alone (protocol COLD)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from recsys.core.arguments import flag, instance, whole_number
from recsys.core.arguments import share as a_share
from recsys.core.ragged import Int32
from recsys.data.interactions import Interactions
from recsys.data.split import Holdout, hold_out, leave_last_out, random_split, shuffled
from recsys.errors import DataError


@dataclass(frozen=True, eq=False)
class ItemSplit:
    """A log whose training part has no event of the cold items.

    Attributes
    ----------
    train : Interactions
        No event of a cold item and no hot target; its id maps cover the whole log.
    validation : Holdout or None
        Leave-last-out on the hot items: each user's last event but one.
    hot : Holdout
        Leave-last-out on the hot items: each user's last event. It shows what ranking the cold items costs.
    cold : Holdout
        History: the user's events before the first cold one. Targets: all the cold items that the user touched.
    cold_rows : int32 (n_cold,)
        Rows of the cold items, ascending; pass them to rank among these only.
    skipped : int
        Users with a cold event and no event before it; they are not in ``cold``.
    """

    train: Interactions
    validation: Holdout | None
    hot: Holdout
    cold: Holdout
    cold_rows: Int32
    skipped: int


def item_split(
    log: Interactions, *, share: float = 0.1, seed: int = 0, min_count: int = 1, validation: bool = True
) -> ItemSplit:
    """Remove a random share of the items from training, to be ranked by their text alone (protocol COLD).

    Hot targets are as in :func:`leave_last_out`, repeats included; or as in :func:`random_split` if the log has no order.
    A user's hot events after the first cold one stay in training (as other users' later events do in leave-last-out), but
    never enter a cold history.

    Parameters
    ----------
    log : Interactions
    share : float
        Share of the items with ``min_count`` events or more, between 0 and 1; the number is rounded.
    seed : int
    min_count : int
        Items with fewer events are never drawn.
    validation : bool
        Whether to hold out the last hot event but one too.

    Returns
    -------
    ItemSplit

    Raises
    ------
    ConfigError
        ``share`` is not between 0 and 1, ``min_count`` is below 1 or ``seed`` below 0.
    DataError
        No item would be cold, or none hot, or a holdout would have no user.

    Examples
    --------
    >>> split = recsys.item_split(log, share=0.2)
    >>> len(split.cold_rows)  # a fifth of 30 items
    6
    """
    instance(log, Interactions, "log")
    share, min_count, validation = (
        a_share(share, "share"),
        whole_number(min_count, "min_count"),
        flag(validation, "validation"),
    )
    eligible = np.flatnonzero(log.item_counts >= min_count)
    n_cold, n_alive = round(share * len(eligible)), np.count_nonzero(log.item_counts)
    if not 0 < n_cold < n_alive:
        raise DataError(
            f"item split: a share of {share} of the {len(eligible)} items with {min_count} or more events makes {n_cold} "
            f"of {n_alive} items cold; choose another share or min_count"
        )
    cold_rows = np.sort(eligible[shuffled(len(eligible), seed)[:n_cold]]).astype(np.int32)
    is_cold = np.zeros(len(log.items), dtype=np.bool_)
    is_cold[cold_rows] = True
    cold = is_cold[log.histories.rows]
    so_far = np.concatenate([[0], np.cumsum(cold)])
    early = so_far[1:] == np.repeat(so_far[log.histories.offsets[:-1]], log.histories.lengths)
    if not log.ordered:  # nothing came before anything: all hot events are shown
        early = ~cold
    cold_users = hold_out(
        log, early, cold, "item split, cold", f"no user has an event before one of the {n_cold} cold items; raise share"
    )
    hot = log.select(~cold)
    rest = (
        leave_last_out(hot, validation=validation) if log.ordered else random_split(hot, seed=seed, validation=validation)
    )
    return ItemSplit(
        train=rest.train,
        validation=None if rest.validation is None else replace(rest.validation, protocol="item split, hot validation"),
        hot=replace(rest.test, protocol="item split, hot test"),
        cold=cold_users,
        cold_rows=cold_rows,
        skipped=len(np.unique(log.histories.list_index()[cold])) - len(cold_users),
    )
