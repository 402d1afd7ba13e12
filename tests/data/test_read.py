import gzip
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from recsys.data.read import read_catalog, read_interactions, read_user_table, read_users
from recsys.errors import ConfigError
from tests.data.worlds import parquet, refused, written

EVENTS = [("7", "i2", 3.0, 300), ("7", "i1", 4.5, 100), ("x", "i2", 1.0, 100), ("7", "i3", 2.0, 200)]
NAMES = ["user_id", "item_id", "rating", "timestamp"]
IN_ORDER = {"user_id": ["7", "7", "7", "x"], "item_id": ["i1", "i3", "i2", "i2"], "timestamp": [100, 200, 300, 100]}


def delimited(rows: list[tuple], separator: str, header: list[str] | None) -> str:
    return "".join(separator.join(map(str, row)) + "\n" for row in ([header] if header else []) + rows)


def event_file(folder: Path, name: str, rows: list[tuple] = EVENTS) -> Path:
    """The events in the format of the name, zipped where it ends so."""
    frame = pl.DataFrame(rows, schema=NAMES, orient="row")
    file = folder / name
    kind = name.removesuffix(".gz").rsplit(".", 1)[1]
    if kind == "parquet":
        frame.write_parquet(file)
        return file
    content = {
        "csv": lambda: delimited(rows, ",", NAMES),
        "tsv": lambda: delimited(rows, "\t", NAMES),
        "dat": lambda: delimited(rows, "::", None),
        "ndjson": frame.write_ndjson,
    }[kind]().encode()
    return written(file, gzip.compress(content) if name.endswith(".gz") else content)


def events(source: object, **options: object) -> dict[str, list]:
    return read_interactions(source, **options).frame().to_dict(as_series=False)


def csv_log(folder: Path, *lines: str) -> Path:
    return written(folder / "log.csv", "\n".join(lines) + "\n")


FORMATS = ["a.csv", "a.tsv", "a.dat", "a.ndjson", "a.parquet", "a.csv.gz", "a.tsv.gz", "a.dat.gz", "a.ndjson.gz"]


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_same_log(tmp_path: Path, name):
    assert events(event_file(tmp_path, name)) == IN_ORDER


def test_equal_logs_from_different_formats_have_equal_fingerprints(tmp_path: Path):
    prints = {read_interactions(event_file(tmp_path, name), weight="rating").fingerprint for name in FORMATS}
    assert len(prints) == 1


def test_a_movielens_log_in_latin1_is_read(tmp_path: Path):
    file = written(tmp_path / "ratings.dat", "Zoé::1::5::10\n".encode("latin-1"))
    assert events(file) == {"user_id": ["Zoé"], "item_id": [1], "timestamp": [10]}


def test_columns_may_be_named_by_the_caller(tmp_path: Path):
    file = csv_log(tmp_path, "when,user_id,visitor,sku,stars", "2,no,a,p,5", "1,no,a,q,3")
    log = read_interactions(file, user="visitor", item="sku", timestamp="when", weight="stars")
    assert log.frame().rows() == [("a", "q", 1, 3.0), ("a", "p", 2, 5.0)]


def test_file_order_is_the_order_where_there_is_no_other(tmp_path: Path):
    log = read_interactions(csv_log(tmp_path, "user_id,item_id", "u,b", "v,c", "u,a", "u,b"))
    assert log.frame().rows() == [("u", "b"), ("u", "a"), ("u", "b"), ("v", "c")]
    assert log.timestamps is None
    assert log.weights is None


def test_ties_keep_file_order(tmp_path: Path):
    shown = [f"i{n * 7 % 50}" for n in range(50)]
    file = csv_log(tmp_path, "user_id,item_id,timestamp", *(f"u,{item},5" for item in shown), "u,first,4")
    assert events(file)["item_id"] == ["first", *shown]


def test_ties_across_files_keep_the_order_of_the_files(tmp_path: Path):
    one = written(tmp_path / "1.csv", "user_id,item_id,timestamp\nu,a,5\nu,b,7\n")
    two = written(tmp_path / "2.csv", "user_id,item_id,timestamp\nu,c,5\nu,d,4\n")
    for source in (tmp_path, f"{tmp_path}/*.csv", [one, two]):
        assert events(source)["item_id"] == ["d", "a", "c", "b"]
    assert events([two, one])["item_id"] == ["d", "c", "a", "b"]


def test_order_wins_over_the_timestamp(tmp_path: Path):
    file = csv_log(tmp_path, "user_id,item_id,timestamp,n", "u,a,1,2", "u,b,2,1", "u,c,3,10")
    assert events(file, order="n")["item_id"] == ["b", "a", "c"]
    assert "timestamp" not in events(file, order="n")
    both = events(file, order="n", timestamp="timestamp")
    assert (both["item_id"], both["timestamp"]) == (["b", "a", "c"], [2, 1, 3])


