"""Rank held-out users on a cluster: each process loads the bundle once, and answers block after block."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from recsys.core.cluster import each
from recsys.core.files import sha256_of
from recsys.core.ragged import Ragged
from recsys.errors import DataError
from recsys.evaluation.evaluate import Asked

if TYPE_CHECKING:
    from recsys.serving.retriever import Retriever


@dataclass(frozen=True, eq=False)
class RankJob:
    """A question to a bundle.

    Attributes
    ----------
    folder : Path
        Of the bundle, where all machines see it.
    digest : str
        The sha256 of its manifest.
    asked : Asked
    """

    folder: Path
    digest: str
    asked: Asked


def answers_of(folder: Path, asked: Iterator[Asked]) -> Iterator[Ragged]:
    """What a bundle answers, computed within :func:`recsys.core.cluster.engine`.

    Raises
    ------
    DataError
        A machine of the cluster sees another bundle under this path.
    """
    digest = sha256_of(folder / "manifest.json")
    yield from each()(answered, (RankJob(folder.absolute(), digest, one) for one in asked))


def answered(job: RankJob) -> Ragged:
    """Answer one question, by one thread."""
    return job.asked.answered(_loaded(job.folder, job.digest))


@lru_cache(maxsize=1)
def _loaded(folder: Path, digest: str) -> Retriever:
    from recsys.serving.batch.shard_job import one_thread  # noqa: PLC0415 - torch
    from recsys.serving.load import load  # noqa: PLC0415

    if not folder.is_dir() or sha256_of(folder / "manifest.json") != digest:
        raise DataError(f"{folder} is another bundle on {os.uname().nodename} than where the evaluation was started")
    one_thread()
    return load(folder, device="cpu")
