"""Offline batch: recommendations for all users, to one Parquet file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from recsys.errors import ConfigError
from recsys.files import atomic_file
from recsys.progress import log, track
from recsys.serving.retriever import RawId, Retriever

_BLOCK = 4096


def recommend_to_parquet(
    retriever: Retriever, out: str | Path, *, users: list[RawId] | None = None, k: int = 10, filter_seen: bool = True
) -> int:
    """Recommend to many users and write one Parquet file, which appears only when it is whole.

    Parameters
    ----------
    retriever : Retriever
    out : path
        Columns ``user_id``, ``item_id``, ``score`` (float32), ``rank`` (int32, from 1), users in the order asked for.
    users : list of ids, optional
        By default every known user with a history.
    k : int
    filter_seen : bool

    Returns
    -------
    int
        Rows written.

    Raises
    ------
    UnknownIdError, ConfigError
        As for :meth:`Retriever.recommend`; nothing is written.
    """
    if users is None:
        rows = np.flatnonzero(retriever.histories.lengths).astype(np.int32)
        without = len(retriever.users) - len(rows)
        if without:
            log(f"{without:,} users have no history and get no recommendations")
    else:
        rows = retriever.users.rows([users] if isinstance(users, str | int) else users)
    if len(rows) == 0:
        raise ConfigError("there is nobody to recommend to: users is empty")
    ids = retriever.users.raw(rows)
    starts = range(0, len(ids), _BLOCK)
    whole = pl.concat(
        retriever.recommend(ids[start : start + _BLOCK], k=k, filter_seen=filter_seen)
        for start in track(starts, total=len(starts), what="recommending", unit="block")
    )
    with atomic_file(Path(out)) as temporary:
        whole.write_parquet(temporary)
    return whole.height
