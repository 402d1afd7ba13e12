"""A small bundle with everything that an export has to carry, and the package that reads exports."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import polars as pl
import torch

from recsys.bundle.build import build
from recsys.bundle.contents import Bundle
from recsys.config.model import ModelConfig
from recsys.data.catalog import Catalog
from recsys.data.interactions import Interactions
from recsys.data.user_table import UserTable
from recsys.models.build import fresh_towers
from recsys.transitions.choose import learn_memory
from recsys.transitions.learn import Form
from tests.conftest import make_events, make_items

FULL: dict[str, Any] = {
    "dim": 16, "ensemble_size": 2, "blocks": 2, "heads": 2, "max_length": 8, "positions": "learned",
    "time_bias": "request", "event_heads": True, "filter_length": 3, "word_features": "on", "text_dim": 8,
}  # fmt: skip
"""Every option that a user tower reads by."""


def make_bundle(encoder: Path | None, *, events: bool = True, **options: Any) -> Bundle:
    """An untrained model of the ring, whose weights are anything but where they start."""
    frame = make_events(length=12).with_columns(pl.col("timestamp") * 1000)
    kinds = pl.Series("event_type", np.where(np.arange(frame.height) % 3 == 0, "buy", "view"))
    log = Interactions.from_frame(frame.with_columns(kinds) if events else frame)
    items = make_items().with_columns(price=pl.Series(np.arange(32) * 1.5))
    catalog = Catalog.from_frame(items, text=["title"])
    log = log.with_items(catalog.items.ids)
    catalog = catalog.aligned(log.items)
    people = pl.DataFrame({"user_id": log.users.ids, "kind": [f"k{i % 3}" for i in range(len(log.users))]})
    config = ModelConfig(encoder=None if encoder is None else str(encoder), **options)
    users = UserTable.from_frame(people, categorical=["kind"])
    towers = fresh_towers(config, log, catalog, users, "cpu", 0, known=log.item_counts > 0)
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(1)
        for weight in towers.net.parameters():
            weight.add_(torch.randn_like(weight), alpha=0.05)
    towers.net.cold_scale.fill_(0.8)
    form = Form("counts", window=6, decay=3.0)
    memory = learn_memory(log.histories, len(log.items), form, 0.3)
    bundle = build(towers, catalog, log, config=config, train=log, transitions=memory)
    return bundle.without_items(log.items.to_rows(["i5"]))


def builder() -> ModuleType:
    """What makes the package recsys_runtime."""
    spec = importlib.util.spec_from_file_location(
        "hatch_build", Path(__file__).parents[1] / "serving" / "runtime" / "hatch_build.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
