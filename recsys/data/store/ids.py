"""The ids of a store: Parquet files, read at first need, and tables on disk that find a few ids without reading them."""

from __future__ import annotations

import math
import threading
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

import numpy as np
import polars as pl

from recsys.core.id_hash import UInt64, hash_ids
from recsys.core.ragged import Int32, Int64
from recsys.data.store import arrays
from recsys.data.store.manifest import Ids
from recsys.errors import DamagedError

_GROUP = 1 << 13
"""Ids of one row group: as many are decoded to compare one."""
_FEW_GROUPS = 16
"""Where ids of more groups are asked for, all are read."""
_FEW = 32
_UNKNOWN = -1


def write_ids(folder: Path, kind: str, ids: pl.Series) -> Ids:
    """Write distinct ids, and the table that finds them.

    Parameters
    ----------
    folder : Path
    kind : {"users", "items"}
    ids : Series (n,)
        Int64 or String. Nothing is written if there are none.

    Raises
    ------
    OSError
        A file cannot be written.
    """
    if len(ids):
        pl.DataFrame({f"{kind.removesuffix('s')}_id": ids}).write_parquet(
            folder / f"{kind}.parquet", row_group_size=_GROUP, statistics=False
        )
        hashes = hash_ids(ids)
        order = np.argsort(hashes, kind="stable").astype(np.int32)
        arrays.write(folder / f"{kind}.hashes.npy", hashes[order])
        arrays.write(folder / f"{kind}.rows.npy", order)
    return Ids(len(ids), ids.dtype == pl.String)