def test_order_compares_numbers_and_not_their_text(tmp_path: Path):
    file = csv_log(tmp_path, "user_id,item_id,n", "u,a,10", "u,b,9.5", "u,c,-1")
    assert events(file, order="n")["item_id"] == ["c", "b", "a"]


def test_large_order_numbers_that_differ_by_one_are_told_apart(tmp_path: Path):
    file = csv_log(tmp_path, "user_id,item_id,n", "u,a,1700000000000000002", "u,b,1700000000000000001")
    assert events(file, order="n")["item_id"] == ["b", "a"]


START = datetime(2024, 1, 1, tzinfo=UTC)
LATER = START + timedelta(days=1)


@pytest.mark.parametrize(
    "column",
    [
        [int(LATER.timestamp()), int(START.timestamp())],
        [LATER.timestamp(), START.timestamp()],
        [LATER, START],
        [LATER.replace(tzinfo=None), START.replace(tzinfo=None)],
        [date(2024, 1, 2), date(2024, 1, 1)],
        ["2024-01-02T00:00:00Z", "2024-01-01T01:00:00+01:00"],
    ],
    ids=["integers", "floats", "zoned datetimes", "naive datetimes", "dates", "ISO 8601 text"],
)
def test_timestamps_may_be_of_any_kind(tmp_path: Path, column):
    for file in (
        parquet(tmp_path / "a.parquet", user_id=["u", "u"], item_id=["late", "soon"], timestamp=column),
        csv_log(tmp_path, "user_id,item_id,timestamp", f"u,late,{column[0]}", f"u,soon,{column[1]}"),
    ):
        found = events(file)
        assert found["item_id"] == ["soon", "late"]
        assert found["timestamp"] == [int(START.timestamp()), int(LATER.timestamp())]


@pytest.mark.parametrize("dtype", [pl.Datetime("ms"), pl.Datetime("us"), pl.Datetime("ns"), pl.String])
def test_events_within_one_second_are_sorted_by_its_fractions(tmp_path: Path, dtype):
    instants = pl.Series([START.replace(tzinfo=None, microsecond=1000 * n) for n in (900, 100, 500)])
    column = instants.dt.to_string("iso") if dtype == pl.String else instants.cast(dtype)
    found = events(parquet(tmp_path / "a.parquet", user_id=["u"] * 3, item_id=["c", "a", "b"], timestamp=column))
    assert found["item_id"] == ["a", "b", "c"]
    assert found["timestamp"] == [int(START.timestamp())] * 3


def test_seconds_in_one_file_and_dates_in_another_make_one_log(tmp_path: Path):
    one = written(tmp_path / "1.csv", "user_id,item_id,timestamp\nu,a,1704067201\n")
    two = written(tmp_path / "2.csv", "user_id,item_id,timestamp\nu,b,2024-01-01T00:00:00.5\n")
    assert events([one, two]) == {"user_id": ["u"] * 2, "item_id": ["b", "a"], "timestamp": [1704067200, 1704067201]}


def test_ids_that_are_numbers_in_one_file_and_text_in_another_meet(tmp_path: Path):
    one = parquet(tmp_path / "1.parquet", user_id=[1, 2], item_id=pl.Series([7, 8], dtype=pl.UInt64))
    two = parquet(tmp_path / "2.parquet", user_id=["2", "x"], item_id=[7, 9])
    found = events([one, two])
    assert found == {"user_id": ["1", "2", "2", "x"], "item_id": [7, 8, 7, 9]}


def test_leading_zeros_survive(tmp_path: Path):
    assert events(csv_log(tmp_path, "user_id,item_id", "042,007", "42,7")) == {
        "user_id": ["042", "42"],
        "item_id": ["007", "7"],
    }


def test_categories_and_enums_are_ids(tmp_path: Path):
    users = pl.Series(["b", "a"], dtype=pl.Categorical)
    items = pl.Series(["2", "1"], dtype=pl.Enum(["1", "2"]))
    found = events(parquet(tmp_path / "a.parquet", user_id=users, item_id=items))
    assert found == {"user_id": ["b", "a"], "item_id": [2, 1]}


def test_weights_are_kept_and_stay_with_their_event(tmp_path: Path):
    log = read_interactions(event_file(tmp_path, "a.csv"), weight="rating")
    assert log.frame()["weight"].to_list() == [4.5, 2.0, 3.0, 1.0]


def test_reading_twice_gives_the_same_log(tmp_path: Path):
    file = event_file(tmp_path, "a.csv")
    assert read_interactions(file).fingerprint == read_interactions(str(file)).fingerprint


