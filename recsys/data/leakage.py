"""Leakage is an error: check that no model is evaluated on what it was fitted on."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from recsys.core.id_map import IdMap
from recsys.core.ragged import Bool, Int64, contained, found_among
from recsys.data.interactions import Interactions
from recsys.data.split import Holdout
from recsys.errors import LeakageError


def check_leakage(train: Interactions, holdout: Holdout, *, test_timestamps: Int64 | None = None) -> None:
    """Refuse a holdout if a model fitted on ``train`` has seen one of its targets. Raw ids are compared.

    A target that is also in its user's history is a repeat, not a leak: it may be in training too.

    Parameters
    ----------
    train : Interactions
    holdout : Holdout
    test_timestamps : int64 (any number,), optional
        When the held-out events took place; none may come before a training event (:func:`check_time_order`).

    Raises
    ------
    LeakageError
        A user's target is among that user's training events but not in the history, or training holds later events.
    """
    held = _pairs(holdout, train.users, train.items)
    trained = train.histories.list_index() * (len(train.items) + 1) + train.histories.rows
    shared = found_among(held, trained)
    if shared.any():
        shared &= ~contained(holdout.targets, holdout.histories, len(holdout.items))
        _refuse_shared(holdout, shared, "training", "take them out of the training log")
    if test_timestamps is not None:
        check_time_order(train.timestamps, test_timestamps)


def check_time_order(train: Int64 | None, test: Int64 | None) -> None:
    """Refuse test events from before the last training event; the same instant is allowed.

    Parameters
    ----------
    train, test : int64 (n,), int64 (m,)
        Timestamps, in any order; None (a log without) is refused.

    Raises
    ------
    LeakageError
        A test event comes before a training event, or a log has no timestamps.
    """
    if train is None or test is None:
        raise LeakageError(
            "the order in time cannot be checked: one of the logs has no timestamps; name their column, timestamp="
        )
    if len(train) == 0 or len(test) == 0:
        return
    latest = int(train.max())
    early = int(np.count_nonzero(test < latest))
    if early:
        raise LeakageError(
            f"{early} of {len(test)} test events come before the last training event: the first at instant {test.min()}, "
            f"that one at {latest}; cut the whole log at one instant (time_split, rolling_splits)"
        )


def check_disjoint(holdouts: Sequence[Holdout]) -> None:
    """Refuse holdouts (such as validation and test) if two of them share a target of the same user. Raw ids are compared.

    Raises
    ------
    LeakageError
        Two share a user's target.
    """
    for one, other in combinations(holdouts, 2):
        users, items = one.users.extended(other.users.ids), one.items.extended(other.items.ids)
        shared = np.isin(_pairs(other, users, items), _pairs(one, users, items))
        _refuse_shared(other, shared, repr(one.protocol), "hold out each user's item in one of the two only")


def _refuse_shared(holdout: Holdout, shared: Bool, where: str, remedy: str) -> None:
    """Raise if any of the holdout's pairs, bool (n_targets,), is also elsewhere; name the first."""
    if not shared.any():
        return
    first = int(np.argmax(shared))
    user = holdout.users.ids[int(holdout.user_rows[holdout.targets.list_index()[first]])]
    item = holdout.items.ids[int(holdout.targets.rows[first])]
    raise LeakageError(
        f"{holdout.protocol}: {np.count_nonzero(shared)} of {len(shared)} held-out pairs are in {where} too, such as user "
        f"{user!r} with item {item!r}; {remedy}"
    )


def _pairs(holdout: Holdout, users: IdMap, items: IdMap) -> Int64:
    """int64 (n_targets,): a number for each pair of user and target, in the rows of other maps.

    The row of an unknown id is −1. Each user has one number to spare, so that such a pair never equals a known one.
    """
    user_rows, rows = holdout.user_rows, holdout.targets.rows
    if not users.same(holdout.users):
        user_rows = users.find_rows(holdout.users.to_ids(user_rows))
    if not items.same(holdout.items):
        rows = items.find_rows(holdout.items.ids)[rows]
    return np.repeat(user_rows.astype(np.int64), holdout.targets.lengths) * (len(items) + 1) + rows
