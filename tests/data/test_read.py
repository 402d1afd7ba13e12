import gzip
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from recsys.data.read import read_interactions
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
    with refused(file, "column 'did'", "1 of 3 rows has no value", "row 2"):
        read_interactions(file, **SHOP_COLUMNS)


def test_a_missing_column_of_event_types_is_refused(tmp_path: Path):
    with refused(csv_log(tmp_path, *SHOP), "no column 'nope' to read as event_type"):
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


def test_one_column_for_users_and_items_is_refused(tmp_path: Path):
    with refused("user= (--user) and item= (--item) both name the column 'who'", error=ConfigError):
        read_interactions(csv_log(tmp_path, *SHOP), user="who", item="who")


def test_a_column_that_differs_in_case_or_underscores_is_suggested(tmp_path: Path):
    with refused("no column 'W_HO' to read as user_id", "its columns are who, what, did", "did you mean 'who'?"):
        read_interactions(csv_log(tmp_path, *SHOP), user="W_HO", item="what")
