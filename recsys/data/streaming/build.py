"""From files to a store in bounded memory."""

from __future__ import annotations

import contextlib
import errno
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.core.cluster import Each, Engine
from recsys.core.cluster import engine as engine_of
from recsys.core.files import Held
from recsys.core.id_map import IdMap
from recsys.core.leftovers import WRITING, name_beside, sweep
from recsys.core.progress import track
from recsys.core.pseudonym_key import PseudonymKey, pseudonyms_of
from recsys.core.ragged import Int8, Int32, Int64
from recsys.core.schema import EVENT, ORDER, TIMESTAMP, WEIGHT
from recsys.data.event_types import check_event_types, weights_of_types
from recsys.data.formats.dialect import Dialect
from recsys.data.formats.paths import Format
from recsys.data.interactions import Interactions
from recsys.data.log_request import LogRequest
from recsys.data.look_alikes import tell_alike_types
from recsys.data.order import log_duplicates, log_left_out, log_order, places_of
from recsys.data.quarantine import Quarantine
from recsys.data.sorting import shuffled
from recsys.data.sources import Source
from recsys.data.store.opening import open_store
from recsys.data.store.writer import StoreWriter, check_target, store_writer
from recsys.data.streaming.bounds import Bounds
from recsys.data.streaming.buckets import Part, Ranges, remove_range
from recsys.data.streaming.jobs import ReadJobs, refuse_frames
from recsys.data.streaming.progress import rows_read
from recsys.data.streaming.ranges import DivideJob, SortJob, divided, kept_places, sorted_range
from recsys.data.streaming.scan import Scan, scan
from recsys.data.streaming.settle import Settled, settle
from recsys.errors import DataError

Shared = TypeVar("Shared", bound=NDArray[Any])


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
    engine: Engine = "local",
    workers: int | None = None,
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
        For the rows that cannot be used; it takes its name right after the store.
    key : PseudonymKey, optional
        Of the pseudonyms that the store gets in place of the users' ids.
    engine, workers
        As for :func:`recsys.core.cluster.engine`. On a cluster, each table is read, its events are divided by ranges of
        users, and each range is sorted by some worker; files and ``out`` lie where all of them see them.

    Raises
    ------
    DataError
        As for :func:`recsys.read_interactions`; or ``out`` holds something, or the disk has no room.
    ConfigError
        As for :func:`recsys.read_interactions`.
    """
    target = Path(out)
    check_target(target, overwrite=overwrite)
    if engine != "local":
        refuse_frames(source)
    with scratch(target) as folder, engine_of(engine, workers) as each:
        how = ReadJobs(request, folder, bounds, dialect, null_values, aside)
        with rows_read("reading") as tell:
            jobs = how.here(source, format, tell) if engine == "local" else how.elsewhere(source, format)
            found = scan(jobs, folder, aside, each, None if engine == "local" else tell)
        settled = settle(found, request)
        writing = _Writing(found, settled, request, folder, bounds, shared=engine != "local")
        parts = writing.divided(each)
        with (
            contextlib.nullcontext() if aside is None else aside.kept(),
            store_writer(
                target,
                settled.events,
                times=writing.timed,
                weights=writing.weighted,
                types=EVENT in found.tables[0].names,
                overwrite=overwrite,
                held=held,
            ) as writer,
        ):
            writing.write(writer, parts, told, key, each)
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
    folder = name_beside(target.absolute(), WRITING)
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
    """The second pass: events to ranges of users, and ranges to the store."""

    def __init__(
        self, found: Scan, settled: Settled, request: LogRequest, folder: Path, bounds: Bounds, *, shared: bool
    ) -> None:
        self.settled, self.request, self.folder, self.shared = settled, request, folder, shared
        self.ranges = Ranges.of(settled.lengths, bounds.events)
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

    def divided(self, each: Each) -> list[Part]:
        """Divide the events by ranges of users: all tables at one go here, each by itself on a cluster."""
        tables, of_user = self.settled.tables, self._shared("of_user", self.ranges.of_user)
        how = (of_user, len(self.ranges), self.folder, self.request.unordered)
        jobs = [DivideJob("all", tables, *how)]
        if self.shared:
            jobs = [
                DivideJob(f"{number:06}", [table.saved(self.folder, f"{number:06}")], *how, shown=False)
                for number, table in enumerate(tables)
            ]
        found = each(divided, jobs)
        parts = list(track(found, total=len(jobs), what="dividing by users", unit="table") if self.shared else found)
        for table in tables:
            for file in table.table.files:
                file.unlink()
        return parts

    def _shared(self, name: str, array: Shared) -> Shared | Path:
        """An array as a job is given it: itself here, a file on a cluster."""
        if not self.shared:
            return array
        file = self.folder / f"{name}.npy"
        np.save(file, array)
        return file

    def _jobs(self, parts: list[Part]) -> Iterator[SortJob]:
        places: Int32 | Path | None = None
        if self.request.ties == "item":
            places = self._shared("places", places_of(IdMap(self.settled.items, "item", checked=True)))
        shuffle = self._shared("shuffle", self._shuffled(parts)) if self.request.unordered else None
        how = (parts, self.codes, self.by_type, self.request.drop_duplicates, shuffle, places)
        for number, (first, end) in enumerate(pairwise(self.ranges.edges.tolist())):
            yield SortJob(number, first, end - first, *how, self.folder if self.shared else None)

    def write(
        self, writer: StoreWriter, parts: list[Part], told: Sequence[str], key: PseudonymKey | None, each: Each
    ) -> None:
        """Sort each range of users, and seal the store."""
        lengths, done, compared = list[Int64](), 0, list[str]()
        ranges = each(sorted_range, self._jobs(parts))
        for number, one in enumerate(track(ranges, total=len(self.ranges), what="sorting", unit="range")):
            remove_range(parts, number)
            here = slice(done, done + one.events)
            for name, column in one.columns.items():
                target = getattr(writer, name)
                target[here] = np.load(column, mmap_mode="r") if isinstance(column, Path) else column
                if isinstance(column, Path):
                    column.unlink()
            lengths.append(one.lengths)
            done, compared = here.stop, one.compared or compared
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

    def _shuffled(self, parts: list[Part]) -> Int64:
        """A random order of all events that are kept, by their positions."""
        if not self.request.drop_duplicates:
            return shuffled(self.settled.events)
        kept = np.zeros(self.settled.events, dtype=np.bool_)
        for number in range(len(self.ranges)):
            kept[kept_places(parts, number)] = True
        order: Int64 = shuffled(int(kept.sum()))[np.cumsum(kept) - 1]
        return order
