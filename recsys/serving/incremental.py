"""User vectors after one more event, from the keys and values that were computed before it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from recsys.core.ragged import Float32, Int32, Int64, Ragged

Step: TypeAlias = Callable[[Mapping[str, NDArray[Any]]], list[NDArray[Any]]]
"""Runs the newest events behind the keys and values of those before; gives the vector, and the keys and values of all."""
Whole: TypeAlias = Callable[[Ragged, int, int | None], Float32]
"""The vector of a history, a request time and an event type, float32 (D,), by the whole tower."""


@dataclass(frozen=True)
class Reads:
    """What a user tower reads, and what of it stays as it is when an event is added.

    Attributes
    ----------
    max_length : int
        Newest events that are read.
    lead : int
        Items before an event that its filter reads.
    slides : bool
        Whether keys and values hold once the oldest event is no longer read. If not, a history longer than ``max_length``
        is computed whole at each event: its positions are counted from an event that changes, or the keys of its higher
        blocks know of events that are gone.
    past : (int, int, int)
        Keys and values of all blocks and members, heads, width of a head.
    times, request, events : bool
        Whether times are read, whether the time of the request is, and types of events.
    """

    max_length: int
    lead: int
    slides: bool
    past: tuple[int, int, int]
    times: bool
    request: bool
    events: bool


@dataclass(frozen=True, eq=False)
class Kept:
    """What is known of a history after an answer.

    Attributes
    ----------
    rows : int32 (n,)
        The events that were read, oldest first.
    times : int64 (n,) or None
    events : int8 (n,) or None
    length : int
        Events of the whole history.
    past : float32 (S, H, t, d)
        Keys and values of the first t of these events; those of the last one change with the next where a tower reads when
        it is asked.
    """

    rows: Int32
    times: Int64 | None
    events: NDArray[np.int8] | None
    length: int
    past: Float32


@dataclass(frozen=True, eq=False)
class Encoded:
    """A user vector, and what it took.

    Attributes
    ----------
    vector : float32 (D,)
    positions : int
        Events that went through the tower.
    why_whole : str or None
        Why the whole history did, where it did.
    kept : Kept or None
        For the next event; None: it will be computed whole, too.
    """

    vector: Float32
    positions: int
    why_whole: str | None
    kept: Kept | None


def encoded(
    reads: Reads,
    table: Float32,
    step: Step,
    whole: Whole,
    history: Ragged,
    features: Int64,
    request_time: int,
    target_event: int | None,
    kept: Kept | None,
) -> Encoded:
    """The vector of a history; where it begins with what was kept, only the events behind that are computed.

    It is the vector of the whole tower but for rounding: the same numbers, summed in another order (1e-6 of its length).

    Parameters
    ----------
    reads : Reads
    table : float32 (n_items, D)
        Item vectors as the tower reads them.
    step, whole : callable
    history : Ragged (1)
        Of at least one event.
    features : int64 (F,)
        Codes of the user's features: the same as before.
    request_time : int
        Seconds.
    target_event : int or None
    kept : Kept or None
        What :class:`Encoded` gave for the same person; None: nothing.

    Returns
    -------
    Encoded
    """
    window = history.tail(reads.max_length)
    n, length = len(window.rows), len(history.rows)
    if length > reads.max_length and not reads.slides:
        moves = f"the history has more than {reads.max_length} events, so that each one moves all that are read"
        return Encoded(whole(history, request_time, target_event), n, moves, None)
    past, why = _held(reads, window, length, kept)
    start = min(past.shape[2], n - 1)
    new = np.arange(start - reads.lead, n)
    items = np.where((new >= 0)[:, None], table[window.rows[np.maximum(new, 0)]], np.float32(0))
    given: dict[str, NDArray[Any]] = {"items": items, "past": past[:, :, :start], "features": features}
    if window.times is not None and reads.times:
        asked = np.append(window.times[1:], request_time) if reads.request else window.times
        given |= {"times": window.times, "request": asked[start:]}
    if window.events is not None and reads.events:
        given["events"] = window.events[start:].astype(np.int64)
    given["target_event"] = np.array([-1 if target_event is None else target_event], dtype=np.int64)
    vector, known = step(given)
    final = known[:, :, : n - 1] if reads.request else known
    return Encoded(vector, n - start, why, Kept(window.rows, window.times, window.events, length, final))


def _held(reads: Reads, window: Ragged, length: int, kept: Kept | None) -> tuple[Float32, str | None]:
    """Keys and values of the first events of a window, as many as are known, and why there are none."""
    stacked, heads, width = reads.past
    nothing = np.zeros((stacked, heads, 0, width), dtype=np.float32)
    if kept is None:
        return nothing, "nothing is known of the history yet"
    moved = (length - len(window.rows)) - (kept.length - len(kept.rows))
    same = 0 <= moved < len(kept.rows) and length >= kept.length
    for name in ("rows", "times", "events"):
        old, new = getattr(kept, name), getattr(window, name)
        if same and old is not None:
            same = new is not None and np.array_equal(old[moved:], new[: len(old) - moved])
    if not same:
        return nothing, "the history does not begin with what was known of it"
    return kept.past[:, :, moved:], None
