"""The cells of the quality table: what is fitted on each data set, by name."""

from __future__ import annotations

import json
import logging
import platform
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import torch

import recsys
from recsys.core.files import atomic_file

RECIPES = Path(__file__).parents[1] / "recipes"


@dataclass(frozen=True)
class Data:
    """A data set of the table.

    Attributes
    ----------
    text : tuple of str
        Columns that make an item's text.
    note : str
        What a reader of the table must know.
    goal : str
        Published figures and our goal, recall@10 / NDCG@10.
    """

    text: tuple[str, ...]
    note: str
    goal: str


_TIES = "Dates have day resolution and most users have ties on their last day: the order is that of the column `seq`."
DATA = {
    "amazon-beauty": Data(
        ("title", "categories"), _TIES, "published, ids alone: 0.1002 / 0.0610, 0.0928 / 0.0523; goal 0.112 / 0.068"
    ),
    "amazon-sports": Data(
        ("keywords_generated",),
        f"{_TIES} Text: a few generated keywords.",
        "published: 0.0603 / 0.0348; goal 0.066 / 0.038",
    ),
    "ml-1m": Data(("title", "genres", "description"), "", "published: 0.3133 / 0.1772; goal 0.325 / 0.187"),
    "ml-latest-small": Data(("title", "genres"), "", "goal: ahead of every peer"),
}


def load(folder: Path) -> tuple[str, recsys.Interactions, recsys.Catalog]:
    """Name, log (rows without an order left out) and catalogue of a data set."""
    name, file = folder.resolve().name, folder / "interactions.parquet"
    order = "seq" if "seq" in pl.read_parquet_schema(file) else None
    events = recsys.read_interactions(file, order=order, drop_unordered=True)
    return name, events, recsys.read_catalog(folder / "items.parquet", text=DATA[name].text).aligned(events.items)


def show_progress() -> None:
    """Tell what is being done, and nothing that libraries say."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("recsys").setLevel(logging.INFO)


def cell_file(folder: Path, name: str) -> Path:
    """Where a finished cell is kept."""
    return folder / f"{re.sub(r'[^a-z0-9]+', '-', name.lower())}.json"


def keep(file: Path, found: dict[str, Any]) -> None:
    """Write a finished cell, with where and when it was made."""
    machine = f"{torch.get_num_threads()} threads, {platform.machine()}, torch {torch.__version__}"
    with atomic_file(file) as temporary:
        made = {"date": datetime.now(UTC).date().isoformat(), "machine": machine}
        temporary.write_text(json.dumps(found | made, indent=1) + "\n")


@dataclass(frozen=True)
class Cell:
    """One thing to be fitted.

    Attributes
    ----------
    recipe : str
        A file of ``training/recipes`` without its ending; "": that of the data set.
    change : dict of dict
        Options that differ from the recipe, by table.
    baseline : callable or None
        Makes a baseline instead.
    memory : bool
        Whether towers have a transition memory beside them.
    seeds : int
        How many seeds; 1 where nothing is random or time is short.
    """

    recipe: str = ""
    change: dict[str, dict[str, Any]] = field(default_factory=dict)
    baseline: Callable[[], Any] | None = None
    memory: bool = False
    seeds: int = 1


def _one(objective: dict[str, Any] | None = None, **model: Any) -> Cell:
    """One member of the recipe's towers, with changes."""
    return Cell(change={"model": {"ensemble_size": 1} | model, "objective": objective or {}})


BASELINES = {
    "popularity": Cell(baseline=recsys.Popularity),
    "item-kNN": Cell(baseline=lambda: recsys.ItemKNN(5)),
    "EASE": Cell(baseline=lambda: recsys.EASE(200.0)),
    "ALS": Cell(baseline=lambda: recsys.ALS(128, regularisation=30.0, alpha=2.0, iterations=10)),
    "BPR": Cell(baseline=lambda: recsys.BPR(64)),
    "transitions": Cell(baseline=recsys.Transitions),
    "zero-shot text": Cell(baseline=recsys.ZeroShot),
}
ABLATIONS = {
    "default recipe": Cell("default", {"training": {"epochs": 12}}),
    "one member": replace(_one(), seeds=3),
    "one member + transitions": replace(_one(), memory=True, seeds=3),
    "ids alone": _one(use_ids=True, encoder=None, word_features="off", categories=[], numbers=[]),
    "text alone": _one(use_ids=False),
    "ids too": replace(_one(use_ids=True), seeds=2),
    "ids and encoder, no words": _one(word_features="off", use_ids=True),
    "ids and words, no encoder": _one(encoder=None, use_ids=True),
    "loss: full softmax": _one({"loss": "softmax"}),
    "loss: sampled softmax with logQ, batch's targets too": _one({"log_q": True, "sampler": "mixed"}),
    "loss: BCE": _one({"loss": "bce"}),
    "loss: gBCE": _one({"loss": "gbce"}),
    "loss: BPR": _one({"loss": "bpr"}),
    "encoder: LoRA": _one(encoder_mode="lora", trainable_layers=2, texts_per_step=32),
    "encoder: full": _one(encoder_mode="full", trainable_layers=2, texts_per_step=32),
}
TOWERS = {
    "two towers": Cell(seeds=3),
    "two towers + transitions": Cell(memory=True, seeds=3),
    "default + transitions": Cell("default", memory=True, seeds=3),
}
CELLS = TOWERS | BASELINES | ABLATIONS
