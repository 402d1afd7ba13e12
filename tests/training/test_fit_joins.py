"""A table that does not belong to the log is refused before anything is trained."""

import polars as pl

import recsys
from recsys.data.catalog import Catalog
from recsys.data.interactions import Interactions
from recsys.data.user_table import UserTable
from tests.data.worlds import refused

LOG = Interactions.from_frame(pl.DataFrame({"user_id": ["u", "u", "v"], "item_id": ["a", "b", "a"]}))
MODEL = recsys.TwoTower(encoder=None)


def test_a_catalogue_of_other_items_is_refused() -> None:
    other = Catalog.from_frame(pl.DataFrame({"item_id": ["A ", "B "], "title": ["x", "y"]}), text=["title"])
    with refused("none of the 2 items of the log is in the catalogue", "100% would be found"):
        MODEL.fit(LOG, other)


def test_a_table_of_other_users_is_refused() -> None:
    other = UserTable.from_frame(pl.DataFrame({"user_id": [1, 2], "age": [30, 40]}), numeric=["age"])
    with refused("none of the 2 users of the log is in the table of users"):
        MODEL.fit(LOG, users=other)
