"""Ranking rules in a file: all that it says is read, and what is wrong is refused by file, rule and key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from recsys.core.ragged import Ragged
from recsys.data.catalog import Catalog
from recsys.errors import ConfigError, DataError, UnknownIdError
from recsys.serving.rules.bind import bind
from recsys.serving.rules.file import Boost, Cap, Diversity, Exclude, Freshness, Pin
from recsys.serving.rules.spec import Rules
from tests.serving.test_rules import CATALOG, NOW, VECTORS, falling, ranked_of

WHOLE = """
pool = 500

[[exclude]]
where = "price is None"

[[boost]]
name = "own brand"
where = 'brand == "A" and price < 20'
times = 1.5

[[boost]]
items = ["i7", "i9"]
add = -1

[[pin]]
item = "i4"
position = 1

[[cap]]
column = "brand"
at_most = 2

[diversity]
lambda = 0.5
pool = 50

[freshness]
column = "published"
half_life_days = 30
weight = 0.5
"""


def written(folder: Path, text: str) -> Path:
    file = folder / "rules.toml"
    file.write_text(text)
    return file


def test_a_file_says_everything_that_rules_can_say(tmp_path: Path) -> None:
    file = written(tmp_path, WHOLE)
    assert Rules.read(file) == Rules(
        exclude=(Exclude(name="exclude 1", where="price is None"),),
        boost=(
            Boost(name="own brand", where='brand == "A" and price < 20', times=1.5),
            Boost(name="boost 2", items=("i7", "i9"), add=-1),
        ),
        pin=(Pin(name="pin 1", item="i4", position=1),),
        cap=(Cap(name="cap 1", column="brand", at_most=2),),
        diversity=Diversity(name="diversity", trade=0.5, pool=50),
        freshness=Freshness(name="freshness", column="published", half_life_days=30, weight=0.5),
        pool=500,
        source=str(file),
    )
    bind(Rules.read(file), CATALOG, VECTORS)


def test_an_empty_file_is_no_rules(tmp_path: Path) -> None:
    file = written(tmp_path, "")
    assert Rules.read(file) == Rules(source=str(file))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[[boots]]", ["'boots'", "did you mean boost?", "[[exclude]]", "[diversity]"]),
        ("pol = 3", ["'pol'", "[[pin]]"]),
        ("pool = 0", ["pool", "from 1", "0"]),
        ("pool = true", ["pool", "True"]),
        ("[boost]\nadd = 1", ["boost", "[[boost]]"]),
        ("[[diversity]]", ["diversity", "[diversity] once"]),
        ("boost = [3]", ["[[boost]] 1", "table", "3"]),
        ("[[boost]]\nadd = 1", ["[[boost]] 1", "where", "items"]),
        ('[[boost]]\nitems = ["a"]\nwhere = "x"\nadd = 1', ["[[boost]] 1", "either where"]),
        ('[[boost]]\nitems = ["a"]\nadd = 1\ntimes = 2', ["[[boost]] 1", "either add", "times"]),
        ('[[boost]]\nitems = ["a"]', ["[[boost]] 1", "either add", "times"]),
        ('[[boost]]\nitems = ["a"]\ntimes = -1', ["[[boost]] 1", "times must be at least 0, not -1"]),
        ('[[boost]]\nitems = ["a"]\nadd = "much"', ["[[boost]] 1", "add must be a finite number, not 'much'"]),
        ('[[boost]]\nitems = ["a"]\nadd = nan', ["add must be a finite number"]),
        ('[[boost]]\nitems = ["a"]\nadd = true', ["add must be a finite number, not True"]),
        ("[[boost]]\nitems = []\nadd = 1", ["items must be a list of ids, not empty"]),
        ("[[boost]]\nitems = [1.5]\nadd = 1", ["items must be a list of ids", "1.5"]),
        ('[[boost]]\nwhere = " "\nadd = 1', ["where must be a text that is not blank"]),
        (
            '[[exclude]]\nitems = ["a"]\n[[exclude]]\nitem = ["a"]',
            ["[[exclude]] 2", "'item'", "did you mean items?", "where"],
        ),
        ("[[pin]]\nposition = 1", ["[[pin]] 1 needs item"]),
        ('[[pin]]\nitem = "a"', ["[[pin]] 1 needs position: a whole number"]),
        ('[[pin]]\nitem = "a"\nposition = 0', ["[[pin]] 1", "position must be at least 1, not 0"]),
        ('[[pin]]\nitem = "a"\nposition = 1.0', ["position must be a whole number, not 1.0"]),
        ('[[pin]]\nitem = "a"\nposition = 1\n[[pin]]\nitem = "b"\nposition = 1', ["position 1", "move one"]),
        ('[[pin]]\nitem = "a"\nposition = 1\n[[pin]]\nitem = "a"\nposition = 2', ["'a' is pinned twice"]),
        ('[[cap]]\ncolumn = "brand"\nat_most = 0', ["[[cap]] 1", "at_most must be at least 1, not 0"]),
        ("[[cap]]\nat_most = 1", ["[[cap]] 1 needs column"]),
        ("[diversity]\nlambda = 1.5", ["[diversity]", "lambda must lie in [0, 1], not 1.5"]),
        ("[diversity]\ntrade = 0.5", ["[diversity]", "'trade'", "lambda, name, pool"]),
        ("[diversity]\npool = 0", ["[diversity]", "pool must be at least 1"]),
        (
            '[freshness]\ncolumn = "t"\nhalf_life_days = 0\nweight = 1',
            ["[freshness]", "half_life_days must be above 0, not 0"],
        ),
        ('[freshness]\ncolumn = "t"\nhalf_life_days = 3\nweight = -1', ["[freshness]", "weight must be above 0, not -1"]),
        ('[freshness]\ncolumn = "t"\nweight = 1', ["[freshness] needs half_life_days"]),
        ('[[cap]]\nname = "x"\ncolumn = "a"\nat_most = 1\n[diversity]\nname = "x"', ["two rules are called 'x'"]),
        ("[[boost]\n", ["not valid TOML"]),
    ],
)
def test_a_wrong_file_is_refused_by_file_rule_and_key(text: str, words: list[str], tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        Rules.read(written(tmp_path, text))
    for word in ["rules.toml", *words]:
        assert word in str(caught.value)


def test_a_file_that_is_not_there_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.toml cannot be read"):
        Rules.read(tmp_path / "absent.toml")


@pytest.mark.parametrize(
    ("tables", "error", "words"),
    [
        ({"boost": [{"where": "prize < 3", "add": 1}]}, ConfigError, ["'boost 1'", "'prize'", "did you mean price?"]),
        ({"exclude": [{"name": "old", "where": "price < 'x'"}]}, ConfigError, ["'old'", "'price' of type Float64", "'x'"]),
        ({"exclude": [{"items": ["i1", "nope"]}]}, UnknownIdError, ["'exclude 1'", "unknown item 'nope'"]),
        ({"pin": [{"item": "nope", "position": 1}]}, UnknownIdError, ["'pin 1'", "unknown item 'nope'"]),
        ({"cap": [{"column": "colour", "at_most": 1}]}, ConfigError, ["'cap 1'", "no column 'colour'", "brand"]),
        (
            {"freshness": {"column": "brand", "half_life_days": 1, "weight": 1}},
            DataError,
            ["'freshness'", "column 'brand'", "row 1 is 'A'", "seconds since 1970"],
        ),
        ({"freshness": {"column": "born", "half_life_days": 1, "weight": 1}}, ConfigError, ["no column 'born'"]),
    ],
)
def test_rules_that_do_not_fit_the_catalogue_are_refused_by_file_and_rule(
    tables: dict[str, Any], error: type[Exception], words: list[str]
) -> None:
    with pytest.raises(error) as caught:
        bind(Rules.of(tables, "shop.toml"), CATALOG, VECTORS)
    for word in ["shop.toml: rule", *words]:
        assert word in str(caught.value)


def test_one_item_pinned_by_two_writings_of_its_id_is_refused() -> None:
    numbers = Catalog.from_frame(pl.DataFrame({"item_id": [1, 2]}), text=[])
    rules = Rules.of({"pin": [{"item": 2, "position": 1}, {"item": "2", "position": 2}]})
    with pytest.raises(ConfigError, match="pinned twice"):
        bind(rules, numbers, np.ones((2, 3), dtype=np.float32))


def test_a_cap_on_a_column_of_structures_is_refused_by_its_type() -> None:
    odd = Catalog.from_frame(pl.DataFrame({"item_id": [1], "size": [{"w": 1}]}), text=[])
    with pytest.raises(ConfigError, match="'size' is of type Struct"):
        bind(Rules.of({"cap": [{"column": "size", "at_most": 1}]}), odd, np.ones((1, 3), dtype=np.float32))


def test_vectors_of_another_catalogue_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"shape \(5, 4\) do not fit a catalogue of 12 items"):
        bind(Rules.of({}), CATALOG, VECTORS[:5])


def test_a_k_below_1_and_the_wrong_number_of_exclusions_are_refused() -> None:
    bound = bind(Rules.of({}), CATALOG, VECTORS)
    with pytest.raises(ConfigError, match="k must be at least 1"):
        bound.apply(ranked_of(falling(1)), 0, request_time=NOW)
    with pytest.raises(ConfigError, match="k must be at least 1"):
        bound.pool(0)
    with pytest.raises(ConfigError, match="2 lists for 1 requests"):
        bound.apply(ranked_of(falling(1)), 1, request_time=NOW, exclude=Ragged.empty(2))


def test_rules_cannot_be_changed_once_read() -> None:
    with pytest.raises(AttributeError):
        Rules.of({}).pool = 3  # type: ignore[misc]
