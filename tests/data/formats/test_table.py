import gzip
from pathlib import Path

import polars as pl
import pytest

from recsys.data.formats.paths import expand, format_of
from recsys.data.formats.table import collect, open_table
from tests.data.worlds import parquet, refused, written

NAMES = ("user_id", "item_id")
WANTED = {"user_id": "user_id", "item_id": "item_id"}


def test_a_file_stands_for_itself_whatever_its_name(tmp_path: Path):
    odd = written(tmp_path / "[2024] *.csv", "x")
    assert expand(odd) == [odd]
    assert expand(str(odd)) == [odd]


def test_a_folder_stands_for_its_tables_in_sorted_order(tmp_path: Path):
    for name in ("b.csv", "a.parquet", "c.tsv.gz", "README.md"):
        written(tmp_path / name, "x")
    assert [file.name for file in expand(tmp_path)] == ["a.parquet", "b.csv", "c.tsv.gz"]


def test_a_glob_stands_for_its_files_in_sorted_order(tmp_path: Path):
    for name in ("part-2.csv", "part-10.csv", "part-1.csv", "other.csv", "deep/er/part-3.csv", "part-dir.csv/x.txt"):
        written(tmp_path / name, "x")
    assert [file.name for file in expand(tmp_path / "part-*.csv")] == ["part-1.csv", "part-10.csv", "part-2.csv"]
    assert [file.name for file in expand(f"{tmp_path}/**/part-3.csv")] == ["part-3.csv"]


def test_a_list_keeps_its_own_order(tmp_path: Path):
    b, a = written(tmp_path / "b.csv", "x"), written(tmp_path / "a.csv", "x")
    more = written(tmp_path / "more" / "z.csv", "x")
    assert expand([b, str(a), tmp_path / "more"]) == [b, a, more]


def test_no_such_file_is_refused(tmp_path: Path):
    with refused(f"{tmp_path / 'ratings.csv'} does not exist"):
        expand(tmp_path / "ratings.csv")
    with refused("no file matches the pattern", "*.parquet"):
        expand(f"{tmp_path}/*.parquet")
    with refused("b.csv does not exist"):
        expand([written(tmp_path / "a.csv", "x"), tmp_path / "b.csv"])


def test_a_folder_without_tables_is_refused(tmp_path: Path):
    written(tmp_path / "README.md", "x")
    with refused(f"the folder {tmp_path} holds no file ending in .csv", ".parquet", ".gz"):
        expand(tmp_path)


def test_an_empty_list_is_refused():
    with refused("the list of files is empty; name at least one"):
        expand([])


def test_a_file_named_twice_is_refused(tmp_path: Path):
    file = written(tmp_path / "a.csv", "x")
    with refused(file, "named twice", "count double", "name each file once"):
        expand([file, f"{tmp_path}/*.csv"])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.csv", "csv"),
        ("a.CSV", "csv"),
        ("a.b.tsv", "tsv"),
        ("a.txt", "tsv"),
        ("ratings.dat", "movielens"),
        ("a.parquet", "parquet"),
        ("a.pq", "parquet"),
        ("a.ndjson", "ndjson"),
        ("a.jsonl", "ndjson"),
        ("a.csv.gz", "csv"),
        ("a.jsonl.GZ", "ndjson"),
    ],
)
def test_the_format_is_told_from_the_ending(name, expected):
    assert format_of(Path(name)) == expected


@pytest.mark.parametrize("name", ["u.data", "ratings", "a.csv.zip", "a.gz", "a.xlsx"])
def test_an_ending_that_says_nothing_is_refused(name):
    with refused(name, "format=", "--format", "csv, tsv, movielens, parquet, ndjson"):
        format_of(Path(name))


def test_an_unknown_format_is_refused(tmp_path: Path):
    file = written(tmp_path / "a.csv", "x")
    with refused(file, "format 'xls' is not known; use one of csv, tsv, movielens, parquet, ndjson"):
        collect(file, "xls", NAMES, WANTED)


def test_a_named_format_wins_over_the_ending(tmp_path: Path):
    file = written(tmp_path / "a.csv", "1::2\n")
    assert collect(file, "movielens", NAMES, WANTED).rows() == [("1", "2")]


