"""Separators, quotes and words for nothing: as the caller says, or as the file shows, and then told."""

import logging
from pathlib import Path

import pytest

from recsys.data.formats.dialect import Dialect
from recsys.data.formats.table import collect
from recsys.data.read import read_catalog, read_interactions, read_items, read_user_table, read_users
from recsys.errors import ConfigError
from tests.data.worlds import parquet, refused, written

WANTED = {"user_id": "user_id", "item_id": "item_id"}


def rows(file: Path, **dialect: object) -> list[tuple]:
    return collect(file, None, ("user_id", "item_id"), WANTED, Dialect(**dialect)).rows()


def table(separator: str) -> str:
    return "".join(
        separator.join(row) + "\n" for row in [("user_id", "price", "item_id"), ("u", "3,5", "i"), ("v", "", "j")]
    )


@pytest.mark.parametrize(
    ("name", "separator"), [("a.csv", ";"), ("a.csv", "\t"), ("a.csv", "|"), ("a.tsv", ";"), ("a.txt", "|")]
)
def test_another_separator_is_found_and_told_in_one_line(tmp_path: Path, name, separator, caplog):
    caplog.set_level(logging.INFO, "recsys")
    assert rows(written(tmp_path / name, table(separator))) == [("u", "i"), ("v", "j")]
    assert f"separated by {separator!r}" in caplog.text


@pytest.mark.parametrize("separator", [";", "\t", "|", " ", "^"])
def test_the_caller_may_name_the_separator(tmp_path: Path, separator):
    assert rows(written(tmp_path / "a.csv", table(separator)), separator=separator) == [("u", "i"), ("v", "j")]


@pytest.mark.parametrize(
    ("name", "separator"), [("tab", "\t"), ("\\t", "\t"), ("semicolon", ";"), ("pipe", "|"), ("Comma", ",")]
)
def test_separators_have_names_for_the_command_line(name, separator):
    assert Dialect(separator=name).separator == separator


def test_the_format_s_own_separator_wins_where_the_header_has_it(tmp_path: Path, caplog):
    caplog.set_level(logging.INFO, "recsys")
    file = written(tmp_path / "a.csv", "user_id,a|b,item_id\nu,x|y,i\n")
    assert rows(file) == [("u", "i")]
    assert not caplog.records


def test_two_separators_that_would_do_are_refused(tmp_path: Path):
    file = written(tmp_path / "a.csv", "user_id;a|item_id\nu;x|i\n")
    with refused(file, "';' or '|'", "name the right one", "--separator"):
        rows(file)


def test_a_missing_column_hints_at_the_separator(tmp_path: Path):
    file = written(tmp_path / "a.csv", "user_id;price, net;item_id\nu;3;i\n")
    with refused(file, "no column 'user_id'", "name it, separator="):
        rows(file)


def test_another_quote_is_taken_off(tmp_path: Path):
    file = written(tmp_path / "a.csv", "user_id,item_id\nu,'a, \"b\" ''c'''\n")
    assert rows(file, quote="'") == [("u", "a, \"b\" 'c'")]


@pytest.mark.parametrize(
    "options",
    [{"separator": "::"}, {"separator": ""}, {"separator": "\n"}, {"separator": "§"}, {"quote": "''"}, {"quote": "«"},
     {"separator": ",", "quote": ","}, {"null_values": "NA"}],
)  # fmt: skip
def test_what_can_be_no_separator_quote_or_list_is_refused(options):
    with refused(f"{next(iter(options))}=", error=ConfigError):
        Dialect(**options)


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.dat", "a.ndjson", "a.parquet"])
def test_words_for_nothing_are_null_in_every_format(tmp_path: Path, name):
    text = {
        "a.csv": "user_id,item_id\nu,NA\n\\N,j\n",
        "a.tsv": "user_id\titem_id\nu\tNA\n\\N\tj\n",
        "a.dat": "u::NA\n\\N::j\n",
        "a.ndjson": '{"user_id": "u", "item_id": "NA"}\n{"user_id": "\\\\N", "item_id": "j"}\n',
    }
    if name == "a.parquet":
        file = parquet(tmp_path / name, user_id=["u", "\\N"], item_id=["NA", "j"])
    else:
        file = written(tmp_path / name, text[name])
    assert rows(file, null_values=("NA", "\\N")) == [("u", None), (None, "j")]


def test_every_reader_takes_the_same_options(tmp_path: Path):
    options = {"separator": "^", "quote": "'", "encoding": "cp1252", "null_values": ["NA"]}
    text = "user_id^item_id^title^age^timestamp\n1^2^'Zoé ^ x'^30^NA\n"
    file = written(tmp_path / "a.csv", text.encode("cp1252"))
    with refused("1 of 1 rows has no value in the column 'timestamp'"):
        read_interactions(file, **options)
    assert len(read_interactions(file, order="age", **options)) == 1
    assert read_catalog(file, text="title", **options).columns["title"].to_list() == ["Zoé ^ x"]
    assert read_items(file, **options)["timestamp"].to_list() == [None]
    assert read_users(file, "user_id", "title", **options)["title"].to_list() == ["Zoé ^ x"]
    assert read_user_table(file, numeric=["age"], **options).names == ("age",)
