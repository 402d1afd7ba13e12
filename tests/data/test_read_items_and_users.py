"""Catalogues and tables of users come from every format alike; what cannot be read is refused by name."""

import gzip
from pathlib import Path

import polars as pl
import pytest

from recsys.data.read import read_catalog, read_user_table, read_users
from tests.data.test_read import csv_log, delimited
from tests.data.worlds import parquet, refused, written

# Catalogues.


def test_every_format_gives_the_same_catalogue(tmp_path: Path):
    rows = [("1", "Léon: the film", "Crime|Drama"), ("b", "Up", "Comedy")]
    names = ["item_id", "title", "genres"]
    frame = pl.DataFrame(rows, schema=names, orient="row")
    frame.write_parquet(tmp_path / "a.parquet")
    written(tmp_path / "a.ndjson", frame.write_ndjson())
    written(tmp_path / "a.csv", delimited(rows, ",", names))
    written(tmp_path / "a.tsv.gz", gzip.compress(delimited(rows, "\t", names).encode()))
    written(tmp_path / "a.dat", delimited(rows, "::", None).encode("latin-1"))
    for name in ("a.parquet", "a.ndjson", "a.csv", "a.tsv.gz", "a.dat"):
        catalog = read_catalog(tmp_path / name)
        assert catalog.items.ids.to_list() == ["1", "b"]
        assert catalog.texts.to_list() == ["Léon: the film. Crime, Drama", "Up. Comedy"]
        assert catalog.titles.to_list() == ["Léon: the film", "Up"]
        assert catalog.columns.to_dict(as_series=False) == {
            "title": ["Léon: the film", "Up"],
            "genres": ["Crime|Drama", "Comedy"],
        }


def test_the_text_columns_are_those_of_the_usual_names_by_default(tmp_path: Path):
    file = csv_log(tmp_path, "item_id,price,brand,title", "a,5,Acme,Car")
    assert read_catalog(file).text_columns == ("title", "brand")
    assert read_catalog(file).texts.to_list() == ["Car. Acme"]


def test_text_title_and_item_columns_may_be_named(tmp_path: Path):
    file = csv_log(tmp_path, "sku,headline,blurb", "a,H,B")
    catalog = read_catalog(file, item="sku", text=["blurb", "headline"], title="headline")
    assert (catalog.texts.to_list(), catalog.titles.to_list()) == (["B. H"], ["H"])
    assert catalog.columns.columns == ["headline", "blurb"]


def test_the_id_may_be_the_text(tmp_path: Path):
    file = csv_log(tmp_path, "item_id", "red car")
    assert read_catalog(file, text=["item_id"]).texts.to_list() == ["red car"]
    file = csv_log(tmp_path, "sku", "red car")
    assert read_catalog(file, item="sku", text=["sku"]).texts.to_list() == ["red car"]


def test_catalogue_files_with_different_columns_are_joined(tmp_path: Path):
    full = written(tmp_path / "1.csv", "item_id,title,description,price\n1,A,about a,5\n")
    bare = written(tmp_path / "2.csv", "item_id,title,colour\nx,B,red\n")
    for source in ([full, bare], [bare, full]):
        catalog = read_catalog(source)
        known = dict(zip(catalog.items.ids, catalog.texts, strict=True))
        assert known == {"1": "A. about a", "x": "B"}
        assert set(catalog.columns.columns) == {"title", "description", "price", "colour"}
        assert catalog.text_columns == ("title", "description")


def test_catalogue_ids_of_different_types_are_joined(tmp_path: Path):
    one = parquet(tmp_path / "1.parquet", item_id=pl.Series([1], dtype=pl.UInt64), title=["a"])
    two = parquet(tmp_path / "2.parquet", item_id=pl.Series(["2"], dtype=pl.Enum(["2"])), title=["b"])
    assert read_catalog([one, two]).items.ids.to_list() == [1, 2]


def test_a_repeated_item_is_refused_by_its_rows(tmp_path: Path):
    file = csv_log(tmp_path, "item_id,title", "a,A", "b,B", "a,C", "c,C", "c,C", "a,D")
    with refused(
        file,
        "column 'item_id'",
        "the item id 'a' occurs more than once, in rows 1 and 3",
        "2 items are repeated",
        "one row",
    ):
        read_catalog(file)


