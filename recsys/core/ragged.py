"""Lists of item rows in one flat array: the shape of histories, targets and exclusions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from recsys.errors import DataError

Int8 = NDArray[np.int8]
Int32 = NDArray[np.int32]
Int64 = NDArray[np.int64]
Bool = NDArray[np.bool_]
Float32 = NDArray[np.float32]

_Kind = TypeVar("_Kind", bound=np.generic)

_BLOCK = 1 << 16
"""Events that are sorted together: their numbers stay in the processor's cache."""


def stable_order(owners: Int32, keys: NDArray[Any] | None) -> Int32:
    """Order events by owner, and within an owner by key; ties keep their order.

    Parameters
    ----------
    owners : int32 (n,)
        Of 0 or more.
    keys : int or float (n,), optional
        Finite; None: every owner's events keep their order.

    Returns
    -------
    int32 (n,)
        The events' positions in their new order.
    """
    return sorted_events(owners, keys, np.arange(len(owners), dtype=np.int32))[0]


def sorted_events(owners: Int32, keys: NDArray[Any] | None, carried: Int32) -> tuple[Int32, NDArray[Any] | None]:
    """Sort events by owner, and within an owner by key; ties keep their order.

    One counting pass groups the events by owner. The events of some owners at a time, so many that they stay in the
    processor's cache, are then sorted as numbers that hold the owner, the key and the position: no two are equal, so that
    the fastest sort, which is not stable, serves.

    Parameters
    ----------
    owners : int32 (n,)
        Of 0 or more.
    keys : int or float (n,), optional
        Finite; None: every owner's events keep their order.
    carried : int32 (n,)
        A value of each event, of 0 or more: its item, or its position.

    Returns
    -------
    int32 (n,), and int or float (n,) or None
        The values of the events and their keys, in their new order.
    """
    starts, carried, grouped, ready = _by_owner(owners, keys, carried)
    if grouped is None or ready:
        return carried, grouped
    low = grouped.min()
    whole = np.issubdtype(grouped.dtype, np.integer) and int(grouped.max()) - int(low) < 1 << 62
    begin = 0
    while begin < len(starts) - 1:
        end = int(np.searchsorted(starts, starts[begin] + _BLOCK, side="right")) - 1
        end = max(end, begin + 1)  # an owner of more events than a block is a block of its own
        block = slice(int(starts[begin]), int(starts[end]))
        if block.stop - block.start > 1:
            mine = np.repeat(np.arange(end - begin), np.diff(starts[begin : end + 1]))
            near = (grouped[block] - low).astype(np.int64) if whole else _ranks(grouped[block])
            order = _sorted_block(mine, near)
            carried[block], grouped[block] = carried[block][order], grouped[block][order]
        begin = end
    return carried, grouped


def _by_owner(
    owners: Int32, keys: NDArray[Any] | None, carried: Int32
) -> tuple[NDArray[np.integer], Int32, NDArray[Any] | None, bool]:
    """Where each owner's events begin (and the last one's end), their values and keys, and whether these ascend already."""
    ready = keys is None or bool((keys[1:] >= keys[:-1]).all())
    n_owners = int(owners.max()) + 1 if len(owners) else 0
    if n_owners > 4 * len(owners):  # counting would take longer than sorting
        order = np.argsort(owners, kind="stable")
        starts = np.flatnonzero(np.diff(owners[order], prepend=-1))
        return np.append(starts, len(order)), carried[order], None if keys is None else keys[order], ready
    n_carried = int(carried.max()) + 1 if len(carried) else 0
    from scipy.sparse import coo_array  # noqa: PLC0415 - reading what is sorted already needs no scipy

    table = coo_array((carried if keys is None else keys, (owners, carried)), shape=(n_owners, n_carried))
    table.has_canonical_format = True  # what is carried twice must not be summed
    rows = table.tocsr()
    return rows.indptr, rows.indices.astype(np.int32, copy=False), None if keys is None else rows.data, ready


