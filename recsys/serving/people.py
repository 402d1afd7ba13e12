"""The people of a request: known users or anonymous histories, as rows that the user tower reads."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import polars as pl

from recsys.core.arguments import listed
from recsys.core.id_map import IdMap
from recsys.core.ragged import Int32, Int64, Ragged
from recsys.core.schema import QUERY, USER, canonical_ids
from recsys.data.times.request_time import Instant, seconds_of
from recsys.errors import ConfigError, DataError
from recsys.serving.request_arguments import RawId, RawIds, Unknown, check_unknown, found_rows, id_list, id_lists


class Known(Protocol):
    """What people are looked up in: a bundle, or what was exported of one."""

    @property
    def users(self) -> IdMap:
        """The users that can be asked for by id."""
        ...

    @property
    def items(self) -> IdMap:
        """All items, in row order."""
        ...

    @property
    def histories(self) -> Ragged:
        """The users' histories."""
        ...

    @property
    def event_names(self) -> tuple[str, ...]:
        """The event types that histories refer to."""
        ...

    @property
    def reads_times(self) -> bool:
        """Whether the user tower reads the times of events."""
        ...

    @property
    def reads_events(self) -> bool:
        """Whether the user tower reads the types of events."""
        ...


@dataclass(frozen=True)
class LeftOut:
    """What an answer passed over, each kind counted apart.

    Attributes
    ----------
    unknown_users, unknown_items : int
        Ids that the model does not know; items of histories and filters.
    without_history : int
        Users and histories without an event that could be read.
    nothing_left : int
        People for whom the filters, and what they have seen, leave no item.
    """

    unknown_users: int = 0
    without_history: int = 0
    nothing_left: int = 0
    unknown_items: int = 0

    def __add__(self, other: LeftOut) -> LeftOut:
        return LeftOut(
            self.unknown_users + other.unknown_users,
            self.without_history + other.without_history,
            self.nothing_left + other.nothing_left,
            self.unknown_items + other.unknown_items,
        )

    def sentence(self, people: int, what: str = "users") -> str:
        """One line that names each kind, such as ``1 of 3 users is unknown``; empty where nothing was left out."""
        parts = []
        for count, words in (
            (self.unknown_users, ("is unknown and gets nothing", "are unknown and get nothing")),
            (self.without_history, ("has no history to read", "have no history to read")),
            (self.nothing_left, ("gets nothing: no item is left for it", "get nothing: no item is left for them")),
        ):
            if count:
                parts.append(f"{count:,} of {people:,} {what} {words[count > 1]}")
        if self.unknown_items:
            parts.append(f"{self.unknown_items:,} item ids are unknown and passed over")
        return "; ".join(parts)


@dataclass(frozen=True, eq=False)
class People:
    """The people of one request.

    Attributes
    ----------
    histories : Ragged (n)
        What each has done; empty for people about whom nothing is known.
    users : int32 (n,)
        User rows, −1 for a new person.
    owners : Series (n,)
        What the answer calls them: the user's id, or the position in the request.
    left_out : LeftOut
        What was passed over.
    """

    histories: Ragged
    users: Int32
    owners: pl.Series
    left_out: LeftOut

    def take(self, positions: Int64) -> People:
        """The people at some positions, int64 (m,), in that order."""
        owners = self.owners.gather(pl.Series(positions, dtype=pl.UInt32))
        return People(self.histories.take(positions), self.users[positions], owners, self.left_out)


def people_of(
    known: Known,
    users: RawIds | None,
    histories: Sequence[Sequence[RawId]] | None,
    times: Sequence[Sequence[Instant]] | None = None,
    events: Sequence[Sequence[str]] | None = None,
    *,
    cold: bool = False,
    unknown: Unknown = "error",
) -> People:
    """The people of a request: known users, or histories of new people.

    Raises as :func:`known_users` and :func:`anonymous`, and ConfigError unless exactly one of the two is given.
    """
    if (users is None) == (histories is None):
        raise ConfigError("give either users or histories")
    if users is not None:
        for name, given in (("times", times), ("events", events)):
            if given is not None:
                raise ConfigError(f"{name} belongs to histories; of known users the stored {name} are read")
        return known_users(known, users, cold=cold, unknown=unknown)
    assert histories is not None  # noqa: S101 - one of the two is given
    return anonymous(known, histories, times, events, cold=cold, unknown=unknown)


def known_users(known: Known, users: RawIds, *, cold: bool = False, unknown: Unknown = "error") -> People:
    """Users by their ids, with their stored histories.

    Parameters
    ----------
    known : Known
    users : id or ids
    cold : bool
        Whether users are accepted who are unknown or have no history.
    unknown : {"error", "skip"}
        Whether they are an error, or are accepted with an empty history and counted.

    Raises
    ------
    UnknownIdError
        A user is unknown.
    DataError
        A user has no history.
    ConfigError
        The list is empty, or is not a list of ids.
    """
    names, histories = known.users, known.histories
    ids = id_list(users, "users", "user ids")
    if len(ids) == 0:
        raise ConfigError("there is nobody to ask for: users is empty")
    if not cold and not check_unknown(unknown):
        rows = found_rows(ids, names, "users")
        read, owners = histories.take(rows), names.to_ids(rows)
        empty = np.flatnonzero(read.lengths == 0)
        if len(empty):
            who = f"the user {owners[int(empty[0])]!r} has"
            who = who if len(ids) == 1 else f"{len(empty):,} of {len(ids):,} users, such as {owners[int(empty[0])]!r}, have"
            raise DataError(
                f"{who} no history to read; give histories= instead, ask for fallback='popular', or pass over such users "
                "with unknown='skip' (--unknown skip)"
            )
        return People(read, rows, _as_asked(ids) if names.called_otherwise else owners.alias(USER), LeftOut())
    rows = names.find_rows(ids)
    found = rows >= 0
    read = histories.take(rows[found])
    lengths = np.zeros(len(rows), dtype=np.int64)
    lengths[found] = read.lengths
    read = Ragged.from_lengths(lengths, read.rows, read.times, read.events)
    owners = names.cast(ids).alias(USER) if found.all() and not names.called_otherwise else _as_given(ids, names)
    missed = int((~found).sum())
    left_out = LeftOut() if cold else LeftOut(missed, int((lengths == 0).sum()) - missed)
    return People(read, rows, owners, left_out)


