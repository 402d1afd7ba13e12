"""Columns of unusual types in the catalogue: read sensibly, or refused by name and type; never a bare error of polars."""

from datetime import time, timedelta
from decimal import Decimal

import numpy as np
import polars as pl
import pytest

from recsys.data.catalog import Catalog
from recsys.data.filters import matching
from recsys.errors import ConfigError
from tests.data.worlds import refused

UNREADABLE = {
    "durations": pl.Series([timedelta(hours=1), None]),
    "lists of durations": pl.Series([[timedelta(hours=1)], None]),
    "nested lists": pl.Series([[["a"]], None]),
    "records": pl.Series([{"a": 1}, None]),
    "lists of records": pl.Series([[{"a": 1}], None]),
    "bytes": pl.Series([b"\xff", None]),
    "lists of bytes": pl.Series([[b"\xff"], None]),
    "objects": pl.Series([object(), None], dtype=pl.Object),
}
READABLE = {
    "decimals": (pl.Series([Decimal("1.10"), None]), "1.10", ["1.10"]),
    "lists of decimals": (pl.Series([[Decimal("1.1"), Decimal("2.2")], None]), "1.1, 2.2", ["1.1", "2.2"]),
    "times of day": (pl.Series([time(1), None]), "01:00:00", ["01:00:00"]),
    "arrays": (pl.Series([["a", "b"], None], dtype=pl.Array(pl.String, 2)), "a, b", ["a", "b"]),
    "wide integers": (pl.Series([2**70, None], dtype=pl.Int128), str(2**70), [str(2**70)]),
}


def frame(column: pl.Series) -> pl.DataFrame:
    return pl.DataFrame({"item_id": [1, 2], "title": ["a", "b"]}).with_columns(column.alias("x"))


@pytest.mark.parametrize("column", UNREADABLE.values(), ids=UNREADABLE)
def test_what_is_no_text_is_refused_as_text_and_as_categories(column):
    with refused("column 'x'", f"is of type {column.dtype}", "expected text, numbers or lists of these"):
        Catalog.from_frame(frame(column), text=["x"])
    catalog = Catalog.from_frame(frame(column), text=["title"])
    with refused("column 'x'", f"is of type {column.dtype}", "expected text, numbers or lists of these"):
        catalog.memberships("x")


@pytest.mark.parametrize(("column", "text", "categories"), READABLE.values(), ids=READABLE)
def test_what_can_be_written_is_text_and_categories(column, text, categories):
    catalog = Catalog.from_frame(frame(column), text=["x"])
    assert catalog.texts.to_list() == [text, None]
    assert catalog.memberships("x")[1] == categories


@pytest.mark.parametrize("column", UNREADABLE.values(), ids=UNREADABLE)
@pytest.mark.parametrize("predicate", ['x == "a"', "x > 1", '"a" in x', "x", "x == x"])
def test_a_predicate_on_such_a_column_is_refused_in_words(column, predicate):
    with refused("the predicate", f"of type {column.dtype}", error=ConfigError):
        matching(Catalog.from_frame(frame(column), text=["title"]), predicate)


@pytest.mark.parametrize(
    "column", [*UNREADABLE.values(), *(one for one, _, _ in READABLE.values())], ids=lambda one: str(one.dtype)
)
def test_any_column_may_be_asked_whether_it_is_none(column):
    assert matching(Catalog.from_frame(frame(column), text=["title"]), "x is None").tolist() == [False, True]


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
def test_a_date_beyond_the_calendar_is_unknown_and_no_panic(unit):
    column = pl.Series([2**63 - 1, 0]).cast(pl.Datetime(unit))
    found = matching(Catalog.from_frame(frame(column), text=["title"]), 'x < "2024-01-01"')
    assert np.array_equal(found, [False, True])