def _ranks(keys: NDArray[Any]) -> Int64:
    """Dense ranks: equal keys have one rank."""
    order = np.argsort(keys)
    ordered = keys[order]
    ranks = np.empty(len(keys), dtype=np.int64)
    ranks[order] = np.concatenate([[0], np.cumsum(ordered[1:] != ordered[:-1])])
    return ranks


def _sorted_block(owners: Int64, keys: Int64) -> Int64:
    """The stable order of at least two events by owner, ascending, and key, both of 0 or more."""
    bits = (len(owners) - 1).bit_length()
    width = int(keys.max()).bit_length()
    if int(owners[-1]).bit_length() + width + bits > 63:  # ranks need no more bits than positions, so that they always fit
        keys, width = _ranks(keys), bits
    packed = (((owners << width) | keys) << bits) | np.arange(len(owners))
    packed.sort()
    return packed & ((1 << bits) - 1)


def ragged_positions(starts: Int64, lengths: Int64) -> Int64:
    """List the flat positions of many slices, one after the other.

    Parameters
    ----------
    starts, lengths : int64 (n,)
        Slice ``i`` covers ``starts[i] .. starts[i] + lengths[i]``.

    Returns
    -------
    int64 (sum(lengths),)
    """
    ends = np.cumsum(lengths)
    total = int(ends[-1]) if len(ends) else 0
    shift = starts - (ends - lengths)
    positions: Int64 = np.arange(total, dtype=np.int64) + np.repeat(shift, lengths)
    return positions