# What cannot be read is refused, by name.


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
    with refused(file, "column 'user_id'", "1 of 3 rows have no value", f"row {row}", "fill it in, or take the row out"):
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
    with refused(file, "no row has a value in the column that orders it"):
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
    with refused("no file at", "nowhere.csv"):
        read_interactions(tmp_path / "nowhere.csv")
    with refused("empty.csv is empty"):
        read_interactions(written(tmp_path / "empty.csv", ""))
    with refused("bare.csv has no rows"):
        read_interactions(written(tmp_path / "bare.csv", "user_id,item_id\n"))
    with refused("holds no file ending in"):
        read_interactions(written(tmp_path / "sub" / "x.txt2", "x").parent)


def test_a_format_that_cannot_be_told_or_is_unknown_is_refused(tmp_path: Path):
    file = written(tmp_path / "u.data", "1\t2\t3\t4\n")
    with refused(file, "say format="):
        read_interactions(file)
    with refused(file, "'xls' is not known; use one of csv"):
        read_interactions(file, format="xls")


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
    with refused(file, "column 'item_id'", "item 'a' stands in rows 1 and 3", "2 items are repeated", "one row"):
        read_catalog(file)


def test_an_item_repeated_across_files_is_refused_by_both(tmp_path: Path):
    one = parquet(tmp_path / "1.parquet", item_id=[5, 7], title=["a", "b"])
    two = parquet(tmp_path / "2.parquet", item_id=["x", "7"], title=["c", "d"])
    three = parquet(tmp_path / "3.parquet", item_id=["x", "y"], title=["c", "d"])
    with refused(f"item '7' stands in {one} and again in {two}", "each item must have one row"):
        read_catalog([one, two])
    with refused(f"item 'x' stands in {two} and again in {three}"):
        read_catalog([two, three])


def test_a_catalogue_without_a_text_column_is_refused(tmp_path: Path):
    file = csv_log(tmp_path, "item_id,price", "a,5")
    with refused(file, "say which columns make the text", "text=[...] (--text)", "it has item_id, price"):
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


# Event types.

SHOP = ["who,what,did", "u,a,view", "v,a,buy", "u,b,cart", "u,a,buy"]
SHOP_COLUMNS = {"user": "who", "item": "what", "event": "did"}


def test_event_types_are_read_from_the_column_that_is_named(tmp_path: Path):
    log = read_interactions(csv_log(tmp_path, *SHOP), **SHOP_COLUMNS)
    assert log.frame().rows() == [("u", "a", "view"), ("u", "b", "cart"), ("u", "a", "buy"), ("v", "a", "buy")]
    assert log.event_names == ("buy", "cart", "view")
    assert log.weights is None


def test_a_column_of_event_types_that_nobody_names_is_not_read(tmp_path: Path):
    log = read_interactions(csv_log(tmp_path, "user_id,item_id,event_type", "u,a,view"))
    assert log.events is None


def test_event_types_of_several_files_are_one_list(tmp_path: Path):
    one = parquet(tmp_path / "1.parquet", user_id=["u"], item_id=["a"], kind=pl.Series(["view"], dtype=pl.Categorical))
    two = parquet(tmp_path / "2.parquet", user_id=["u"], item_id=["b"], kind=["buy"])
    assert read_interactions([one, two], event="kind").frame()["event_type"].to_list() == ["view", "buy"]


def test_a_missing_event_type_is_refused_by_file_column_and_row(tmp_path: Path):
    file = csv_log(tmp_path, *SHOP[:2], "v,a,", "u,b,cart")
    with refused(file, "column 'did'", "1 of 3 rows have no value", "row 2"):
        read_interactions(file, **SHOP_COLUMNS)


def test_a_missing_column_of_event_types_is_refused(tmp_path: Path):
    with refused(csv_log(tmp_path, *SHOP), "no column 'nope' (asked for as event_type)"):
        read_interactions(tmp_path, **SHOP_COLUMNS | {"event": "nope"})


def test_event_weights_fill_the_weights(tmp_path: Path):
    log = read_interactions(csv_log(tmp_path, *SHOP), **SHOP_COLUMNS, event_weights={"view": 1, "cart": 3, "buy": 5})
    assert log.weights.tolist() == [1.0, 3.0, 5.0, 5.0]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"event": "did", "weight": "what", "event_weights": {"view": 1}}, ["either weight= (--weight) or event_weights="]),
        ({"event_weights": {"view": 1}}, ["needs event= (--event)"]),
        ({"event": "did", "event_weights": {"view": 1}}, ["no weight for the event type 'buy'"]),
    ],
)
def test_event_weights_that_contradict_the_rest_are_refused(tmp_path: Path, options, words):
    with refused(*words, error=ConfigError):
        read_interactions(csv_log(tmp_path, *SHOP), user="who", item="what", **options)


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
