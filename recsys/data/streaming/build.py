"""From files to a store in bounded memory."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from recsys.core.files import Held
from recsys.core.id_map import IdMap
from recsys.core.leftovers import WRITING, name_beside, sweep
from recsys.core.progress import track
from recsys.core.pseudonym_key import PseudonymKey, pseudonyms_of
from recsys.core.ragged import Int8, Int32, Int64
from recsys.core.schema import EVENT, MOVIELENS_INTERACTIONS, ORDER, TIMESTAMP, WEIGHT
from recsys.data.event_types import check_event_types, weights_of_types
from recsys.data.formats.dialect import Dialect
from recsys.data.formats.paths import Format
from recsys.data.interactions import Interactions
from recsys.data.log_request import LogRequest
from recsys.data.look_alikes import tell_alike_types
from recsys.data.order import log_duplicates, log_left_out, log_order, places_of
from recsys.data.quarantine import Quarantine
from recsys.data.sorting import first_of_equals, ordering_keys, shuffled, sorted_columns
from recsys.data.sources import Source, sources, tables_of
from recsys.data.store.opening import open_store
from recsys.data.store.writer import StoreWriter, check_target, store_writer
from recsys.data.streaming.bounds import Bounds
from recsys.data.streaming.buckets import Buckets
from recsys.data.streaming.scan import Scan, scan
from recsys.data.streaming.settle import Settled, settle
from recsys.errors import DataError

_PLACE = "place"
"""The position of an event among all, where the log has no order."""


def stream_log(
    source: Source,
    out: str | Path,
    request: LogRequest,
    *,
    format: Format | None = None,
    dialect: Dialect,
    null_values: str | Sequence[str] | None = None,
    bounds: Bounds,
    told: Sequence[str] = (),
    overwrite: bool = False,
    held: Held | None = None,
    aside: Quarantine | None = None,
    key: PseudonymKey | None = None,
) -> Interactions:
    """Write the log of some files into a store, and open it; it equals what :func:`recsys.read_interactions` returns.

    Memory holds the distinct ids, one piece of a file, and later one range of users; all else lies on disk beside ``out``,
    and is removed in the end.

    Parameters
    ----------
    source, format, null_values
        As for :func:`recsys.read_interactions`.
    out : path
        The new store.
    request : LogRequest
    dialect : Dialect
    bounds : Bounds
    told : sequence of str
        What the store tells of its source.
    overwrite : bool
        Whether a store may be replaced.
    held : Held, optional
        The lock on ``out``, if the caller has it.
    aside : Quarantine, optional
        For the rows that cannot be used; it is written before the store takes its name.
    key : PseudonymKey, optional
        Of the pseudonyms that the store gets in place of the users' ids.

    Raises
    ------
    DataError
        As for :func:`recsys.read_interactions`; or ``out`` holds something, or the disk has no room.
    ConfigError
        As for :func:`recsys.read_interactions`.
    """
    target = Path(out)
    check_target(target, overwrite=overwrite)
    with scratch(target) as folder:
        tables = tables_of(sources(source), format, MOVIELENS_INTERACTIONS, dialect)
        found = scan(tables, request, folder, bounds, lambda table: table.words(null_values), aside)
        settled = settle(found, request)
        writing = _Writing(found, settled, request, Buckets(folder, settled.lengths, bounds.events))
        writing.fill_buckets()
        with store_writer(
            target,
            settled.events,
            times=writing.timed,
            weights=writing.weighted,
            types=EVENT in found.tables[0].names,
            overwrite=overwrite,
            held=held,
        ) as writer:
            writing.write(writer, told, key)
            if aside is not None:
                aside.write()
    log = open_store(target)
    certain = request.unordered or log.order_column is not None
    log_order(log.ordered_by, log.histories, len(log.items), None if certain else found.others, request.weight)
    log_duplicates(log.histories, len(log.items))
    return log


@contextmanager
def scratch(target: Path) -> Iterator[Path]:
    """A folder beside the target for the time being, whose name tells who writes it; tell of a full disk in words."""
    target.parent.mkdir(parents=True, exist_ok=True)
    sweep(target.parent)  # what killed imports left may need the room
    folder = name_beside(target, WRITING)
    try:
        folder.mkdir()
        yield folder
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        free = shutil.disk_usage(target.parent).free
        raise DataError(
            f"no room is left beside {target} ({free:,} bytes): an import writes about 60 bytes for each row there; make "
            f"room, or name another disk"
        ) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class _Writing:
    """The second pass: events to buckets, and buckets to the store."""

    def __init__(self, found: Scan, settled: Settled, request: LogRequest, buckets: Buckets) -> None:
        self.settled, self.request, self.buckets = settled, request, buckets
        self.names = found.tables[0].names
        self.timed = TIMESTAMP in self.names
        self.weighted = WEIGHT in self.names or request.event_weights is not None
        kept = found.types.values.filter(pl.Series(settled.type_counts > 0))
        self.types = tuple(kept.sort().to_list())
        check_event_types(len(self.types))
        tell_alike_types(self.types)
        place = {name: code for code, name in enumerate(self.types)}
        self.codes: Int8 = np.array([place.get(name, -1) for name in found.types.values], dtype=np.int8)
        self.by_type = None if request.event_weights is None else weights_of_types(self.types, request.event_weights)

    def fill_buckets(self) -> None:
        """Divide the events by ranges of users."""
        done = 0
        pieces = sum(len(table.files) for table in self.settled.tables)
        for frame in track(self.settled.pieces(), total=pieces, what="dividing by users", unit="piece"):
            places = [pl.Series(_PLACE, np.arange(done, done + frame.height))] if self.request.unordered else []
            self.buckets.add(frame.with_columns(places))
            done += frame.height
        for table in self.settled.tables:
            for file in table.files:
                file.unlink()

    def write(self, writer: StoreWriter, told: Sequence[str], key: PseudonymKey | None) -> None:
        """Sort each range of users, and seal the store."""
        places = places_of(IdMap(self.settled.items, "item", checked=True)) if self.request.ties == "item" else None
        keys = self._shuffled() if self.request.unordered else None
        lengths, done, compared = list[Int64](), 0, list[str]()
        for number in track(range(len(self.buckets)), total=len(self.buckets), what="sorting", unit="range"):
            table = self.buckets.read(number)
            self.buckets.remove(number)
            if self.request.drop_duplicates:
                table, compared = first_of_equals(table)
            lengths.append(self._sorted(table, number, keys, places, writer, done))
            done += table.height
        if self.request.drop_duplicates:
            log_left_out(self.settled.events - done, self.settled.events, compared)
        writer.seal(
            np.concatenate([[0], np.cumsum(np.concatenate(lengths))]),
            self.settled.users if key is None else pseudonyms_of(self.settled.users, key),
            self.settled.items,
            event_names=self.types,
            ordered=not self.request.unordered,
            order_column=next((self.names[name] for name in (ORDER, TIMESTAMP) if name in self.names), None),
            ties=self.request.ties,
            source=told,
            pseudonym_key=None if key is None else key.id,
        )

    def _sorted(
        self, table: pl.DataFrame, number: int, shuffle: Int64 | None, places: Int32 | None, writer: StoreWriter, at: int
    ) -> Int64:
        """Sort the events of a range into the store; the number of each user's events."""
        n_users = int(self.buckets.edges[number + 1] - self.buckets.edges[number])
        codes: Int8 | None = self.codes[table[EVENT].to_numpy()] if EVENT in table.columns else None
        keys: Any = ordering_keys(table) if shuffle is None else shuffle[table[_PLACE].to_numpy()]
        histories, weights = sorted_columns(table.drop(_PLACE, strict=False), n_users, keys, codes=codes, places=places)
        if self.by_type is not None and histories.events is not None:
            weights = self.by_type[histories.events]
        here = slice(at, at + len(histories.rows))
        columns: list[tuple[Any, Any]] = [
            (writer.rows, histories.rows), (writer.times, histories.times),
            (writer.weights, weights), (writer.events, histories.events),
        ]  # fmt: skip
        for array, column in columns:
            if array is not None:
                array[here] = column
        return histories.lengths

    def _shuffled(self) -> Int64:
        """A random order of all events that are kept, by their positions."""
        if not self.request.drop_duplicates:
            return shuffled(self.settled.events)
        kept = np.zeros(self.settled.events, dtype=np.bool_)
        for number in range(len(self.buckets)):
            kept[first_of_equals(self.buckets.read(number))[0][_PLACE].to_numpy()] = True
        order: Int64 = shuffled(int(kept.sum()))[np.cumsum(kept) - 1]
        return order
