"""The statements by which events are written, read and removed; each works on a connection in a transaction."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from itertools import islice
from operator import attrgetter
from typing import Final

from sqlalchemy import Connection, and_, delete, func, insert, select, update

from recsys.server.deltas import Row
from recsys.server.events import Event, Receipt
from recsys.server.tables import EVENTS, FORGOTTEN, PSEUDONYMS, STATE

_ROW: Final = (EVENTS.c.position, EVENTS.c.user_id, EVENTS.c.item_id, EVENTS.c.timestamp, EVENTS.c.event)
_NAMES: Final = tuple(field.name for field in fields(Event))
_EVENT: Final = [EVENTS.c[name] for name in _NAMES]
_fields: Final = attrgetter(*_NAMES)
_INTERACTION: Final = EVENTS.c.kind == "interaction"
_PARAMETERS: Final = 5_000
"""Values in a statement."""


@dataclass(frozen=True)
class State:
    """Where a store stands.

    Attributes
    ----------
    position : int
        Of the last event.
    generation : int
        Rises when events are removed.
    """

    position: int
    generation: int


def read_state(connection: Connection) -> State:
    """Where the store stands in this transaction."""
    return State(*connection.execute(select(STATE.c.position, STATE.c.generation)).one())


def reserve(connection: Connection, positions: int, generations: int = 0) -> State:
    """Keep other writers away until the commit; the state afterwards."""
    values = {"position": STATE.c.position + positions, "generation": STATE.c.generation + generations}
    return State(*connection.execute(update(STATE).values(values).returning(STATE.c.position, STATE.c.generation)).one())


def write(connection: Connection, events: Sequence[Event]) -> tuple[list[Receipt], list[Row]]:
    """Store events that the table does not hold yet.

    Parameters
    ----------
    connection : Connection
    events : sequence of Event
        Proven by :func:`recsys.server.events.refusal`.

    Returns
    -------
    receipts : list of Receipt
        In their order.
    rows : list of Row
        The new interactions, in the order of their positions.
    """
    events = [event if event.weight is None else replace(event, weight=float(event.weight)) for event in events]
    position = reserve(connection, len(events)).position - len(events)
    known = _known(connection, [event.event_id for event in events])
    receipts, rows, values = [], [], []
    for event in events:
        first = known.get(event.event_id)
        if first is None:
            known[event.event_id] = event
            position += 1
            values.append((position, *_fields(event)))
            if event.kind == "interaction":
                rows.append(Row(position, event.user_id, event.item_id, event.timestamp, event.event))
            receipts.append(Receipt(event.event_id, "accepted"))
        elif event.repeats(first):
            receipts.append(Receipt(event.event_id, "duplicate"))
        else:
            reason = "event_id already belongs to another event; give each event an id of its own"
            receipts.append(Receipt(event.event_id, "refused", reason))
    if values:
        columns = ("position", *_NAMES)
        connection.execute(insert(EVENTS), [dict(zip(columns, value, strict=True)) for value in values])
    return receipts, rows


def _known(connection: Connection, event_ids: Sequence[str]) -> dict[str, Event]:
    found = {}
    for part in _parts(event_ids):
        for row in connection.execute(select(*_EVENT).where(EVENTS.c.event_id.in_(part))):
            found[row.event_id] = Event(*row)
    return found


def interactions(connection: Connection, up_to: int) -> Iterator[Row]:
    """All interactions up to a position, in the order of their positions; read as they are asked for."""
    found = select(*_ROW).where(EVENTS.c.position <= up_to, _INTERACTION).order_by(EVENTS.c.position)
    for row in connection.execution_options(yield_per=10_000).execute(found):
        yield Row(*row)


def interactions_of(connection: Connection, users: Sequence[str]) -> Iterator[Row]:
    """The interactions of some users, for each user in the order of their positions."""
    for part in _parts(users):
        found = select(*_ROW).where(EVENTS.c.user_id.in_(part), _INTERACTION).order_by(EVENTS.c.position)
        for row in connection.execute(found):
            yield Row(*row)


def newer(connection: Connection, position: int, limit: int) -> tuple[State, list[Row]]:
    """The interactions behind a position, at most ``limit``, and the state at the same moment."""
    behind = and_(EVENTS.c.position > position, _INTERACTION)
    found = select(STATE.c.position, STATE.c.generation, *_ROW).outerjoin_from(STATE, EVENTS, behind)
    rows = connection.execute(found.order_by(EVENTS.c.position).limit(limit)).all()
    return State(*rows[0][:2]), [Row(*row[2:]) for row in rows if row[2] is not None]


def count_by_kind(connection: Connection, user: str | None) -> dict[str, int]:
    """Number of events by kind, of a single user or of all users."""
    found = select(EVENTS.c.kind, func.count()).group_by(EVENTS.c.kind)
    found = found if user is None else found.where(EVENTS.c.user_id == user)
    return {row[0]: row[1] for row in connection.execute(found)}


def pseudonym_of(connection: Connection, digest: str) -> str:
    """The pseudonym of a user by the digest of their id; it is made at random, so that nothing leads back to the user."""
    found = select(PSEUDONYMS.c.pseudonym).where(PSEUDONYMS.c.digest == digest)
    if (known := connection.execute(found).scalar()) is None:
        reserve(connection, 0)
        known = connection.execute(found).scalar()  # another process may just have made it
    if known is None:
        known = f"person-{secrets.token_hex(6)}"
        connection.execute(insert(PSEUDONYMS).values(digest=digest, pseudonym=known))
    return str(known)


def forgotten_users(connection: Connection) -> dict[str, int]:
    """When each user was forgotten, by the digest of their id."""
    return {row.digest: row.at for row in connection.execute(select(FORGOTTEN))}


def remove_user(connection: Connection, user: str, digest: str, now: int) -> tuple[dict[str, int], int]:
    """Remove what is stored of a user: events by their kind, and pseudonyms; note under a digest that this was done."""
    reserve(connection, 0, generations=1)
    connection.execute(delete(FORGOTTEN).where(FORGOTTEN.c.digest == digest))
    connection.execute(insert(FORGOTTEN).values(digest=digest, at=now))
    counts = count_by_kind(connection, user)
    connection.execute(delete(EVENTS).where(EVENTS.c.user_id == user))
    return counts, connection.execute(delete(PSEUDONYMS).where(PSEUDONYMS.c.digest == digest)).rowcount


def remove_older(connection: Connection, oldest: int, after: int, up_to: int) -> int:
    """Remove events before a time among those of some positions; says how many."""
    old = and_(EVENTS.c.position > after, EVENTS.c.position <= up_to, EVENTS.c.timestamp < oldest)
    removed = connection.execute(delete(EVENTS).where(old)).rowcount
    if removed:
        reserve(connection, 0, generations=1)
    return removed


def _parts(values: Sequence[str]) -> Iterator[list[str]]:
    remaining = iter(values)
    while part := list(islice(remaining, _PARAMETERS)):
        yield part
