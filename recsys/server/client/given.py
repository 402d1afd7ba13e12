"""What a client may say in a request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any, Literal, TypeAlias, TypedDict

RawId: TypeAlias = str | int
Instant: TypeAlias = int | float | str | date
"""A number since 1970, ISO 8601 text, a date or a datetime."""


class Person(TypedDict, total=False):
    """More about a person: instead of a user a ``history`` of item ids, oldest first, and what the model reads of it.

    ``times`` and ``events`` are of the history; ``unknown="skip"`` passes over users and items that the bundle lacks.
    """

    history: Sequence[RawId]
    times: Sequence[Instant]
    events: Sequence[str]
    request_time: Instant
    target_event: str
    unknown: Literal["error", "skip"]


class Options(Person, total=False):
    """What :meth:`recsys.Retriever.recommend` takes, for one person; ``rules`` are the tables of a rules file."""

    k: int
    filter_seen: bool
    exclude: Sequence[RawId]
    eligible: Sequence[RawId]
    where: str
    rules: Mapping[str, Any]
    fallback: Literal["error", "popular"]
    rule_effects: bool
    titles: bool


class Asked(Options, total=False):
    """One request of :meth:`Client.recommend_batch`: ``user`` or ``history``, and options."""

    user: RawId


class NeededFields(TypedDict):
    """What an event cannot do without."""

    user_id: RawId
    item_id: RawId


class EventFields(NeededFields, total=False):
    """One event; without ``event_id`` the client makes one, without ``timestamp`` the server takes its own clock's."""

    event_id: str
    timestamp: int | datetime
    event: str
    weight: float
    kind: Literal["interaction", "impression"]
    request_id: str
