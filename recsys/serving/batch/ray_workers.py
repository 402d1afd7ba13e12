"""The batch job on a Ray cluster: each worker holds the model once and makes one shard after the other.

Workers compute on the processor with one thread each, as :mod:`recsys.serving.batch.shard_job` does; folder and bundle
must lie where all nodes of the cluster see them under the same path.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from recsys.core.cluster import connect, import_ray
from recsys.core.progress import log
from recsys.core.ragged import Int32
from recsys.errors import DataError, RecsysError
from recsys.serving.batch.shards import Plan, rows_of, shard_file

_PATIENCE = 60.0
_DEATHS_IN_A_ROW = 3
"""How often each worker may die before it is no accident."""


class Worker:
    """One process of the cluster."""

    def open(self, bundle: Path, plan: Plan) -> None:
        """Load the model.

        Raises
        ------
        DataError
            The bundle under this path is not the one that the plan was made for.
        """
        from recsys.serving.batch.shard_job import fingerprint, one_thread  # noqa: PLC0415
        from recsys.serving.load import load  # noqa: PLC0415

        one_thread()
        self.retriever = load(bundle, device="cpu")
        if fingerprint(self.retriever, bundle) != plan.bundle:
            raise DataError(f"{bundle} is another bundle on {os.uname().nodename} than where the batch was started")

    def make(self, folder: Path, plan: Plan, shard: int, rows: Int32) -> int:
        """Make one shard; returns its rows."""
        from recsys.serving.batch.shard_job import make_shard  # noqa: PLC0415

        return make_shard(self.retriever, folder, plan, shard, rows)


def make_on_ray(
    bundle: Path,
    folder: Path,
    plan: Plan,
    rows: Int32,
    todo: list[int],
    workers: int | None,
    advance: Callable[[int], None],
) -> list[int]:
    """Make shards on the Ray cluster that ``RAY_ADDRESS`` names or this process is connected to, else on a local one.

    Parameters
    ----------
    bundle, folder : Path
        Absolute.
    plan : Plan
    rows : int32 (plan.users,)
        User rows.
    todo : list of int
        The shards to make.
    workers : int, optional
        By default as many as the cluster has processors.
    advance : function
        Told how many users more are done.

    Returns
    -------
    list of int
        Rows of each shard in ``todo``.

    Raises
    ------
    DataError
        A worker sees another bundle, or wrote to another folder than this process sees.
    RecsysError
        The cluster cannot be reached, or workers die again and again.
    """
    ray = import_ray()
    mine = not ray.is_initialized()
    if mine:
        connect(ray)
    crew = _Crew(ray, bundle, plan)
    try:
        wanted = workers or max(1, int(ray.cluster_resources().get("CPU", 1)))
        made = crew.make(folder, rows, todo, min(wanted, len(todo)), advance)
    finally:
        crew.dismiss()
        if mine:
            ray.shutdown()
    return [made[shard] for shard in todo]


class _Crew:
    """Workers, and who is at what."""

    def __init__(self, ray: Any, bundle: Path, plan: Plan) -> None:
        self.ray, self.bundle, self.plan = ray, bundle, plan
        self.actor = ray.remote(num_cpus=1)(Worker)
        self.opening: dict[Any, Any] = {}
        self.making: dict[Any, tuple[Any, int]] = {}
        self.idle: list[Any] = []

    def hire(self) -> None:
        worker = self.actor.remote()
        self.opening[worker.open.remote(self.bundle, self.plan)] = worker

    def make(self, folder: Path, rows: Int32, todo: list[int], size: int, advance: Callable[[int], None]) -> dict[int, int]:
        """Rows of each shard. Only a worker that has its model open gets one: none waits for a node that never comes."""
        ray, plan = self.ray, self.plan
        queue, made, deaths = deque(todo), dict[int, int](), 0
        for _ in range(size):
            self.hire()
        while queue or self.making:
            while queue and self.idle:
                free, first = self.idle.pop(), queue.popleft()
                call = free.make.remote(folder, plan, first, rows[plan.slice_of(first)])
                self.making[call] = free, first
            calls, _ = ray.wait([*self.making, *self.opening], num_returns=1, timeout=_PATIENCE)
            if not calls:
                if not self.making:
                    log("no worker of Ray has begun yet: it waits for a free processor of the cluster")
                continue
            (call,) = calls
            worker, shard = self.making.pop(call) if call in self.making else (self.opening.pop(call), None)
            try:
                count = ray.get(call)
            except ray.exceptions.RayActorError as error:
                deaths += 1
                if deaths >= _DEATHS_IN_A_ROW * size:
                    raise RecsysError(f"the workers of Ray die, {deaths} of them one after the other: {error}") from error
                log(f"a worker of Ray died{'' if shard is None else f' at shard {shard}'}; another takes its place")
                ray.kill(worker)
                queue.extendleft([] if shard is None else [shard])
                self.hire()
                continue
            except ray.exceptions.RayTaskError as error:
                raise (error.cause or error) from error
            self.idle.append(worker)
            if shard is not None:
                deaths = 0
                if rows_of(folder, plan, shard) != count:
                    raise DataError(f"a worker wrote {shard_file(folder, shard)}, which is not seen here: share the folder")
                made[shard] = count
                advance(plan.size_of(shard))
        return made

    def dismiss(self) -> None:
        for worker in (*self.idle, *self.opening.values(), *(worker for worker, _ in self.making.values())):
            self.ray.kill(worker)
