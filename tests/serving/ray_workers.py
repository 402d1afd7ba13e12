"""Workers to whom something happens; in a module of its own, which the processes of Ray import."""

import errno
import os
import signal
from dataclasses import replace
from pathlib import Path

import torch

from recsys.core.ragged import Int32
from recsys.serving.batch.ray_workers import Worker
from recsys.serving.batch.shards import Plan, shard_file


class Alone(Worker):
    """Refuses to compute with more than one thread."""

    def make(self, folder: Path, plan: Plan, shard: int, rows: Int32) -> int:
        assert torch.get_num_threads() == 1
        return super().make(folder, plan, shard, rows)


class Mortal(Worker):
    """Dies in the middle of writing its first shard, unless another did before."""

    def make(self, folder: Path, plan: Plan, shard: int, rows: Int32) -> int:
        try:
            (folder.parent / "died").open("x").close()
        except FileExistsError:
            return super().make(folder, plan, shard, rows)
        shard_file(folder, shard).with_suffix(".parquet.writing-abc").write_bytes(b"half")
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError


class Doomed(Worker):
    """Dies at every shard but the first."""

    def make(self, folder: Path, plan: Plan, shard: int, rows: Int32) -> int:
        if shard:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().make(folder, plan, shard, rows)


class Full(Worker):
    """Finds the disk full at shard 2."""

    def make(self, folder: Path, plan: Plan, shard: int, rows: Int32) -> int:
        if shard == 2:
            raise OSError(errno.ENOSPC, "No space left on device", str(shard_file(folder, shard)))
        return super().make(folder, plan, shard, rows)


class Elsewhere(Worker):
    """Writes to other disks than those of who asked it."""

    def make(self, folder: Path, plan: Plan, shard: int, rows: Int32) -> int:
        own = folder.parent / "elsewhere"
        own.mkdir(exist_ok=True)
        return super().make(own, plan, shard, rows)


class Misled(Worker):
    """Finds another bundle under the path."""

    def open(self, bundle: Path, plan: Plan) -> None:
        super().open(bundle, replace(plan, bundle="0" * 64))