@dataclass(frozen=True, eq=False)
class Ragged:
    """``n`` lists of item rows in one flat array; each row may have the time and the type of its event.

    Methods that select or join lists keep ``times`` and ``events``; targets, exclusions and ranked lists have neither.

    Attributes
    ----------
    offsets : int64 (n + 1,)
        List ``i`` is ``rows[offsets[i]:offsets[i + 1]]``; starts at 0, never decreases.
    rows : int32 (offsets[-1],)
        Item rows.
    times : int64 (offsets[-1],) or None
        Seconds since 1970 of each event.
    events : int8 (offsets[-1],) or None
        Type of each event: its position in ``event_names`` of the object that holds the lists.

    Raises
    ------
    DataError
        ``times`` or ``events`` does not have one value per row.
    """

    offsets: Int64
    rows: Int32
    times: Int64 | None = None
    events: Int8 | None = None

    def __post_init__(self) -> None:
        for name, column in (("times", self.times), ("events", self.events)):
            if column is not None and len(column) != len(self.rows):
                raise DataError(f"{len(column)} {name} do not fit {len(self.rows)} rows; each row needs one")

    @classmethod
    def from_lists(cls, lists: Iterable[Sequence[int] | Int32]) -> Ragged:
        """Build from sequences of item rows; for requests and tests, not for whole logs."""
        arrays = [np.asarray(one, dtype=np.int32) for one in lists]
        lengths = np.array([len(one) for one in arrays], dtype=np.int64)
        flat = np.concatenate(arrays) if arrays else np.empty(0, dtype=np.int32)
        return cls.from_lengths(lengths, flat.astype(np.int32))

    @classmethod
    def from_lengths(
        cls, lengths: NDArray[np.integer], rows: Int32, times: Int64 | None = None, events: Int8 | None = None
    ) -> Ragged:
        """Build from the length of each list and the flat item rows, with their times and event types if known."""
        offsets = np.zeros(len(lengths) + 1, dtype=np.int64)
        np.cumsum(lengths, out=offsets[1:])
        return cls(offsets, rows, times, events)

    @classmethod
    def empty(cls, n: int) -> Ragged:
        """Build ``n`` empty lists."""
        return cls(np.zeros(n + 1, dtype=np.int64), np.empty(0, dtype=np.int32))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __repr__(self) -> str:
        known = [name for name, has in (("times", self.timed), ("events", self.typed)) if has]
        return f"Ragged({', '.join([f'{len(self):,} lists', f'{int(self.offsets[-1]):,} rows', *known])})"

    @property
    def timed(self) -> bool:
        """Whether the events have times."""
        return self.times is not None

    @property
    def typed(self) -> bool:
        """Whether the events have types."""
        return self.events is not None

    def __getitem__(self, index: int) -> Int32:
        return self.rows[self.offsets[index] : self.offsets[index + 1]]

    @property
    def lengths(self) -> Int64:
        """int64 (n,): the length of each list."""
        return np.diff(self.offsets)

    def list_index(self) -> Int64:
        """int64 (len(rows),): the index of the list that each element belongs to."""
        return np.repeat(np.arange(len(self), dtype=np.int64), self.lengths)

    def without_events(self) -> Ragged:
        """Drop times and events: targets and exclusions have none."""
        return self if self.times is None and self.events is None else Ragged(self.offsets, self.rows)

    def remap(self, new_rows: Int32) -> Ragged:
        """Renumber the item rows: ``row`` becomes ``new_rows[row]``; times and events stay."""
        return replace(self, rows=new_rows[self.rows])

    def recoded(self, names: Sequence[str], wanted: Sequence[str]) -> Ragged:
        """Renumber the event types by another list of names; lists without event types stay as they are.

        Parameters
        ----------
        names, wanted : sequence of str
            The event types that the codes stand for now, and those that they will stand for.

        Raises
        ------
        DataError
            An event has a type that ``wanted`` lacks.
        """
        if self.events is None or tuple(names) == tuple(wanted):
            return self
        place = np.array([wanted.index(name) if name in wanted else -1 for name in names], dtype=np.int8)
        events = place[self.events]
        if (events < 0).any():
            strange = [names[code] for code in np.unique(self.events[events < 0])]
            raise DataError(
                f"events of type {', '.join(map(repr, strange))} are not among the known event types "
                f"({', '.join(wanted)}); leave them out, or fit on a log that has them"
            )
        return replace(self, events=events)

    def take(self, indices: NDArray[np.integer]) -> Ragged:
        """Select the lists at ``indices``, in that order."""
        wanted = np.asarray(indices, dtype=np.int64)
        lengths = self.lengths[wanted]
        return self._picked(lengths, ragged_positions(self.offsets[wanted], lengths))

    def aligned(self, indices: NDArray[np.integer]) -> Ragged:
        """Select the lists at ``indices``, in that order; an empty one at −1."""
        known = indices >= 0
        taken = self.take(indices[known])
        lengths = np.zeros(len(indices), dtype=np.int64)
        lengths[known] = taken.lengths
        return Ragged.from_lengths(lengths, taken.rows, taken.times, taken.events)

    def block(self, start: int, stop: int) -> Ragged:
        """Select lists ``start .. stop`` as a view of the same rows."""
        stop = min(stop, len(self))
        low, high = self.offsets[start], self.offsets[stop]
        return Ragged(
            self.offsets[start : stop + 1] - low,
            self.rows[low:high],
            None if self.times is None else self.times[low:high],
            None if self.events is None else self.events[low:high],
        )

    def head(self, lengths: NDArray[np.integer]) -> Ragged:
        """Keep the first ``lengths[i]`` elements of list ``i``, or all of a shorter list."""
        kept = np.minimum(self.lengths, lengths)
        return self._picked(kept, ragged_positions(self.offsets[:-1], kept))

    def tail(self, length: int) -> Ragged:
        """Keep the last ``length`` elements of each list, or all of a shorter list."""
        kept = np.minimum(self.lengths, length)
        return self._picked(kept, ragged_positions(self.offsets[1:] - kept, kept))

    def where(self, keep: Bool) -> Ragged:
        """Keep the elements with ``keep`` true, bool (len(rows),); the number of lists stays, some may become empty."""
        return self._picked(np.bincount(self.list_index()[keep], minlength=len(self)), keep)

    def _picked(self, lengths: NDArray[np.integer], chosen: Int64 | Bool) -> Ragged:
        """Make lists of these lengths from the chosen elements (positions, or a mask)."""
        return Ragged.from_lengths(
            lengths,
            self.rows[chosen],
            None if self.times is None else self.times[chosen],
            None if self.events is None else self.events[chosen],
        )

    def merged(self, other: Ragged) -> Ragged:
        """Append list ``i`` of ``other`` to list ``i``.

        Raises
        ------
        DataError
            Only one of the two has times (or events); drop them with :meth:`without_events`.
        """
        for name in ("times", "events"):
            if (getattr(self, name) is None) != (getattr(other, name) is None):
                raise DataError(
                    f"lists with {name} cannot be merged with lists that have none; drop them with without_events()"
                )
        lengths = self.lengths + other.lengths
        starts = np.cumsum(lengths) - lengths
        mine = ragged_positions(starts, self.lengths)
        theirs = ragged_positions(starts + self.lengths, other.lengths)

        def joined(one: NDArray[_Kind], two: NDArray[_Kind]) -> NDArray[_Kind]:
            both = np.empty(len(one) + len(two), dtype=one.dtype)
            both[mine], both[theirs] = one, two
            return both

        return Ragged.from_lengths(
            lengths,
            joined(self.rows, other.rows),
            None if self.times is None or other.times is None else joined(self.times, other.times),
            None if self.events is None or other.events is None else joined(self.events, other.events),
        )

    def by_time(self) -> Ragged:
        """Order each list by the times of its events; ties keep their order, and lists without times stay as they are."""
        if self.times is None:
            return self
        return self._picked(self.lengths, stable_order(self.list_index().astype(np.int32), self.times).astype(np.int64))

    def to_lists(self) -> list[list[int]]:
        """Convert to ordinary lists, for printing and tests."""
        return [self[i].tolist() for i in range(len(self))]


