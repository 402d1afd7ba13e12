"""What a worker of a batch runs: rank for the users of one shard, and write it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import polars as pl

from recsys.core.files import sha256_of
from recsys.core.ragged import Bool, Int32, Ragged, mask_of, overlap
from recsys.core.ranking import Ranked
from recsys.core.schema import ITEM, USER
from recsys.serving.batch import shards
from recsys.serving.batch.shards import Plan
from recsys.serving.frames import frame_of
from recsys.serving.retriever import Retriever

_BLOCK = 2048
"""Users ranked at once. The last bit of a score can depend on who is ranked together and by how many threads: blocks begin
at fixed places of a shard, and each is ranked by one thread, so that no engine and no machine of a kind changes a bit."""


def one_thread() -> None:
    """Let whatever the calling thread computes be computed by it alone."""
    import torch  # noqa: PLC0415

    from recsys.index.faiss_library import faiss  # noqa: PLC0415

    torch.set_num_threads(1)
    faiss().omp_set_num_threads(1)


def make_shard(
    retriever: Retriever,
    folder: Path,
    plan: Plan,
    shard: int,
    rows: Int32,
    each: Callable[..., Iterable[pl.DataFrame]] = map,
    advance: Callable[[int], None] | None = None,
) -> int:
    """Rank for the users of one shard and write it.

    Parameters
    ----------
    retriever : Retriever
    folder : Path
    plan : Plan
    shard : int
    rows : int32 (plan.size_of(shard),)
        User rows.
    each : function
        Maps a function over the blocks, in order: ``map``, or that of an executor.
    advance : function, optional
        Told how many users more are done.

    Returns
    -------
    int
        Rows written.
    """
    histories, eligible = retriever.histories.take(rows), eligible_of(retriever, plan)
    blocks = [slice(start, min(start + _BLOCK, len(rows))) for start in range(0, len(rows), _BLOCK)]

    def rank(block: slice) -> pl.DataFrame:
        return ranked_block(retriever, plan, rows[block], histories.block(block.start, block.stop), eligible)

    frames = []
    for block, frame in zip(blocks, each(rank, blocks), strict=True):
        frames.append(frame)
        if advance is not None:
            advance(block.stop - block.start)
    whole = pl.concat(frames, rechunk=False)
    shards.write_shard(folder, plan, shard, whole)
    return whole.height


def eligible_of(retriever: Retriever, plan: Plan) -> Bool | None:
    """bool (n_items,): what the plan's filters leave; None: everything."""
    corpus = retriever.bundle.corpus
    rest = None if plan.exclude is None else ~mask_of(corpus.items.to_rows(plan.exclude), len(corpus.items))
    chosen = None if plan.eligible is None else corpus.items.to_rows(plan.eligible)
    return overlap(corpus.mask(chosen, plan.where), rest)


def ranked_block(retriever: Retriever, plan: Plan, rows: Int32, histories: Ragged, eligible: Bool | None) -> pl.DataFrame:
    """What one block of users is recommended."""
    known = np.flatnonzero(histories.lengths)
    if len(known) < len(rows):
        rows, histories = rows[known], histories.take(known)
    ranked = Ranked.nothing()
    if len(rows):
        seen = histories.without_events() if plan.filter_seen else None
        times = None if plan.request_time is None else np.full(len(rows), plan.request_time, dtype=np.int64)
        ranked = retriever.recommend_rows(
            histories, plan.k, exclude=seen, users=rows, request_times=times, eligible=eligible
        )
    return frame_of(ranked, retriever.users.to_ids(rows).alias(USER), retriever.items, ITEM)


def fingerprint(retriever: Retriever, bundle: str | Path | None = None) -> str:
    """Hexadecimal sha256 of a bundle's manifest, which names all its files; without a bundle of vectors, ids, histories."""
    if bundle is not None:
        return sha256_of(Path(bundle) / "manifest.json")
    digest = hashlib.sha256()
    for ids in (retriever.users.ids, retriever.items.ids):
        digest.update(f"{ids.dtype} {len(ids)}".encode())
        if ids.dtype == pl.String:
            digest.update(ids.str.len_bytes().to_numpy().tobytes())  # else "ab", "c" and "a", "bc" would be the same
            for part in ids.to_frame().iter_slices(_BLOCK):
                digest.update("".join(part.to_series().to_list()).encode())
        else:
            digest.update(ids.to_numpy().tobytes())
    histories = retriever.histories
    lists = (histories.offsets, histories.rows, histories.times, histories.events)
    for array in (retriever.vectors, retriever.index.alive, *lists):
        digest.update(b"absent" if array is None else array.tobytes())
    return digest.hexdigest()
