"""Small models that can be told apart, and the damage that is done to their files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

import recsys
from recsys.serving.retriever import Retriever
from tests.conftest import make_events, make_items

USERS = 12


def write_data(folder: Path, prefix: str = "") -> None:
    """``log.csv`` and ``items.csv``, all ids behind a prefix."""
    folder.mkdir(parents=True, exist_ok=True)
    events = make_events(USERS, 6).with_columns(pl.format("{}{}", pl.lit(prefix), pl.col("user_id", "item_id")).name.keep())
    events.write_csv(folder / "log.csv")
    items = make_items().with_columns(pl.format("{}{}", pl.lit(prefix), pl.col("item_id")).alias("item_id"))
    items.with_columns(price=pl.Series([float(n) for n in range(32)]), kind=pl.Series(["a", "b|c"] * 16)).write_csv(
        folder / "items.csv"
    )


def fitted(folder: Path, prefix: str = "", **options: Any) -> Retriever:
    """A model of the data in a folder, fitted in a moment."""
    log, catalog = recsys.read_interactions(folder / "log.csv"), recsys.read_catalog(folder / "items.csv")
    split = recsys.leave_last_out(log)
    model = recsys.TwoTower(**({"encoder": None, "dim": 8, "heads": 2, "max_length": 6} | options))
    training = recsys.Training(epochs=1, batch_tokens=64, device="cpu", seed=len(prefix))
    model.fit(split.train, catalog, validation=split.validation, training=training)
    return model.retriever(log=log, holdout=split.test)


def answers(retriever: Retriever) -> pl.DataFrame:
    """What a model says to everybody."""
    return retriever.recommend(retriever.users.ids, k=5)


def damage(file: Path, random: np.random.Generator) -> str:
    """Flip a bit, cut, zero, lengthen, empty or overwrite a file; says what was done."""
    data = bytearray(file.read_bytes())
    size, how = len(data), str(random.choice(["flip", "flip", "cut", "zero", "add", "empty", "noise"]))
    at = int(random.integers(0, max(size, 1)))
    if how == "flip" and size:
        data[at] ^= 1 << int(random.integers(8))
    elif how == "cut":
        data = data[:at]
    elif how == "zero":
        data[at : at + 64] = bytes(len(data[at : at + 64]))
    elif how == "add":
        data += random.bytes(5)
    elif how == "empty":
        data = bytearray()
    else:
        data[at : at + 16] = random.bytes(len(data[at : at + 16]))
    file.write_bytes(data)
    return f"{how} at {at} of {size} in {file.name}"
