"""An immutable log of interactions: one history of item rows per user."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from operator import attrgetter
from pathlib import Path
from typing import get_args

import numpy as np
import polars as pl
import scipy.sparse as sp

from recsys.core.arguments import choice, described, flag, listed, place, whole_number
from recsys.core.id_map import IdMap
from recsys.core.ragged import Bool, Float32, Int8, Int64, Ragged
from recsys.core.schema import EVENT, ITEM, ORDER, TIMESTAMP, USER, WEIGHT
from recsys.data.clean.core import core
from recsys.data.clean.waterfall import Waterfall
from recsys.data.event_types import check_event_types, weights_of_types
from recsys.data.events import Events, join_columns
from recsys.data.formats.frames import Frame, open_frame
from recsys.data.look_alikes import tell_alike_types
from recsys.data.order import Ties, check_ties, log_duplicates, log_left_out, log_order, nothing_to_tie, places_of
from recsys.data.parse import parse_columns
from recsys.data.shown import card
from recsys.data.sorting import first_of_equals, ordering_keys, shuffled, sorted_columns
from recsys.data.store.contents import Contents
from recsys.data.store.merge import MergedLists, opened
from recsys.data.store.reader import read_store
from recsys.data.store.writer import write_store
from recsys.data.times.units import TimeUnit
from recsys.errors import ConfigError, DamagedError, DataError

_BLOCK = 1 << 18
"""Ids that are digested together."""


@dataclass(frozen=True, eq=False)
class Interactions:
    """A log of events: a user, an item, a time or an order.

    Attributes
    ----------
    users, items : IdMap
        Raw ids and their rows. Items may include some without an event.
    histories : Ragged
        For each user row, the item rows in time order; events of one time are ordered as ``ties`` says. With the time and
        the type of each event if the log has them.
    weights : float32 (n,) or None
        Strength of each event (a rating, say), aligned with ``histories.rows``; None means 1 throughout.
    event_names : tuple of str
        The event types in sorted order, at most 127; ``histories.events`` holds positions in it. Empty if the log has no
        types.
    ordered : bool
        False: the order of the events is unknown. Histories are then in a random order, without times.
    order_column : str or None
        The column that orders the events; None: their position in the file, or nothing.
    ties : {"file", "item"}
        How events of one user with an equal value in that column were ordered: as in the file, or by raw item id.
    waterfalls : tuple of Waterfall
        What each cleaning of the log left out.
    pseudonym_key : str or None
        Id of the key whose pseudonyms the users are; None: they have their own ids.

    Raises
    ------
    DataError
        The histories have event types without names, names without types, or times without an order.
    ConfigError
        There is no such order of ties.

    Examples
    --------
    >>> log = recsys.Interactions.from_frame(
    ...     pl.DataFrame({"user_id": ["ann", "bob", "ann"], "item_id": ["x", "x", "y"], "timestamp": [20, 10, 10]})
    ... )
    >>> log.histories.to_lists()  # rows of items, in time order
    [[1, 0], [0]]
    >>> log.items.ids.to_list()
    ['x', 'y']
    """

    users: IdMap
    items: IdMap
    histories: Ragged
    weights: Float32 | None = None
    event_names: tuple[str, ...] = ()
    ordered: bool = True
    order_column: str | None = None
    ties: Ties = "file"
    waterfalls: tuple[Waterfall, ...] = ()
    pseudonym_key: str | None = None

    def __post_init__(self) -> None:
        choice(self.ties, "ties", get_args(Ties))
        if self.histories.typed == (not self.event_names):
            raise DataError(
                "event types and event_names go together: give both or neither (histories.without_events() has no types)"
            )
        if not self.ordered and (self.histories.timed or self.order_column is not None):
            raise DataError("a log without an order has neither times nor a column that orders it")

    @property
    def ordered_by(self) -> str:
        """What orders the events, in words."""
        if not self.ordered:
            return "none; each history is in a random order"
        if self.order_column is None:
            return "file order"
        return f"the column {self.order_column!r}{', ties by item' if self.ties == 'item' else ''}"

    @property
    def timestamps(self) -> Int64 | None:
        """int64 (n,): seconds since 1970 of each event in history order; None if only an order is known."""
        return self.histories.times

    @property
    def events(self) -> Int8 | None:
        """int8 (n,): the position of each event's type in ``event_names``; None if the log has no types."""
        return self.histories.events

    @classmethod
    def from_frame(
        cls,
        frame: Frame,
        *,
        time_unit: TimeUnit | None = None,
        ties: Ties = "file",
        unordered: bool = False,
        drop_duplicates: bool = False,
    ) -> Interactions:
        """Build from a frame of raw ids with our column names.

        Parameters
        ----------
        frame : frame
            Of polars (lazy too) or pandas, an Arrow table or data set, or anything that has ``__arrow_c_stream__``.
            Columns ``user_id`` and ``item_id``; optionally ``timestamp`` (numbers since 1970, dates or ISO 8601 text),
            ``order`` (any numbers; sorted by instead of the timestamp), ``weight`` and ``event_type`` (text or whole
            numbers). No nulls.
        time_unit : {"s", "ms", "us", "ns"}, optional
            The unit of timestamps that are numbers; found from their values by default.
        ties : {"file", "item"}
            How events of one user with an equal order or timestamp are ordered: as in the frame, or by item id as text
            (by code point: 10 before 9), whatever the order of the rows.
        unordered : bool
            The order of the events is unknown, and the order of the rows means nothing.
        drop_duplicates : bool
            Leave out rows that equal an earlier one in user, item, and those of time, order and event type that the frame
            has.

        Raises
        ------
        DataError
            A column is missing, a value is null or of a wrong kind, the frame has no rows or more than 127 event types, or
            the timestamps are in several units or outside the calendar.
        ConfigError
            ``ties`` is "item" and no column orders the events.
        """
        unordered, drop_duplicates = flag(unordered, "unordered"), flag(drop_duplicates, "drop_duplicates")
        check_ties(ties, unordered)
        present, read = open_frame(frame, "the frame")
        for name in (USER, ITEM):
            if name not in present:
                raise DataError(
                    f"the frame has no column {name!r}; its columns are {', '.join(present)}: rename "
                    f"the one that holds the {name.removesuffix('_id')}s, frame.rename({{...: {name!r}}})"
                )
        if unordered and (timed := next((name for name in (ORDER, TIMESTAMP) if name in present), None)):
            raise DataError(
                f"the frame has a column {timed!r}, which orders it: drop the column, or leave out unordered=True"
            )
        if ties == "item" and ORDER not in present and TIMESTAMP not in present:
            raise nothing_to_tie("the frame")
        names: dict[str, str] = {name: name for name in (USER, ITEM, TIMESTAMP, ORDER, WEIGHT, EVENT) if name in present}
        if (raw := read(names)).height == 0:
            raise DataError("the frame has no rows")
        columns = parse_columns(raw, names, "the frame", words=None)
        events = join_columns([columns], time_unit, hint=", or remove these rows")
        others = [name for name in present if name not in names]
        return cls.from_events(events, ties=ties, unordered=unordered, drop_duplicates=drop_duplicates, others=others)

    @classmethod
    def from_events(
        cls,
        events: Events,
        *,
        ties: Ties = "file",
        unordered: bool = False,
        drop_duplicates: bool = False,
        others: Sequence[str] = (),
        weight: str | None = None,
    ) -> Interactions:
        """Build from parsed events; log what orders them and how many are repeated.

        Parameters
        ----------
        events : Events
        ties, unordered, drop_duplicates
            As for :meth:`from_frame`.
        others : sequence of str
            The source's other columns: one of them may look like the time of the events.
        weight : str, optional
            The source's column of weights.
        """
        table = _without_duplicates(events.table) if drop_duplicates else events.table
        names, codes = _event_codes(table[EVENT]) if EVENT in table.columns else ((), None)
        tell_alike_types(names)
        keys = shuffled(table.height) if unordered else ordering_keys(table)
        places = places_of(events.items) if ties == "item" else None
        histories, weights = sorted_columns(table, len(events.users), keys, codes=codes, places=places)
        log = cls(
            users=events.users,
            items=events.items,
            histories=histories,
            weights=weights,
            event_names=names,
            ordered=not unordered,
            order_column=events.order_column,
            ties=ties,
        )
        certain = unordered or log.order_column is not None
        log_order(log.ordered_by, log.histories, len(log.items), None if certain else others, weight)
        log_duplicates(log.histories, len(log.items))
        return log

    def __len__(self) -> int:
        return int(self.histories.offsets[-1])

    def __repr__(self) -> str:
        order = "" if self.ordered else ", unordered"
        return f"Interactions({len(self):,} by {len(self.users):,} users on {len(self.items):,} items{order})"

    def _repr_html_(self) -> str:
        lengths = self.histories.lengths[self.histories.lengths > 0]
        spread = f"{lengths.min():,} / {np.median(lengths):,.0f} / {lengths.max():,}" if len(lengths) else None
        facts = {"events": len(self), "users": len(self.users), "items": len(self.items), "ordered by": self.ordered_by}
        facts |= {"history, least / median / most": spread, "times": self.timestamps is not None}
        facts |= {"weights": self.weights is not None, "event types": self.event_names or None}
        return card("Interactions", facts)

    @cached_property
    def item_counts(self) -> Int64:
        """int64 (n_items,): the number of events on each item row."""
        return np.bincount(self.histories.rows, minlength=len(self.items)).astype(np.int64)

    @cached_property
    def item_users(self) -> Int64:
        """int64 (n_items,): the number of different users who touched each item row."""
        return self.matrix().getnnz(axis=0).astype(np.int64)

    def matrix(self) -> sp.csr_matrix[np.float32]:
        """Make the user–item matrix.

        Returns
        -------
        float32 CSR (n_users, n_items)
            Sum of the weights of each pair, or its number of events if the log has no weights; sorted, no duplicates.
        """
        data = np.ones(len(self), dtype=np.float32) if self.weights is None else self.weights.copy()
        shape = (len(self.users), len(self.items))
        matrix = sp.csr_matrix((data, self.histories.rows.copy(), self.histories.offsets.copy()), shape=shape)
        matrix.sum_duplicates()
        return matrix

    def with_items(self, ids: pl.Series) -> Interactions:
        """Add items without events: those of the raw ``ids`` that the log lacks, after its own, whose rows stay."""
        if not isinstance(ids, pl.Series):
            raw = listed(ids, "ids", "item ids")
            if odd := [one for one in raw if isinstance(one, bool) or not isinstance(one, str | int | np.integer)]:
                raise ConfigError(f"each of ids must be a text or a whole number, not {described(odd[0])}")
            ids = pl.Series(raw, dtype=None if raw else pl.String, strict=False)
        return replace(self, items=self.items.extended(ids))

    def weighted_by_event(self, weights: Mapping[str, float]) -> Interactions:
        """Give each event the weight of its type.

        Parameters
        ----------
        weights : mapping
            Every event type of the log → a finite number.

        Raises
        ------
        ConfigError
            The log has no event types, or has weights already; a type has no weight, a weight no type, or a weight is not
            finite.
        """
        if not isinstance(weights, Mapping):
            raise ConfigError(f"event weights are a dict, such as {{'view': 1, 'buy': 5}}, not {described(weights)}")
        if self.events is None:
            raise ConfigError("event weights need event types; name the column that holds them, event= (--event)")
        if self.weights is not None:
            raise ConfigError("the log has weights already; give either weight= or event_weights=")
        return replace(self, weights=weights_of_types(self.event_names, weights)[self.events])

    def select(self, keep: Bool) -> Interactions:
        """Keep the events with ``keep`` true, bool (n,) in history order; users, items and event names stay as they are."""
        keep = np.asarray(keep)
        if keep.shape != (len(self),) or keep.dtype != np.bool_:
            raise ConfigError(f"keep must hold True or False for each of {len(self):,} events, not {described(keep)}")
        return replace(
            self,
            histories=self.histories.where(keep),
            weights=None if self.weights is None else self.weights[keep],
        )

    def compact(self) -> Interactions:
        """Drop users and items without an event; rows are renumbered in their old order. Event names stay."""
        alive_users = np.flatnonzero(self.histories.lengths)
        alive_items = np.flatnonzero(self.item_counts)
        renumbered = np.full(len(self.items), -1, dtype=np.int32)
        renumbered[alive_items] = np.arange(len(alive_items), dtype=np.int32)
        return replace(
            self,
            users=IdMap(self.users.ids.gather(alive_users), "user"),
            items=IdMap(self.items.ids.gather(alive_items), "item"),
            histories=self.histories.take(alive_users).remap(renumbered),  # in the old order, as the weights are
        )

    def k_core(self, *, user_min: int = 5, item_min: int = 5) -> Interactions:
        """Keep the largest part in which each user has ``user_min`` events or more and each item ``item_min`` or more.

        Users and items are removed until nothing changes, since each removal can push others below the limit.

        Raises
        ------
        DataError
            No event is left.
        """
        user_min, item_min = whole_number(user_min, "user_min", least=0), whole_number(item_min, "item_min", least=0)
        owners, sizes = self.histories.list_index().astype(np.int32), (len(self.users), len(self.items))
        alive = core(owners, self.histories.rows, sizes, user_min=user_min, item_min=item_min)
        if not alive.any():
            raise DataError(f"no interaction is left in the {user_min}/{item_min}-core")
        return self.select(alive).compact()

    def frame(self) -> pl.DataFrame:
        """List all events as a frame of raw ids, user by user in time order."""
        owners = self.histories.list_index().astype(np.int32)
        columns = {USER: self.users.to_ids(owners), ITEM: self.items.to_ids(self.histories.rows)}
        if self.timestamps is not None:
            columns[TIMESTAMP] = pl.Series(self.timestamps)
        if self.weights is not None:
            columns[WEIGHT] = pl.Series(self.weights)
        if self.events is not None:
            columns[EVENT] = pl.Series(self.event_names, dtype=pl.String).gather(pl.Series(self.events, dtype=pl.UInt32))
        return pl.DataFrame(columns)

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over ids, histories, times, weights, event types and whether the log is ordered: equal for equal logs."""
        digest = hashlib.sha256()
        for one in (self.users, self.items):
            ids = one.ids.cast(pl.String)
            digest.update(f"{len(ids)} {one.kind}s:".encode())
            digest.update(ids.str.len_bytes().to_numpy().tobytes())  # else "a", "bc" would equal "ab", "c"
            for start in range(0, len(ids), _BLOCK):
                digest.update(ids[start : start + _BLOCK].str.join("").item().encode())
        for array in (self.histories.offsets, self.histories.rows, self.timestamps, self.weights):
            digest.update(b"|none" if array is None else b"|")
            if array is not None and len(array):
                digest.update(np.ascontiguousarray(array).data)
        if self.events is not None:
            digest.update(b"|" + json.dumps(self.event_names).encode() + self.events.tobytes())
        if not self.ordered:
            digest.update(b"|unordered")
        return digest.hexdigest()

    def save(self, folder: str | Path, *, overwrite: bool = False) -> None:
        """Write a store, as a whole: a folder of arrays, ids and a manifest, which :func:`recsys.open_store` maps.

        Parameters
        ----------
        folder : str or Path
            Not there yet, or empty; or a store, with ``overwrite``.
        overwrite : bool
            Whether a store may be replaced.

        Raises
        ------
        DataError
            The folder holds something.
        OSError
            It cannot be written, or there is no room.
        """
        write_store(Path(place(folder, "folder")), self.contents(), overwrite=flag(overwrite, "overwrite"))

    def contents(self) -> Contents:
        """The fields of this log, as a store holds them."""
        names = [field.name for field in fields(Contents)]
        return Contents(**dict(zip(names, attrgetter(*names)(self), strict=True)))

    @classmethod
    def load(cls, folder: str | Path, *, verify: bool = True) -> Interactions:
        """Open the store that :meth:`save` wrote, and verify every byte of it; :func:`recsys.open_store` does not.

        Parameters
        ----------
        folder : str or Path
        verify : bool
            Whether to compare the digest of every file.

        Raises
        ------
        DataError
            A file is missing, damaged, or not the saved one.
        """
        folder = Path(place(folder, "folder"))
        try:
            contents, merged = opened(read_store(folder, verify=verify))
            log = cls(**vars(contents))
            return log if merged is None or not merged.weighted else _WeightedLater.of(log)
        except (DataError, DamagedError) as error:
            raise DataError(f"{folder} does not hold saved interactions: {error}") from error


class _WeightedLater(Interactions):
    """The log of a store with runs, whose weights are merged when they are first looked at."""

    @classmethod
    def of(cls, log: Interactions) -> Interactions:
        made = object.__new__(cls)
        vars(made).update({name: one for name, one in vars(log).items() if name != "weights"})
        return made

    @cached_property
    def weights(self) -> Float32 | None:
        """As of any log."""
        lists = self.histories
        assert isinstance(lists, MergedLists)  # noqa: S101 - no other log is made like this
        return lists.whole[1]

    def __reduce__(self) -> tuple[type[Interactions], tuple[object, ...]]:
        return Interactions, attrgetter(*(field.name for field in fields(Interactions)))(self)


def _without_duplicates(frame: pl.DataFrame) -> pl.DataFrame:
    """Keep the first of rows that are equal in user, item, time, order and event type; log how many are left out."""
    kept, compared = first_of_equals(frame)
    log_left_out(frame.height - kept.height, frame.height, compared)
    return kept


def _event_codes(column: pl.Series, names: pl.Series | None = None) -> tuple[tuple[str, ...], Int8]:
    """List the event types of a String column without nulls, sorted (or as given), and each row's position, int8 (n,).

    Raises
    ------
    DataError
        The column has more than 127 types.
    """
    if names is None:
        names = column.unique().sort()
    check_event_types(len(names))
    return tuple(names.to_list()), column.cast(pl.Enum(names)).to_physical().to_numpy().astype(np.int8)
