"""Append a log to a store, in time proportional to what is new."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl

from recsys.core.files import Held, atomic_file, exclusive, sha256_of, sync
from recsys.core.id_map import IdMap
from recsys.core.progress import log, warn
from recsys.core.ragged import Int32, Int64, Ragged, ragged_positions
from recsys.core.schema import tight_ids
from recsys.data.store import arrays
from recsys.data.store.contents import Contents
from recsys.data.store.ids import write_ids
from recsys.data.store.manifest import DTYPES, FILE, MOST_EVENT_TYPES, RUNS, Import, Manifest, Part, chained
from recsys.data.store.merge import assembled, insertions_of
from recsys.data.store.reader import OpenedStore, read_store
from recsys.data.store.writer import never_falls, write_store
from recsys.errors import DataError

_MOST = 0.1
"""Share of the events of the first part above which the runs are merged into it."""
_MOST_RUNS = 50


def append(folder: Path, new: Contents, source: Sequence[str], *, held: Held | None = None) -> Import:
    """Add the events of a log to a store.

    Known ids keep their rows, new ones get the next rows in the order in which the log first tells of them. Events find
    their place by time, behind those of the same second that are there; in a store without times they follow each user's
    last event, and in one without an order the histories are shuffled anew. The events are kept as a run beside what is
    there, which :func:`~recsys.data.store.merge.assembled` merges at opening; once the runs hold more than a tenth of it,
    all is written anew as one. A process that is killed leaves the store as it was, or with the events.

    Parameters
    ----------
    folder : Path
    new : Contents
        A log with the same columns, read on its own.
    source : sequence of str
        Where it comes from.
    held : Held, optional
        The lock on the store, if the caller has it.

    Returns
    -------
    Import

    Raises
    ------
    DataError
        There is no store, another process writes it, or the log does not fit: the message says why.
    OSError
        There is no room, or the store cannot be written.
    """
    if held is None:
        with exclusive(folder) as lock:
            return append(folder, new, source, held=lock)
    store = read_store(folder, verify=False)
    _check(folder, store, new)
    remove_leftovers(folder, store.manifest)
    told, is_file = (tuple(source), len(new.histories.rows)), all("." in name for name in source)
    if is_file and any((one.source, one.events) == told for one in store.manifest.imports):
        warn(
            f"{folder} was already given {', '.join(source)} with as many events: if it is the same log, its events are "
            f"now in the store twice; import all files anew (--overwrite) to mend that"
        )
    user_rows, users = _rows(store.users, new.users.ids)
    item_rows, items = _rows(store.items, new.items.ids)
    if max(len(store.users) + len(users), len(store.items) + len(items)) > np.iinfo(np.int32).max:
        raise DataError(f"{folder}: a store holds at most {np.iinfo(np.int32).max:,} users and items")
    run, owners = _by_row(new, user_rows, item_rows)
    late = _late(store, run.histories, owners)
    done = _written(folder, store, run, owners, users, items, source, late)
    log(
        f"{folder}: {done.events:,} events added, of {len(owners):,} users; {done.users:,} users and {done.items:,} items "
        f"are new; {done.late:,} events lie before the last one of their user and took their place"
    )
    _compact(folder, held)
    return done


def _check(folder: Path, store: OpenedStore, new: Contents) -> None:
    told, first = store.manifest, store.manifest.parts[0]
    has = {
        "times": (first.times, new.histories.times is not None, "name their column, timestamp= (--timestamp)"),
        "weights": (first.weights, new.weights is not None, "name their column, weight= (--weight)"),
        "event types": (bool(first.event_names), bool(new.event_names), "name their column, event= (--event)"),
    }
    if told.ordered != new.ordered:
        words = ("an order", "none; read it so") if told.ordered else ("no order", "one; read it with unordered=True")
        raise DataError(f"{folder} has {words[0]}, and the log to append has {words[1]} (--unordered)")
    for what, (mine, theirs, remedy) in has.items():
        if mine and not theirs:
            raise DataError(f"{folder} has {what}, and the log to append has none: {remedy}, or import all files together")
        if theirs and not mine:
            raise DataError(f"the log to append has {what}, and {folder} has none: leave them out, or import all together")
    by_time = told.by_time and new.histories.times is not None and never_falls(new.histories.times, new.histories.offsets)
    if told.ordered and not by_time and (first.times or told.order_column is not None or new.order_column is not None):
        raise DataError(
            f"{folder} is ordered by the column {told.order_column or new.order_column!r}, which a store does not keep, so "
            f"that later events cannot find their places: import all files together"
        )
    if told.pseudonym_key != new.pseudonym_key:
        keys = (told.pseudonym_key, new.pseudonym_key)
        own, other = ("raw ids" if one is None else f"pseudonyms under the key {one}" for one in keys)
        raise DataError(
            f"the users of {folder} are {own}, and those of the log to append {other}: read it by --pseudonymise and the "
            "store's key, or without"
        )
    if told.ties != new.ties:
        raise DataError(f"{folder} has ties by {told.ties}, and the log to append by {new.ties}: give ties={told.ties!r}")
    names = set(new.event_names).union(*(part.event_names for part in told.parts))
    if len(names) > MOST_EVENT_TYPES:
        raise DataError(f"{folder} would have {len(names)} event types; at most {MOST_EVENT_TYPES} are allowed")


def _rows(known: IdMap, ids: pl.Series) -> tuple[Int32, pl.Series]:
    """The rows of ids in a map that is to be extended by those that it lacks, and these."""
    asked = ids
    if known.dtype == pl.String:
        asked = ids.cast(pl.String)
    elif ids.dtype == pl.String:
        asked = ids.cast(pl.Int64, strict=False)
        asked = asked.set(asked.cast(pl.String) != ids, None)
    rows = known.find_rows(asked)
    fresh = np.flatnonzero(rows < 0)
    rows[fresh] = np.arange(len(known), len(known) + len(fresh), dtype=np.int32)
    return rows, ids.gather(pl.Series(fresh, dtype=pl.UInt32))


def _by_row(new: Contents, user_rows: Int32, item_rows: Int32) -> tuple[Contents, Int32]:
    """The histories that hold something, in the order of their users' rows, and these rows."""
    lengths = new.histories.lengths
    order = np.argsort(user_rows, kind="stable")
    order = order[lengths[order] > 0]
    weights = new.weights
    if weights is not None:
        weights = weights[ragged_positions(new.histories.offsets[order], lengths[order])]
    return replace(new, histories=new.histories.take(order).remap(item_rows), weights=weights), user_rows[order]


