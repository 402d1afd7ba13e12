"""A person who goes on: each new event costs one position of the user tower, not the whole history."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from recsys.core.ragged import Float32, Int32, Ragged
from recsys.data.times.request_time import Instant, request_second
from recsys.errors import ConfigError, DataError
from recsys.serving.incremental import Encoded, Kept, encoded
from recsys.serving.people import Known, LeftOut, People
from recsys.serving.request_arguments import RawId, known_rows, single
from recsys.serving.runtime.users import Users


class Answers(Known, Protocol):
    """What a session asks: a :class:`recsys.serving.runtime.Runtime`."""

    @property
    def tower(self) -> Users:
        """The user tower."""
        ...

    @property
    def answer(self) -> Callable[..., Any]:
        """Gives the answer for people, whose vectors the second argument makes."""
        ...


class Session:
    """One person's history, to which events are added; made by :meth:`Runtime.session`. Not for several threads at once.

    Parameters
    ----------
    runtime : Answers
    people : People (1)
    """

    def __init__(self, runtime: Answers, people: People) -> None:
        self._runtime, self._people = runtime, people
        self._last: Encoded | None = None
        self._kept: Kept | None = None

    def __repr__(self) -> str:
        return f"Session({self.length} events)"

    @property
    def length(self) -> int:
        """Events of the history."""
        return len(self._people.histories.rows)

    @property
    def positions(self) -> int:
        """Events that went through the user tower for the last answer."""
        return 0 if self._last is None else self._last.positions

    @property
    def why_whole(self) -> str | None:
        """Why the last answer took the whole history; None where it took the new events alone."""
        return None if self._last is None else self._last.why_whole

    def add(self, item: RawId, *, time: Instant | None = None, event: str | None = None) -> None:
        """Add an event.

        Parameters
        ----------
        item : id
        time : number, text, date or datetime, optional
            When it happened; by default now. Read where the model reads times.
        event : str, optional
            Its type; needed where the model reads types.

        Raises
        ------
        UnknownIdError
            The item is unknown.
        ConfigError
            The model reads types of events, and none is given.
        DataError
            The type is unknown, or the time lies before the last event's.
        """
        runtime, old = self._runtime, self._people.histories
        row, times, events = known_rows(single(item, "item"), runtime.items, "item")[0], old.times, old.events
        if runtime.reads_times:
            second = request_second(time)
            if times is not None and len(times) and second < times[-1]:
                raise DataError(f"the event at {second} is older than the last one, at {int(times[-1])}")
            times = np.append(np.empty(0, dtype=np.int64) if times is None else times, second)
        if runtime.reads_events:
            if event is None:
                raise ConfigError("this model reads the types of events; give event=")
            if event not in runtime.event_names:
                raise DataError(f"{event!r} is not among the known event types ({', '.join(runtime.event_names)})")
            code = np.int8(runtime.event_names.index(event))
            events = np.append(np.empty(0, dtype=np.int8) if events is None else events, code).astype(np.int8)
        rows = np.append(old.rows, row).astype(np.int32)
        histories = Ragged.from_lengths(np.array([len(rows)]), rows, times, events)
        self._people = People(histories, self._people.users, self._people.owners, LeftOut())

    def recommend(self, **options: Any) -> Any:
        """Items for this person; takes, gives and raises what :meth:`Runtime.recommend` does."""
        return self._runtime.answer(self._people, self._vectors, **options)

    def _vectors(self, histories: Ragged, users: Int32, second: int | None, target: int | None) -> Float32:
        tower = self._runtime.tower
        if tower.reads is None:  # a fast model, whose vector is the same for everybody
            return tower.vectors(histories, users)
        when = second if second is not None else request_second(None)
        self._last = encoded(
            tower.reads, tower.table, tower.step, self._whole, histories, tower.codes(users)[0], when, target, self._kept
        )
        self._kept = self._last.kept
        return self._last.vector[None]

    def _whole(self, history: Ragged, second: int, target: int | None) -> Float32:
        times = np.array([second], dtype=np.int64)
        vectors: Float32 = self._runtime.tower.vectors(history, self._people.users, times, target)[0]
        return vectors