def test_columns_come_back_under_our_names(tmp_path: Path):
    file = written(tmp_path / "a.csv", "what,who,extra\nx,y,z\n")
    assert collect(file, None, NAMES, {"user_id": "who", "item_id": "what"}).to_dicts() == [
        {"user_id": "y", "item_id": "x"}
    ]


@pytest.mark.parametrize(
    ("name", "content"), [("a.csv", "a,b\n042,1.50\n"), ("a.tsv", "a\tb\n042\t1.50\n"), ("a.dat", "042::1.50\n")]
)
def test_text_tables_are_read_as_text(tmp_path: Path, name, content):
    file = written(tmp_path / name, content)
    assert collect(file, None, ("a", "b"), {"a": "a", "b": "b"}).to_dicts() == [{"a": "042", "b": "1.50"}]


def test_a_quoted_field_may_hold_the_separator(tmp_path: Path):
    file = written(tmp_path / "a.csv", 'a,b\n1,"x, ""y"""\n')
    assert collect(file, None, (), {"a": "a", "b": "b"}).to_dicts() == [{"a": "1", "b": 'x, "y"'}]


def test_movielens_text_may_hold_quotes_commas_tabs_and_single_colons(tmp_path: Path):
    file = written(tmp_path / "a.dat", '1::"Alien": the film, part\t1\n2::b "\n')
    assert collect(file, None, ("a", "b"), {"a": "a", "b": "b"}).rows() == [
        ("1", '"Alien": the film, part\t1'),
        ("2", 'b "'),
    ]


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "utf-8-sig"])
def test_movielens_text_may_be_utf8_or_latin1(tmp_path: Path, encoding):
    file = written(tmp_path / "a.dat", "1::Amélie\n2::Léon\n".encode(encoding))
    assert collect(file, None, ("a", "b"), {"a": "a", "b": "b"}).rows() == [("1", "Amélie"), ("2", "Léon")]


@pytest.mark.parametrize("name", ["a.csv", "a.dat", "a.tsv"])
def test_windows_line_ends_do_not_reach_the_values(tmp_path: Path, name):
    separator = {"a.csv": ",", "a.dat": "::", "a.tsv": "\t"}[name]
    lines = [["1", "2"], ["3", "4"]] if name == "a.dat" else [NAMES, ["1", "2"], ["3", "4"]]
    file = written(tmp_path / name, "".join(separator.join(line) + "\r\n" for line in lines))
    assert collect(file, None, NAMES, WANTED).rows() == [("1", "2"), ("3", "4")]


@pytest.mark.parametrize("row", ["5::6", "5::6::7::8"])
def test_a_ragged_movielens_row_is_named(tmp_path: Path, row):
    file = written(tmp_path / "a.dat", f"1::2::3\n{row}\n4::5::6\n")
    with refused(file, "row 2", f"{row.count('::') + 1} fields", "where 3 are expected", "(a, b, c)", repr(row)):
        collect(file, None, ("a", "b", "c"), {"a": "a"})


def test_a_key_first_met_late_in_an_ndjson_file_is_a_column(tmp_path: Path):
    early = '{"user_id": 1, "item_id": 2}\n' * 10_001
    file = written(tmp_path / "a.ndjson", early + '{"user_id": "x", "item_id": 2, "timestamp": 9}\n')
    frame = collect(file, None, (), WANTED | {"timestamp": "timestamp"})
    assert frame["timestamp"].drop_nulls().to_list() == [9]
    assert frame["user_id"][-1] == "x"


def test_a_missing_column_is_named_beside_those_there_are(tmp_path: Path):
    file = written(tmp_path / "a.csv", "who,item_id\nx,y\n")
    with refused(file, "no column 'user' to read as user_id", "its columns are who, item_id"):
        collect(file, None, (), {"user_id": "user", "item_id": "item_id"})


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.dat", "a.ndjson", "a.parquet"])
def test_an_empty_file_is_refused(tmp_path: Path, name):
    file = written(tmp_path / name, b"")
    with refused(f"{file} is empty"):
        collect(file, None, NAMES, WANTED)


