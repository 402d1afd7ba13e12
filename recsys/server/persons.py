"""The people of a batch of requests, as rows that the user tower reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from recsys.core.ragged import Int32, Int64, Ragged
from recsys.core.schema import QUERY
from recsys.data.times.request_time import request_second
from recsys.errors import ConfigError, DataError, RecsysError, UnknownIdError
from recsys.server.asks import PersonAsk
from recsys.server.histories import Stored, merged
from recsys.server.model import Model
from recsys.serving.people import LeftOut, People, anonymous
from recsys.serving.request_arguments import RawId


@dataclass(frozen=True, eq=False)
class Persons:
    """Who asks, resolved together.

    Attributes
    ----------
    histories : Ragged (n)
        With times and event types where the user tower reads them.
    users : int32 (n,)
        User rows; −1 for people whom the bundle does not know.
    request_times : int64 (n,)
        Seconds since 1970.
    target_events : list of int or None (n)
        Codes of the event types to come.
    fresh, unknown_items, unreadable : int64 (n,)
        Events from the store; events that were passed over.
    errors : list of RecsysError or None (n)
        What is wrong with a request.
    """

    histories: Ragged
    users: Int32
    request_times: Int64
    target_events: list[int | None]
    fresh: Int64
    unknown_items: Int64
    unreadable: Int64
    errors: list[RecsysError | None]

    def people(self, chosen: Int64) -> People:
        """Some of them, int64 (m,), as a request holds people."""
        owners = pl.Series(QUERY, np.arange(len(chosen), dtype=np.int64))
        return People(self.histories.take(chosen), self.users[chosen], owners, LeftOut())


def store_id(user: RawId) -> str:
    """What the store calls a user."""
    return str(user)


def persons_of(model: Model, asks: Sequence[PersonAsk], stored: Stored, cold: Sequence[bool]) -> Persons:
    """Resolve the people of some requests.

    Parameters
    ----------
    model : Model
    asks : sequence (n)
    stored : Stored
        What the store knows of the users, by :func:`store_id`.
    cold : sequence of bool (n)
        Whether somebody without a history is accepted.
    """
    n = len(asks)
    errors: list[RecsysError | None] = [_contradiction(ask) for ask in asks]
    named = np.array([i for i in range(n) if errors[i] is None and asks[i].user is not None], dtype=np.int64)
    others = [i for i in range(n) if errors[i] is None and asks[i].history is not None]
    users = np.full(n, -1, dtype=np.int32)
    counts = [np.zeros(n, dtype=np.int64) for _ in range(3)]
    parts: list[Ragged] = []
    if len(named):
        ids: list[RawId] = [asks[i].user for i in named]
        users[named] = model.users.find_rows(ids)
        names = [store_id(one) for one in ids]
        found = merged(model, users[named], names, stored)
        users[named[[name in stored.forgotten for name in names]]] = -1  # nor what the bundle knows besides
        for count, of in zip(counts, (found.fresh, found.unknown_items, found.unreadable), strict=True):
            count[named] = of
        parts.append(_as_read(model, found.histories))
        for place, length in zip(named.tolist(), found.histories.lengths.tolist(), strict=True):
            if length == 0 and not cold[place] and asks[place].unknown != "skip":
                errors[place] = _nothing_known(model, asks[place].user, int(users[place]))
    given, skipped = _given(model, asks, others, cold, errors)
    counts[1][others] = skipped
    parts.append(given)
    order = np.concatenate([named, np.array(others, dtype=np.int64)])
    lengths = np.zeros(n, dtype=np.int64)
    both = _joined(parts)
    lengths[order] = both.lengths
    place = np.full(n, len(both), dtype=np.int64)  # an empty list stands behind the last
    place[order] = np.arange(len(order))
    histories = Ragged(np.append(both.offsets, both.offsets[-1]), both.rows, both.times, both.events).take(place)
    times, codes = np.zeros(n, dtype=np.int64), list[int | None]()
    for i, ask in enumerate(asks):
        code = None
        try:
            times[i] = request_second(ask.request_time)
            code = None if ask.target_event is None else model.event_code(ask.target_event)
        except RecsysError as error:
            errors[i] = errors[i] or error
        codes.append(code)
    return Persons(histories, users, times, codes, counts[0], counts[1], counts[2], errors)


def _contradiction(ask: PersonAsk) -> RecsysError | None:
    if (ask.user is None) == (ask.history is None):
        return ConfigError("give either user or history")
    if ask.user is not None and (ask.times is not None or ask.events is not None):
        return ConfigError("times and events belong to history; of a user the stored ones are read")
    return None


def _nothing_known(model: Model, user: RawId | None, row: int) -> RecsysError:
    remedy = "send events of them first, give history instead of user, or ask for fallback 'popular'"
    if row < 0:
        known = f"the {len(model.users):,} users of the bundle"
        return UnknownIdError(f"unknown user {user!r}: neither among {known} nor in a stored event; {remedy}")
    return DataError(f"the user {user!r} has no history to read; {remedy}")


def _as_read(model: Model, histories: Ragged) -> Ragged:
    """Histories with what the user tower reads besides items, and no more."""
    times = histories.times if model.reads_times else None
    events = histories.events if model.reads_events else None
    return replace(histories, times=times, events=events)


def _given(
    model: Model, asks: Sequence[PersonAsk], others: Sequence[int], cold: Sequence[bool], errors: list[RecsysError | None]
) -> tuple[Ragged, Int64]:
    """The histories that requests bring, one for each of ``others``, and how many unknown items each had."""
    plain = not model.reads_times and not model.reads_events
    flat: list[RawId] = [one for i in others for one in asks[i].history or ()]
    lengths = np.array([len(asks[i].history or ()) for i in others], dtype=np.int64)
    if plain and not any(asks[i].times or asks[i].events for i in others):
        rows = model.items.find_rows(flat)
        if not (len(rows) and rows.min() < 0) and not (len(lengths) and lengths.min() == 0):
            return Ragged.from_lengths(lengths, rows), np.zeros(len(others), dtype=np.int64)
    parts, skipped = [], np.zeros(len(others), dtype=np.int64)
    for at, i in enumerate(others):
        ask = asks[i]
        try:
            found = anonymous(
                model,
                [ask.history or ()],
                None if ask.times is None else [ask.times],
                None if ask.events is None else [ask.events],
                cold=cold[i],
                unknown=ask.unknown,
            )
        except RecsysError as error:
            errors[i], part = error, Ragged.empty(1)
        else:
            part, skipped[at] = found.histories, found.left_out.unknown_items
        parts.append(part)
    return _joined(parts), skipped


def _joined(parts: Sequence[Ragged]) -> Ragged:
    """Lists one part after the other; an empty part need not have times and types."""
    some = [part for part in parts if len(part.rows)]
    lengths = np.concatenate([part.lengths for part in parts]) if parts else np.zeros(0, dtype=np.int64)
    if not some:
        return Ragged.from_lengths(lengths, np.zeros(0, dtype=np.int32))
    times = [part.times for part in some if part.times is not None]
    events = [part.events for part in some if part.events is not None]
    return Ragged.from_lengths(
        lengths,
        np.concatenate([part.rows for part in some]),
        np.concatenate(times) if times else None,
        np.concatenate(events) if events else None,
    )
