"""Offline batch: recommendations for many users, block by block into Parquet shards that a killed run goes on with."""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from recsys.core.arguments import described, flag, instance, place, renamed, whole_number
from recsys.core.cluster import Engine, import_ray
from recsys.core.place_checks import refuse_place
from recsys.core.progress import counting, log, warn
from recsys.core.ragged import Int32
from recsys.core.ranking import check_k
from recsys.data.times.request_time import Instant, request_second
from recsys.errors import ConfigError, DataError
from recsys.serving.batch import shards
from recsys.serving.batch.shard_job import eligible_of, fingerprint, make_shard, one_thread, ranked_block
from recsys.serving.batch.shards import Plan
from recsys.serving.people import LeftOut
from recsys.serving.request_arguments import Unknown, known_rows
from recsys.serving.retriever import Retriever

if TYPE_CHECKING:
    from recsys.serving.request_arguments import RawIds

SHARD_USERS = 100_000
_OTHER_FORMATS = (
    ".csv", ".tsv", ".txt", ".json", ".jsonl", ".ndjson", ".gz", ".zip", ".xlsx", ".html", ".pq", ".arrow", ".feather",
)  # fmt: skip


@dataclass(frozen=True)
class BatchResult:
    """What a batch wrote.

    Attributes
    ----------
    rows : int
        Rows of all shards.
    users : int
        Users in the request.
    shards, resumed_shards : int
        Shards in all, and those among them that an earlier run had finished.
    without_history, nothing_left, unknown_users : int
        Users of the request who have no rows: they have no history; no item is left for them; they are unknown.
    unknown_items : int
        Ids of ``exclude`` and ``eligible`` that are unknown and were passed over.
    """

    rows: int
    users: int
    shards: int
    resumed_shards: int
    without_history: int
    nothing_left: int = 0
    unknown_users: int = 0
    unknown_items: int = 0


@renamed(now="request_time", allow="eligible")
def recommend_to_parquet(
    retriever: Retriever,
    out: str | Path,
    *,
    users: RawIds | None = None,
    k: int = 10,
    filter_seen: bool = True,
    where: str | None = None,
    exclude: RawIds | None = None,
    eligible: RawIds | None = None,
    request_time: Instant | None = None,
    unknown: Unknown = "error",
    shard_users: int = SHARD_USERS,
    overwrite: bool = False,
    engine: Engine = "local",
    workers: int | None = None,
    bundle: str | Path | None = None,
) -> BatchResult:
    """Recommend to many users, in memory that does not grow with their number.

    Parameters
    ----------
    retriever : Retriever
    out : path
        A folder for shards ``part-00000.parquet``, each of which appears only when it is whole, and ``_SUCCESS`` once all
        are there; or a file that ends in ``.parquet``, made of shards in a folder beside it and replaced when whole.
        Columns ``user_id``, ``item_id``, ``score`` (float32), ``rank`` (int32, from 1), users in the order given. A
        folder that was begun with the same plan (model, users, k, filters, shards) is gone on with.
    users : id or ids, optional
        By default all known users. Those without a history get no rows.
    k : int
    filter_seen : bool
    where, exclude, eligible
        As for :meth:`Retriever.recommend`; a predicate must be written as text, so that the plan can hold it.
    request_time : number, text, date or datetime, optional
        Time of the requests, since 1970 or ISO 8601, for a model that reads it; by default the time at which the run
        began.
    unknown : {"error", "skip"}
        Whether unknown ids of users, ``exclude`` and ``eligible`` are an error, or passed over and counted.
    shard_users : int
        Users of a shard; no more than one shard's rows are held at once (by each process of Ray).
    overwrite : bool
        Begin anew where a batch of another plan lies. What is no batch is never removed.
    engine : {"local", "ray"}
        Compute here, or on a Ray cluster; see :mod:`recsys.serving.batch.ray_workers`. Either goes on
        with what the other began.
    workers : int, optional
        Blocks of users that are ranked at the same time, by threads here or by processes of Ray; by default as many as
        there are processors.
    bundle : path, optional
        The folder that ``retriever`` was loaded from, as it was loaded; Ray needs it.

    Returns
    -------
    BatchResult

    Raises
    ------
    UnknownIdError, ConfigError
        A user is unknown, or an option is impossible; nothing is written.
    DataError
        Something else lies at ``out``, or a batch of another plan, or somebody is writing there.
    DependencyError
        Ray is needed and not installed.
    OSError
        A shard cannot be written, as on a full disk; those that are finished stay.

    Examples
    --------
    >>> result = recsys.recommend_to_parquet(retriever, "lists.parquet", users=["u1", "u2"], k=3)
    >>> pl.read_parquet("lists.parquet")["user_id"].to_list()
    ['u1', 'u1', 'u1', 'u2', 'u2', 'u2']
    """
    instance(retriever, Retriever, "retriever", "pass what recsys.load(folder) opens, or model.retriever()")
    retriever = retriever.snapshot()  # what others change meanwhile does not reach this batch
    k, filter_seen, overwrite = check_k(k), flag(filter_seen, "filter_seen"), flag(overwrite, "overwrite")
    shard_users = whole_number(shard_users, "shard_users (--shard-users)")
    if where is not None and not isinstance(where, str):
        raise ConfigError(f"where must be a text, so that the plan can hold it, not {described(where)}")
    rows, unknown_users = _user_rows(retriever, users, unknown)
    never, missed = _known_ids(retriever, exclude, "exclude", unknown)
    only, more_missed = _known_ids(retriever, eligible, "eligible", unknown)
    out = place(out, "out")
    _check_name(out)
    out = out.absolute()
    one_file = out.suffix == ".parquet"
    if one_file and out.is_dir():
        raise DataError(f"{out} is a folder; name a file, or a folder that does not end in .parquet")
    folder = out.with_name(f"{out.name}.shards") if one_file else out
    _check_engine(engine, workers, bundle)
    shards.check_folder(folder)
    plan = Plan(
        bundle=fingerprint(retriever, bundle),
        k=k,
        filter_seen=filter_seen,
        users=len(rows),
        user_list=hashlib.sha256(rows.tobytes()).hexdigest(),
        shard_users=shard_users,
        request_time=_request_time(retriever, folder, request_time, overwrite),
        where=where,
        exclude=never,
        eligible=only,
    )
    eligible_of(retriever, plan)  # an unknown id or column is an error before anything is written
    without = int((retriever.histories.lengths[rows] == 0).sum())
    if without:
        log(f"{without:,} users have no history and get no recommendations")
    left_out = LeftOut(unknown_users, 0, 0, missed + more_missed)
    if sentence := left_out.sentence(len(rows) + unknown_users):
        warn(sentence)
    folder.mkdir(parents=True, exist_ok=True)
    begun = time.monotonic()
    with shards.only_writer(folder):
        finished = shards.settle(folder, plan, overwrite=overwrite)
        todo = [shard for shard, count in enumerate(finished) if count is None]
        resumed = plan.shards - len(todo)
        if resumed:
            log(f"{resumed:,} of {plan.shards:,} shards are there already")
        with counting(sum(map(plan.size_of, todo)), what="recommending", unit="user") as advance:
            if engine == "ray" and bundle is not None:
                from recsys.serving.batch.ray_workers import make_on_ray  # noqa: PLC0415

                make_on_ray(Path(bundle).absolute(), folder, plan, rows, todo, workers, advance)
            else:
                _make_here(retriever, folder, plan, rows, todo, workers, advance)
        shards.sweep(folder)
        counts = [shards.counts_of(folder, shard) for shard in range(plan.shards)]
        total = sum(count.rows for count in counts)
        if todo or not (folder / shards.SUCCESS).exists():
            shards.finish(folder, plan, rows=total, seconds=time.monotonic() - begun)
        if one_file:
            shards.join(folder, plan, out)
            shards.clear(folder)
    if one_file:
        with contextlib.suppress(OSError):  # somebody put something of their own there, or began again
            folder.rmdir()
    nothing = len(rows) - without - sum(count.users for count in counts)
    if nothing:
        warn(LeftOut(nothing_left=nothing).sentence(len(rows)))
    return BatchResult(
        total, len(rows) + unknown_users, plan.shards, resumed, without, nothing, unknown_users, left_out.unknown_items
    )


