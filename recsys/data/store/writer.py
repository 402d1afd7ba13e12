"""Write a store: arrays to be filled on disk, and a seal that makes them a store as a whole or not at all."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.core.files import Held, atomic_folder, exclusive, sha256_of
from recsys.core.ragged import Float32, Int8, Int32, Int64, Ragged
from recsys.core.schema import tight_ids
from recsys.data.order import Ties
from recsys.data.store import arrays
from recsys.data.store.contents import Contents
from recsys.data.store.ids import write_ids
from recsys.data.store.manifest import DTYPES, FILE, Import, Manifest, Part, chained, is_store, parsed
from recsys.errors import DamagedError, DataError

_BLOCK = 1 << 22


@dataclass(eq=False)
class StoreWriter:
    """A store that is being written: fill its arrays, then call :meth:`seal`.

    Events stand user by user, in the order of their history. The arrays are maps of files: what does not fit into memory
    is written to the disk by the system. They must not be touched after :meth:`seal`.

    Attributes
    ----------
    rows : int32 (n,)
        The item row of each event.
    times : int64 (n,) or None
        Seconds since 1970.
    weights : float32 (n,) or None
    events : int8 (n,) or None
        The position of each event's type in ``event_names``.
    """

    rows: Int32
    times: Int64 | None
    weights: Float32 | None
    events: Int8 | None
    _folder: Path
    _flush: dict[str, Callable[[], None]]
    _sealed: bool = field(default=False)

    def fill(self, histories: Ragged, weights: Float32 | None) -> None:
        """Put a whole log into the arrays."""
        columns: list[tuple[NDArray[Any] | None, NDArray[Any] | None]] = [
            (self.rows, histories.rows), (self.times, histories.times), (self.weights, weights),
            (self.events, histories.events),
        ]  # fmt: skip
        for target, column in columns:
            if target is not None and column is not None:
                target[:] = column

    def seal(
        self,
        offsets: Int64,
        users: pl.Series | Path,
        items: pl.Series | Path,
        *,
        event_names: Sequence[str] = (),
        ordered: bool = True,
        order_column: str | None = None,
        ties: Ties = "file",
        source: Sequence[str] = (),
        waterfall: Sequence[dict[str, Any]] = (),
        imports: Sequence[Import] = (),
        pseudonym_key: str | None = None,
    ) -> None:
        """Check what was filled in, and write what is missing: ids, their tables, and last the manifest.

        Parameters
        ----------
        offsets : int64 (n_users + 1,)
            Where each history begins; the last one is the number of events. It may be less than the arrays hold, which
            are then cut.
        users, items : Series or Path
            Distinct raw ids without nulls, in the order of the rows: Int64, or String that are not all whole numbers. Or a
            Parquet file with one column of them.
        event_names : sequence of str
            Sorted; what the codes in ``events`` stand for.
        ordered, order_column, ties, pseudonym_key
            As of :class:`~recsys.data.interactions.Interactions`.
        source : sequence of str
            Where the events come from.
        waterfall : sequence of dict
            What rules left out.
        imports : sequence of Import
            What the store was made from before, if it is another one merged; ``source`` then says nothing. A last one
            without a fingerprint tells of a change that comes with these files, and gets the fingerprint of after it.

        Raises
        ------
        DataError
            The parts do not fit together: the message says which.
        OSError
            There is no room, or a file cannot be written.
        """
        folder, count = self._folder, len(offsets) - 1
        known = [_ids(one) for one in (users, items)]
        self._check(offsets, [len(ids) for ids in known], event_names)
        by_time = ordered and self.times is not None and never_falls(self.times, offsets)
        total = int(offsets[-1])
        for name, flush in self._flush.items():
            flush()
            if total < len(self.rows):
                arrays.shorten(folder / f"{name}.npy", DTYPES[name], total)
        arrays.write(folder / "offsets.npy", np.ascontiguousarray(offsets, dtype=DTYPES["offsets"]))
        told = {kind: write_ids(folder, kind, ids) for kind, ids in zip(("users", "items"), known, strict=True)}
        timed, weighted = self.times is not None, self.weights is not None
        part = Part("", total, count, told["users"], told["items"], timed, weighted, tuple(event_names))
        files = {name: (sha256_of(folder / name), (folder / name).stat().st_size) for name in sorted(part.files())}
        if not imports:
            imports = [Import(tuple(source), total, len(known[0]), len(known[1]), 0, chained("", files))]
        elif not imports[-1].fingerprint:
            before = imports[-2].fingerprint if len(imports) > 1 else ""
            imports = [*imports[:-1], replace(imports[-1], fingerprint=chained(before, files))]
        told_how = (ordered, order_column, ties, by_time)
        manifest = Manifest(*told_how, (part,), tuple(imports), tuple(waterfall), files, pseudonym_key)
        (folder / FILE).write_bytes(manifest.to_json())
        self._sealed = True

    def _check(self, offsets: Int64, counts: list[int], event_names: Sequence[str]) -> None:
        if len(offsets) != counts[0] + 1 or offsets[0] != 0 or bool((np.diff(offsets) < 0).any()):
            raise DataError(f"offsets must begin with 0, never fall, and be one more than the {counts[0]:,} users")
        if (total := int(offsets[-1])) > len(self.rows):
            raise DataError(f"offsets tell of {total:,} events, and the store was begun for {len(self.rows):,}")
        if (self.events is None) != (not event_names):
            raise DataError("event types and event_names go together: give both or neither")
        for name, array, most in (("rows", self.rows, counts[1]), ("events", self.events, len(event_names))):
            if array is not None and (strange := _outside(array[:total], most)) is not None:
                raise DataError(f"{name} must be from 0 to {most - 1:,}; one is {strange}")


def _ids(ids: pl.Series | Path) -> pl.Series:
    if isinstance(ids, Path):
        ids = pl.read_parquet(ids, glob=False).to_series()
    return tight_ids(ids)


def _outside(array: NDArray[np.integer], most: int) -> int | None:
    """An element that is not from 0 to ``most`` − 1, if there is one; looked for in blocks, since a map may be large."""
    for start in range(0, len(array), _BLOCK):
        block = array[start : start + _BLOCK]
        for one in (int(block.min()), int(block.max())):
            if not 0 <= one < most:
                return one
    return None


def never_falls(times: Int64, offsets: Int64) -> bool:
    """Whether no event is earlier than the one before it in its history."""
    for start in range(0, int(offsets[-1]) - 1, _BLOCK):
        block = times[start : min(start + _BLOCK + 1, int(offsets[-1]))]
        falls = np.flatnonzero(block[1:] < block[:-1]) + start + 1
        place = np.searchsorted(offsets, falls)
        if not bool((offsets[place] == falls).all()):
            return False
    return True


@contextmanager
def store_writer(
    folder: str | Path,
    events: int,
    *,
    times: bool = False,
    weights: bool = False,
    types: bool = False,
    overwrite: bool = False,
    held: Held | None = None,
) -> Iterator[StoreWriter]:
    """Begin a store for so many events, to be filled and sealed within the block.

    The store takes its name when the block ends, after :meth:`StoreWriter.seal`: until then, and after an error or a kill,
    the path holds what it held before.

    Parameters
    ----------
    folder : str or Path
        Not there yet, or empty; or a store, with ``overwrite``.
    events : int
        How many there are, or at most.
    times, weights, types : bool
        Whether events have times, weights and types.
    overwrite : bool
        Whether a store may be replaced.
    held : Held, optional
        The lock on the folder, if the caller has it (:func:`~recsys.core.files.exclusive`).

    Raises
    ------
    DataError
        The folder holds something, or another process writes it; the block did not seal the store.
    OSError
        There is no room for the events, or the folder cannot be written.
    """
    target = Path(folder)
    with contextlib.ExitStack() as stack:
        if held is None:
            stack.enter_context(exclusive(target))
        check_target(target, overwrite=overwrite)
        temporary = stack.enter_context(atomic_folder(target, replace=overwrite))
        wanted = {"rows": True, "times": times, "weights": weights, "events": types}
        made = {name: arrays.create(temporary / f"{name}.npy", DTYPES[name], events) for name, one in wanted.items() if one}
        columns = {name: made[name][0] if one else None for name, one in wanted.items()}
        flush = {name: one[1] for name, one in made.items()}
        writer = StoreWriter(**columns, _folder=temporary, _flush=flush)  # type: ignore[arg-type]
        yield writer
        if not writer._sealed:
            raise DataError(f"{target} was not sealed: call seal() within the block")


def check_target(target: Path, *, overwrite: bool) -> None:
    """Refuse to replace what is not a store, or a store in which others keep files.

    Raises
    ------
    DataError
        The message says what stands there.
    """
    if not target.is_dir() or not any(target.iterdir()):
        return
    if not overwrite:
        raise DataError(
            f"{target} already holds something; name a new folder, or ask for it to be overwritten (--overwrite)"
        )
    if not is_store(target):
        raise DataError(f"{target} holds something that is not a store, which is never overwritten; name another folder")
    try:
        own = {*parsed(target, (target / FILE).read_bytes()).files, FILE}
    except (DamagedError, DataError):
        return  # a damaged store: to be replaced
    found = (file.relative_to(target).as_posix() for file in target.rglob("*") if not file.is_dir())
    if foreign := sorted(name for name in found if name not in own and not name.startswith((".", "runs/"))):
        raise DataError(
            f"{target} also holds {foreign[0]}, which the store did not write; overwriting would remove it: move it first"
        )


def write_store(
    folder: Path,
    contents: Contents,
    *,
    source: Sequence[str] = (),
    imports: Sequence[Import] = (),
    overwrite: bool = False,
    held: Held | None = None,
) -> None:
    """Write a whole log as a store; the parameters and errors are those of :func:`store_writer` and its seal."""
    lists = contents.histories
    with store_writer(
        folder,
        len(lists.rows),
        times=lists.times is not None,
        weights=contents.weights is not None,
        types=lists.events is not None,
        overwrite=overwrite,
        held=held,
    ) as writer:
        writer.fill(lists, contents.weights)
        writer.seal(
            lists.offsets,
            contents.users.ids,
            contents.items.ids,
            event_names=contents.event_names,
            ordered=contents.ordered,
            order_column=contents.order_column,
            ties=contents.ties,
            source=source,
            waterfall=[one.to_dict() for one in contents.waterfalls],
            imports=imports,
            pseudonym_key=contents.pseudonym_key,
        )
