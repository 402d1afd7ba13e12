"""New items' columns take the catalogue's types, or the value that does not fit is named."""

from datetime import date

import polars as pl
import pytest

from recsys.bundle.new_columns import as_numbers, fitted, tell_columns
from tests.data.worlds import refused

IDS = pl.Series(["x", "y"])


def joined(old: pl.Series, new: pl.Series) -> pl.Series:
    one, two = fitted(old.alias("price"), new.alias("price"), IDS)
    return as_numbers(pl.concat([one, two]))


@pytest.mark.parametrize(
    ("old", "new", "wanted"),
    [
        (["1", "2.5"], ["", "3"], [1.0, 2.5, None, 3.0]),
        (["1", "2"], ["1.5", "N/A"], [1.0, 2.0, 1.5, None]),
        (["1", "2"], [3, 4], [1, 2, 3, 4]),
        (["1", ""], ["3", "4"], [1, None, 3, 4]),
        ([1, 2], ["", " 3 "], [1, 2, None, 3]),
        ([1, 2], [1.5, None], [1.0, 2.0, 1.5, None]),
        ([1, 2], [3.0, 4.0], [1, 2, 3, 4]),
        ([1, 2], [None, None], [1, 2, None, None]),
        ([1.5, 2.0], ["3", 4], [1.5, 2.0, 3.0, 4.0]),
        ([True, False], ["false", "True"], [True, False, False, True]),
        ([["a"], ["b"]], ["c|d", "e"], [["a"], ["b"], ["c", "d"], ["e"]]),
        (["a|b", "c"], [["d", "e"], ["f"]], ["a|b", "c", "d|e", "f"]),
        ([date(2024, 1, 1), None], ["2024-02-01", ""], [date(2024, 1, 1), None, date(2024, 2, 1), None]),
        (["007", "a"], ["1,99", "x"], ["007", "a", "1,99", "x"]),
    ],
    ids=str,
)
def test_the_column_stays_what_it_is(old, new, wanted):
    made = joined(pl.Series(old), pl.Series(new, strict=False))
    assert made.to_list() == wanted


def test_a_number_too_large_for_the_column_widens_it():
    assert joined(pl.Series([1, 2], dtype=pl.UInt8), pl.Series([300, 4])).to_list() == [1, 2, 300, 4]


@pytest.mark.parametrize("old", [["1", "2.5"], [1.0, 2.5], [1, 2]], ids=str)
@pytest.mark.parametrize("value", ["1,99", "cheap", "inf"])
def test_text_among_numbers_is_refused_by_column_item_and_value(old, value):
    with refused("column 'price'", repr(value), "for item 'y'", "expected a number", "leave it blank"):
        joined(pl.Series(old), pl.Series(["3", value]))


def test_a_code_among_numbers_and_a_number_among_flags_are_refused():
    with refused("'007'", "for item 'x'"):
        joined(pl.Series(["1", "2"]), pl.Series(["007", "3"]))
    with refused("5", "true or false"):
        joined(pl.Series([True, False]), pl.Series([5, 0]))
    with refused("is Date", "of numbers"):
        joined(pl.Series([1, 2]), pl.Series([date(2024, 1, 1)] * 2))


def test_unknown_and_missing_columns_are_told(caplog):
    old = pl.DataFrame({"price": [1], "brand": ["a"]})
    tell_columns(old, pl.DataFrame({"prise": [1], "title": ["t"]}), ("title",))
    assert "columns 'prise' (did you mean 'price'?) are left out: the catalogue has price, brand" in caplog.text
    assert "lacks the columns 'price', 'brand'; these items have no values in them" in caplog.text
    caplog.clear()
    tell_columns(old, old, ())
    assert caplog.text == ""
