"""Windows of a log as a service lives through them: weights stand still, and histories grow with every event."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recsys.core.arguments import flag, instance, whole_number
from recsys.core.ragged import Bool, Ragged
from recsys.data.interactions import Interactions
from recsys.data.split import Holdout, first_of_pair, random_keys
from recsys.errors import DataError


def clock_of(log: Interactions, fresh: Bool | None = None) -> NDArray[np.float64]:
    """When each event took place, on one clock for all users.

    With times, they are the clock. Without, it runs from 0 to 1 over the history of each user, whose first event comes at a
    moment of its own: nobody knows who came first, so that all are there from the start, and new items are rare.

    Parameters
    ----------
    log : Interactions
    fresh : bool (len(log),), optional
        Events that came later than all others. Without times these take from 1 to 2 of the clock.

    Returns
    -------
    float64 (len(log),)
        Ascending within each history.

    Examples
    --------
    >>> log = recsys.Interactions.from_frame(pl.DataFrame({"user_id": ["ann"] * 4, "item_id": list("abcd")}))
    >>> (np.diff(clock_of(log)) == 0.25).all()
    np.True_
    """
    if log.timestamps is not None:
        return log.timestamps.astype(np.float64)
    if fresh is None:
        return _shares(log.histories)
    clock = np.empty(len(log))
    clock[~fresh] = _shares(log.histories.where(~fresh))
    clock[fresh] = 1.0 + _shares(log.histories.where(fresh))
    return clock


def _shares(lists: Ragged) -> NDArray[np.float64]:
    places = np.arange(len(lists.rows)) - np.repeat(lists.offsets[:-1], lists.lengths)
    begun = np.random.default_rng(0).random(len(lists))
    shares: NDArray[np.float64] = (places + np.repeat(begun, lists.lengths)) / np.repeat(lists.lengths, lists.lengths)
    return shares


def each_event(
    log: Interactions,
    judged: Bool,
    name: str,
    *,
    most: int | None = None,
    per_user: int | None = None,
    seed: int = 0,
    keep_seen: bool = False,
) -> Holdout:
    """Hold out events one by one: each is to be found from all that its user did before, up to the event just before.

    So a model is judged as it is served: what it learned stays as it was, and what it reads is always of today. A user is
    there once for each event, and events are no independent sample: take the mean of each user first.

    Parameters
    ----------
    log : Interactions
    judged : bool (len(log),)
        Which events may be held out, in history order. Those without an event before, and those on items that the user
        had before, are not.
    name : str
        The protocol, for reports.
    most, per_user : int, optional
        Draw at most so many events, and at most so many of one user.
    seed : int
    keep_seen : bool
        Items of the history are targets too: people return to items.

    Returns
    -------
    Holdout

    Raises
    ------
    DataError
        No event is left.

    Examples
    --------
    >>> log = recsys.Interactions.from_frame(pl.DataFrame({"user_id": ["ann"] * 3, "item_id": list("abc")}))
    >>> held = each_event(log, np.array([True, True, True]), "all events")
    >>> held.histories.to_lists(), held.targets.to_lists()
    ([[0], [0, 1]], [[1], [2]])
    """
    instance(log, Interactions, "log")
    lists, owners = log.histories, log.histories.list_index()
    later = np.arange(len(lists.rows)) > lists.offsets[owners]
    new = np.ones(len(lists.rows), dtype=np.bool_) if flag(keep_seen, "keep_seen") else first_of_pair(lists, len(log.items))
    events = np.flatnonzero(judged & later & new)
    keys = random_keys(len(lists.rows), seed)[events]
    if per_user is not None:
        order = np.lexsort((keys, owners[events]))
        drawn = owners[events][order]
        place = np.arange(len(drawn)) - np.searchsorted(drawn, drawn)
        kept = np.sort(order[place < whole_number(per_user, "per_user")])
        events, keys = events[kept], keys[kept]
    if most is not None and len(events) > whole_number(most, "most"):
        events = events[np.sort(np.argsort(keys, kind="stable")[:most])]
    if len(events) == 0:
        raise DataError(f"{name}: no event comes after another one of its user, on an item that is new to the user")
    users = owners[events]
    return Holdout(
        log.users,
        log.items,
        users.astype(np.int32),
        lists.take(users).head(events - lists.offsets[users]),
        Ragged.from_lengths(np.ones(len(events), dtype=np.int64), lists.rows[events]),
        name,
        None if lists.times is None else lists.times[events],
        log.event_names,
    )
