"""A predicate that does not fit, or is none, is refused by the piece that offends, and no code is ever run."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from recsys.data.filters import matching, parse
from recsys.errors import ConfigError
from tests.data.test_filters import FRAME, catalog, ids
from tests.data.worlds import refused


@pytest.mark.parametrize(
    ("where", "words"),
    [
        (pl.col("price"), ["6 rows of Float64 for 6 items", "one truth value for each"]),
        (pl.col("toy").any(), ["1 rows of Boolean for 6 items"]),
        (pl.col("toy").drop_nulls(), ["4 rows"]),
        (pl.col("toy", "price").is_null(), ["6 rows of Boolean, Boolean"]),
        (pl.col("prize") < 2, ["prize", "item_id", "price", "genres"]),
        (pl.col("brand") + 1 > 2, ["cannot be computed"]),
    ],
)
def test_an_expression_that_is_no_truth_value_per_item_is_refused(where: pl.Expr, words: list[str]) -> None:
    with refused(*words, error=ConfigError):
        matching(catalog(), where)


def test_what_is_neither_text_nor_expression_is_refused() -> None:
    with refused("or a polars expression", "42", error=ConfigError):
        matching(catalog(), 42)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ('price < "cheap"', ["'price' of type Float64", "'cheap'", "a number"]),
        ("brand == 3", ["'brand' of type String", "compared with 3", "a text"]),
        ("price == True", ["'price' of type Float64", "True", "a number"]),
        ("toy == 1", ["'toy' of type Boolean", "True or False"]),
        ("toy < True", ["'toy' of type Boolean", "no order"]),
        ("tags < 3", ["'tags' of type List(String)", "3 in tags"]),
        ('tags == "x"', ["'tags' of type List(String)", "'x' in tags"]),
        ('tags in ["x"]', ["'tags' of type List(String)", "'x' in tags"]),
        ("tags == brand", ["'tags' of type List(String)", "'brand' of type String"]),
        ("price == brand", ["'price' of type Float64", "'brand' of type String"]),
        ("3 in tags", ["'tags' of type List(String)", "3", "a text"]),
        ("5 in price", ["'price' of type Float64", "price == 5"]),
        ('price in [1, "x"]', ["'price'", "'x'"]),
        ("price in []", ["'price'", "empty list"]),
        ("price in [None]", ["price is None"]),
        ("price == None", ["price is None"]),
        ("None in tags", ["tags"]),
        ("price", ["'price' of type Float64", "neither true nor false"]),
        ("prise < 20", ["no column 'prise'", "did you mean price?", "stock", "title", "item_id"]),
        ('col("nothing like it") == 1', ["no column 'nothing like it'", "it has item_id"]),
    ],
)
def test_a_column_and_a_value_that_do_not_fit_are_both_named(where: str, words: list[str]) -> None:
    with refused(*words, error=ConfigError):
        matching(catalog(), where)


@pytest.mark.parametrize(
    ("where", "piece"),
    [
        ("price + 1 < 20", "price + 1"),
        ("-price < 20", "-price"),
        ("price < 2 ** 3", "2 ** 3"),
        ("price < 9 ** 9 ** 9 ** 9", "9 ** 9 ** 9 ** 9"),
        ("+price < 20", "+price"),
        ("~toy", "~toy"),
        ("abs(price) < 2", "abs(price)"),
        ('col("price", 1) < 2', "col("),
        ('col(name="price") < 2', "col("),
        ("col(price) < 2", "col(price)"),
        ("brand.upper() == 'X'", "brand.upper()"),
        ("brand.name == 'X'", "brand.name"),
        ("tags[0] == 'x'", "tags[0]"),
        ("(lambda: True)", "lambda: True"),
        ('f"{price}" == brand', "{price}"),
        ("[x for x in tags]", "[x for x in tags]"),
        ("any(x for x in tags)", "any("),
        ("(y := price) < 2", "y := price"),
        ("toy if price else toy", "toy if price else toy"),
        ("{1: 2}", "{1: 2}"),
        ("price in {1, 2}", "{1, 2}"),
        ("price in stock", "price"),
        ("'a' in 'abc'", "'abc'"),
        ("price is 5", "5"),
        ("5 is None", "5"),
        ("1 < 2", "2"),
        ("1 < 2 < price", "2"),
        ("True", "True"),
        ("'text'", "text"),
        ("...", "..."),
        ("price == ...", "..."),
        ("brand == b'x'", "b'x'"),
        ("price == 2j", "2j"),
        ("brand == -'x'", "-'x'"),
        ("price < -True", "-True"),
        ("price < 1e999", "1e999"),
        ("price < 99999999999999999999", "99999999999999999999"),
        (r"brand == '\ud800'", r"ud800"),
        ("[price < 2]", "[price < 2]"),
        ("*tags", "*tags"),
        ("(await price)", "await price"),
        ("(yield)", "yield"),
    ],
)
def test_anything_else_is_refused_by_the_piece_that_offends(where: str, piece: str) -> None:
    with refused(piece, error=ConfigError):
        parse(where, FRAME.schema)


@pytest.mark.parametrize(
    "where",
    [
        '__import__("os").system("touch {}")',
        'price < __import__("os").system("touch {}")',
        '[c for c in ().__class__.__base__.__subclasses__() if open("{}", "w")]',
        "exec(\"open('{}', 'w')\")",
        "eval(\"open('{}', 'w')\") or toy",
        'open("{}", "w") == price',
        "f\"{{open('{}', 'w')}}\" == brand",
        '(lambda: open("{}", "w"))()',
        'brand.__class__.__mro__[1].__subclasses__() or open("{}", "w")',
        'col(open("{}", "w").name) == 1',
        '[open("{}", "w")] == price',
        'price in [open("{}", "w")]',
        'toy or open("{}", "w")',
    ],
)
def test_no_code_is_ever_run(where: str, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    with pytest.raises(ConfigError, match="the predicate"):
        matching(catalog(), where.format(mark))
    assert not mark.exists()


@pytest.mark.parametrize("name", ["__import__", "__builtins__", "__class__"])
def test_dunder_names_are_refused_even_where_nothing_is_called(name: str) -> None:
    with refused(name, "not allowed", error=ConfigError):
        parse(f"{name} == 1", FRAME.schema)


@pytest.mark.parametrize(
    "where",
    [
        "(" * 300 + "toy" + ")" * 300,
        "not " * 2000 + "toy",
        "-" * 9000 + "1 < price",
        "(toy and " * 60 + "toy" + ")" * 60,
        "[" * 150 + "]" * 150,
        "price < " + "9" * 5000,
        "price <",
        "price < 20; toy",
        "import os",
        "toy = True",
        "",
        "   \n ",
        "a\0b",
        "brand == '\ud800'",
    ],
    ids=lambda where: repr(where[:12]),
)
def test_what_is_too_deep_or_no_predicate_at_all_is_refused_and_not_a_crash(where: str) -> None:
    with pytest.raises(ConfigError, match="predicate"):
        parse(where, FRAME.schema)


def test_a_predicate_of_more_than_ten_thousand_characters_is_refused_and_its_message_is_short() -> None:
    longest = "toy" + " or toy" * 1428
    assert len(longest) == 9999
    assert ids(longest) == "ad"
    with refused("10,006 characters", "10,000", error=ConfigError):
        parse(longest + " or toy", FRAME.schema)
    with pytest.raises(ConfigError) as caught:
        parse(f"price == '{'x' * 9000}'", FRAME.schema)
    assert len(str(caught.value)) < 500


def test_a_moderate_nest_is_read() -> None:
    assert ids("not " * 40 + "toy") == "ad"


def test_a_refusal_says_what_is_allowed() -> None:
    with refused("columns", "and, or, not", "is None", "in", 'col("odd name")', error=ConfigError):
        parse("price + 1 < 2", FRAME.schema)
