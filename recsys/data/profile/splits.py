"""What a split would hold out: how much of it is cold, repeated, or of the time of the training events."""

from __future__ import annotations

from typing import Any

import numpy as np

from recsys.core.ragged import mask_of
from recsys.data.interactions import Interactions
from recsys.data.profile.moments import first_times
from recsys.data.summary import day_of

_CUTS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
_MOST = 2_000_000
"""Events in the sample that says which part of the training events is later than a target."""


def last_events(log: Interactions) -> dict[str, Any]:
    """What leave-last-out holds out for the test: each user's last event.

    Returns
    -------
    dict
        ``targets``, users with two events or more; the shares of targets whose item nobody else has in training
        (``cold``), which the user had before (``seen``), which is the item just before (``same_as_before``); with times,
        ``training_later``: the mean share of the training events that are later than the target.
    """
    lists = log.histories
    last = lists.offsets[1:][lists.lengths > 1] - 1
    if len(last) == 0:
        return {"targets": 0}
    rows = lists.rows
    train = np.bincount(rows, minlength=len(log.items)) - np.bincount(rows[last], minlength=len(log.items))
    owners = lists.list_index()
    target = np.full(len(lists), -1, rows.dtype)
    target[owners[last]] = rows[last]
    again = rows == target[owners]
    again[last] = False
    found: dict[str, Any] = {
        "targets": len(last),
        "cold": float((train[rows[last]] == 0).mean()),
        "seen": float(mask_of(owners[again], len(lists))[owners[last]].mean()),
        "same_as_before": float((rows[last] == rows[last - 1]).mean()),
    }
    if (times := log.timestamps) is not None:
        others = np.ones(len(rows), np.bool_)
        others[last] = False
        training = times[others]
        sample = np.sort(training[:: max(1, len(training) // _MOST)])
        later = 1 - np.searchsorted(sample, times[last], side="right") / len(sample)
        found["training_later"] = float(later.mean())
    return found


def cuts(log: Interactions) -> list[dict[str, Any]]:
    """What a split by time holds out, for cuts at some shares of the events.

    Returns
    -------
    list of dict
        ``share`` of the events before ``at``; ``events`` at or after it, the shares of these by users without an event
        before (``cold_users``) and on such items (``cold_items``), and the users who have events on both sides.
    """
    times, lists = log.timestamps, log.histories
    if times is None:
        return []
    owners, firsts = lists.list_index(), np.full(len(lists), np.iinfo(np.int64).max)
    alive = lists.lengths > 0
    firsts[alive] = times[lists.offsets[:-1][alive]]
    items = np.full(len(log.items), np.iinfo(np.int64).max)
    items[log.item_counts > 0] = first_times(lists.rows, times, len(log.items))
    found = list[dict[str, Any]]()
    for share, at in zip(_CUTS, np.quantile(times, _CUTS, method="higher"), strict=True):
        after = times >= at
        if after.all():
            continue
        users = owners[after]
        new = firsts[users] >= at
        found.append(
            {
                "share": share,
                "at": day_of(int(at)),
                "events": int(after.sum()),
                "cold_users": float(new.mean()),
                "cold_items": float((items[lists.rows[after]] >= at).mean()),
                "users_on_both_sides": int(mask_of(users[~new], len(lists)).sum()),
                "new_items": int(((items >= at) & (log.item_counts > 0)).sum()),
            }
        )
    return found
