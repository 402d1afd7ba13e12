import dataclasses

import numpy as np
import polars as pl
import pytest

from recsys.core.id_map import IdMap
from recsys.data.catalog import Catalog
from recsys.data.interactions import Interactions
from tests.data.worlds import refused


def catalog(text: list[str], **columns: object) -> Catalog:
    return Catalog.from_frame(pl.DataFrame(columns), text=text)


def id_map(ids: list[object]) -> IdMap:
    return IdMap(pl.Series(ids), "item")


def rows(*given: int) -> np.ndarray:
    return np.array(given, dtype=np.int32)


def test_text_is_the_named_columns_in_the_named_order():
    made = catalog(["b", "a"], item_id=[1], a=["first"], b=["second"], c=["unused"])
    assert made.texts.to_list() == ["second. first"]
    assert made.text_columns == ("b", "a")


def test_missing_and_blank_parts_leave_no_trace():
    made = catalog(["a", "b"], item_id=[1, 2, 3, 4], a=["x", None, " ", None], b=[None, "y", "z", ""])
    assert made.texts.to_list() == ["x", "y", "z", None]


def test_white_space_collapses_and_bars_become_commas():
    made = catalog(["a"], item_id=[1], a=["  Action|Sci-Fi |\tDrama \n and  more "])
    assert made.texts.to_list() == ["Action, Sci-Fi, Drama and more"]


def test_members_of_a_list_column_are_joined_by_commas():
    made = catalog(["title", "tags"], item_id=[1, 2, 3], title=["A", "B", "C"], tags=[["x", "y"], [], None])
    assert made.texts.to_list() == ["A. x, y", "B", "C"]
    assert made.columns["tags"].to_list() == [["x", "y"], [], None]


def test_numbers_categories_and_dates_are_text_as_they_are_written():
    made = catalog(["year", "kind"], item_id=[1], year=[1999], kind=pl.Series(["toy"], dtype=pl.Categorical))
    assert made.texts.to_list() == ["1999. toy"]


@pytest.mark.parametrize("column", [[{"a": 1}], [[{"a": 1}]], [[["x"]]], [b"x"]], ids=str)
def test_a_column_that_cannot_be_text_is_refused_by_type(column):
    with refused("column 'a'", "is of type", "expected text, numbers or lists of these"):
        catalog(["a"], item_id=[1], a=column)


def test_the_title_is_the_first_text_column_unless_named():
    frame = pl.DataFrame({"item_id": [1], "a": ["text"], "b": ["name"]})
    assert Catalog.from_frame(frame, text=["a", "b"]).titles.to_list() == ["text"]
    assert Catalog.from_frame(frame, text=["a"], title="b").titles.to_list() == ["name"]
    assert Catalog.from_frame(frame, text=[], title="b").texts.to_list() == [None]


def test_a_catalogue_of_ids_alone_still_has_one_row_per_item():
    made = catalog([], item_id=["a", "b", "c"])
    assert len(made) == 3
    assert made.texts.to_list() == made.titles.to_list() == [None] * 3
    assert made.texts.dtype == made.titles.dtype == pl.String


def test_columns_called_like_ours_are_kept_as_they_are():
    frame = pl.DataFrame({"item_id": [1], "title": ["A"], "text": ["own text"], "user_id": [9], "score": [0.5]})
    made = Catalog.from_frame(frame, text=["title"])
    assert made.texts.to_list() == ["A"]
    assert made.columns.row(0, named=True) == {"title": "A", "text": "own text", "user_id": 9, "score": 0.5}


@pytest.mark.parametrize("names", [(["nope"], None), (["a"], "nope")])
def test_a_missing_column_is_refused(names):
    with refused("no column 'nope'", "its columns are item_id, a"):
        Catalog.from_frame(pl.DataFrame({"item_id": [1], "a": ["x"]}), text=names[0], title=names[1])


def test_a_frame_without_ids_is_refused():
    with refused("no column 'item_id'"):
        catalog(["a"], a=["x"])


@pytest.mark.parametrize(
    ("ids", "words"), [([1, None], "row 2"), (["a", " "], "row 2"), ([7, 7], "item id 7 occurs more than once")]
)
def test_null_blank_and_repeated_ids_are_refused(ids, words):
    with refused(words):
        catalog(["a"], item_id=ids, a=["x", "y"])


def test_aligned_follows_the_given_rows_and_fills_with_nulls():
    made = catalog(["a"], item_id=["x", "y", "z"], a=["tx", "ty", "tz"], n=[1, 2, 3])
    aligned = made.aligned(id_map(["z", "unknown", "x"]))
    assert aligned.items.ids.to_list() == ["z", "unknown", "x"]
    assert aligned.texts.to_list() == aligned.titles.to_list() == ["tz", None, "tx"]
    assert aligned.columns["n"].to_list() == [3, None, 1]
    assert aligned.text_columns == made.text_columns
    assert made.texts.to_list() == ["tx", "ty", "tz"]


def test_aligned_to_its_own_items_is_itself():
    made = catalog(["a"], item_id=["x", "y"], a=["tx", "ty"])
    assert made.aligned(id_map(["x", "y"])) is made


@pytest.mark.parametrize(
    ("mine", "theirs", "texts"),
    [
        ([1, 2], ["2", "new"], ["t1", None]),
        (["1", "b"], [1, 3], ["t0", None]),
        ([42], ["042", "42"], [None, "t0"]),
        (["042", "x"], [42, 7], [None, None]),
    ],
)
def test_ids_meet_as_numbers_or_text_and_only_where_they_are_the_same(mine, theirs, texts):
    made = catalog(["a"], item_id=mine, a=[f"t{i}" for i in range(len(mine))])
    assert made.aligned(id_map(theirs)).texts.to_list() == texts


def test_a_log_with_integers_takes_in_a_catalogue_with_text_ids():
    log = Interactions.from_frame(pl.DataFrame({"user_id": [1, 1], "item_id": [7, 3]}))
    made = catalog(["a"], item_id=["3", "cold", "07"], a=["three", "ice", "other"])
    whole = log.with_items(made.items.ids)
    aligned = made.aligned(whole.items)
    assert whole.items.ids.to_list() == ["7", "3", "cold", "07"]
    assert aligned.texts.to_list() == [None, "three", "ice", "other"]
    assert whole.histories is log.histories


def test_title_of_falls_back_on_the_id():
    made = catalog(["a"], item_id=[10, 20, 30], a=["ten", None, "thirty"])
    assert made.title_of(rows(2, 1, 0, 2)).to_list() == ["thirty", "20", "ten", "thirty"]
    assert made.title_of(rows()).to_list() == []


def test_without_text_knows_nothing_but_the_ids():
    blank = Catalog.without_text(id_map(["a", "b"]))
    assert blank.texts.to_list() == blank.titles.to_list() == [None, None]
    assert blank.title_of(rows(1)).to_list() == ["b"]
    assert blank.aligned(id_map(["b", "c", "d"])).texts.to_list() == [None] * 3
    assert repr(blank) == "Catalog(2 items, text from nothing)"


def test_fields_cannot_be_replaced():
    made = catalog(["a"], item_id=[1], a=["x"])
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.texts = made.titles
    assert repr(made) == "Catalog(1 items, text from a)"
