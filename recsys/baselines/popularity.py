"""Popularity, of all times or of late: the same list for every user."""

from __future__ import annotations

import numpy as np

from recsys.baselines.scoring import DenseScorer
from recsys.core.arguments import number
from recsys.core.ragged import Float32, Int32, Ragged
from recsys.data.interactions import Interactions
from recsys.errors import ConfigError, DataError

_DAY = 86_400


class Popularity(DenseScorer):
    """Score an item by the number of users who touched it in training, or in the last days of training.

    Parameters
    ----------
    days : float, optional
        Count the users of so many days alone, up to the last event of training. Items with equal counts are ranked by
        their users of all times, so that this matters where few items were touched of late.

    Raises
    ------
    ConfigError
        ``days`` is not a finite number above 0.

    Examples
    --------
    >>> model = recsys.Popularity().fit(split.train)
    >>> recsys.evaluate(model, split.test, k=10)["ndcg@10"]
    0.2291...
    >>> recsys.Popularity(days=30).name
    'popularity, 30 days'
    """

    def __init__(self, days: float | None = None) -> None:
        super().__init__()
        if days is not None and not 0.0 < number(days, "days") < np.inf:
            raise ConfigError(f"days must be a finite number above 0, not {days}")
        self.days = days
        self.name = "popularity" if days is None else f"popularity, {days:g} days"

    def _learn(self, train: Interactions) -> None:
        """Count the users of each item.

        Raises
        ------
        DataError
            Recent events are asked for, and the log has no timestamps.
        """
        counts = train.item_users
        self._counts = counts.astype(np.float32)
        if self.days is None:
            return
        if train.timestamps is None:
            has = "only an order within each user" if train.ordered else "no order at all"
            raise DataError(
                f"{self.name}: this needs timestamps, and the log has {has}; name their column, timestamp= (--timestamp), "
                f"or count all events, Popularity() (--baselines popularity)"
            )
        late = train.timestamps > train.timestamps.max() - self.days * _DAY
        below_one = counts / (counts.max() + 1)  # breaks ties and changes nothing else
        self._counts = (train.select(late).item_users + below_one).astype(np.float32)

    def _scores(self, histories: Ragged, users: Int32 | None) -> Float32:
        return np.tile(self._counts, (len(histories), 1))
