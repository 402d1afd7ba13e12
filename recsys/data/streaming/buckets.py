"""Events on disk, divided by ranges of users, so that the events of one range can be sorted in memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from recsys.core.ragged import Int32, Int64
from recsys.core.schema import USER


class Buckets:
    """Files of columns, one for each range of users and column; events keep their order within a range.

    Parameters
    ----------
    folder : Path
    lengths : int64 (n_users,)
        The events of each user.
    most : int
        Events of a range, unless one user has more.

    Attributes
    ----------
    edges : int64 (n_buckets + 1,)
        Where each range of users begins, and the last one ends.
    """

    def __init__(self, folder: Path, lengths: Int64, most: int) -> None:
        self._folder = folder
        before = np.concatenate([[0], np.cumsum(lengths)[:-1]]) if len(lengths) else np.zeros(0, dtype=np.int64)
        numbers = before // most
        starts = np.flatnonzero(np.diff(numbers, prepend=-1))
        self.edges: Int64 = np.append(starts, len(lengths)).astype(np.int64)
        self._of_user = np.repeat(np.arange(len(starts), dtype=np.int32), np.diff(self.edges))
        self._schema = dict[str, pl.DataType]()

    def __len__(self) -> int:
        return len(self.edges) - 1

    def add(self, events: pl.DataFrame) -> None:
        """Write events; each call brings the same columns, without nulls."""
        self._schema = {name: column.dtype for name, column in zip(events.columns, events, strict=True)}
        numbers = self._of_user[events[USER].to_numpy()]
        order, cuts = _grouped(numbers, len(self))
        for name in events.columns:
            column = events[name].to_physical().to_numpy()
            column = column if order is None else column[order]
            for number in np.flatnonzero(np.diff(cuts)):
                with self._file(int(number), name).open("ab") as stream:
                    stream.write(np.ascontiguousarray(column[cuts[number] : cuts[number + 1]]).data)

    def read(self, number: int) -> pl.DataFrame:
        """The events of a range; users are counted from its beginning."""
        columns = dict[str, pl.Series]()
        for name, dtype in self._schema.items():
            values = np.fromfile(self._file(number, name), dtype=pl.Series(dtype=dtype).to_physical().to_numpy().dtype)
            if name == USER:
                values = values - np.int32(self.edges[number])
            columns[name] = pl.Series(values).cast(dtype)
        return pl.DataFrame(columns)

    def remove(self, number: int) -> None:
        """Remove the files of a range."""
        for name in self._schema:
            self._file(number, name).unlink()

    def _file(self, number: int, name: str) -> Path:
        return self._folder / f"bucket-{number:06}-{name}"


def _grouped(numbers: Int32, count: int) -> tuple[Int64 | None, Int64]:
    """The order of events by bucket (None: as they are), and where each bucket begins in it."""
    cuts = np.concatenate([[0], np.cumsum(np.bincount(numbers, minlength=count))])
    if count == 1:
        return None, cuts
    narrow = numbers.astype(np.uint16) if count <= 1 << 16 else numbers  # sorted digit by digit
    return np.argsort(narrow, kind="stable"), cuts
