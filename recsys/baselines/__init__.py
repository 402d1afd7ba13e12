"""The recommenders that every model must beat, behind the same protocol."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from recsys.baselines.ease import EASE
from recsys.baselines.factors import ALS, BPR
from recsys.baselines.knn import ItemKNN
from recsys.baselines.popularity import Popularity
from recsys.baselines.scoring import DenseScorer
from recsys.baselines.transitions import Transitions
from recsys.baselines.zero_shot import ZeroShot
from recsys.errors import ConfigError

REGISTRY: Final[dict[str, Callable[[], DenseScorer]]] = {
    "popularity": Popularity,
    "popularity-7-days": partial(Popularity, 7),
    "popularity-30-days": partial(Popularity, 30),
    "popularity-90-days": partial(Popularity, 90),
    "item-knn": ItemKNN,
    "ease": EASE,
    "transitions": Transitions,
    "als": ALS,
    "bpr": BPR,
    "zero-shot": ZeroShot,
}
"""How to make every baseline, by the name that the command line takes; a new one needs a line here and nothing else."""


def by_name(name: str) -> DenseScorer:
    """A baseline with its default settings.

    Raises
    ------
    ConfigError
        No baseline has that name.
    """
    if name not in REGISTRY:
        raise ConfigError(f"no baseline {name!r}; choose one of {', '.join(REGISTRY)}")
    return REGISTRY[name]()


__all__ = ["ALS", "BPR", "EASE", "REGISTRY", "ItemKNN", "Popularity", "Transitions", "ZeroShot", "by_name"]
