"""What the tests of the batch job share: a small model of the ring, a process to run in, and what a run has written."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl

from recsys.config.training import Training
from recsys.data.interactions import Interactions
from recsys.data.split import leave_last_out
from recsys.serving.batch import shards
from recsys.serving.retriever import Retriever
from recsys.two_tower import TwoTower
from tests.conftest import make_events

ROOT = Path(__file__).parents[2]
NEW = ["u3", "u39"]
"""Users of whom there is no history."""


def fitted(events: pl.DataFrame | None = None, **options: Any) -> Retriever:
    """A small model of the ring, whose 40 users all have a history but for two."""
    train = leave_last_out(Interactions.from_frame(make_events() if events is None else events)).train
    training = Training(epochs=2, batch_tokens=64, device="cpu")
    model = TwoTower(encoder=None, **{"dim": 8, "heads": 1, "max_length": 4} | options).fit(train, training=training)
    retriever = model.retriever()
    lengths = retriever.histories.lengths.copy()
    lengths[retriever.users.to_rows(NEW)] = 0
    return Retriever(replace(retriever.bundle, histories=retriever.histories.head(lengths), trained=None))


def content(folder: Path) -> dict[str, bytes]:
    """Every file of a finished folder but the mark of success, which tells the time."""
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.name != shards.SUCCESS}


def read(folder: Path) -> pl.DataFrame:
    return pl.read_parquet(sorted(folder.glob("part-*.parquet")))


def in_subprocess(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=120)
