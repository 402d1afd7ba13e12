"""What a user has done: the bundle's history and the events of the store, none of them twice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from recsys.core.ragged import Bool, Int32, Int64, Ragged, found_among, stable_order
from recsys.server.asks import HistoryEvent
from recsys.server.deltas import Delta
from recsys.server.model import Model

_NO_TYPE = -1


@dataclass(frozen=True, eq=False)
class Stored:
    """What the store knows of the users of a batch, by the store's names of them.

    Attributes
    ----------
    deltas : mapping
        Their interactions.
    forgotten : mapping
        Users of whom what the bundle holds up to a time, in seconds since 1970, must not count.
    """

    deltas: Mapping[str, Delta] = field(default_factory=dict)
    forgotten: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Merged:
    """Whole histories of some users.

    Attributes
    ----------
    histories : Ragged (n)
        With times and event types where the bundle's have them.
    fresh : int64 (n,)
        How many events of each come from the store.
    unknown_items, unreadable : int64 (n,)
        Stored events that were passed over: of items that the bundle does not know; of types that the model does not know.
    """

    histories: Ragged
    fresh: Int64
    unknown_items: Int64
    unreadable: Int64


def merged(model: Model, users: Int32, names: Sequence[str], stored: Stored) -> Merged:
    """Histories of users as they would be read from the bundle's log with the stored events behind it.

    An event of the store that the bundle holds already does not count twice: a bundle that was fitted on exported events
    has the same user, item, second and, where it reads types, type. That is the rule by which ``--drop-duplicates`` calls
    two rows of a log equal. A bundle without times cannot tell, and all stored events count, behind its own.

    Parameters
    ----------
    model : Model
    users : int32 (n,)
        User rows, −1 for somebody whom the bundle does not know.
    names : sequence of str (n)
        What the store calls them.
    stored : Stored
    """
    own = _own(model, users, names, stored.forgotten)
    deltas = [stored.deltas.get(name) for name in names]
    if not any(delta is not None and len(delta) for delta in deltas):
        nothing = np.zeros(len(users), dtype=np.int64)
        return Merged(own, nothing, nothing, nothing)
    found, known, readable = _rows_of(model, deltas)
    owners, n = found.list_index(), len(users)
    unknown = np.bincount(owners[~known], minlength=n)
    unreadable = np.bincount(owners[known & ~readable], minlength=n)
    fresh = _ordered(found.where(known & readable & ~_held(own, found)))
    if own.times is None:
        fresh = replace(fresh, times=None)
    whole = own.merged(fresh)
    return Merged(whole if own.times is None else _ordered(whole), fresh.lengths, unknown, unreadable)


def with_new(
    model: Model, users: Int32, names: Sequence[str], before: Stored, new: Mapping[str, Delta]
) -> tuple[Ragged, Int64]:
    """Histories with new events behind them, and how many each has; events that come late are left out.

    Parameters
    ----------
    model : Model
    users, names
        As :func:`merged`.
    before : Stored
        What the store held before.
    new : mapping
        What it holds besides.
    """
    own = _own(model, users, names, before.forgotten)
    old = merged(model, users, names, before).histories
    found, known, readable = _rows_of(model, [new.get(name) for name in names])
    assert found.times is not None  # noqa: S101 - stored events have times
    late = np.zeros(len(found.rows), dtype=np.bool_)
    if old.times is not None:
        last = np.full(len(old), np.iinfo(np.int64).min)
        last[old.lengths > 0] = old.times[old.offsets[1:][old.lengths > 0] - 1]
        late = found.times < last[found.list_index()]
    fresh = _ordered(found.where(known & readable & ~late & ~_held(own, found))).without_events()
    return old.without_events().merged(fresh), fresh.lengths


def told(model: Model, user: int, name: str, stored: Stored) -> list[HistoryEvent]:
    """One user's history for people to read, oldest first; with stored events that no model can read.

    Parameters
    ----------
    model : Model
    user : int
        Row, −1 for somebody whom the bundle does not know.
    name : str
        What the store calls them.
    stored : Stored
    """
    own = _own(model, np.array([user], dtype=np.int32), [name], stored.forgotten)
    times = [None] * len(own.rows) if own.times is None else own.times.tolist()
    types = [None] * len(own.rows) if own.events is None else [model.event_names[code] for code in own.events]
    ids, titles = model.items.to_ids(own.rows).to_list(), model.catalog.title_of(own.rows).to_list()
    events = [HistoryEvent(*values, "bundle") for values in zip(ids, titles, times, types, strict=True)]
    delta = stored.deltas.get(name)
    if delta is not None and len(delta):
        found, known, _ = _rows_of(model, [delta])
        titled = iter(model.catalog.title_of(found.rows[known]).to_list())
        titles = [next(titled) if one else None for one in known.tolist()]
        theirs = iter(model.items.to_ids(found.rows[known]).to_list())
        ids = [next(theirs) if one else name for one, name in zip(known.tolist(), delta.item_ids, strict=True)]
        each = zip(ids, titles, delta.timestamps.tolist(), delta.events, strict=True)
        held = _held(own, found).tolist()
        events += [HistoryEvent(*values, "store") for values, twice in zip(each, held, strict=True) if not twice]
    return sorted(events, key=lambda one: -1 if one.timestamp is None else one.timestamp)


def _own(model: Model, users: Int32, names: Sequence[str], forgotten: Mapping[str, int]) -> Ragged:
    """The bundle's histories of users, empty for those whom it does not know, without what is forgotten."""
    known = np.flatnonzero(users >= 0)
    lengths = np.zeros(len(users), dtype=np.int64)
    own = model.histories.take(users[known])
    lengths[known] = own.lengths
    own = Ragged.from_lengths(lengths, own.rows, own.times, own.events)
    if not forgotten:
        return own
    until = np.array([forgotten.get(name, -1) for name in names], dtype=np.int64)[own.list_index()]
    return own.where(until < 0 if own.times is None else own.times > until)