@pytest.mark.parametrize("name", ["a.csv.gz", "a.dat.gz"])
def test_a_gzipped_empty_file_is_refused(tmp_path: Path, name):
    file = written(tmp_path / name, gzip.compress(b""))
    with refused(f"{file} is empty"):
        collect(file, None, NAMES, WANTED)


@pytest.mark.parametrize("name", ["a.csv", "a.tsv"])
def test_a_header_without_rows_is_refused(tmp_path: Path, name):
    file = written(tmp_path / name, "user_id,item_id\n" if name == "a.csv" else "user_id\titem_id\n")
    with refused(f"{file} has no rows"):
        collect(file, None, NAMES, WANTED)


def test_a_parquet_table_without_rows_is_refused(tmp_path: Path):
    file = parquet(tmp_path / "a.parquet", user_id=[], item_id=[])
    with refused(f"{file} has no rows"):
        collect(file, None, NAMES, WANTED)


def test_a_broken_parquet_file_is_refused(tmp_path: Path):
    file = parquet(tmp_path / "a.parquet", user_id=list(range(1000)), item_id=list(range(1000)))
    written(file, file.read_bytes()[:-100])
    with refused(file, "cannot be read as parquet"):
        collect(file, None, NAMES, WANTED)


def test_a_broken_json_line_is_refused(tmp_path: Path):
    file = written(tmp_path / "a.ndjson", '{"user_id": 1, "item_id": 2}\n{"user_id": 1, "it\n')
    with refused(file, "cannot be read as ndjson"):
        collect(file, None, NAMES, WANTED)


def test_a_csv_row_with_too_many_fields_is_refused(tmp_path: Path):
    file = written(tmp_path / "a.csv", "user_id,item_id\n1,2\n3,4,5\n")
    with refused(file, "cannot be read as csv", "more fields"):
        collect(file, None, NAMES, WANTED)


def test_a_csv_file_that_is_not_utf8_is_refused(tmp_path: Path):
    file = written(tmp_path / "a.csv", "user_id,item_id\né,1\n".encode("latin-1"))
    with refused(file, "cannot be read as csv", "utf-8"):
        collect(file, None, NAMES, WANTED)


LINES = {
    "a.csv.gz": "user_id,item_id\n" + "".join(f"{i},{i * 7919 % 1009}\n" for i in range(20_000)),
    "a.dat.gz": "".join(f"{i}::{i * 7919 % 1009}\n" for i in range(20_000)),
    "a.ndjson.gz": "".join(f'{{"user_id": {i}, "item_id": {i * 7919 % 1009}}}\n' for i in range(20_000)),
}


@pytest.mark.parametrize("name", LINES)
@pytest.mark.parametrize("share", [0.5, 0.999])
def test_a_truncated_gzip_file_is_refused_and_not_read_in_part(tmp_path: Path, name, share):
    packed = gzip.compress(LINES[name].encode())
    file = written(tmp_path / name, packed)
    assert collect(file, None, NAMES, WANTED).height == 20_000
    written(file, packed[: int(len(packed) * share)])
    with refused(file):
        collect(file, None, NAMES, WANTED)


@pytest.mark.parametrize("name", LINES)
def test_a_gzip_file_with_damaged_bytes_is_refused(tmp_path: Path, name):
    packed = gzip.compress(LINES[name].encode())
    file = written(tmp_path / name, packed[:5000] + bytes(100) + packed[5100:])
    with refused(file):
        collect(file, None, NAMES, WANTED)


def test_a_file_that_only_says_it_is_gzipped_is_refused(tmp_path: Path):
    file = written(tmp_path / "a.dat.gz", "1::2\n")
    with refused(file, "Not a gzipped file"):
        collect(file, None, NAMES, WANTED)


def test_opening_is_lazy_where_the_format_allows(tmp_path: Path, monkeypatch):
    file = parquet(tmp_path / "a.parquet", user_id=[1], item_id=[2], huge=["x"])
    assert collect(file, None, (), WANTED).columns == ["user_id", "item_id"]
    monkeypatch.setattr(pl.LazyFrame, "collect", None)  # no row is read
    assert open_table(file, None, ()).columns == ["user_id", "item_id", "huge"]
