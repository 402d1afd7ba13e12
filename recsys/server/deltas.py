"""What users did since the bundle was made: kept in memory, in the order of the commits, and bounded."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Final

import numpy as np
import numpy.typing as npt

NEWEST: Final = 10_000
"""Most events of a user that a delta holds."""


@dataclass(frozen=True, slots=True)
class Row:
    """A stored interaction."""

    position: int
    user_id: str
    item_id: str
    timestamp: int
    event: str | None


@dataclass(frozen=True, eq=False, slots=True)
class Delta:
    """The interactions of a user that the store holds, in the order of their commits; an object never changes.

    Attributes
    ----------
    user_id : str
    item_ids : tuple of str (n items)
    timestamps : int64 array (n,)
        Seconds since 1970; they need not rise.
    events : tuple of str or None (n types)
    position : int
        Of the last interaction. Deltas of a user with one position are equal, unless events were removed in between.
    omitted : int
        Older interactions beyond the newest 10,000.
    """

    user_id: str
    item_ids: tuple[str, ...]
    timestamps: npt.NDArray[np.int64]
    events: tuple[str | None, ...]
    position: int
    omitted: int = 0

    def __len__(self) -> int:
        return len(self.item_ids)

    @classmethod
    def empty(cls, user_id: str) -> Delta:
        """A user without interactions in the store."""
        return cls(user_id, (), _NONE, (), 0)

    def extended(self, rows: Sequence[Row]) -> Delta:
        """With later interactions of this user, in the order of their positions."""
        item_ids = (*self.item_ids, *(row.item_id for row in rows))
        timestamps = np.concatenate((self.timestamps, np.array([row.timestamp for row in rows], np.int64)))
        events = (*self.events, *(row.event for row in rows))
        longer = Delta(self.user_id, item_ids, timestamps, events, rows[-1].position, self.omitted)
        cut = len(longer) - NEWEST
        if cut <= 0:
            return longer
        return replace(
            longer, item_ids=item_ids[cut:], timestamps=timestamps[cut:], events=events[cut:], omitted=self.omitted + cut
        )


_NONE: Final = np.array([], np.int64)
_NONE.flags.writeable = False


class Deltas:
    """The deltas of the users that were asked for or wrote last.

    A user who is not held is loaded from the database. A commit that a load missed is added afterwards, one that it saw
    is recognised by its position, and a load during which events were removed is repeated.

    Parameters
    ----------
    load : function
        Users → all their interactions in the database, in the order of their positions.
    bound : int
        Events to hold at most; a user without events counts as an event. Over it, the least recently asked go.
    """

    def __init__(self, load: Callable[[Sequence[str]], Iterable[Row]], bound: int) -> None:
        self._load = load
        self._bound = bound
        self._held: OrderedDict[str, Delta] = OrderedDict()
        self._count = 0
        self._complete = False
        self._lock = threading.RLock()
        self._loading = threading.Lock()
        self._era = 0
        self._missed: dict[str, list[Row]] = {}
        self._texts: dict[str, str] = {}

    def __len__(self) -> int:
        return self._count

    def fill(self, rows: Iterable[Row]) -> None:
        """Begin with all interactions that the database holds; from here on, a user who is not held has none."""
        with self._lock:
            self.clear()
            self._complete = True
            for part in _batched(rows, 10_000):
                self._extend(_by_user(part))
                self._evict()

    def clear(self) -> None:
        """Forget all: the database decides anew."""
        with self._lock:
            self._era += 1
            self._held.clear()
            self._texts.clear()
            self._count, self._complete = 0, False

    def drop(self, users: Iterable[str]) -> None:
        """Forget some users: the database decides anew about them."""
        with self._lock:
            for user in users:
                self._remove(user)
                self._complete = False

    def empty(self, user: str) -> None:
        """Take note that a user has no interactions any more."""
        with self._lock:
            self._remove(user)

    def _remove(self, user: str) -> None:
        self._era += 1
        delta = self._held.pop(user, None)
        self._count -= _size(delta) if delta is not None else 0

    def add(self, rows: Iterable[Row]) -> None:
        """Take up what was committed, in the order of the positions; what is held already changes nothing."""
        with self._lock:
            self._extend(_by_user(rows))
            self._evict()

    def of(self, users: Sequence[str]) -> list[Delta]:
        """The deltas of users, in their order; loads those that are not held.

        Raises
        ------
        StoreUnavailableError
            As ``load`` does.
        """
        with self._lock:
            if not self._missing(users):
                return self._now(users)
        with self._loading:
            while True:
                with self._lock:
                    missing, era = self._missing(users), self._era
                    self._missed = {user: [] for user in missing}
                try:
                    found = _by_user(self._load(missing) if missing else ())
                except BaseException:
                    with self._lock:
                        self._missed = {}
                    raise
                with self._lock:
                    missed, self._missed = self._missed, {}
                    if era != self._era:
                        continue  # something was removed meanwhile, which may be in what was loaded
                    for user in missing:
                        self._hold(user, Delta.empty(user))
                    self._extend(found)
                    self._extend(missed)
                    return self._now(users)

    def known(self, users: Sequence[str]) -> list[Delta]:
        """As :meth:`of`, without the database: a user who is not held has no interactions."""
        with self._lock:
            return self._now(users)

    def _missing(self, users: Sequence[str]) -> list[str]:
        return [] if self._complete else [user for user in dict.fromkeys(users) if user not in self._held]

    def _now(self, users: Sequence[str]) -> list[Delta]:
        found = []
        for user in users:
            delta = self._held.get(user)
            if delta is None:
                delta = Delta.empty(user)
            else:
                self._held.move_to_end(user)
            found.append(delta)
        self._evict()
        return found

    def _extend(self, by_user: Mapping[str, list[Row]]) -> None:
        for user, rows in by_user.items():
            held = self._held.get(user)
            if held is None:
                if not self._complete:
                    if user in self._missed:
                        self._missed[user].extend(rows)
                    continue
                held = Delta.empty(user)
            later = [self._shared(row) for row in rows if row.position > held.position]
            if later:
                self._hold(user, held.extended(later))

    def _hold(self, user: str, delta: Delta) -> None:
        before = self._held.get(user)
        self._count += _size(delta) - (_size(before) if before is not None else 0)
        self._held[user] = delta
        self._held.move_to_end(user)

    def _evict(self) -> None:
        while self._count > self._bound:
            _, delta = self._held.popitem(last=False)
            self._count -= _size(delta)
            self._complete = False

    def _shared(self, row: Row) -> Row:
        """The same text object for all events with this item or type."""
        if len(self._texts) > 2 * self._bound:
            self._texts.clear()
        item = self._texts.setdefault(row.item_id, row.item_id)
        event = row.event and self._texts.setdefault(row.event, row.event)
        return Row(row.position, row.user_id, item, row.timestamp, event)


def _size(delta: Delta) -> int:
    return max(1, len(delta))


def _batched(rows: Iterable[Row], size: int) -> Iterator[list[Row]]:
    """Lists of at most ``size`` rows."""
    remaining = iter(rows)
    while part := list(islice(remaining, size)):
        yield part


def _by_user(rows: Iterable[Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row.user_id, []).append(row)
    return found
