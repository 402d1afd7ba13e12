import numpy as np
import polars as pl

from recsys.data.catalog import Catalog
from recsys.data.interactions import Interactions
from recsys.training.adaptation.pairs import Pairs


def test_pairs_are_histories_and_another_text_that_came_next() -> None:
    events = [("a", "w", 1), ("a", "x", 2), ("a", "same as x", 3), ("a", "none", 4), ("a", "y", 5), ("b", "w", 1)]
    log = Interactions.from_frame(pl.DataFrame(events, schema=["user_id", "item_id", "timestamp"], orient="row"))
    items = pl.DataFrame({"item_id": ["w", "x", "same as x", "none", "y"], "title": ["W", "X", "X", None, "Y"]})
    pairs = Pairs.of(log, Catalog.from_frame(items, text=["title"]), seed=0)
    targets = np.sort(pairs.targets)
    assert pairs.next_texts(targets) == ["X", "Y"]
    assert pairs.history_texts(targets, 2) == ["W", "X. X"]
    assert pairs.history_texts(targets, 9) == ["W", "X. X. W"]
    assert pairs.alike(targets).tolist() == [[True, False], [True, True]]
    assert len(pairs.held_out) == 0


def test_held_out_users_are_in_no_other_pair(ring: Interactions) -> None:
    items = pl.DataFrame({"item_id": ring.items.ids, "title": ring.items.ids})
    pairs = Pairs.of(ring, Catalog.from_frame(items, text=["title"]), seed=1)
    users = pairs.histories.list_index()
    assert len(pairs.held_out) > 5
    assert not set(users[pairs.held_out]) & set(users[pairs.targets])
    last = pairs.histories.offsets[users[pairs.held_out] + 1] - 1
    assert pairs.held_out.tolist() == last.tolist()
