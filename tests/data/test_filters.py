"""Predicates: what they mean is what a row-by-row reading in plain Python means."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.core.id_map import IdMap
from recsys.data.catalog import Catalog
from recsys.data.filters import matching
from recsys.errors import ConfigError
from tests.data.worlds import refused

Row = dict[str, Any]
Truth = bool | None
"""None is unknown."""

FRAME = pl.DataFrame(
    {
        "item_id": ["a", "b", "c", "d", "e", "f"],
        "price": [5.0, 19.99, None, 20.0, float("nan"), -3.0],
        "stock": [0, 7, None, 2**53 + 1, -1, 7],
        "brand": ["Acme", None, "acme", "", "Zeta", "Beta"],
        "genres": ["Comedy|Drama", "Dark Comedy", None, "Drama | Comedy", "Comedy", ""],
        "tags": [["x", "y"], [], None, [None, "y"], ["xx"], ["x"]],
        "sizes": [[1, 2], [], None, [None, 3], [2**53 + 1], [2]],
        "toy": [True, False, None, True, False, None],
        "title": ["one", "two", None, "four", "five", "six"],
    }
)
ROWS = FRAME.to_dicts()


def catalog(frame: pl.DataFrame = FRAME) -> Catalog:
    return Catalog.from_frame(frame, text=[])


def ids(where: str | pl.Expr, frame: pl.DataFrame = FRAME) -> str:
    """The ids of what matches, written together."""
    return "".join(frame["item_id"].filter(pl.Series(matching(catalog(frame), where))))


@pytest.mark.parametrize(
    ("where", "found"),
    [
        ("price < 20", "abf"),
        ("5 <= price < 20", "ab"),
        ("20 > price", "abf"),
        ("price == -3", "f"),
        ("-3.0 == price", "f"),
        ("stock == 7.0", "bf"),
        ("stock < 0.5", "ae"),
        ("stock == 9007199254740993", "d"),
        ("stock == 9007199254740992", ""),
        ("stock < 18446744073709551615", "abdef"),
        ("stock < 1e300", "abdef"),
        ("stock in [7, 0.5, 1e300]", "bf"),
        ("stock not in (7, 0)", "de"),
        ("price > stock", "ab"),
        ('brand == "Acme"', "a"),
        ('brand != "Acme"', "cdef"),
        ('brand < "B"', "ad"),
        ('brand in ["Zeta", "Beta", "Acme"]', "aef"),
        ('"Comedy" in genres', "ade"),
        ('"Comedy" not in genres', "bf"),
        ('"x" in tags', "af"),
        ('"x" not in tags', "bde"),
        ("2 in sizes", "af"),
        ("9007199254740993 in sizes", "e"),
        ("9007199254740992 in sizes", ""),
        ("toy", "ad"),
        ("not toy", "be"),
        ("toy == False", "be"),
        ("price is None", "ce"),
        ("tags is not None", "abdef"),
        ("not (price is None) and toy", "ad"),
        ('item_id in ["b", "f"] or title == "one"', "abf"),
        ('col("price") < 0', "f"),
    ],
)
def test_a_predicate_means_what_it_says(where: str, found: str) -> None:
    assert ids(where) == found


@pytest.mark.parametrize("where", ["price < 20", "not (price < 20)", "price != 20", "not (price == 20)", "price >= 20"])
def test_an_unknown_value_never_matches_whichever_way_it_is_asked(where: str) -> None:
    assert not set(ids(where)) & set("ce")


def test_what_is_unknown_does_not_spoil_what_is_decided_by_the_rest() -> None:
    assert ids("price < 20 or stock == -1") == "abef"
    assert ids("not (price < 20 and stock > 0)") == "ade"


def test_a_single_value_without_bars_is_a_list_of_one() -> None:
    assert ids('"Acme" in brand') == "a"


def test_dates_compare_with_iso_text_in_utc() -> None:
    times = [datetime(2024, 5, 31), datetime(2024, 5, 31, 18), None]
    frame = pl.DataFrame({"item_id": ["a", "b", "c"], "at": times}).with_columns(
        day=pl.col("at").dt.date(), there=pl.col("at").dt.replace_time_zone("UTC").dt.convert_time_zone("Asia/Tokyo")
    )
    assert ids('at > "2024-05-31"', frame) == "b"
    assert ids('at <= "2024-05-31T20:00:00+02:00"', frame) == "ab"
    assert ids('there == "2024-05-31T18:00:00"', frame) == "b"
    assert ids('day in ["2024-05-31", "2024-06-01"]', frame) == "ab"
    assert ids("day == at", frame) == "a"
    with refused("the column 'at' of type Datetime", "'tomorrow'", '"2024-05-31"', error=ConfigError):
        ids('at > "tomorrow"', frame)


def test_other_number_and_text_types_compare_as_their_values() -> None:
    frame = pl.DataFrame(
        {
            "item_id": ["a", "b", "c"],
            "small": pl.Series([0, 255, None], dtype=pl.UInt8),
            "huge": pl.Series([1, 2**64 - 1, None], dtype=pl.UInt64),
            "single": pl.Series([19.99, 0.5, None], dtype=pl.Float32),
            "exact": pl.Series([Decimal("19.99"), Decimal("0.50"), None], dtype=pl.Decimal(10, 2)),
            "kind": pl.Series(["toy", "book", None], dtype=pl.Categorical),
            "fixed": pl.Series([[1, 2], [3, 4], None], dtype=pl.Array(pl.Int64, 2)),
            "empty": pl.Series([None, None, None], dtype=pl.Null),
        }
    )
    for where, found in {
        "small > -1": "ab",
        "small == 256": "",
        "small in [255, 256, -1]": "b",
        "huge == 18446744073709551615": "b",
        "huge in [18446744073709551615, 2]": "b",
        "huge > 9007199254740993": "b",
        "single == 19.99": "a",
        "single in [19.99, 1e300]": "a",
        "single < 1e300": "ab",
        "exact == 19.99": "a",
        'kind >= "c"': "a",
        'kind in ["book"]': "b",
        "3 in fixed": "b",
        "empty == 1 or empty": "",
        'empty in ["x"] or not ("x" in empty)': "",
        "empty == small": "",
        "empty is None": "abc",
    }.items():
        assert ids(where, frame) == found, where


Node = tuple[str, Callable[[Row], Truth]]
"""A predicate as text, and the same as a function of a row."""


def known(value: Any) -> bool:
    return value is not None and not (isinstance(value, float) and math.isnan(value))


def negated(value: Truth) -> Truth:
    return None if value is None else not value


def all_of(values: list[Truth]) -> Truth:
    return False if False in values else None if None in values else True


def any_of(values: list[Truth]) -> Truth:
    return True if True in values else None if None in values else False


ORDERS: dict[str, Callable[[Any, Any], bool]] = {
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
}


def compared(left: Any, sign: str, right: Any) -> Truth:
    return ORDERS[sign](left, right) if known(left) and known(right) else None


def ensemble_size(value: Any) -> list[Any]:
    return [part.strip() for part in value.split("|")] if isinstance(value, str) else [one for one in value if known(one)]


numbers = st.sampled_from([-3, -1, 0, 5, 7, 20, 2**53, 2**53 + 1, 0.5, 19.99, 20.0, -3.0, 1e300, 7.25])
words = st.sampled_from(
    ["Acme", "acme", "", "B", "Zeta", "Comedy", "Drama", "Dark Comedy", "x", "y", "two", "a", 'q"', "é\\"]
)
signs = st.sampled_from(sorted(ORDERS))


@st.composite
def comparisons(draw: st.DrawFn) -> Node:
    kind = draw(st.sampled_from(["number", "text"]))
    column = draw(st.sampled_from(["price", "stock"] if kind == "number" else ["brand", "genres", "item_id", "title"]))
    sign, value = draw(signs), draw(numbers if kind == "number" else words)
    if draw(st.booleans()):
        return f"{column} {sign} {value!r}", lambda row: compared(row[column], sign, value)
    return f"{value!r} {sign} {column}", lambda row: compared(value, sign, row[column])


@st.composite
def chains(draw: st.DrawFn) -> Node:
    low, first, column, second, high = (draw(one) for one in (numbers, signs, st.just("price"), signs, numbers))
    return f"{low} {first} {column} {second} {high}", lambda row: all_of(
        [compared(low, first, row[column]), compared(row[column], second, high)]
    )


@st.composite
def lists(draw: st.DrawFn) -> Node:
    column, values = draw(st.sampled_from([("stock", numbers), ("price", numbers), ("brand", words), ("title", words)]))
    chosen = draw(st.lists(values, min_size=1, max_size=4))
    negative = draw(st.booleans())
    written = draw(st.sampled_from(["[{}]", "({},)"])).format(", ".join(map(repr, chosen)))

    def holds(row: Row) -> Truth:
        found = row[column] in chosen if known(row[column]) else None
        return negated(found) if negative else found

    return f"{column} {'not in' if negative else 'in'} {written}", holds


@st.composite
def memberships(draw: st.DrawFn) -> Node:
    column, values = draw(st.sampled_from([("genres", words), ("tags", words), ("brand", words), ("sizes", numbers)]))
    value, negative = draw(values), draw(st.booleans())

    def holds(row: Row) -> Truth:
        found = value in ensemble_size(row[column]) if known(row[column]) else None
        return negated(found) if negative else found

    return f"{value!r} {'not in' if negative else 'in'} {column}", holds


@st.composite
def questions(draw: st.DrawFn) -> Node:
    column, negative = draw(st.sampled_from(FRAME.columns)), draw(st.booleans())
    return f"{column} is {'not ' if negative else ''}None", lambda row: known(row[column]) == negative


leaves = st.one_of(
    comparisons(),
    chains(),
    lists(),
    memberships(),
    questions(),
    st.just(("toy", lambda row: row["toy"])),
)


def joined(nodes: list[Node], word: str) -> Node:
    meaning = all_of if word == "and" else any_of
    return f" {word} ".join(f"({text})" for text, _ in nodes), lambda row: meaning([holds(row) for _, holds in nodes])


predicates = st.recursive(
    leaves,
    lambda inner: st.one_of(
        inner.map(lambda node: (f"not ({node[0]})", lambda row: negated(node[1](row)))),
        st.builds(joined, st.lists(inner, min_size=2, max_size=3), st.sampled_from(["and", "or"])),
    ),
    max_leaves=6,
)


@settings(max_examples=80)
@given(node=predicates)
def test_a_predicate_matches_the_rows_for_which_a_naive_reading_is_true(node: Node) -> None:
    text, holds = node
    assert ids(text) == "".join(row["item_id"] for row in ROWS if holds(row) is True)


@pytest.mark.parametrize("where", ["a == 1 or b == 1 and c == 1", "not a == 1 or b == 1", "not a == 1 and not b == 1"])
def test_words_bind_as_in_python(where: str) -> None:
    rows = [{"a": a, "b": b, "c": c} for a in (0, 1) for b in (0, 1) for c in (0, 1)]
    frame = pl.DataFrame(rows).with_columns(item_id=pl.Series(list("ijklmnop")))
    expected = {"a == 1 or b == 1 and c == 1": "lmnop", "not a == 1 or b == 1": "ijklop", "not a == 1 and not b == 1": "ij"}
    assert ids(where, frame) == expected[where]


def test_item_ids_that_are_numbers_compare_with_numbers() -> None:
    frame = pl.DataFrame({"item_id": [10, 20], "x": [1, 2]})
    assert matching(catalog(frame), "item_id == 20").tolist() == [False, True]


def test_the_title_is_the_one_people_see_where_the_file_has_no_column_of_that_name() -> None:
    made = Catalog.from_frame(pl.DataFrame({"item_id": [1, 2], "name": ["  A  b ", "C"]}), text=["name"])
    assert matching(made, 'title == "A b"').tolist() == [True, False]
    blank = Catalog.without_text(IdMap(pl.Series([1, 2, 3]), "item"))
    assert matching(blank, "title is None").tolist() == [True] * 3


def test_names_that_are_no_words_are_written_with_col() -> None:
    frame = pl.DataFrame({"item_id": ["a", "b"], "odd name": [1, 2], "class": [1, 2], "__x__": [1, 2]})
    for name in ("odd name", "class", "__x__"):
        assert ids(f'col("{name}") == 2', frame) == "b"


def test_an_expression_from_python_is_taken_as_it_is() -> None:
    assert ids(pl.col("price") < 20) == "abf"
    assert ids(~(pl.col("price") < 20)) == "de"  # polars holds NaN for larger than any number
    assert ids(pl.col("item_id") == "b") == "b"


def test_an_instant_with_an_offset_is_the_same_instant() -> None:
    at = datetime(2024, 5, 31, 18, tzinfo=UTC)
    frame = pl.DataFrame({"item_id": ["a"], "at": [at]})
    assert ids('at == "2024-05-31T20:00:00+02:00"', frame) == "a"
