"""A small world with a bundle, a store, a database and exports, and a naive search that knows nothing of ours."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from recsys.config.training import Training
from recsys.data.interactions import Interactions
from recsys.data.split import leave_last_out
from recsys.report import build, bundle_files
from recsys.two_tower import TwoTower

USERS, ITEMS = 300, 40


def name(number: int) -> str:
    return f"person-{number:04d}"


def events(users: int = USERS) -> pl.DataFrame:
    """Everybody walks round a ring with steps of one or two, so that the next item follows from the last one."""
    generator = np.random.default_rng(1)
    lengths = generator.integers(4, 9, users)
    rows = []
    for user in range(users):
        at = int(generator.integers(0, ITEMS))
        for step in range(int(lengths[user])):
            rows.append((name(user), f"item-{at}", 1000 * user + step))
            at = (at + int(generator.integers(1, 3))) % ITEMS
    return pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row")


def save_bundle(folder: Path, log: Interactions, **options: object) -> None:
    """Fit and save as ``recsys fit`` does, with a report, whose examples name users."""
    split = leave_last_out(log)
    training = None if options.get("fast") else Training(epochs=1, batch_tokens=512, device="cpu")
    model = TwoTower(**options).fit(split.train, validation=split.validation, training=training)
    retriever = model.retriever(log=log, holdout=split.test)
    figures = build(retriever.bundle, retriever, baselines=False, with_map=False).figures
    retriever.save(folder, metrics={"recall@10": 0.5}, extras=bundle_files(figures))


def naive_traces(places: Sequence[Path], users: Sequence[str]) -> set[str]:
    """Names of files that hold one of these ids: in their bytes, in decoded Parquet, or in what SQLite tells."""
    import pyarrow.parquet as pq

    found = set[str]()
    for place in places:
        for file in [place] if place.is_file() else sorted(one for one in place.rglob("*") if one.is_file()):
            content = file.read_bytes()
            if content.startswith(b"PAR1"):
                content += repr(pq.read_table(file).to_pydict()).encode()
            if content.startswith(b"SQLite"):
                with sqlite3.connect(file) as connection:
                    content += "\n".join(connection.iterdump()).encode()
            if any(user.encode() in content for user in users):
                found.add(file.name)
    return found
