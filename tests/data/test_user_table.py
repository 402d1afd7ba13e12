"""UserTable: columns of users as codes that a model can look up."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.core.id_map import IdMap
from recsys.data.user_table import UserFeature, UserTable, encoded
from recsys.errors import ConfigError
from tests.data.worlds import refused, small

FRAME = pl.DataFrame(
    {
        "user_id": ["u", "v", "w", "x"],
        "city": ["Rome", "Oslo", None, "Rome"],
        "age": [30, 50, 20, None],
        "spent": [0.0, 0.0, 0.0, 9.5],
    }
)


def table(frame: pl.DataFrame = FRAME) -> UserTable:
    return UserTable.from_frame(frame, categorical=["city"], numeric=["age", "spent"], buckets=3)


def test_categories_have_codes_in_sorted_order_after_the_unknown():
    assert table().features[0].categories == ("Oslo", "Rome")
    assert table().codes[:, 0].tolist() == [2, 1, 0, 2]
    assert table().codes.dtype == np.int32


def test_names_and_cardinalities_count_the_unknown():
    assert table().names == ("city", "age", "spent")
    assert table().cardinalities == (3, 4, 3)
    assert repr(table()) == "UserTable(4 users, city (3), age (4), spent (3))"


def test_numbers_fall_into_buckets_of_about_equally_many_users():
    assert table().features[1].edges == (30.0, 50.0)
    assert table().codes[:, 1].tolist() == [2, 3, 1, 0]
    ages = pl.DataFrame({"user_id": range(1000), "age": np.random.default_rng(0).permutation(1000)})
    made = UserTable.from_frame(ages, numeric=["age"], buckets=10)
    assert np.bincount(made.codes[:, 0]).tolist() == [0, *[100] * 10]


def test_numbers_that_are_mostly_equal_leave_no_bucket_empty():
    assert table().features[2].edges == (9.5,)
    assert table().codes[:, 2].tolist() == [1, 1, 1, 2]
    one = UserTable.from_frame(FRAME.with_columns(age=pl.lit(7)), numeric=["age"])
    assert (one.cardinalities, one.codes.ravel().tolist()) == ((2,), [1, 1, 1, 1])


some_numbers = st.lists(st.none() | st.integers(-5, 5) | st.floats(-5, 5), min_size=1, max_size=30)


@small
@given(some_numbers, st.integers(2, 6))
def test_a_bucket_is_the_number_of_edges_at_or_below_the_value_and_one(numbers, buckets):
    column = pl.Series("x", numbers, dtype=pl.Float64, strict=False)
    feature = UserFeature.of_numbers(column, "x", buckets)
    expected = [0 if one is None else 1 + sum(edge <= one for edge in feature.edges) for one in column.to_list()]
    assert feature.codes(column).tolist() == expected
    assert feature.cardinality <= buckets + 1
    used = {code for code in expected if code}
    assert used == set(range(1, feature.cardinality)) or not used


@small
@given(st.lists(st.none() | st.sampled_from(["a", "b", "", " ", "ü"]), min_size=1, max_size=20))
def test_a_category_can_be_read_back_from_its_code(values):
    column = pl.Series("x", values, dtype=pl.String)
    feature = UserFeature.of_categories(column, "x")
    named = [None, *feature.categories]
    assert [named[code] for code in feature.codes(column)] == [one if one and one.strip() else None for one in values]
    assert feature.cardinality == len(named)


def test_whole_numbers_and_truth_values_may_be_categories():
    frame = pl.DataFrame({"user_id": [1, 2], "job": [12, 7], "member": [True, None]})
    made = UserTable.from_frame(frame, categorical=["job", "member"])
    assert [feature.categories for feature in made.features] == [("12", "7"), ("true",)]
    assert made.codes.tolist() == [[1, 1], [2, 0]]


def test_a_column_of_which_nothing_is_known_is_all_unknown():
    empty = pl.DataFrame({"user_id": ["u"], "city": [None], "age": pl.Series([None], dtype=pl.Float64)})
    made = UserTable.from_frame(empty, categorical=["city"], numeric=["age"])
    assert made.codes.tolist() == [[0, 0]]
    assert made.cardinalities == (1, 2)


def test_codes_are_laid_out_for_another_id_map_and_strangers_are_unknown():
    codes = table().codes_for(IdMap(pl.Series(["x", "stranger", "u"]), "user"))
    assert codes.tolist() == [[2, 0, 2], [0, 0, 0], [2, 2, 1]]
    assert codes.dtype == np.int32


def test_users_are_found_though_their_ids_are_text_here_and_numbers_there():
    made = UserTable.from_frame(pl.DataFrame({"user_id": [1, 2], "city": ["a", "b"]}), categorical=["city"])
    assert made.codes_for(IdMap(pl.Series(["2", "x", "02"]), "user")).tolist() == [[2], [0], [0]]


def test_the_features_of_somebody_new_have_the_codes_of_the_table():
    fresh = pl.DataFrame({"city": ["Oslo", "Paris"], "age": [49, 99], "spent": [None, -1.0]})
    assert encoded(fresh, table().features).tolist() == [[1, 2, 0], [0, 3, 1]]
    with refused("no column 'spent'"):
        encoded(fresh.drop("spent"), table().features)


def test_a_table_comes_back_from_json_and_parquet(tmp_path: Path):
    made = table(FRAME.with_columns(age=pl.Series([0.1, 1 / 3, 7e-9, None])))
    made.frame().write_parquet(tmp_path / "users.parquet")
    told = json.loads(json.dumps(made.to_dict()))
    back = UserTable.from_dict(told, pl.read_parquet(tmp_path / "users.parquet"))
    assert back.users.same(made.users)
    assert back.features == made.features
    assert back.codes.tolist() == made.codes.tolist()
    assert back.codes.dtype == np.int32


def test_codes_that_belong_to_other_features_are_refused():
    told = table().to_dict()
    with refused("user 'u' has the code 9 of 'city', which has 3", "other features"):
        UserTable.from_dict(told, table().frame().with_columns(city=pl.Series([9, 1, 1, 1], dtype=pl.Int32)))
    with refused("no column 'age'"):
        UserTable.from_dict(told, table().frame().drop("age"))
    with refused("shape (4, 3), expected (4, 2)"):
        dataclasses.replace(table(), features=table().features[:2])


@pytest.mark.parametrize(
    ("options", "words", "error"),
    [
        ({}, ["at least one column"], ConfigError),
        ({"categorical": ["city"], "numeric": ["city"]}, ["named twice", "city, city"], ConfigError),
        ({"numeric": ["age"], "buckets": 1}, ["buckets must be at least 2, not 1"], ConfigError),
    ],
)
def test_a_table_that_makes_no_sense_is_refused(options, words, error):
    with refused(*words, error=error):
        UserTable.from_frame(FRAME, **options)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"user_id": ["u", "v", "u", "x"]}, ["the user id 'u' occurs more than once"]),
        ({"user_id": ["u", None, "w", "x"]}, ["column 'user_id'", "row 2"]),
        ({"age": ["30", "old", "20", "1"]}, ["column 'age'", "row 2 is 'old'"]),
        ({"age": [30.0, float("nan"), 1.0, 2.0]}, ["column 'age'", "row 2 is nan"]),
        ({"city": [["Rome"]] * 4}, ["column 'city'", "List(String)", "expected categories"]),
        ({"city": [1.5, 2.5, 0.0, 1.0]}, ["column 'city'", "Float64"]),
    ],
    ids=str,
)
def test_a_value_that_cannot_be_used_is_refused_by_column(change, words):
    with refused(*words):
        table(FRAME.with_columns(**{name: pl.Series(values, strict=False) for name, values in change.items()}))


def test_a_missing_column_is_refused_by_name():
    with refused("no column 'spent'", "its columns are user_id, city, age"):
        table(FRAME.drop("spent"))
