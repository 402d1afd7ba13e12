"""The recommenders that any model must beat, behind the same protocol."""

from recsys.baselines.ease import EASE
from recsys.baselines.factors import ALS, BPR
from recsys.baselines.knn import ItemKNN
from recsys.baselines.popularity import Popularity

__all__ = ["ALS", "BPR", "EASE", "ItemKNN", "Popularity"]
