"""Columns of several files become one table of events, with one row for each id."""

import polars as pl
import pytest

from recsys.data.events import join_columns
from recsys.data.parse import parse_columns
from tests.data.worlds import refused


def part(source: str, **columns: list[object]):
    names = {"user": "user_id", "item": "item_id", "time": "timestamp", "order": "order", "weight": "weight"}
    raw = pl.DataFrame({names[name]: values for name, values in columns.items()})
    return parse_columns(raw, {name: name for name in raw.columns}, source, words=None)


def test_ids_are_numbered_by_first_appearance_in_all_files():
    events = join_columns([part("a", user=[7, 5, 7], item=["x", "y", "x"]), part("b", user=[5, 9], item=["z", "y"])])
    assert events.users.ids.to_list() == [7, 5, 9]
    assert events.items.ids.to_list() == ["x", "y", "z"]
    assert events.table["user_id"].to_list() == [0, 1, 0, 1, 2]
    assert events.table["item_id"].to_list() == [0, 1, 0, 2, 1]
    assert events.order_column is None


def test_ids_that_are_numbers_in_one_file_and_text_in_another_become_text():
    events = join_columns([part("a", user=[1, 2], item=["1.0", "2"]), part("b", user=["2", "u"], item=[2, 3])])
    assert events.users.ids.to_list() == ["1", "2", "u"]
    assert events.table["user_id"].to_list() == [0, 1, 1, 2]
    assert events.items.ids.to_list() == [1, 2, 3]
    assert events.table["item_id"].to_list() == [0, 1, 1, 2]


def test_ids_of_events_that_are_left_out_are_gone_and_the_others_are_read_as_if_they_had_never_been():
    events = join_columns([part("a", user=["u", "1", "2"], item=[3, 3, 4], order=[None, 2, 1])], drop_unordered=True)
    assert events.users.ids.to_list() == [1, 2]
    assert events.items.ids.to_list() == [3, 4]
    assert events.table["user_id"].to_list() == [0, 1]
    assert events.order_column == "order"


@pytest.mark.parametrize(
    ("second", "words"),
    [
        ({"user": [1], "item": [1]}, ["a has a column 'timestamp' and b has none", "order= (--order)"]),
        ({"user": [1], "item": [1], "time": [None]}, ["b: 1 of 1 rows has no value in the column 'timestamp'"]),
        ({"user": [1], "item": [1], "time": [1_700_000_000_000]}, ["the timestamps are in several units"]),
    ],
)
def test_files_that_do_not_fit_together_are_refused_by_name(second, words):
    with refused(*words):
        join_columns([part("a", user=[1], item=[1], time=[1_700_000_000]), part("b", **second)])
