"""One table of several files, whose columns may differ."""

from __future__ import annotations

import numpy as np
import polars as pl

from recsys.core.schema import ITEM
from recsys.data.formats.table import Table
from recsys.errors import DataError


def joined(
    frames: list[pl.DataFrame], ids: list[pl.Series], tables: list[Table], key: str = ITEM, kind: str = "item"
) -> pl.DataFrame:
    """Concatenate files whose columns may differ, with their canonical ids in the column ``key``; each id in one file only.

    A single file stays as it is.
    """
    if len(frames) == 1:
        return frames[0]
    try:
        canonical = [one.with_columns(own.alias(key)) for one, own in zip(frames, ids, strict=True)]
        frame = pl.concat(canonical, how="diagonal_relaxed")
    except pl.exceptions.PolarsError as error:
        names = ", ".join(table.name for table in tables)
        raise DataError(f"a column differs in type between the files {names}: {str(error).splitlines()[0]}") from error
    repeated = frame[key].is_duplicated().arg_true()
    if len(repeated):
        first = frame[key][repeated[0]]
        ends = np.cumsum([one.height for one in frames])
        rows = (frame[key] == first).arg_true()[:2]
        one, other = (tables[int(np.searchsorted(ends, row, side="right"))].name for row in rows)
        raise DataError(f"the {kind} id {first!r} is in {one} and again in {other}; each {kind} must have one row")
    return frame
