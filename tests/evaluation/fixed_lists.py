"""What the tests of evaluate() share: a ranker and holdouts made by hand, whose every list can be read off."""

from __future__ import annotations

import numpy as np
import polars as pl

from recsys.core.id_map import IdMap
from recsys.core.ragged import Bool, Int32, Int64, Ragged
from recsys.core.ranking import Ranked
from recsys.data.split import Holdout
from recsys.evaluation.protocol import Traits


class FixedLists:
    """Ranks the items of each user in a fixed order, given as raw ids; a user it does not know gets the row order."""

    name = "fixed lists"
    traits = Traits()

    def __init__(self, items: list[str], orders: dict[str, list[str]]) -> None:
        self.items = IdMap(pl.Series(items), "item")
        self.users = IdMap(pl.Series(list(orders)), "user")
        self.orders = [self.items.to_rows(order).tolist() for order in orders.values()]
        self.asked: list[int] = []
        self.read: list[list[str]] = []
        self.known: list[int] = []

    def recommend_rows(
        self,
        histories: Ragged,
        k: int,
        *,
        exclude: Ragged | None = None,
        users: Int32 | None = None,
        eligible: Bool | None = None,
        request_times: Int64 | None = None,
    ) -> Ranked:
        assert users is not None
        self.asked.append(k)
        self.known += users.tolist()
        self.read += [self.items.to_ids(histories[i]).to_list() for i in range(len(histories))]
        lists = []
        for place, user in enumerate(users):
            order = self.orders[user] if user >= 0 else list(range(len(self.items)))
            gone = [] if exclude is None else exclude[place].tolist()
            lists.append([row for row in order if row not in gone][:k])
        scores = [-float(place) for one in lists for place in range(len(one))]
        return Ranked(Ragged.from_lists(lists), np.array(scores, dtype=np.float32))


def make_holdout(items: list[str], judged: list[tuple[str, str, str]]) -> Holdout:
    """A holdout from (user, history, targets), the latter two as strings of one-letter items."""
    id_map = IdMap(pl.Series(items), "item")
    return Holdout(
        users=IdMap(pl.Series([user for user, _, _ in judged]), "user"),
        items=id_map,
        user_rows=np.arange(len(judged), dtype=np.int32),
        histories=Ragged.from_lists([id_map.to_rows(list(history)) for _, history, _ in judged]),
        targets=Ragged.from_lists([id_map.to_rows(list(targets)) for _, _, targets in judged]),
        protocol="by hand",
    )


LETTERS = list("abcdef")
ORDERS = {"ann": list("abcdef"), "bob": list("fedcba"), "cat": list("abcdef")}
JUDGED = [("ann", "a", "c"), ("bob", "fe", "da"), ("cat", "b", "f")]
