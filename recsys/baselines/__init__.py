"""The recommenders that any model must beat, behind the same protocol."""

from recsys.baselines.ease import EASE
from recsys.baselines.factors import ALS, BPR
from recsys.baselines.knn import ItemKNN
from recsys.baselines.popularity import Popularity
from recsys.baselines.scoring import DenseScorer
from recsys.baselines.zero_shot import ZeroShot
from recsys.core.schema import BASELINES
from recsys.errors import ConfigError


def by_name(name: str) -> DenseScorer:
    """A baseline with its default settings, by the name the command line takes.

    Raises
    ------
    ConfigError
        There is none of that name.
    """
    made: dict[str, type[DenseScorer]] = dict(zip(BASELINES, (Popularity, ItemKNN, EASE, ALS, BPR, ZeroShot), strict=True))
    if name not in made:
        raise ConfigError(f"no baseline {name!r}; there are {', '.join(BASELINES)}")
    return made[name]()


__all__ = ["ALS", "BPR", "EASE", "ItemKNN", "Popularity", "ZeroShot", "by_name"]
