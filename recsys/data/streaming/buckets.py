"""Events on disk, divided by ranges of users, so that the events of one range can be sorted in memory."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from recsys.core.ragged import Int32, Int64
from recsys.core.schema import USER


@dataclass(frozen=True)
class Part:
    """Events that were divided at one go: files of columns, one for each range of users and column.

    Attributes
    ----------
    folder : Path
    name : str
        Different from that of every other part.
    schema : dict of DataType
        Column → its type.
    """

    folder: Path
    name: str
    schema: dict[str, pl.DataType]

    def file(self, number: int, column: str) -> Path:
        """The file of a column of a range; there is none where no event of the part belongs to it."""
        return self.folder / f"bucket-{number:06}-{column}-{self.name}"


@dataclass(frozen=True, eq=False)
class Ranges:
    """Ranges of users that have about as many events each.

    Attributes
    ----------
    edges : int64 (n + 1,)
        Where each range of users begins, and the last one ends.
    of_user : int32 (n_users,)
        The range of each user.
    """

    edges: Int64
    of_user: Int32

    @classmethod
    def of(cls, lengths: Int64, most: int) -> Ranges:
        """Ranges of at most so many events, unless one user has more; ``lengths`` are the events of each user."""
        before = np.concatenate([[0], np.cumsum(lengths)[:-1]]) if len(lengths) else np.zeros(0, dtype=np.int64)
        starts = np.flatnonzero(np.diff(before // most, prepend=-1))
        edges = np.append(starts, len(lengths)).astype(np.int64)
        return cls(edges, np.repeat(np.arange(len(starts), dtype=np.int32), np.diff(edges)))

    def __len__(self) -> int:
        return len(self.edges) - 1


def divide(frames: Iterable[pl.DataFrame], of_user: Int32, count: int, folder: Path, name: str) -> Part:
    """Write events by ranges of users; those of a range keep their order.

    Parameters
    ----------
    frames : iterable of DataFrame
        The same columns each time, without nulls.
    of_user : int32 (n_users,)
        The range of each user.
    count : int
        Number of ranges.
    folder : Path
    name : str
        Of the part; files of this name are written anew.
    """
    part = Part(folder, name, {})
    for events in frames:
        fresh = not part.schema
        for column in events:
            part.schema.setdefault(column.name, column.dtype)
        if fresh:
            _remove(part, range(count))
        order, cuts = _grouped(of_user[events[USER].to_numpy()], count)
        for column in events:
            values = column.to_physical().to_numpy()
            values = values if order is None else values[order]
            for number in np.flatnonzero(np.diff(cuts)):
                with part.file(int(number), column.name).open("ab") as stream:
                    stream.write(np.ascontiguousarray(values[cuts[number] : cuts[number + 1]]).data)
    return part


def read_range(parts: Sequence[Part], number: int, first_user: int) -> pl.DataFrame:
    """The events of a range, part by part; users are counted from its first one."""
    schema = next(part.schema for part in parts if part.schema)
    columns = dict[str, pl.Series]()
    for name, dtype in schema.items():
        kind = pl.Series(dtype=dtype).to_physical().to_numpy().dtype
        files = [file for part in parts if (file := part.file(number, name)).exists()]
        values = np.concatenate([np.fromfile(file, dtype=kind) for file in files] or [np.empty(0, dtype=kind)])
        if name == USER:
            values -= np.int32(first_user)
        columns[name] = pl.Series(values).cast(dtype)
    return pl.DataFrame(columns)


def remove_range(parts: Iterable[Part], number: int) -> None:
    """Remove the files of a range."""
    for part in parts:
        _remove(part, [number])


def _remove(part: Part, numbers: Iterable[int]) -> None:
    for number in numbers:
        for name in part.schema:
            part.file(number, name).unlink(missing_ok=True)


def _grouped(numbers: Int32, count: int) -> tuple[Int64 | None, Int64]:
    """The order of events by range (None: as they are), and where each range begins in it."""
    cuts = np.concatenate([[0], np.cumsum(np.bincount(numbers, minlength=count))])
    if count == 1:
        return None, cuts
    narrow = numbers.astype(np.uint16) if count <= 1 << 16 else numbers  # sorted digit by digit
    return np.argsort(narrow, kind="stable"), cuts
