"""Merge the runs of a store into its histories, for all users at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from recsys.core.id_map import IdMap
from recsys.core.ragged import Bool, Float32, Int8, Int32, Int64, Ragged, ragged_positions, stable_order
from recsys.data.clean.waterfall import Waterfall
from recsys.data.order import places_of
from recsys.data.sorting import shuffled
from recsys.data.store.contents import Contents
from recsys.data.store.reader import OpenedPart, OpenedStore

_Kind = TypeVar("_Kind", bound=np.generic)


def assembled(store: OpenedStore) -> Contents:
    """The log that all parts of a store make together: without runs, its maps; else arrays in memory.

    Events of one user are ordered by time, and those of one second by the parts that brought them, the earlier first; or by
    raw item id where ties are ordered by item. In a log without times, the events of a run follow those before it; in a log
    without an order, the histories that a run adds to are shuffled anew.

    Parameters
    ----------
    store : OpenedStore

    Returns
    -------
    Contents
    """
    contents, merged = opened(store)
    return contents if merged is None else replace(contents, histories=merged.whole[0], weights=merged.whole[1])


class MergedLists(Ragged):
    """The histories of a store with runs, which are merged when an event is first looked at; until then, only counted.

    Attributes
    ----------
    weighted : bool
        Whether the events have weights.
    """

    weighted: bool
    _merge: Callable[[], tuple[Ragged, Float32 | None]]
    _has: tuple[bool, bool]

    @classmethod
    def later(
        cls, offsets: Int64, merge: Callable[[], tuple[Ragged, Float32 | None]], *, timed: bool, typed: bool, weighted: bool
    ) -> MergedLists:
        """Lists with these offsets, made by ``merge`` when they are needed."""
        made = object.__new__(cls)
        vars(made).update(offsets=offsets, weighted=weighted, _merge=merge, _has=(timed, typed))
        return made

    @cached_property
    def whole(self) -> tuple[Ragged, Float32 | None]:
        """The merged lists, and the weights of their events."""
        return self._merge()

    @cached_property
    def rows(self) -> Int32:
        """As of any Ragged."""
        return self.whole[0].rows

    @cached_property
    def times(self) -> Int64 | None:
        """As of any Ragged."""
        return self.whole[0].times

    @cached_property
    def events(self) -> Int8 | None:
        """As of any Ragged."""
        return self.whole[0].events

    @property
    def timed(self) -> bool:
        """Whether the events have times."""
        return self._has[0] if "_has" in vars(self) else super().timed

    @property
    def typed(self) -> bool:
        """Whether the events have types."""
        return self._has[1] if "_has" in vars(self) else super().typed

    def __reduce__(self) -> tuple[type[Ragged], tuple[Int64, Int32, Int64 | None, Int8 | None]]:
        return Ragged, (self.offsets, self.rows, self.times, self.events)


def opened(store: OpenedStore) -> tuple[Contents, MergedLists | None]:
    """As :func:`assembled`, but a store with runs is merged later: its histories are then these lists, its weights None."""
    first, *runs = store.parts
    names = tuple(sorted(set().union(*(part.event_names for part in store.parts))))
    told = store.manifest
    cleanings = tuple(map(Waterfall.from_dict, told.waterfall))
    how = (names, told.ordered, told.order_column, told.ties, cleanings, told.pseudonym_key)
    if not runs:
        return Contents(store.users, store.items, first.histories, first.weights, *how), None
    lengths = np.zeros(len(store.users), dtype=np.int64)
    lengths[: len(first.histories)] = first.histories.lengths
    for run in runs:
        assert run.owners is not None  # noqa: S101 - every run has them
        lengths[run.owners] += run.histories.lengths

    def merge() -> tuple[Ragged, Float32 | None]:
        histories = first.histories.recoded(first.event_names, names)
        return _merged(store, histories, first.weights, _joined(runs, names))

    has = {"timed": first.histories.timed, "typed": bool(names), "weighted": first.weights is not None}
    merged = MergedLists.later(np.concatenate([[0], np.cumsum(lengths)]), merge, **has)
    return Contents(store.users, store.items, merged, None, *how), merged


@dataclass(frozen=True, eq=False)
class _Added:
    """Events that come to a log, user by user and in order."""

    owners: Int32
    rows: Int32
    times: Int64 | None
    weights: Float32 | None
    events: Int8 | None


def _joined(runs: Sequence[OpenedPart], names: tuple[str, ...]) -> _Added:
    """The events of several runs, as if they were one."""
    lists = [run.histories.recoded(run.event_names, names) for run in runs]
    owners = np.concatenate([_owners(run) for run in runs])

    def column(parts: list[Any]) -> Any:
        return None if parts[0] is None else np.concatenate(parts)

    times = column([one.times for one in lists])
    order = stable_order(owners, times)
    weights, events = column([run.weights for run in runs]), column([one.events for one in lists])
    return _Added(
        owners[order],
        np.concatenate([one.rows for one in lists])[order],
        None if times is None else times[order],
        None if weights is None else weights[order],
        None if events is None else events[order],
    )


def _owners(run: OpenedPart) -> Int32:
    assert run.owners is not None  # noqa: S101 - every run has them
    return np.repeat(run.owners, run.histories.lengths)


def insertions_of(histories: Ragged, owners: Int32, times: Int64 | None) -> Int64:
    """Where events belong among those of their users: behind the last one that is not later.

    Parameters
    ----------
    histories : Ragged
        In time order, if there are times.
    owners : int32 (n,)
        User rows; users beyond the last history have none yet.
    times : int64 (n,) or None
        Without times, events belong behind all others.

    Returns
    -------
    int64 (n,)
        Positions in ``histories.rows``, before which they are to be put.
    """
    user = np.minimum(owners, len(histories)).astype(np.int64)
    ends = histories.offsets[np.minimum(user + 1, len(histories))]
    if times is None or histories.times is None:
        return ends
    low, high = histories.offsets[user], ends.copy()
    late = np.flatnonzero(low < high)
    late = late[histories.times[high[late] - 1] > times[late]]  # most events are the last of their user
    place = ends.copy()
    low, high = low[late], high[late]
    while len(late):  # each step halves every slice
        open_ = low < high
        if not bool(open_.any()):
            break
        middle = (low + high) // 2
        before = open_ & (histories.times[np.minimum(middle, len(histories.times) - 1)] <= times[late])
        low = np.where(before, middle + 1, low)
        high = np.where(open_ & ~before, middle, high)
    place[late] = low
    return place


def _merged(store: OpenedStore, histories: Ragged, weights: Float32 | None, new: _Added) -> tuple[Ragged, Float32 | None]:
    n_users, total = len(store.users), len(histories.rows) + len(new.rows)
    lengths = np.bincount(new.owners, minlength=n_users)
    lengths[: len(histories)] += histories.lengths
    place = insertions_of(histories, new.owners, new.times) + np.arange(len(new.rows))
    old = np.ones(total, dtype=np.bool_)
    old[place] = False

    def joined(mine: NDArray[_Kind] | None, theirs: NDArray[_Kind] | None) -> NDArray[_Kind] | None:
        if mine is None or theirs is None:
            return None
        both = np.empty(total, dtype=mine.dtype)
        both[old], both[place] = mine, theirs
        return both

    rows = joined(histories.rows, new.rows)
    assert rows is not None  # noqa: S101 - both have rows
    merged = Ragged.from_lengths(lengths, rows, joined(histories.times, new.times), joined(histories.events, new.events))
    heavy = joined(weights, new.weights)
    if not store.manifest.ordered:
        return _reordered(merged, heavy, *_shuffled(merged, np.unique(new.owners)))
    if store.manifest.ties == "item" and merged.times is not None:
        return _reordered(merged, heavy, *_by_item(merged, ~old, store.items))
    return merged, heavy


def _shuffled(lists: Ragged, users: Int32) -> tuple[Int64, Int64]:
    """The positions of the events of some users, and the same in a random order within each of them."""
    lengths = lists.lengths[users]
    positions = ragged_positions(lists.offsets[users], lengths)
    owners = np.repeat(np.arange(len(users), dtype=np.int32), lengths)
    return positions, positions[stable_order(owners, shuffled(len(positions)))]


def _by_item(lists: Ragged, new: Bool, items: IdMap) -> tuple[Int64, Int64]:
    """The positions of the events that share user and second with a new one, and the same by user, second and item id."""
    times = lists.times
    assert times is not None  # noqa: S101 - the caller looks
    begins = np.ones(len(times), dtype=np.bool_)
    begins[1:] = times[1:] != times[:-1]
    begins[lists.offsets[:-1][lists.lengths > 0]] = True
    group = np.cumsum(begins) - 1
    counts = np.bincount(group)
    wanted = np.bincount(group[new], minlength=len(counts)) > 0
    positions = np.flatnonzero((wanted & (counts > 1))[group])
    known, which = np.unique(lists.rows[positions], return_inverse=True)
    rank = places_of(IdMap(items.to_ids(known), "item", checked=True))
    return positions, positions[np.lexsort((rank[which], group[positions]))]


def _reordered(lists: Ragged, weights: Float32 | None, positions: Int64, order: Int64) -> tuple[Ragged, Float32 | None]:
    """Put the events at ``order`` to ``positions``, in arrays that are ours."""
    for column in (lists.rows, lists.times, lists.events, weights):
        if column is not None:
            column[positions] = column[order]
    return lists, weights
