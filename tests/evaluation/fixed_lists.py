"""What the tests of evaluate() share: a ranker and holdouts made by hand, whose every list can be read off."""

from __future__ import annotations

import numpy as np
import polars as pl

from recsys.data.row_lists import Int32, RowLists
from recsys.data.split import Holdout
from recsys.data.vocabulary import Vocabulary
from recsys.recommender import Ranked


class FixedLists:
    """Ranks the items of each user in a fixed order, given as raw ids; a user it does not know gets the row order."""

    name = "fixed lists"
    trained_on = None

    def __init__(self, items: list[str], orders: dict[str, list[str]]) -> None:
        self.items = Vocabulary(pl.Series(items), "item")
        self.users = Vocabulary(pl.Series(list(orders)), "user")
        self.orders = [self.items.rows(order).tolist() for order in orders.values()]
        self.asked: list[int] = []
        self.read: list[list[str]] = []
        self.known: list[int] = []

    def recommend_rows(
        self,
        histories: RowLists,
        k: int,
        *,
        exclude: RowLists | None = None,
        users: Int32 | None = None,
        candidates: Int32 | None = None,
    ) -> Ranked:
        assert users is not None
        self.asked.append(k)
        self.known += users.tolist()
        self.read += [self.items.raw(histories[i]).to_list() for i in range(len(histories))]
        lists = []
        for place, user in enumerate(users):
            order = self.orders[user] if user >= 0 else list(range(len(self.items)))
            gone = [] if exclude is None else exclude[place].tolist()
            lists.append([row for row in order if row not in gone][:k])
        scores = [-float(place) for one in lists for place in range(len(one))]
        return Ranked(RowLists.from_lists(lists), np.array(scores, dtype=np.float32))


def make_holdout(items: list[str], judged: list[tuple[str, str, str]]) -> Holdout:
    """A holdout from (user, history, targets), the latter two as strings of one-letter items."""
    vocabulary = Vocabulary(pl.Series(items), "item")
    return Holdout(
        users=Vocabulary(pl.Series([user for user, _, _ in judged]), "user"),
        items=vocabulary,
        user_rows=np.arange(len(judged), dtype=np.int32),
        histories=RowLists.from_lists([vocabulary.rows(list(history)) for _, history, _ in judged]),
        targets=RowLists.from_lists([vocabulary.rows(list(targets)) for _, _, targets in judged]),
        protocol="by hand",
    )


LETTERS = list("abcdef")
ORDERS = {"ann": list("abcdef"), "bob": list("fedcba"), "cat": list("abcdef")}
JUDGED = [("ann", "a", "c"), ("bob", "fe", "da"), ("cat", "b", "f")]
