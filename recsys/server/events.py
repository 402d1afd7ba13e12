"""What a client reports of a user and an item, and what keeps a report out of the store."""

from __future__ import annotations

import sys
import time
import uuid
from dataclasses import dataclass
from typing import Final, Literal, get_args

Kind = Literal["interaction", "impression"]
Result = Literal["accepted", "duplicate", "refused"]

LONGEST_ID: Final = 500
"""Characters of a user id or an item id; PostgreSQL indexes no more than 2,700 bytes."""
LONGEST_LABEL: Final = 200
"""Characters of an event id, an event type or a request id."""
LATEST: Final = 86_400
"""Seconds by which an event may lie in the future: clients' clocks are wrong by minutes, time zones by hours."""
_MILLISECONDS: Final = 100_000_000_000
"""In seconds this is the year 5138; in milliseconds, 1973."""


@dataclass(frozen=True, slots=True)
class Event:
    """An interaction, or an impression: an item that was shown.

    Attributes
    ----------
    event_id : str
        Chosen by the client; a repetition of it is stored once. See :func:`new_event_id`.
    user_id, item_id : str
        Raw ids. The item need not be in the bundle.
    timestamp : int
        Seconds since 1970.
    event : str, optional
        Its type, such as view or buy.
    weight : float, optional
        Its strength, such as a rating.
    kind : {"interaction", "impression"}
    request_id : str, optional
        The request whose answer the event follows.

    Examples
    --------
    >>> Event("e1", "42", "toy-story", 1_700_000_000, event="view").kind
    'interaction'
    """

    event_id: str
    user_id: str
    item_id: str
    timestamp: int
    event: str | None = None
    weight: float | None = None
    kind: Kind = "interaction"
    request_id: str | None = None

    def repeats(self, other: Event) -> bool:
        """Tell whether this reports the same as an event of the same id.

        Times may differ: without a time from the client, each attempt gets a new one.
        """
        return (self.user_id, self.item_id, self.event, self.weight, self.kind) == (
            other.user_id, other.item_id, other.event, other.weight, other.kind,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Receipt:
    """The result for an event.

    Attributes
    ----------
    event_id : str
    result : {"accepted", "duplicate", "refused"}
        Accepted and duplicate events are on disk.
    reason : str, optional
        Why it was refused, and what to do.
    """

    event_id: str
    result: Result
    reason: str | None = None


def new_event_id() -> str:
    """An id for an event whose client named none; such an event can be repeated by mistake."""
    return uuid.uuid4().hex


def refusal(event: Event, now: float | None = None) -> str | None:
    """Say why an event cannot be stored.

    Parameters
    ----------
    event : Event
        Its fields may hold anything.
    now : float, optional
        Seconds since 1970; by default the clock's.

    Returns
    -------
    str or None
        The field, what is wrong with it, and the remedy; None for an event that can be stored.

    Examples
    --------
    >>> refusal(Event("e1", "42", "toy-story", 1_700_000_000_000))
    'timestamp 1700000000000 counts milliseconds, it seems; divide it by 1,000: seconds since 1970 are expected'
    """
    return (
        odd_text("event_id", event.event_id, LONGEST_LABEL)
        or odd_text("user_id", event.user_id, LONGEST_ID)
        or odd_text("item_id", event.item_id, LONGEST_ID)
        or _odd_time(event.timestamp, time.time() if now is None else now)
        or (None if event.event is None else odd_text("event", event.event, LONGEST_LABEL))
        or _odd_weight(event.weight)
        or (None if event.request_id is None else odd_text("request_id", event.request_id, LONGEST_LABEL))
        or (None if event.kind in get_args(Kind) else f"kind {event.kind!r:.50} is neither interaction nor impression")
    )


def odd_text(field: str, text: object, longest: int) -> str | None:
    """Say why a value cannot be stored as an id or a label; None if it can be stored."""
    if not isinstance(text, str):
        return f"{field} is of type {type(text).__name__}; send it as text"
    if not text.strip():
        return f"{field} is {'blank' if text else 'empty'}; send an id or a name"
    if len(text) > longest:
        return f"{field} has {len(text):,} characters ({text[:20]!r}...); at most {longest} can be stored"
    if "\0" in text:
        return f"{field} {text!r:.60} holds a zero byte; leave it out"
    try:
        text.encode()
    except UnicodeEncodeError:
        return f"{field} {text!r:.60} holds half a character (a lone surrogate); send it as valid UTF-8"
    return None


def _odd_time(timestamp: object, now: float) -> str | None:
    if isinstance(timestamp, bool) or not isinstance(timestamp, int):
        return f"timestamp {timestamp!r:.50} is of type {type(timestamp).__name__}; send whole seconds since 1970"
    if timestamp >= _MILLISECONDS:
        # longer numbers than 19 digits count nothing, and Python may refuse to print them
        shown = f"{timestamp}" if timestamp < 10**19 else "of more than 19 digits"
        return f"timestamp {shown} counts milliseconds, it seems; divide it by 1,000: seconds since 1970 are expected"
    if timestamp < 0:
        return f"timestamp {timestamp if timestamp > -(10**19) else 'of more than 19 digits'} lies before 1970"
    if timestamp > now + LATEST:
        return f"timestamp {timestamp} lies {(timestamp - now) / 86_400:,.1f} days in the future; set the client's clock"
    return None


def _odd_weight(weight: object) -> str | None:
    if weight is None:
        return None
    if isinstance(weight, bool) or not isinstance(weight, int | float):
        return f"weight {weight!r:.50} is of type {type(weight).__name__}; send a number"
    if not 0 <= weight <= sys.float_info.max:
        shown = weight if isinstance(weight, float) else "of many digits" if weight > 0 else "below 0"
        return f"weight {shown} is negative or not finite; send a number from 0 on, or leave it out"
    return None
