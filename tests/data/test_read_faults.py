"""A log that cannot be read is refused by file, column, row and value."""

from pathlib import Path

import pytest

from recsys.data.read import read_interactions
from tests.data.test_read import NAMES, csv_log, event_file, events
from tests.data.worlds import parquet, refused, written


def test_a_missing_user_column_is_refused(tmp_path: Path):
    with refused(csv_log(tmp_path, "who,item_id", "a,b"), "no column 'user_id'", "its columns are who, item_id"):
        read_interactions(tmp_path)


@pytest.mark.parametrize("option", ["timestamp", "order", "weight", "item"])
def test_a_column_that_was_named_and_is_missing_is_refused(tmp_path: Path, option):
    with refused(event_file(tmp_path, "a.csv"), "no column 'nope'", ", ".join(NAMES)):
        read_interactions(tmp_path, **{option: "nope"})


def test_an_unparsable_timestamp_is_refused_by_row_and_value(tmp_path: Path):
    file = csv_log(tmp_path, "user_id,item_id,timestamp", "a,b,1", "a,c,yesterday")
    with refused(file, "column 'timestamp'", "row 2 is 'yesterday'", "whole seconds since 1970"):
        read_interactions(file)


@pytest.mark.parametrize(("bad", "row"), [(",b", 2), ("  ,b", 2), ('"",b', 2)])
def test_a_null_or_blank_user_is_refused_by_row(tmp_path: Path, bad, row):
    file = csv_log(tmp_path, "user_id,item_id", "a,b", bad, "c,d")
    with refused(file, "column 'user_id'", "1 of 3 rows has no value", f"row {row}", "fill it in, or remove the row"):
        read_interactions(file)


def test_a_null_item_is_refused_under_the_name_in_the_file(tmp_path: Path):
    file = parquet(tmp_path / "a.parquet", user_id=[1, 2], sku=[None, 5])
    with refused(file, "column 'sku'", "row 1"):
        read_interactions(file, item="sku")


def test_a_list_column_is_no_id(tmp_path: Path):
    file = parquet(tmp_path / "a.parquet", user_id=[1, 2], item_id=[[1], [2]])
    with refused(file, "column 'item_id'", "List(Int64)", "whole numbers or text"):
        read_interactions(file)


def test_a_folder_or_glob_with_one_bad_file_names_that_file(tmp_path: Path):
    event_file(tmp_path, "a.csv")
    bad = written(tmp_path / "b.csv", "user_id,item_id,timestamp\na,b,c\n")
    with refused(bad, "row 1 is 'c'"):
        read_interactions(tmp_path)


@pytest.mark.parametrize("option", ["timestamp", "order"])
def test_null_order_values_are_refused_with_a_count(tmp_path: Path, option):
    file = csv_log(tmp_path, "user_id,item_id,n", "u,a,2", "u,b,", "u,c,1", "u,d, ")
    with refused(file, "2 of 4 rows", "column 'n'", "drop_unordered=True", "--drop-unordered"):
        read_interactions(file, **{option: "n"})


@pytest.mark.parametrize("option", ["timestamp", "order"])
def test_null_order_values_are_left_out_when_told_so(tmp_path: Path, option):
    file = csv_log(tmp_path, "user_id,item_id,n", "u,a,2", "u,b,", "u,c,1")
    assert events(file, drop_unordered=True, **{option: "n"})["item_id"] == ["c", "a"]


def test_a_log_of_which_nothing_is_left_is_refused(tmp_path: Path):
    file = csv_log(tmp_path, "user_id,item_id,timestamp", "u,a,", "u,b,")
    with refused(file, "no row has a value in the column that orders the events"):
        read_interactions(file, drop_unordered=True)


@pytest.mark.parametrize("value", ["nan", "lots", "inf", "1e300"])
def test_a_weight_that_is_no_number_is_refused_by_row_and_value(tmp_path: Path, value):
    file = csv_log(tmp_path, "user_id,item_id,stars", "u,a,5", f"u,b,{value}")
    with refused(file, "column 'stars'", f"row 2 is {value!r}"):
        read_interactions(file, weight="stars")


def test_a_nan_weight_in_parquet_is_refused(tmp_path: Path):
    file = parquet(tmp_path / "a.parquet", user_id=[1, 2], item_id=[1, 2], w=[1.0, float("nan")])
    with refused(file, "column 'w'", "row 2 is nan", "a finite number"):
        read_interactions(file, weight="w")


def test_a_missing_weight_is_refused_with_a_count(tmp_path: Path):
    file = csv_log(tmp_path, "user_id,item_id,stars", "u,a,5", "u,b,", "u,c,")
    with refused(file, "2 of 3 rows have no value in the column 'stars'"):
        read_interactions(file, weight="stars")


def test_files_of_which_only_some_have_timestamps_are_refused_by_name(tmp_path: Path):
    timed = written(tmp_path / "1.csv", "user_id,item_id,timestamp\nu,a,5\n")
    bare = written(tmp_path / "2.csv", "user_id,item_id\nu,b\n")
    for source in ([timed, bare], [bare, timed]):
        with refused(f"{timed} has a column 'timestamp' and {bare} has none", "order="):
            read_interactions(source)


def test_a_broken_parquet_log_is_refused(tmp_path: Path):
    file = written(tmp_path / "a.parquet", b"PAR1 and then nothing sensible")
    with refused(f"{file} cannot be read"):
        read_interactions(file)


def test_a_truncated_gzip_log_is_refused(tmp_path: Path):
    for name in ("a.csv.gz", "a.dat.gz", "a.ndjson.gz"):
        file = event_file(tmp_path, name)
        written(file, file.read_bytes()[:-6])
        with refused(file):
            read_interactions(file)


def test_a_ragged_movielens_row_is_refused(tmp_path: Path):
    file = written(tmp_path / "ratings.dat", "1::2::3::4\n1::2::3\n")
    with refused(file, "row 2", "3 fields", "4 are expected", "'1::2::3'"):
        read_interactions(file)


def test_no_file_an_empty_file_and_a_bare_header_are_refused(tmp_path: Path):
    with refused("nowhere.csv does not exist"):
        read_interactions(tmp_path / "nowhere.csv")
    with refused("empty.csv is empty"):
        read_interactions(written(tmp_path / "empty.csv", ""))
    with refused("bare.csv has no rows"):
        read_interactions(written(tmp_path / "bare.csv", "user_id,item_id\n"))
    with refused("holds no file ending in"):
        read_interactions(written(tmp_path / "sub" / "x.txt2", "x").parent)


def test_a_format_that_cannot_be_told_or_is_unknown_is_refused(tmp_path: Path):
    file = written(tmp_path / "u.data", "1\t2\t3\t4\n")
    with refused(file, "set format="):
        read_interactions(file)
    with refused(file, "'xls' is not known; use one of csv"):
        read_interactions(file, format="xls")
