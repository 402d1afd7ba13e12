"""What the tests of searches share: a small space, and fits that only pretend, so that a search takes no time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from recsys.config.model import ModelConfig
from recsys.config.recipe import TABLES
from recsys.config.training import Training
from recsys.data.split import Split
from recsys.errors import RecsysError
from recsys.pipeline import fit_trial
from recsys.training.logs import TrainingLog
from recsys.tuning.search import tune
from recsys.tuning.space import Space, read_space
from recsys.tuning.trials import Tuning
from recsys.two_tower import TwoTower

FIXED = '[model]\nencoder = "none"\nmax_length = 8\n[training]\nepochs = 2\nbatch_tokens = 64\ndevice = "cpu"\n'
SEARCH = "[search.model]\ndropout = { low = 0.0, high = 0.5 }\ndim = [8, 16]\n"


def space_of(folder: Path, text: str) -> Space:
    file = folder / "space.toml"
    file.write_text(text)
    return read_space(file, TABLES)


Curve = Callable[[ModelConfig, Training], list[float]]


def pretend(monkeypatch: pytest.MonkeyPatch, curve: Curve) -> list[ModelConfig]:
    """A fit that takes no time: its validation figures are those of ``curve``. Gives the models that it was asked for."""
    asked: list[ModelConfig] = []

    def fit(self: TwoTower, *_: object, training: Training, on_epoch: Any, **__: object) -> TwoTower:
        asked.append(self.config)
        rows = []
        for epoch, value in enumerate(curve(self.config, training), start=1):
            rows.append({"epoch": float(epoch), "loss": 1.0, "val_ndcg@10": value})
            on_epoch(dict(rows[-1]))
        best = max(rows, key=lambda row: row["val_ndcg@10"])
        self.log = TrainingLog(epochs=rows, best_epoch=int(best["epoch"]))
        return self

    monkeypatch.setattr(TwoTower, "fit", fit)
    monkeypatch.setattr("recsys.tuning.search.gc.collect", lambda: None)  # slow, and there is no network to give back
    return asked


def hill(model: ModelConfig, training: Training) -> list[float]:
    """Rises to its end, the higher the closer dropout is to 0.3."""
    top = 1 - (model.dropout - 0.3) ** 2 + model.dim / 1000
    return [top * epoch / training.epochs for epoch in range(1, training.epochs + 1)]


def search(split: Split, space: Space, folder: Path, trials: int = 12, **options: Any) -> Tuning:
    assert split.validation is not None
    options = {"fit": fit_trial, "trials": trials, "storage": folder / "study.db"} | options
    return tune(split.train, None, split.validation, space, **options)


def essence(found: Tuning) -> pl.DataFrame:
    """What was tried and what came out, without what depends on clocks and interruptions."""
    return found.trials.filter(pl.col("state") != "interrupted").drop("number", "seconds")


def failing(when: Callable[[ModelConfig], bool]) -> Curve:
    def curve(model: ModelConfig, training: Training) -> list[float]:
        if when(model):
            raise RecsysError("the loss became nan in epoch 1; lower the learning rate")
        return hill(model, training)

    return curve
