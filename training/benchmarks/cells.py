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
from typing import Any, Literal

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
    days : bool
        Whether times are days, so that most users have events of one time.
    note : str
        What a reader of the table must know.
    """

    text: tuple[str, ...]
    days: bool = False
    note: str = ""


DATA = {
    "amazon-beauty": Data(("title", "categories"), days=True),
    "amazon-sports": Data(("keywords_generated",), days=True, note="Text: a few generated keywords."),
    "ml-1m": Data(("title", "genres", "description")),
    "ml-latest-small": Data(("title", "genres")),
}
GOALS = {
    "amazon-beauty": "Goal 0.130 / 0.077; published figures are of ties by item, another task",
    "amazon-beauty-ties-item": "Best elsewhere 0.1088 / 0.0616, ids alone 0.1041 / 0.0614; goal 0.136 / 0.082",
    "amazon-sports": "Goal 0.082 / 0.047; published figures are of ties by item, another task",
    "amazon-sports-ties-item": "Best elsewhere 0.0684 / 0.0371, ids alone 0.0631 / 0.0367; goal 0.088 / 0.052",
    "ml-1m": "Published: 0.3133 / 0.1772; goal 0.360 / 0.215",
    "ml-latest-small": "Goal 0.168 / 0.092",
}
"""Figures of others and our goal, recall@10 / NDCG@10, by the name of a setting."""


@dataclass(frozen=True)
class Setting:
    """What is one for all rows of a table.

    Attributes
    ----------
    data : str
        A key of ``DATA``.
    ties : {"file", "item"}
        How events of one user at one time are ordered. "file": by the column ``seq``, where there is one.
    protocol : {"last", "time"}
        Leave-last-out, or one cut of the whole log.
    candidates : {"touched", "catalog"}
        Rank the items of the log, or the whole catalogue, as ``recsys fit`` does.
    """

    data: str
    ties: Literal["file", "item"] = "file"
    protocol: Literal["last", "time"] = "last"
    candidates: Literal["touched", "catalog"] = "touched"

    @property
    def name(self) -> str:
        """The data set, and whatever is not the default: cells and table are called so."""
        parts = (
            (self.ties == "item", "ties-item"),
            (self.protocol == "time", "time"),
            (self.candidates == "catalog", "catalog"),
        )
        return "-".join([self.data, *(word for said, word in parts if said)])

    @property
    def flags(self) -> str:
        """What a command line says of it."""
        asked = ("ties", self.ties, "file"), ("protocol", self.protocol, "last"), ("candidates", self.candidates, "touched")
        return "".join(f" --{name} {value}" for name, value, default in asked if value != default)

    @property
    def told(self) -> str:
        """Ties and protocol in words, and what goes for this data set."""
        lines = []
        if DATA[self.data].days:
            order = "by item id, as in the files that most publications use" if self.ties == "item" else "at random (`seq`)"
            lines.append(
                f"Times are days, and nearly every second event is of the same day as its user's last: ordered {order}."
            )
        elif self.ties == "item":
            lines.append("Events of one time are ordered by item id.")
        if self.protocol == "time":
            lines.append(
                "The whole log is cut at its 0.9 quantile of time; users with a history before and an item new to them "
                "after it are judged on all such items; validation is the same cut of what is before. Everything is fitted "
                "on what comes before the validation (recent popularity counts the last days of that), but for the rows "
                "with `refit`, which were fitted on the validation events too, as a service would."
            )
        return " ".join([*lines, DATA[self.data].note]).strip()


def load(folder: Path, setting: Setting | None = None) -> tuple[recsys.Interactions, recsys.Catalog]:
    """Log (rows without a ``seq`` left out) and catalogue of a data set."""
    setting = setting or Setting(folder.resolve().name)
    file = folder / "interactions.parquet"
    order = "seq" if setting.ties == "file" and "seq" in pl.read_parquet_schema(file) else None
    times = "timestamp" if setting.protocol == "time" or order is None else None
    events = recsys.read_interactions(
        file, order=order, timestamp=times, ties=setting.ties, drop_unordered=order is not None and times is None
    )
    catalog = recsys.read_catalog(folder / "items.parquet", text=DATA[setting.data].text)
    return events, catalog if setting.candidates == "catalog" else catalog.aligned(events.items)


def split(events: recsys.Interactions, setting: Setting, *, validation: bool = True) -> recsys.Split:
    """Training, validation and test of a log; without a validation, its events are in training and the test is the same."""
    cut = recsys.time_split if setting.protocol == "time" else recsys.leave_last_out
    return cut(events, validation=validation)


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
        A file of ``training/recipes`` without its ending; "": that of the data set; None: nothing is set, as in ``recsys
        fit`` without a flag.
    change : dict of dict
        Options that differ from the recipe, by table.
    baseline : callable or None
        Makes a baseline instead.
    memory : bool
        Whether towers have a transition memory beside them.
    seeds : int
        How many seeds; 1 where nothing is random or time is short.
    timed : bool
        Whether the log must have times.
    refit : bool
        Whether the validation events are fitted on too, as a service would; baselines alone.
    """

    recipe: str | None = ""
    change: dict[str, dict[str, Any]] = field(default_factory=dict)
    baseline: Callable[[], Any] | None = None
    memory: bool = False
    seeds: int = 1
    timed: bool = False
    refit: bool = False

    def runs_on(self, setting: Setting, events: recsys.Interactions) -> bool:
        """Whether it has a row by itself: recent popularity where there are times, refits under a cut in time."""
        return (not self.timed or events.timestamps is not None) and (not self.refit or setting.protocol == "time")


def _one(objective: dict[str, Any] | None = None, **model: Any) -> Cell:
    """One member of the recipe's towers, with changes."""
    return Cell(change={"model": {"ensemble_size": 1} | model, "objective": objective or {}})


BASELINES = {
    "popularity": Cell(baseline=recsys.Popularity),
    "popularity, 7 days": Cell(baseline=lambda: recsys.Popularity(7), timed=True),
    "popularity, 30 days": Cell(baseline=lambda: recsys.Popularity(30), timed=True),
    "popularity, 90 days": Cell(baseline=lambda: recsys.Popularity(90), timed=True),
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
DEFAULT = "default"
TOWERS = {
    DEFAULT: Cell(recipe=None, seeds=3),
    "two towers": Cell(seeds=3),
    "two towers + transitions": Cell(memory=True, seeds=3),
    "default + transitions": Cell("default", memory=True, seeds=3),
}
REFIT = {
    f"{name}, refit": replace(BASELINES[name], refit=True) for name in BASELINES if name not in ("BPR", "zero-shot text")
}
CELLS = TOWERS | BASELINES | REFIT | ABLATIONS
