"""Ranked rows in raw ids: frames, Arrow tables, lists."""

from __future__ import annotations

from itertools import islice
from typing import Any, Literal, TypeAlias

import numpy as np
import polars as pl

from recsys.core.id_map import IdMap
from recsys.core.ragged import Int64
from recsys.core.ranking import Ranked
from recsys.core.schema import RANK, SCORE
from recsys.errors import DependencyError

Output: TypeAlias = Literal["polars", "arrow", "lists"]


def frame_of(ranked: Ranked, owners: pl.Series, items: IdMap, item_name: str) -> pl.DataFrame:
    """One row per item: owner, item, ``score`` (null for a pinned item that nobody scored) and ``rank`` from 1.

    Parameters
    ----------
    ranked : Ranked (n)
    owners : Series (n,)
    items : IdMap
        Of the ranked rows.
    item_name : str
        The column of the items.
    """
    lists = ranked.lists
    place = np.arange(len(lists.rows)) - np.repeat(lists.offsets[:-1], lists.lengths)
    return pl.DataFrame(  # by [] rather than gather and fill_nan, which plan a query: a tenth of a short request
        {
            owners.name: owners[pl.Series(lists.list_index(), dtype=pl.UInt32)],
            item_name: items.to_ids(lists.rows),
            SCORE: pl.Series(ranked.scores, nan_to_null=True),
            RANK: (place + 1).astype(np.int32),
        }
    )


def as_output(frame: pl.DataFrame, output: Output, lengths: Int64) -> Any:
    """An answer in the wanted type.

    Parameters
    ----------
    frame : DataFrame
        Its first column names the owner of each row.
    output : {"polars", "arrow", "lists"}
    lengths : int64 (n,)
        Rows of each person; in ``"lists"``, a person who gets nothing has an empty list.

    Raises
    ------
    DependencyError
        An Arrow table without the package pyarrow.
    """
    if output == "polars":
        return frame
    if output == "arrow":
        try:
            return frame.to_arrow()
        except ModuleNotFoundError as error:
            raise DependencyError("output='arrow' needs the package pyarrow: pip install 'recsys[arrow]'") from error
    rows = iter(frame.drop(frame.columns[0]).to_dicts())
    return [list(islice(rows, int(length))) for length in lengths]
