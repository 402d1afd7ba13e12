"""Judge by what came later: targets from a newer log, and histories as they were known just before."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np

from recsys.core.progress import log as tell
from recsys.core.ragged import Ragged, contained
from recsys.data.interactions import Interactions
from recsys.data.join import check_join
from recsys.data.split import Holdout, first_of_pair, instants_of
from recsys.errors import DataError, LeakageError


@dataclass(frozen=True, eq=False)
class Later:
    """What a newer log asks of a model.

    Attributes
    ----------
    holdout : Holdout
        Known users first, in their own rows; then new ones.
    counts : dict of int
        Users and events of the newer log that are not judged, and why.
    """

    holdout: Holdout
    counts: dict[str, int]


def later_events(known: Interactions, log: Interactions, *, since: int | None = None, keep_seen: bool = False) -> Later:
    """Hold out the events of a newer log that come after everything a model knows.

    Targets are each user's items from ``since`` on. The history of a user is what the model knows, then the events of the
    newer log between the last known one and ``since``; that of a user whom the model does not know is all that the newer
    log has before ``since``. Users without a history, or without an item that is new to them, are not judged. Events of
    known users that are no later than the last known one are left out: they are known already, or came too late.

    Parameters
    ----------
    known : Interactions
        All that the model knows, with times.
    log : Interactions
        With times; may hold the known events too.
    since : int, optional
        Seconds since 1970; by default right after the last known event.
    keep_seen : bool
        Items of the history are targets too: people return to items.

    Returns
    -------
    Later

    Raises
    ------
    LeakageError
        Events from ``since`` on are no later than the last known one, or a log has no times.
    DataError
        The newer log has no later event, none of its users can be judged, or its events lack types that the model reads.
    """
    last = int(instants_of(known, "judging a model by later events (the log that it was fitted on)").max())
    times = instants_of(log, "judging a model by later events")
    start = last + 1 if since is None else since
    if leaked := int(((times >= start) & (times <= last)).sum()):
        raise LeakageError(
            f"since (--since) is {_written(start)}, and the last event that the model knows is at {_written(last)}: "
            f"{leaked:,} of {len(log):,} events would be judged that it may have learned from; choose a later time, or "
            f"leave since out"
        )
    if not (times >= start).any():
        raise DataError(
            f"no event of the log comes at or after {_written(start)}, from which on events are judged: they are from "
            f"{_written(int(times.min()))} to {_written(int(times.max()))}; name a log that goes on later"
        )
    if (known.users.find_rows(log.users.ids) < 0).all():  # many new users are no surprise, new ones only are
        check_join(log.users.ids, known.users, "the bundle", source="the log", refuse=False)
    users, items = known.users.extended(log.users.ids), known.items.extended(log.items.ids)
    more = log.histories.remap(items.find_rows(log.items.ids)).aligned(log.users.find_rows(users.ids))
    is_new = np.ones(len(users), dtype=np.bool_)
    is_new[: len(known.users)] = known.histories.lengths == 0
    new = is_new[more.list_index()]
    instants = more.times
    assert instants is not None  # noqa: S101 - the log has times
    before = more.where((instants < start) & ((instants > last) | new))
    histories = _joined(known, before, log.event_names, len(users))
    later = replace(more, events=None).where(instants >= start)
    repeated = np.zeros(len(later.rows), dtype=np.bool_) if keep_seen else contained(later, histories, len(items))
    first = first_of_pair(later, len(items))
    targets = later.where(first & ~repeated)
    has_past = histories.lengths > 0
    judged = np.flatnonzero(has_past & (targets.lengths > 0)).astype(np.int32)
    acting = later.lengths > 0
    counts = {
        "early_events": int(((instants <= last) & ~new).sum()),
        "later_repeats": int((first & repeated).sum()),
        "later_users_without_history": int((acting & ~has_past).sum()),
        "later_users_without_new_items": int((acting & has_past & (targets.lengths == 0)).sum()),
    }
    left_out = (
        f"{counts['later_users_without_history']:,} users without a history before, "
        f"{counts['later_users_without_new_items']:,} who did nothing new"
    )
    if len(judged) == 0:
        raise DataError(f"no user can be judged by the events from {_written(start)} on: {left_out}")
    chosen = targets.take(judged)
    of_known = int((~is_new[judged]).sum())
    tell(
        f"judged by {len(chosen.rows):,} events from {_written(start)} on: {of_known:,} known users, "
        f"{len(judged) - of_known:,} new ones; not judged: {left_out}"
    )
    names = () if histories.events is None else known.event_names
    name = f"later events, from {_written(start)} on"
    past = histories.take(judged)
    return Later(Holdout(users, items, judged, past, chosen.without_events(), name, chosen.times, names), counts)


def _joined(known: Interactions, before: Ragged, names: tuple[str, ...], n_users: int) -> Ragged:
    """The known histories, with empty ones for new users, and what came since."""
    lists = known.histories
    lengths = np.concatenate([lists.lengths, np.zeros(n_users - len(lists), dtype=np.int64)])
    lists = Ragged.from_lengths(lengths, lists.rows, lists.times, lists.events)
    if len(before.rows) == 0:
        return lists
    if lists.events is None:
        return lists.merged(replace(before, events=None))
    if before.events is None:
        raise DataError(
            f"the model reads the types of events ({', '.join(known.event_names)}), and the log has none; name the column "
            f"that holds them, event= (--event)"
        )
    return lists.merged(before.recoded(names, known.event_names))


def _written(seconds: int) -> str:
    """An instant for messages, in UTC; a number that no calendar holds stays a number."""
    try:
        return datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None).isoformat(sep=" ")
    except (OverflowError, ValueError, OSError):
        return str(seconds)
