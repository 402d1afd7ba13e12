"""Take users out of a store: it is written anew without them, as a whole or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.core.files import exclusive, followed
from recsys.core.leftovers import sweep
from recsys.core.ragged import Int32
from recsys.data.store.append import remove_leftovers
from recsys.data.store.contents import Contents
from recsys.data.store.manifest import Import, Manifest
from recsys.data.store.merge import assembled
from recsys.data.store.reader import read_store
from recsys.data.store.writer import StoreWriter, check_target, store_writer
from recsys.errors import DataError

FORGOTTEN = "forgotten"
"""What an import that took users out names as its source."""
_WAIT = 60.0
"""Seconds to wait for another writer of the store."""
_BLOCK = 1 << 22


@dataclass(frozen=True, eq=False)
class WithoutUsers:
    """What was taken out of a store.

    Attributes
    ----------
    rows : int32 (n,)
        The row that each user had; −1 for those whom the store did not know.
    users, events, items : int
        How many are gone; items are those that nobody else had an event on.
    """

    rows: Int32
    users: int
    events: int
    items: int


def forget(folder: Path, users: Sequence[str]) -> WithoutUsers:
    """Remove users and all their events from a store, and the items that only they had events on.

    What the runs brought is merged on this occasion, so that the whole store is written anew, one block of events in memory
    at a time; the other users' histories stay as they are. Its fingerprint changes, and the list of its imports ends with
    what was taken out. Who has the store open reads the old one on, until it is closed. A process that is killed leaves the
    old store or the new one; a repetition removes what was half-written.

    Parameters
    ----------
    folder : Path
    users : sequence of str
        Distinct ids, as the store holds them.

    Returns
    -------
    WithoutUsers

    Raises
    ------
    DataError, DamagedError
        There is no store, or it is damaged; another process writes it; others keep files in its folder; or nobody would be
        left in it.
    OSError
        There is no room for the smaller store beside the old one.
    """
    read_store(folder, verify=False)  # what is no store is refused before anything is locked
    with exclusive(folder, wait=_WAIT) as held:
        check_target(held.target, overwrite=True)
        store = read_store(folder, verify=True)
        rows = store.users.find_rows(list(users))
        gone = np.unique(rows[rows >= 0]).astype(np.int32)
        remove_leftovers(held.target, store.manifest)
        sweep(followed(held.target).absolute().parent)
        if not len(gone):
            return WithoutUsers(rows, 0, 0, 0)
        if len(gone) == len(store.users):
            raise DataError(f"no user would be left in {folder}; remove the whole store instead")
        contents = assembled(store)
        lists = contents.histories
        left = np.delete(np.arange(len(lists), dtype=np.int32), gone)
        lengths = lists.lengths[left]
        slices = [slice(int(lists.offsets[start]), int(lists.offsets[end])) for start, end in _between(gone, len(lists))]
        items, new_rows = _items_left(contents, gone, slices)
        with store_writer(
            folder,
            int(lengths.sum()),
            times=lists.times is not None,
            weights=contents.weights is not None,
            types=lists.events is not None,
            overwrite=True,
            held=held,
        ) as writer:
            _copy(contents, slices, new_rows, writer)
            events, lost = len(lists.rows) - int(lengths.sum()), len(contents.items) - len(items)
            writer.seal(
                np.concatenate([[0], np.cumsum(lengths)]),
                contents.users.ids.gather(left),
                items,
                event_names=contents.event_names,
                ordered=contents.ordered,
                order_column=contents.order_column,
                ties=contents.ties,
                waterfall=[one.to_dict() for one in contents.waterfalls],
                imports=_imports(store.manifest, -events, -len(gone), -lost),
                pseudonym_key=contents.pseudonym_key,
            )
        return WithoutUsers(rows, len(gone), events, lost)


def _between(gone: Int32, count: int) -> list[tuple[int, int]]:
    """The runs of user rows that lie between those that go, ascending."""
    edges = [-1, *gone.tolist(), count]
    return [(one + 1, other) for one, other in pairwise(edges) if one + 1 < other]


def _items_left(contents: Contents, gone: Int32, slices: list[slice]) -> tuple[pl.Series, Int32 | None]:
    """The ids of the items that stay and the new row of each old one; None where all stay.

    An item without an event before stays as well: it was not known by these users.
    """
    n_items = len(contents.items)
    touched, stays = np.zeros(n_items, dtype=np.bool_), np.zeros(n_items, dtype=np.bool_)
    touched[contents.histories.take(gone).rows] = True
    for one in _blocks(slices):
        stays[contents.histories.rows[one]] = True
    stays |= ~touched
    if stays.all():
        return contents.items.ids, None
    new_rows = np.where(stays, np.cumsum(stays) - 1, -1).astype(np.int32)
    return contents.items.ids.gather(pl.Series(np.flatnonzero(stays), dtype=pl.UInt32)), new_rows


def _blocks(slices: list[slice]) -> list[slice]:
    """The same positions in slices of bounded length."""
    return [slice(at, min(at + _BLOCK, one.stop)) for one in slices for at in range(one.start, one.stop, _BLOCK)]


def _copy(contents: Contents, slices: list[slice], new_rows: Int32 | None, writer: StoreWriter) -> None:
    lists, done = contents.histories, 0
    columns: list[tuple[NDArray[Any] | None, NDArray[Any] | None]] = [
        (writer.times, lists.times), (writer.weights, contents.weights), (writer.events, lists.events),
    ]  # fmt: skip
    for one in _blocks(slices):
        here = slice(done, done + one.stop - one.start)
        writer.rows[here] = lists.rows[one] if new_rows is None else new_rows[lists.rows[one]]
        for target, column in columns:
            if target is not None and column is not None:
                target[here] = column[one]
        done = here.stop


def _imports(told: Manifest, events: int, users: int, items: int) -> tuple[Import, ...]:
    """The imports of a store, and last what was taken out, as negative numbers; its fingerprint comes with the seal."""
    return (*told.imports, Import((FORGOTTEN,), events, users, items, 0, ""))