def _make_here(
    retriever: Retriever,
    folder: Path,
    plan: Plan,
    rows: Int32,
    todo: list[int],
    workers: int | None,
    advance: Callable[[int], None],
) -> list[int]:
    """Make shards in this process; tells the rows of each."""
    import torch  # noqa: PLC0415

    threads = torch.get_num_threads()
    side_by_side = workers or (threads if retriever.towers.device == "cpu" else 1)
    with ThreadPoolExecutor(side_by_side, initializer=one_thread) as pool:
        try:
            first = rows[retriever.histories.lengths[rows] > 0][:1]
            if todo:  # what a model makes at its first request is made once, before all of them ask for it
                pool.submit(ranked_block, retriever, plan, first, retriever.histories.take(first), None).result()
            return [make_shard(retriever, folder, plan, i, rows[plan.slice_of(i)], pool.map, advance) for i in todo]
        finally:
            torch.set_num_threads(threads)


def _check_name(out: Path) -> None:
    """Refuse a place that is lost with a bundle, and a name that means a file of another format."""
    refuse_place(out)
    if out.suffix.lower() in _OTHER_FORMATS or (out.suffix.lower() == ".parquet" != out.suffix):
        raise DataError(f"{out}: recommendations are written as Parquet; name a folder, or a file that ends in .parquet")


def _user_rows(retriever: Retriever, users: RawIds | None, unknown: Unknown) -> tuple[Int32, int]:
    """The rows of the users, and how many are unknown."""
    if users is None:
        return np.arange(len(retriever.users), dtype=np.int32), 0
    rows, missed = known_rows(users, retriever.users, "users", unknown)
    if len(rows) == 0:
        raise ConfigError("there is nobody to recommend to: users is empty" + (", all ids being unknown" if missed else ""))
    return rows, missed


def _known_ids(retriever: Retriever, ids: RawIds | None, name: str, unknown: Unknown) -> tuple[list[str] | None, int]:
    """Item ids as the plan holds them, and how many are unknown."""
    if ids is None:
        return None, 0
    rows, missed = known_rows(ids, retriever.items, name, unknown)
    return retriever.items.to_ids(rows).cast(pl.String).to_list(), missed


def _request_time(retriever: Retriever, folder: Path, request_time: Instant | None, overwrite: bool) -> int | None:
    """The time of the requests; a resumed run keeps the time with which it began."""
    if request_time is not None:
        request_second(request_time)  # what is no time is refused even if the model reads none
    if not retriever.towers.reads_request_time:
        return None
    begun = None if overwrite else shards.read_plan(folder)
    if request_time is None and begun is not None:
        request_time = begun.get("request_time")
    return request_second(request_time)


def _check_engine(engine: str, workers: int | None, bundle: str | Path | None) -> None:
    if engine == "ray":
        if bundle is None:
            raise ConfigError("engine='ray' needs bundle=, the folder that its workers load the model from")
        import_ray()
    elif engine != "local":
        raise ConfigError(f"engine must be 'local' or 'ray', not {engine!r}")
    if workers is not None:
        whole_number(workers, "workers (--workers)")