def _as_given(ids: pl.Series | list[Hashable], users: IdMap) -> pl.Series:
    """Ids as the caller wrote them, in the vocabulary's type where they allow it."""
    if users.called_otherwise:
        return _as_asked(ids)
    cast = users.cast(ids)
    given = pl.Series(USER, [str(one) for one in ids], dtype=pl.String)
    return given if cast.null_count() else cast.alias(USER)


def _as_asked(ids: pl.Series | list[Hashable]) -> pl.Series:
    """Ids as a caller wrote them, who calls users otherwise than the bundle does."""
    given = ids if isinstance(ids, pl.Series) else pl.Series([str(one) for one in ids], dtype=pl.String)
    return canonical_ids(given).alias(USER)


def anonymous(
    known: Known,
    histories: Sequence[Sequence[RawId]],
    times: Sequence[Sequence[Instant]] | None,
    events: Sequence[Sequence[str]] | None,
    *,
    cold: bool = False,
    unknown: Unknown = "error",
) -> People:
    """People never seen before, by what they did.

    Parameters
    ----------
    known : Known
    histories : sequence of sequences of item ids
        Oldest first; generators are read once.
    times, events : sequence of sequences, optional
        One value for each item of each history.
    cold : bool
        Whether a history may be empty.
    unknown : {"error", "skip"}
        Whether an unknown item is an error, or left out with its time and type, and counted.

    Raises
    ------
    ConfigError
        This is not a list of lists, or an empty one; the tower reads times or event types that are not given.
    UnknownIdError
        An item is unknown.
    DataError
        A history is empty, its times go back, or the tower does not know an event type.
    """
    lengths, flat = id_lists(histories, "histories")
    skip = check_unknown(unknown)
    rows = known.items.find_rows(flat) if skip else found_rows(flat, known.items, "histories")
    read = Ragged.from_lengths(lengths, rows)
    read = _with_times(read, times, needed=known.reads_times)
    read = _with_events(read, events, known.event_names, needed=known.reads_events)
    found = rows >= 0
    if not found.all():
        read = read.where(found)
    empty = np.flatnonzero(read.lengths == 0)
    if len(empty) and not cold and not skip:
        raise DataError(f"{len(empty)} of {len(read)} histories are empty (the first is number {empty[0] + 1})")
    owners = pl.Series(QUERY, np.arange(len(read), dtype=np.int64))
    left_out = LeftOut(0, 0 if cold else len(empty), 0, int((~found).sum()))
    return People(read, np.full(len(read), -1, dtype=np.int32), owners, left_out)


def _with_times(histories: Ragged, times: Sequence[Sequence[Instant]] | None, *, needed: bool) -> Ragged:
    """Histories with the times of their events; a tower that does not need them does not get them."""
    given = _one_per_item("times", "lists of times", times, histories, needed=needed)
    if given is None or not needed:
        return histories
    flat = [time for one in given for time in one]
    if bool in set(map(type, flat)):
        raise ConfigError("times must hold times; they hold True or False")
    seconds = seconds_of(flat, "times=")
    owners = histories.list_index()
    back = np.flatnonzero((np.diff(seconds) < 0) & (np.diff(owners) == 0))
    if len(back):
        raise DataError(f"times[{owners[back[0]]}] go back; give each history's events oldest first")
    return replace(histories, times=seconds)


def _with_events(
    histories: Ragged, events: Sequence[Sequence[str]] | None, event_names: Sequence[str], *, needed: bool
) -> Ragged:
    """Histories with the types of their events, by the tower's codes; a tower that does not need them does not get them."""
    given = _one_per_item("events", "lists", events, histories, needed=needed)
    if given is None or not needed:
        return histories
    names, codes = np.unique([str(name) for one in given for name in one], return_inverse=True)
    if len(strange := sorted(set(names.tolist()) - set(event_names))):
        raise DataError(
            f"events of type {', '.join(map(repr, strange[:5]))} are not among the known event types "
            f"({', '.join(event_names)})"
        )
    return replace(histories, events=codes.astype(np.int8)).recoded(names.tolist(), event_names)


def _one_per_item(name: str, of: str, given: object, histories: Ragged, *, needed: bool) -> list[list[object]] | None:
    """The values that go with the items of histories, checked to be one for each item."""
    if given is None:
        if needed:
            raise ConfigError(
                f"this model reads the {name} of a history; give {name}=, one list per history (in Python: the "
                f"command line has no flag for them)"
            )
        return None
    inner = "times" if name == "times" else "event types"
    lists = [listed(one, f"{name}[{i}]", inner) for i, one in enumerate(listed(given, name, of))]
    expected = histories.lengths.tolist()
    if len(lists) != len(expected):
        raise ConfigError(f"{name} has {len(lists)} lists for {len(expected)} histories; it needs one for each")
    for i, (one, length) in enumerate(zip(lists, expected, strict=True)):
        if len(one) != length:
            raise ConfigError(
                f"{name} must have one value for each item of each history; {name}[{i}] has {len(one)}, "
                f"the history {length}"
            )
    return lists