def repeated(rows: Int32, times: int) -> Ragged:
    """The same list of rows, ``times`` times."""
    return Ragged.from_lengths(np.full(times, len(rows), dtype=np.int64), np.tile(rows, times))


def mask_of(rows: NDArray[np.integer], n: int) -> Bool:
    """bool (n,): true at these rows."""
    mask = np.zeros(n, dtype=np.bool_)
    mask[rows] = True
    return mask


def overlap(*masks: Bool | None) -> Bool | None:
    """Combine masks by *and*; None means all true, and is returned if all are None."""
    met: Bool | None = None
    for mask in masks:
        if mask is not None:
            met = mask if met is None else met & mask
    return met


def contained(lists: Ragged, others: Ragged, n_items: int) -> Bool:
    """Tell for each element of ``lists`` whether the list of ``others`` at the same index holds it too.

    Parameters
    ----------
    lists, others : Ragged (n)
        ``others`` may be far longer: it is searched without sorting it.
    n_items : int
        Above every row of both.

    Returns
    -------
    bool (len(lists.rows),)
    """
    if len(lists.rows) == 0:
        return np.zeros(0, dtype=np.bool_)
    if len(lists.rows) == len(lists) and bool((lists.lengths == 1).all()):  # the common case: one target each
        equal = others.rows == np.repeat(lists.rows, others.lengths)
        return np.bincount(others.list_index()[equal], minlength=len(lists)) > 0
    return found_among(lists.list_index() * n_items + lists.rows, others.list_index() * n_items + others.rows)


def is_in(keys: Int64, ascending: Int64) -> Bool:
    """bool (len(keys),): which keys are among others, which ascend."""
    if len(ascending) == 0:
        return np.zeros(len(keys), dtype=np.bool_)
    met: Bool = ascending[np.minimum(np.searchsorted(ascending, keys), len(ascending) - 1)] == keys
    return met


def found_among(few: Int64, many: Int64) -> Bool:
    """Tell for each of a few numbers whether it is among many, which are searched without sorting or hashing them.

    Parameters
    ----------
    few, many : int64 (n,), int64 (m,)

    Returns
    -------
    bool (n,)
    """
    if len(few) == 0:
        return np.zeros(0, dtype=np.bool_)
    distinct = np.unique(few)
    place = np.minimum(np.searchsorted(distinct, many), len(distinct) - 1)
    met = np.zeros(len(distinct), dtype=np.bool_)
    met[place[distinct[place] == many]] = True
    return met[np.searchsorted(distinct, few)]
