"""One rule of ids, wherever they come from."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from recsys.core.id_map import IdMap
from recsys.core.schema import canonical_ids
from recsys.data.catalog import Catalog
from recsys.data.interactions import Interactions
from recsys.data.join import check_join
from recsys.data.read import read_catalog, read_interactions, read_user_table, read_users
from recsys.data.summary import summary
from recsys.errors import DataError
from tests.data.worlds import parquet, refused, written

WHOLE = {
    "integers": pl.Series([4, 7]),
    "floats": pl.Series([4.0, 7.0]),
    "32-bit floats": pl.Series([4.0, 7.0], dtype=pl.Float32),
    "text": pl.Series(["4", "7"]),
    "text of pandas": pl.Series(["4.0", "7.0"]),
    "both kinds of text": pl.Series(["4", "7.0"]),
    "decimals": pl.Series(["4.0", "7.0"]).cast(pl.Decimal(10, 1)),
}


@pytest.mark.parametrize("ids", WHOLE.values(), ids=WHOLE)
def test_a_whole_number_is_the_same_id_however_it_is_written(ids):
    assert canonical_ids(ids).to_list() == [4, 7]
    assert IdMap(pl.Series([7, 4]), "item").find_rows(ids).tolist() == [1, 0]


@pytest.mark.parametrize("asked", [[4], [4.0], ["4"], ["4.0"], [np.float32(4)], np.array([4.0]), (4,)], ids=str)
def test_a_request_finds_a_whole_number_however_it_is_written(asked):
    assert IdMap(pl.Series([7, 4]), "item").to_rows(asked).tolist() == [1]


def test_among_text_a_float_that_is_whole_is_its_integer():
    known = IdMap(pl.Series(["A1", "4", "true"]), "item")
    assert known.find_rows([4.0]).tolist() == known.find_rows(pl.Series([4.0])).tolist() == [1]
    assert known.find_rows([True]).tolist() == known.find_rows(pl.Series([True])).tolist() == [2]


@pytest.mark.parametrize("ids", [["007", "8.0"], ["A", "4.0"], ["4.0", "4.5"], ["4.00", "5"]], ids=str)
def test_a_column_that_holds_other_text_too_is_kept_as_it_is_written(ids):
    assert canonical_ids(pl.Series(ids)).to_list() == ids


def test_a_part_of_a_column_of_text_does_not_change_its_ids():
    log = Interactions.from_frame(pl.DataFrame({"user_id": ["A", "4.0"], "item_id": [1, 2]}))
    assert log.select(np.array([False, True])).compact().users.ids.to_list() == ["4.0"]


def log_file(folder: Path, *ids: object) -> Path:
    return written(folder / "log.csv", "user_id,item_id\n" + "".join(f"u,{one}\n" for one in ids))


def test_a_log_of_pandas_meets_its_catalogue(tmp_path: Path):
    log = read_interactions(log_file(tmp_path, "4.0", "7.0"))
    catalog = read_catalog(written(tmp_path / "items.csv", "item_id,title\n4,a\n7,b\n"))
    assert catalog.items.find_rows(log.items.ids).tolist() == [0, 1]
    assert summary(log, catalog)["catalogue"]["interacted_but_not_in_catalogue"] == 0


@pytest.mark.parametrize("dtype", [pl.Float64, pl.Float32])
def test_floats_too_large_to_be_told_apart_are_refused(tmp_path: Path, dtype):
    large = 2**53 if dtype == pl.Float64 else 2**24
    file = parquet(tmp_path / "a.parquet", user_id=pl.Series([1.0, large + 1], dtype=dtype), item_id=[1, 2])
    with refused(file, "column 'user_id'", "row 2", "different ids have become one", "as integers or text"):
        read_interactions(file)
    with refused("row 1 is 9007199254740992.0", "float too large"):
        read_interactions(log_file(tmp_path, "9007199254740993.0"))


@pytest.mark.parametrize("word", ["NULL", "null", "None", "\\N", "NA", "nan", "NaN", "N/A", "<NA>"])
def test_words_for_a_missing_value_are_no_ids(tmp_path: Path, word):
    with refused("column 'item_id'", f"2 of 4 ids are words for a missing value, the first is {word!r} in row 2"):
        read_interactions(log_file(tmp_path, "a", word, word, "b"))
    read = read_interactions(log_file(tmp_path, "a", word, word, "b"), null_values="nothing")
    assert word in read.items.ids.to_list()
    with refused("2 of 4 rows have no value"):
        read_interactions(log_file(tmp_path, "a", word, word, "b"), null_values=[word])


def test_words_for_a_missing_value_in_a_frame_are_told(caplog):
    Interactions.from_frame(pl.DataFrame({"user_id": ["NULL", "a", "NULL"], "item_id": [1, 2, 3]}))
    assert "2 of 3 ids are words for a missing value" in caplog.text


def test_words_in_catalogue_and_users_are_no_ids(tmp_path: Path):
    file = written(tmp_path / "items.csv", "item_id,title\nNULL,a\n7,b\n")
    with refused(file, "1 of 2 ids is a word for a missing value"):
        read_catalog(file)
    with refused(file, "1 of 2 ids is a word for a missing value"):
        read_users(file, "item_id", "title")


def test_blanks_around_ids_are_kept_with_a_warning(tmp_path: Path, caplog):
    log = read_interactions(log_file(tmp_path, " a", "a"))
    assert log.items.ids.to_list() == [" a", "a"]
    assert "1 of 2 ids have blanks around them, such as ' a' in row 1" in caplog.text


# Tables that should meet the log.


def items(*ids: object) -> IdMap:
    return IdMap(pl.Series(ids), "item")


def test_a_table_that_has_none_of_the_ids_is_refused_with_ids_of_both_sides():
    with refused(
        "none of the 2 items of the log is in the catalogue", "the log has 'x', 'y'", "the catalogue has 'a', 'b'"
    ):
        check_join(pl.Series(["x", "y"]), items("a", "b"), "the catalogue")


@pytest.mark.parametrize(
    ("wanted", "known"),
    [(["007", "008"], [7, 8]), ([" a", "b "], ["a", "b"]), (["Ab"], ["aB"])],
    ids=["zeros", "blanks", "case"],
)
def test_what_would_make_them_meet_is_said(wanted, known):
    with refused("100% would be found", "write them alike"):
        check_join(pl.Series(wanted), items(*known), "the catalogue")


def test_a_table_that_has_few_of_the_ids_is_told(caplog):
    assert check_join(pl.Series(["a", "x", "y"]), items("a", "b"), "the catalogue") == pytest.approx(1 / 3)
    assert "only 1 of the 3 items of the log are in the catalogue: the log has 'x', 'y'" in caplog.text
    caplog.clear()
    assert check_join(pl.Series(["a", "b", "y"]), items("a", "b", "c", "d"), "the catalogue") == pytest.approx(2 / 3)
    assert caplog.text == ""


def test_inspect_warns_of_a_catalogue_that_does_not_join(tmp_path: Path, caplog):
    log = read_interactions(log_file(tmp_path, "a", "b"))
    summary(log, Catalog.from_frame(pl.DataFrame({"item_id": ["x"], "title": ["t"]}), text=["title"]))
    assert "none of the 2 items of the log is in the catalogue" in caplog.text


def test_a_user_table_reads_ids_as_the_log_does(tmp_path: Path):
    file = written(tmp_path / "users.csv", "user_id,age\n4.0,30\n7.0,40\n")
    assert read_user_table(file, numeric=["age"]).users.ids.to_list() == [4, 7]


def test_an_id_that_occurs_in_both_notations_is_one_too_many(tmp_path: Path):
    with pytest.raises(DataError, match="more than once"):
        read_catalog(written(tmp_path / "items.csv", "item_id,title\n4,a\n4.0,b\n"))
