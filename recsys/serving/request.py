"""Who asks: known users or anonymous histories, as rows that the towers read."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import polars as pl

from recsys.bundle.contents import Bundle
from recsys.core.id_map import IdMap
from recsys.core.progress import warn
from recsys.core.ragged import Bool, Int32, Ragged
from recsys.core.schema import QUERY, USER
from recsys.data.times.request_time import Instant
from recsys.errors import ConfigError, DataError, UnknownIdError
from recsys.models.networks.ensemble import UserEnsemble
from recsys.models.networks.user_tower import UserTower
from recsys.serving.context import with_side
from recsys.serving.request_arguments import RawId, RawIds, id_list, id_lists, single

Unknown: TypeAlias = Literal["error", "skip"]

_SKIP = "unknown='skip' (--unknown skip) passes over them"


@dataclass(frozen=True)
class LeftOut:
    """What an answer could not heed, each kind counted apart.

    Attributes
    ----------
    unknown_users, unknown_items : int
        Ids that the model does not know; items of histories and filters.
    without_history : int
        Users and histories of whom nothing is known that could be read.
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
        """One line that tells them apart, such as ``1 of 3 users is unknown``; empty where nothing was left out."""
        parts = []
        for count, told in (
            (self.unknown_users, ("is unknown and gets nothing", "are unknown and get nothing")),
            (self.without_history, ("has no history to read", "have no history to read")),
            (self.nothing_left, ("gets nothing: no item is left for it", "get nothing: no item is left for them")),
        ):
            if count:
                parts.append(f"{count:,} of {people:,} {what} {told[count > 1]}")
        if self.unknown_items:
            parts.append(f"{self.unknown_items:,} item ids are unknown and passed over")
        return "; ".join(parts)


@dataclass(frozen=True, eq=False)
class Asked:
    """The people of one request.

    Attributes
    ----------
    histories : Ragged (n)
        What is known of each; empty for those of whom nothing is.
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

    @property
    def readable(self) -> Bool:
        """bool (n,): who has a history to read."""
        return self.histories.lengths > 0


def check_unknown(unknown: object) -> bool:
    """Whether unknown ids are passed over.

    Raises
    ------
    ConfigError
        It is neither ``"error"`` nor ``"skip"``.
    """
    if unknown not in ("error", "skip"):
        raise ConfigError(f"unknown must be error or skip, not {unknown!r}")
    return unknown == "skip"


def found_rows(ids: pl.Series | list[Hashable], known: IdMap, name: str, remedy: str = _SKIP) -> Int32:
    """int32 (n,): rows of ids, all of which must be known; ``remedy`` ends the error of those that are not.

    Raises
    ------
    UnknownIdError
        Some are not; the message counts them and names the argument.
    """
    rows = known.find_rows(ids)
    missing = np.flatnonzero(rows < 0)
    if len(missing):
        told = ", ".join(repr(ids[int(i)]) for i in missing[:5]) + (", ..." if len(missing) > 5 else "")
        such = ", ".join(repr(one) for one in known.ids[:3].to_list())
        count = "" if len(ids) == 1 else f"{len(missing):,} of {len(ids):,} ids in {name} are "
        raise UnknownIdError(
            f"unknown {known.kind} {told}: {count}not among the {len(known):,} {known.kind}s (such as {such}); {remedy}"
        )
    return rows


def known_rows(ids: RawIds, known: IdMap, name: str, unknown: Unknown = "error", remedy: str = _SKIP) -> tuple[Int32, int]:
    """Rows of ids in the order of asking, and how many ids were passed over because they are unknown.

    Raises
    ------
    ConfigError
        This is no id and no list of ids.
    UnknownIdError
        An id is unknown, and ``unknown`` is ``"error"``.
    """
    asked = id_list(ids, name, f"{known.kind} ids")
    if not check_unknown(unknown):
        return found_rows(asked, known, name, remedy), 0
    rows = known.find_rows(asked)
    kept = rows[rows >= 0]
    return kept, len(rows) - len(kept)


def known_users(asked: RawIds, users: IdMap, histories: Ragged, *, cold: bool = False, unknown: Unknown = "error") -> Asked:
    """Users by their ids, with their stored histories.

    Parameters
    ----------
    asked : id or ids
    users : IdMap
    histories : Ragged (len(users))
    cold : bool
        Whether users who are unknown, or have no history, are let in.
    unknown : {"error", "skip"}
        Whether they are an error, or are let in with an empty history and counted.

    Raises
    ------
    UnknownIdError
        A user is unknown.
    DataError
        A user has no history.
    ConfigError
        There is nobody, or this is no list of ids.
    """
    ids = id_list(asked, "users", "user ids")
    if len(ids) == 0:
        raise ConfigError("there is nobody to ask for: users is empty")
    if not cold and not check_unknown(unknown):
        rows = found_rows(ids, users, "users")
        read, owners = histories.take(rows), users.to_ids(rows)
        empty = np.flatnonzero(read.lengths == 0)
        if len(empty):
            who = f"the user {owners[int(empty[0])]!r} has"
            who = who if len(ids) == 1 else f"{len(empty):,} of {len(ids):,} users, such as {owners[int(empty[0])]!r}, have"
            raise DataError(
                f"{who} no history to read; give histories= instead, ask for fallback='popular', or pass over such users "
                "with unknown='skip' (--unknown skip)"
            )
        return Asked(read, rows, owners.alias(USER), LeftOut())
    rows = users.find_rows(ids)
    known = rows >= 0
    read = histories.take(rows[known])
    lengths = np.zeros(len(rows), dtype=np.int64)
    lengths[known] = read.lengths
    read = Ragged.from_lengths(lengths, read.rows, read.times, read.events)
    owners = users.cast(ids).alias(USER) if known.all() else _as_given(ids, users)
    missed = int((~known).sum())
    left_out = LeftOut() if cold else LeftOut(missed, int((lengths == 0).sum()) - missed)
    return Asked(read, rows, owners, left_out)


def _as_given(ids: pl.Series | list[Hashable], users: IdMap) -> pl.Series:
    """Ids as the caller wrote them, in the vocabulary's type where they allow it."""
    cast = users.cast(ids)
    given = pl.Series(USER, [str(one) for one in ids], dtype=pl.String)
    return given if cast.null_count() else cast.alias(USER)