def _late(store: OpenedStore, lists: Ragged, owners: Int32) -> int:
    """How many events lie before the last one of their user, whichever part it is in."""
    if lists.times is None:
        return 0
    each = np.repeat(owners, lists.lengths)
    late = np.zeros(len(each), dtype=np.bool_)
    for part in store.parts:
        mine = each if part.owners is None else _among(part.owners, each)
        late |= insertions_of(part.histories, mine, lists.times) < _ends(part.histories, mine)
    return int(late.sum())


def _among(owners: Int32, each: Int32) -> Int32:
    """The index of users among those of a run; beyond them all where they are not among them."""
    place = np.searchsorted(owners, each)
    found = owners[np.minimum(place, len(owners) - 1)] == each if len(owners) else np.zeros(len(each), dtype=np.bool_)
    return np.where(found, place, len(owners)).astype(np.int32)


def _ends(lists: Ragged, owners: Int32) -> Int64:
    return lists.offsets[np.minimum(owners.astype(np.int64) + 1, len(lists))]


def _written(
    folder: Path, store: OpenedStore, run: Contents, owners: Int32, users: pl.Series, items: pl.Series,
    source: Sequence[str], late: int,
) -> Import:  # fmt: skip
    """Write the files of a run, and then the manifest that tells of it."""
    told = store.manifest
    name = f"{RUNS}/{len(told.imports):05}-{secrets.token_hex(4)}"
    (folder / name).mkdir(parents=True)
    try:
        part, files = _run(folder, name, run, owners, users, items)
        done = Import(tuple(source), part.events, len(users), len(items), late, chained(told.fingerprint, files))
        after = replace(
            told,
            parts=(*told.parts, part),
            imports=(*told.imports, done),
            waterfall=(*told.waterfall, *(one.to_dict() for one in run.waterfalls)),
            files=told.files | files,
        )
        with atomic_file(folder / FILE) as temporary:
            temporary.write_bytes(after.to_json())
    except OSError:
        remove_leftovers(folder, told)
        raise
    return done


def _run(
    folder: Path, name: str, run: Contents, owners: Int32, users: pl.Series, items: pl.Series
) -> tuple[Part, dict[str, tuple[str, int]]]:
    """Write the files of a run, and have them on the disk."""
    lists, place = run.histories, folder / name
    columns = {
        "offsets": lists.offsets, "owners": owners, "rows": lists.rows, "times": lists.times, "weights": run.weights,
        "events": lists.events,
    }  # fmt: skip
    for column, array in columns.items():
        if array is not None:
            arrays.write(place / f"{column}.npy", np.ascontiguousarray(array, dtype=DTYPES[column]))
    new_users, new_items = (write_ids(place, kind, tight_ids(ids)) for kind, ids in (("users", users), ("items", items)))
    timed, weighted = lists.times is not None, run.weights is not None
    part = Part(name, len(lists.rows), len(owners), new_users, new_items, timed, weighted, run.event_names)
    files = {one: (sha256_of(folder / one), (folder / one).stat().st_size) for one in sorted(part.files())}
    for one in [*(folder / file for file in files), place, folder / RUNS, folder]:
        sync(one)
    return part, files


def remove_leftovers(folder: Path, told: Manifest) -> None:
    """Remove runs that a killed process did not finish."""
    known = {Path(part.folder).name for part in told.parts}
    for one in (folder / RUNS).iterdir() if (folder / RUNS).is_dir() else ():
        if one.name not in known:
            shutil.rmtree(one)


def _compact(folder: Path, held: Held) -> None:
    """Write a store anew as one part, if its runs are many or large."""
    store = read_store(folder, verify=False)
    first, *runs = store.manifest.parts
    if len(runs) > _MOST_RUNS or sum(run.events for run in runs) > _MOST * first.events:
        log(f"{folder}: what was appended is merged (number of runs: {len(runs)})")
        told = store.manifest
        write_store(folder, assembled(store), imports=told.imports, overwrite=True, held=held)
