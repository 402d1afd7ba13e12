"""recsys: interaction logs and item text in, ranked items out.

The public names load their module at first use, so that ``import recsys`` stays light.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from recsys.core.version import __version__ as __version__
from recsys.core.waiting import wait_passively as _wait_passively

if TYPE_CHECKING:
    from recsys.baselines import ALS, BPR, EASE, ItemKNN, Popularity, Transitions, ZeroShot
    from recsys.config.adapt import AdaptOptions
    from recsys.config.augment import Augment
    from recsys.config.model import ModelConfig
    from recsys.config.privacy import PrivacyOptions
    from recsys.config.training import Objective, Training
    from recsys.config.update import UpdateOptions
    from recsys.data.catalog import Catalog
    from recsys.data.clean.apply import clean
    from recsys.data.clean.rules import CleaningRules
    from recsys.data.importing import import_log
    from recsys.data.interactions import Interactions
    from recsys.data.item_split import item_split
    from recsys.data.read import read_catalog, read_interactions, read_relations, read_user_table
    from recsys.data.recipes.prepare import prepare
    from recsys.data.relations import ItemRelations
    from recsys.data.rolling_splits import rolling_splits
    from recsys.data.split import leave_last_out, random_split, time_split
    from recsys.data.sql import read_sql
    from recsys.data.store.opening import open_store
    from recsys.data.user_split import user_split
    from recsys.errors import RecsysError
    from recsys.evaluation.compare import compare
    from recsys.evaluation.evaluate import evaluate
    from recsys.evaluation.frames import evaluate_frame
    from recsys.index.spec import IndexSpec
    from recsys.pipeline.adapt import adapt
    from recsys.pipeline.drift import drift
    from recsys.pipeline.hub import from_hub, push_to_hub
    from recsys.pipeline.update import update
    from recsys.server.client import AsyncClient, Client
    from recsys.serving.batch.run import recommend_to_parquet
    from recsys.serving.load import load
    from recsys.serving.retriever import Retriever
    from recsys.serving.rules.spec import Rules
    from recsys.two_tower import Recipe, TwoTower

_wait_passively()  # before anything below can load PyTorch

_HOMES = {
    "ALS": "recsys.baselines",
    "AdaptOptions": "recsys.config.adapt",
    "AsyncClient": "recsys.server.client",
    "Augment": "recsys.config.augment",
    "BPR": "recsys.baselines",
    "Catalog": "recsys.data.catalog",
    "CleaningRules": "recsys.data.clean.rules",
    "Client": "recsys.server.client",
    "EASE": "recsys.baselines",
    "IndexSpec": "recsys.index.spec",
    "Interactions": "recsys.data.interactions",
    "ItemRelations": "recsys.data.relations",
    "ItemKNN": "recsys.baselines",
    "ModelConfig": "recsys.config.model",
    "Objective": "recsys.config.training",
    "Popularity": "recsys.baselines",
    "PrivacyOptions": "recsys.config.privacy",
    "Recipe": "recsys.two_tower",
    "RecsysError": "recsys.errors",
    "Retriever": "recsys.serving.retriever",
    "Rules": "recsys.serving.rules.spec",
    "Training": "recsys.config.training",
    "Transitions": "recsys.baselines",
    "TwoTower": "recsys.two_tower",
    "UpdateOptions": "recsys.config.update",
    "ZeroShot": "recsys.baselines",
    "adapt": "recsys.pipeline.adapt",
    "clean": "recsys.data.clean.apply",
    "compare": "recsys.evaluation.compare",
    "drift": "recsys.pipeline.drift",
    "evaluate": "recsys.evaluation.evaluate",
    "evaluate_frame": "recsys.evaluation.frames",
    "from_hub": "recsys.pipeline.hub",
    "import_log": "recsys.data.importing",
    "item_split": "recsys.data.item_split",
    "leave_last_out": "recsys.data.split",
    "load": "recsys.serving.load",
    "open_store": "recsys.data.store.opening",
    "prepare": "recsys.data.recipes.prepare",
    "push_to_hub": "recsys.pipeline.hub",
    "random_split": "recsys.data.split",
    "read_catalog": "recsys.data.read",
    "read_interactions": "recsys.data.read",
    "read_relations": "recsys.data.read",
    "read_sql": "recsys.data.sql",
    "read_user_table": "recsys.data.read",
    "recommend_to_parquet": "recsys.serving.batch.run",
    "rolling_splits": "recsys.data.rolling_splits",
    "time_split": "recsys.data.split",
    "update": "recsys.pipeline.update",
    "user_split": "recsys.data.user_split",
}

__all__ = [
    "ALS",
    "BPR",
    "EASE",
    "AdaptOptions",
    "AsyncClient",
    "Augment",
    "Catalog",
    "CleaningRules",
    "Client",
    "IndexSpec",
    "Interactions",
    "ItemKNN",
    "ItemRelations",
    "ModelConfig",
    "Objective",
    "Popularity",
    "PrivacyOptions",
    "Recipe",
    "RecsysError",
    "Retriever",
    "Rules",
    "Training",
    "Transitions",
    "TwoTower",
    "UpdateOptions",
    "ZeroShot",
    "adapt",
    "clean",
    "compare",
    "drift",
    "evaluate",
    "evaluate_frame",
    "from_hub",
    "import_log",
    "item_split",
    "leave_last_out",
    "load",
    "open_store",
    "prepare",
    "push_to_hub",
    "random_split",
    "read_catalog",
    "read_interactions",
    "read_relations",
    "read_sql",
    "read_user_table",
    "recommend_to_parquet",
    "rolling_splits",
    "time_split",
    "update",
    "user_split",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'recsys' has no attribute {name!r}")
    return getattr(importlib.import_module(home), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
