"""Who asks: known users or anonymous histories, as rows that the towers read."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import polars as pl

from recsys.data.clock import Instant
from recsys.data.row_lists import Bool, Int32, RowLists
from recsys.data.vocabulary import Vocabulary
from recsys.errors import ConfigError, DataError
from recsys.models.user_tower import UserTower
from recsys.models.user_towers import UserTowers
from recsys.schema import QUERY, USER
from recsys.serving.side import with_side

RawId: TypeAlias = str | int
RawIds: TypeAlias = RawId | Sequence[RawId] | pl.Series


@dataclass(frozen=True, eq=False)
class Asked:
    """The people of one request.

    Attributes
    ----------
    histories : RowLists (n)
        What is known of each; empty for those of whom nothing is.
    users : int32 (n,)
        User rows, −1 for a new person.
    owners : Series (n,)
        What the answer calls them: the user's id, or the position in the request.
    """

    histories: RowLists
    users: Int32
    owners: pl.Series

    @property
    def readable(self) -> Bool:
        """bool (n,): who has a history to read."""
        return self.histories.lengths > 0


def known_users(asked: RawIds, users: Vocabulary, histories: RowLists, *, cold: bool) -> Asked:
    """Users by their ids, with their stored histories.

    Parameters
    ----------
    asked : id or ids
    users : Vocabulary
    histories : RowLists (len(users))
    cold : bool
        Whether users who are unknown, or have no history, are let in.

    Raises
    ------
    UnknownIdError
        A user is unknown.
    DataError
        A user has no history.
    """
    ids = listed(asked)
    if not cold:
        rows = users.rows(ids)
        read, owners = histories.take(rows), users.raw(rows)
        empty = np.flatnonzero(read.lengths == 0)
        if len(empty):
            raise DataError(
                f"the user {owners[int(empty[0])]!r} has no history to read; give histories= instead, or ask for "
                "fallback='popular'"
            )
        return Asked(read, rows, owners.alias(USER))
    rows = users.find(ids)
    known = rows >= 0
    read = histories.take(rows[known])
    lengths = np.zeros(len(rows), dtype=np.int64)
    lengths[known] = read.lengths
    read = RowLists.from_lengths(lengths, read.rows, read.times, read.events)
    return Asked(read, rows, users.cast(ids).alias(USER) if known.all() else _as_given(ids, users))


def _as_given(ids: pl.Series | list[Hashable], users: Vocabulary) -> pl.Series:
    """Ids as the caller wrote them, in the vocabulary's type where they allow it."""
    cast = users.cast(ids)
    given = pl.Series(USER, [None if one is None else str(one) for one in ids], dtype=pl.String)
    if given.null_count():
        raise DataError("a user id is null")
    return given if cast.null_count() else cast.alias(USER)


def anonymous(
    histories: Sequence[Sequence[RawId]],
    items: Vocabulary,
    tower: UserTower | UserTowers,
    event_names: Sequence[str],
    times: Sequence[Sequence[Instant]] | None,
    events: Sequence[Sequence[str]] | None,
    *,
    cold: bool,
) -> Asked:
    """People never seen before, by what they did.

    Parameters
    ----------
    histories : sequence of sequences of item ids
        Oldest first.
    items : Vocabulary
    tower : UserTower or UserTowers
    event_names : sequence of str
    times, events : sequence of sequences, optional
        As :func:`recsys.serving.side.with_side` takes them.
    cold : bool
        Whether a history may be empty.

    Raises
    ------
    ConfigError
        This is not a list of lists.
    UnknownIdError
        An item is unknown.
    DataError
        A history is empty.
    """
    if isinstance(histories, str) or any(isinstance(one, str | int) for one in histories):
        raise ConfigError("histories is a list of lists of item ids, one list per person")
    bare = RowLists.from_lists([items.rows(list(one)) for one in histories])
    empty = np.flatnonzero(bare.lengths == 0)
    if len(empty) and not cold:
        raise DataError(f"{len(empty)} of {len(bare)} histories are empty (the first is number {empty[0] + 1})")
    read = with_side(bare, times, events, tower, event_names)
    owners = pl.Series(QUERY, np.arange(len(read), dtype=np.int64))
    return Asked(read, np.full(len(read), -1, dtype=np.int32), owners)


def listed(ids: RawIds) -> pl.Series | list[Hashable]:
    """One id or many, as many."""
    if isinstance(ids, pl.Series):
        return ids
    if isinstance(ids, str) or not isinstance(ids, Iterable):
        return [ids]
    return list(ids)


def repeated(rows: Int32, times: int) -> RowLists:
    """The same list of rows, ``times`` times."""
    return RowLists.from_lengths(np.full(times, len(rows), dtype=np.int64), np.tile(rows, times))