@dataclass(frozen=True, eq=False)
class IdFile:
    """The ids of one part.

    Attributes
    ----------
    path : Path
        For messages.
    handle : binary file
        The Parquet file, which stays open: another one may take its name.
    told : Ids
    hashes : uint64 (n,)
        Ascending.
    order : int32 (n,)
        The position of each hash's id in the file.
    """

    path: Path
    handle: BinaryIO
    told: Ids
    hashes: UInt64
    order: Int32
    _lock: threading.Lock

    def __post_init__(self) -> None:
        weakref.finalize(self, self.handle.close)

    @cached_property
    def ids(self) -> pl.Series:
        """All of them. Raises DamagedError."""
        return self._read(None)

    def _read(self, group: int | None) -> pl.Series:
        """All ids, or those of one row group."""
        wanted = self.told.count if group is None else min(_GROUP, self.told.count - group * _GROUP)
        try:
            with self._lock:  # a handle has one position
                self.handle.seek(0)
                if group is None:
                    frame = pl.read_parquet(self.handle, glob=False)
                else:
                    frame = pl.scan_parquet(self.handle, glob=False).slice(group * _GROUP, _GROUP).collect()
            ids = frame.to_series().rechunk()
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
            raise DamagedError(f"{self.path} is damaged: {str(error).splitlines()[0]}") from error
        if len(ids) != wanted or ids.dtype != (pl.String if self.told.text else pl.Int64) or ids.null_count():
            raise DamagedError(f"{self.path} is damaged: it does not hold the ids that the manifest tells of")
        return ids

    def at(self, rows: Int32) -> pl.Series:
        """The ids at some positions."""
        groups, inverse = np.unique(rows // _GROUP, return_inverse=True)
        if "ids" in self.__dict__ or len(groups) > _FEW_GROUPS:
            return self.ids.gather(pl.Series(rows, dtype=pl.UInt32))
        read = [self._read(int(group)) for group in groups]
        starts = np.cumsum([0, *map(len, read)])[:-1]
        places = (starts[inverse] if len(groups) else 0) + rows % _GROUP
        found: pl.Series = pl.concat(read) if read else self.ids.clear()
        return found.gather(pl.Series(places, dtype=pl.UInt32))

    def find(self, wanted: pl.Series) -> Int32:
        """The position of each id, of the type of this file and without nulls; −1 for those that it lacks."""
        asked = hash_ids(wanted)
        place = _places(self.hashes, asked)
        found = np.full(len(asked), _UNKNOWN, dtype=np.int32)
        left = np.arange(len(asked))
        while True:
            left = left[place[left] < len(self.hashes)]
            left = left[self.hashes[place[left]] == asked[left]]
            if len(left) == 0:
                return found
            rows = self.order[place[left]]
            if self.told.text:  # numbers are hashed one to one
                same = (self.at(rows) == wanted.gather(pl.Series(left, dtype=pl.UInt32))).to_numpy()
            else:
                same = np.ones(len(left), dtype=np.bool_)
            found[left[same]] = rows[same]
            left = left[~same]  # another id has the same hash: perhaps the next one is right
            place[left] += 1


def _places(hashes: UInt64, asked: UInt64) -> Int64:
    """Where hashes belong among ascending ones, as ``np.searchsorted``; a few are looked for near where they are likely.

    Hashes are spread evenly, so that their own value tells the place: a search of the whole would touch pages everywhere.
    """
    if len(asked) > _FEW:
        return np.searchsorted(hashes, asked)
    count, found = len(hashes), np.empty(len(asked), dtype=np.int64)
    reach = 4 * math.isqrt(count) + 8  # eight standard deviations
    for number, one in enumerate(asked):
        likely = int(one) * count >> 64
        low, high = max(0, likely - reach), min(count, likely + reach)
        inside = (low == 0 or hashes[low - 1] < one) and (high == count or hashes[high] >= one)
        found[number] = low + np.searchsorted(hashes[low:high], one) if inside else np.searchsorted(hashes, one)
    return found


class StoredIds:
    """The ids of all parts, behind one another; see :class:`~recsys.core.id_map.IdSource`.

    Parameters
    ----------
    files : sequence of IdFile
        At least one id in each.
    text : bool
        Whether the ids are text; numbers of single parts are then written as text.
    """

    def __init__(self, files: Sequence[IdFile], *, text: bool) -> None:
        self._files = tuple(files)
        self._starts = np.cumsum([0, *(one.told.count for one in files)])
        self.dtype: pl.DataType = pl.String() if text else pl.Int64()

    def __len__(self) -> int:
        return int(self._starts[-1])

    def read(self) -> pl.Series:
        """All ids. Raises DamagedError."""
        parts = [one.ids.cast(self.dtype) for one in self._files]
        return pl.concat(parts).rechunk() if parts else pl.Series([], dtype=self.dtype)

    def at(self, rows: Int32) -> pl.Series:
        """The ids of some rows. Raises DamagedError."""
        if len(rows) and not 0 <= int(rows.min()) <= int(rows.max()) < len(self):
            raise IndexError(f"a row lies outside of the {len(self):,} ids")
        which = np.searchsorted(self._starts, rows, side="right") - 1
        parts, places = [pl.Series([], dtype=self.dtype)], np.empty(len(rows), dtype=np.int64)
        for number, (file, start) in enumerate(zip(self._files, self._starts[:-1], strict=True)):
            mine = np.flatnonzero(which == number)
            places[mine] = np.arange(len(mine)) + sum(map(len, parts))
            parts.append(file.at((rows[mine] - start).astype(np.int32)).cast(self.dtype))
        return pl.concat(parts).gather(pl.Series(places, dtype=pl.UInt32))

    def find(self, wanted: pl.Series) -> Int32:
        """int32: the rows of ids of this type; −1 for null and those that are not there. Raises DamagedError."""
        found = np.full(len(wanted), _UNKNOWN, dtype=np.int32)
        for file, start in zip(self._files, self._starts[:-1], strict=True):
            left = np.flatnonzero(found == _UNKNOWN)
            asked = wanted.gather(pl.Series(left, dtype=pl.UInt32))
            if not file.told.text and self.dtype == pl.String:
                number = asked.cast(pl.Int64, strict=False)
                asked = number.set(number.cast(pl.String) != asked, None)
            known = asked.is_not_null().to_numpy()
            rows = file.find(asked.drop_nulls())
            found[left[known]] = np.where(rows == _UNKNOWN, _UNKNOWN, rows + start)
        return found