def test_an_item_repeated_across_files_is_refused_by_both(tmp_path: Path):
    one = parquet(tmp_path / "1.parquet", item_id=[5, 7], title=["a", "b"])
    two = parquet(tmp_path / "2.parquet", item_id=["x", "7"], title=["c", "d"])
    three = parquet(tmp_path / "3.parquet", item_id=["x", "y"], title=["c", "d"])
    with refused(f"the item id '7' is in {one} and again in {two}", "each item must have one row"):
        read_catalog([one, two])
    with refused(f"the item id 'x' is in {two} and again in {three}"):
        read_catalog([two, three])


def test_a_catalogue_without_a_text_column_is_refused(tmp_path: Path):
    file = csv_log(tmp_path, "item_id,price", "a,5")
    with refused(file, "name the columns of the text", "text=[...] (--text)", "its columns are item_id, price"):
        read_catalog(file)


@pytest.mark.parametrize("options", [{"text": ["nope"]}, {"title": "nope"}, {"item": "nope"}])
def test_a_catalogue_column_that_was_named_and_is_missing_is_refused(tmp_path: Path, options):
    file = csv_log(tmp_path, "sku,title", "a,A")
    with refused(file, "no column 'nope'", "its columns are sku, title"):
        read_catalog(file, **{"item": "sku", **options})


def test_an_id_column_beside_one_called_item_id_is_refused(tmp_path: Path):
    file = csv_log(tmp_path, "sku,item_id,title", "a,7,A")
    with refused(file, "a column 'item_id' beside 'sku'", "rename one of them"):
        read_catalog(file, item="sku")


def test_a_null_item_in_a_catalogue_is_refused(tmp_path: Path):
    file = csv_log(tmp_path, "item_id,title", "a,A", ",B")
    with refused(file, "column 'item_id'", "row 2"):
        read_catalog(file)


def test_catalogue_files_whose_columns_clash_in_type_are_refused_by_name(tmp_path: Path):
    one = parquet(tmp_path / "1.parquet", item_id=[1], title=["a"], tags=[["x"]])
    two = parquet(tmp_path / "2.parquet", item_id=[2], title=["b"], tags=["x"])
    with refused("differs in type between the files", one, two):
        read_catalog([one, two])


# Users.


def test_the_columns_of_users_come_as_they_are_written(tmp_path: Path):
    file = written(tmp_path / "users.dat", "1::F::25::7::90210\n2::M::1::0::02139\n")
    assert read_users(file, "user_id", "age", "zip").rows() == [(1, "25", "90210"), (2, "1", "02139")]


def test_a_table_of_users_is_read_into_codes(tmp_path: Path):
    written(tmp_path / "users" / "1.csv", "id,city,age\nu,Rome,30\nv,,50\n")
    written(tmp_path / "users" / "2.csv", "id,city,age\nw,Oslo,\n")
    table = read_user_table(tmp_path / "users", user="id", categorical=["city"], numeric=["age"], buckets=2)
    assert table.users.ids.to_list() == ["u", "v", "w"]
    assert table.names == ("city", "age")
    assert table.codes.tolist() == [[2, 1], [0, 2], [1, 0]]


def test_a_user_without_an_id_is_refused_by_file_and_row(tmp_path: Path):
    file = csv_log(tmp_path, "user_id,city", "u,Rome", ",Oslo")
    with refused(file, "column 'user_id'", "row 2"):
        read_user_table(file, categorical=["city"])


def test_a_user_table_is_refused_by_its_file(tmp_path: Path):
    one = written(tmp_path / "users" / "1.csv", "user_id,age\nu,30\nv,old\n")
    with refused(f"{one}, column 'age': row 2 is 'old', expected a finite number"):
        read_user_table(one, numeric=["age"])
    two = written(tmp_path / "users" / "2.csv", "user_id,age\nu,31\n")
    with refused(f"the user id 'u' is in {one} and again in {two}; each user must have one row"):
        read_user_table(tmp_path / "users", numeric=["age"])
    written(tmp_path / "users" / "2.csv", "user_id,age\nw,31\n")
    with refused(f"{one} and 1 more files, rows counted through all, column 'age': row 2 is 'old'"):
        read_user_table(tmp_path / "users", numeric=["age"])