def _rows_of(model: Model, deltas: Sequence[Delta | None]) -> tuple[Ragged, Bool, Bool]:
    """The stored events by item rows, with times; which of them have a known item, and which a type that can be read."""
    given = [delta for delta in deltas if delta is not None]
    lengths = np.array([0 if delta is None else len(delta) for delta in deltas], dtype=np.int64)
    rows = model.items.find_rows([one for delta in given for one in delta.item_ids])
    times = np.concatenate([delta.timestamps for delta in given])
    readable = np.ones(len(rows), dtype=np.bool_)
    events = None
    if model.histories.events is not None:
        codes = {name: code for code, name in enumerate(model.event_names)}
        events = np.array([codes.get(one or "", _NO_TYPE) for delta in given for one in delta.events], dtype=np.int8)
        readable = events != _NO_TYPE
    return Ragged.from_lengths(lengths, rows, times, events), rows >= 0, readable


def _ordered(lists: Ragged) -> Ragged:
    """Each list in the order of time; events of one second stay as they are."""
    assert lists.times is not None  # noqa: S101 - the callers see to it
    back = (np.diff(lists.times) < 0) & (np.diff(lists.list_index()) == 0)
    if not back.any():
        return lists
    order = stable_order(lists.list_index().astype(np.int32), lists.times)
    events = None if lists.events is None else lists.events[order]
    return Ragged(lists.offsets, lists.rows[order], lists.times[order], events)


def _held(own: Ragged, stored: Ragged) -> Bool:
    """bool (len(stored.rows),): which stored events are in the bundle's lists already."""
    held = np.zeros(len(stored.rows), dtype=np.bool_)
    if own.times is None or stored.times is None or not len(own.rows):
        return held
    last = np.full(len(own), np.iinfo(np.int64).min)
    some = own.lengths > 0
    last[some] = own.times[own.offsets[1:][some] - 1]
    early = np.flatnonzero(stored.times <= last[stored.list_index()])  # what is later than the bundle is not in it
    if not len(early):
        return held
    asked = np.unique(stored.list_index()[early])
    left, right = own.take(asked), np.searchsorted(asked, stored.list_index()[early])
    assert left.times is not None  # noqa: S101 - as own.times
    columns = [
        (left.list_index(), right),
        (left.rows.astype(np.int64), stored.rows[early].astype(np.int64)),
        (left.times, stored.times[early]),
    ]
    if left.events is not None and stored.events is not None:
        columns.append((left.events.astype(np.int64), stored.events[early].astype(np.int64)))
    keys = np.zeros(len(left.rows) + len(early), dtype=np.int64)
    for mine, theirs in columns:
        distinct, codes = np.unique(np.concatenate([mine, theirs]), return_inverse=True)
        keys = np.unique(keys * len(distinct) + codes, return_inverse=True)[1]
    held[early] = found_among(keys[len(left.rows) :], keys[: len(left.rows)])
    return held