def anonymous(
    histories: Sequence[Sequence[RawId]],
    items: IdMap,
    tower: UserTower | UserEnsemble,
    event_names: Sequence[str],
    times: Sequence[Sequence[Instant]] | None,
    events: Sequence[Sequence[str]] | None,
    *,
    cold: bool = False,
    unknown: Unknown = "error",
) -> Asked:
    """People never seen before, by what they did.

    Parameters
    ----------
    histories : sequence of sequences of item ids
        Oldest first; generators are read once.
    items : IdMap
    tower : UserTower or UserEnsemble
    event_names : sequence of str
    times, events : sequence of sequences, optional
        As :func:`recsys.serving.context.with_side` takes them.
    cold : bool
        Whether a history may be empty.
    unknown : {"error", "skip"}
        Whether an unknown item is an error, or left out with its time and type, and counted.

    Raises
    ------
    ConfigError
        This is not a list of lists, or an empty one.
    UnknownIdError
        An item is unknown.
    DataError
        A history is empty.
    """
    lengths, flat = id_lists(histories, "histories")
    skip = check_unknown(unknown)
    rows = items.find_rows(flat) if skip else found_rows(flat, items, "histories")
    read = with_side(Ragged.from_lengths(lengths, rows), times, events, tower, event_names)
    known = rows >= 0
    if not known.all():
        read = read.where(known)
    empty = np.flatnonzero(read.lengths == 0)
    if len(empty) and not cold and not skip:
        raise DataError(f"{len(empty)} of {len(read)} histories are empty (the first is number {empty[0] + 1})")
    owners = pl.Series(QUERY, np.arange(len(read), dtype=np.int64))
    left_out = LeftOut(0, 0 if cold else len(empty), 0, int((~known).sum()))
    return Asked(read, np.full(len(read), -1, dtype=np.int32), owners, left_out)


def repeated(rows: Int32, times: int) -> Ragged:
    """The same list of rows, ``times`` times."""
    return Ragged.from_lengths(np.full(times, len(rows), dtype=np.int64), np.tile(rows, times))


def people_of(
    bundle: Bundle,
    users: RawIds | None,
    histories: Sequence[Sequence[RawId]] | None,
    times: Sequence[Sequence[Instant]] | None = None,
    events: Sequence[Sequence[str]] | None = None,
    *,
    cold: bool = False,
    unknown: Unknown = "error",
) -> Asked:
    """Who asks: known users, or histories of new people; raises as :func:`known_users` and :func:`anonymous`."""
    if (users is None) == (histories is None):
        raise ConfigError("give either users or histories")
    if users is not None:
        for name, given in (("times", times), ("events", events)):
            if given is not None:
                raise ConfigError(f"{name} belongs to histories; of known users the stored {name} are read")
        return known_users(users, bundle.users, bundle.histories, cold=cold, unknown=unknown)
    assert histories is not None  # noqa: S101 - one of the two is given
    tower = bundle.towers.net.users
    return anonymous(histories, bundle.items, tower, bundle.event_names, times, events, cold=cold, unknown=unknown)


def person_of(
    bundle: Bundle, user: Any, item: Any, history: Any, times: Any, events: Any, unknown: Unknown
) -> tuple[Asked, Int32]:
    """One person and one item; unknown items of the history may be skipped, but not the item and the user.

    Raises
    ------
    UnknownIdError
        The user, the item, or every item of the history is unknown.
    """
    one = [[given] if given is not None else None for given in (history, times, events)]
    asked = people_of(bundle, None if user is None else single(user, "user"), *one, unknown=unknown)
    if not asked.readable.all():
        raise UnknownIdError("there is nothing to explain: the user, or every item of the history, is unknown")
    if passed_over := asked.left_out.sentence(1, "histories"):
        warn(passed_over)
    return asked, known_rows(single(item, "item"), bundle.items, "item")[0]
