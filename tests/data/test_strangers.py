"""What people really have: exports of spreadsheets, headers where none belong, ids that look alike, addresses for paths."""

import gzip
import logging
import os
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import recsys
from recsys.data.formats import table
from recsys.data.interactions import Interactions
from recsys.data.join import check_join
from recsys.data.split import Split
from recsys.errors import ConfigError, DataError


def written(folder: Path, name: str, text: str) -> Path:
    file = folder / name
    file.write_text(text, encoding="utf-8")
    return file


@pytest.mark.parametrize(
    ("header", "hint"),
    [
        ("sep=;\nuser_id;item_id", "the first line, sep=;, is for spreadsheets: remove it"),
        ("\ufeffsep=,\nuser_id,item_id", "the first line, sep=, is for spreadsheets: remove it"),
        (
            "# exported on Monday\nuser_id,item_id",
            "the first line must name the columns: is there another line above them?",
        ),
        ("  \nuser_id,item_id", "the first line must name the columns: is there another line above them?"),
        ("1,a,3", "the first line must name the columns, and this one looks like data"),
        ("user_id item_id rating", r"if blanks separate the columns, set separator='blank' \(--separator blank\)"),
    ],
)
def test_a_first_line_that_names_no_columns_is_told_with_a_remedy(tmp_path: Path, header: str, hint: str):
    with pytest.raises(DataError, match=hint):
        recsys.read_interactions(written(tmp_path, "log.csv", f"{header}\n1,a\n2,b\n"))


def test_a_movielens_100k_file_has_no_names_of_columns(tmp_path: Path):
    file = written(tmp_path, "u.data", "196\t242\t3\t881250949\n186\t302\t3\t891717742\n")
    with pytest.raises(DataError, match="this one looks like data: write their names above it"):
        recsys.read_interactions(file, format="tsv")


def test_columns_in_one_word_are_named_apart(tmp_path: Path):
    file = written(tmp_path, "items.csv", "item_id,title,genres\n1,A,x\n")
    with pytest.raises(DataError, match="no column 'title,genres'.*; name the columns apart: title genres"):
        recsys.read_catalog(file, text=["title,genres"])


@pytest.mark.parametrize("packed", [False, True])
def test_names_of_columns_in_a_movielens_file_are_no_ids(tmp_path: Path, packed: bool):
    for text, read in (
        ("UserID::MovieID::Rating::Timestamp\n1::1193::5::978300760\n", recsys.read_interactions),
        (
            "UserID::MovieID::Rating::Timestamp\n1::1193::5::978300760\n",
            lambda file: recsys.read_interactions(file, unordered=True),
        ),
        ("MovieID::Title::Genres\n1::Toy Story (1995)::Animation\n", recsys.read_catalog),
        (
            "UserID::Gender::Age::Occupation::Zip-code\n1::F::1::10::48067\n",
            lambda file: recsys.read_user_table(file, categorical=["gender"]),
        ),
    ):
        file = tmp_path / ("table.dat.gz" if packed else "table.dat")
        file.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
        with pytest.raises(DataError, match=r"table.dat.*: line 1 names the columns \(.*::.*; remove the line"):
            read(file)
    film = written(tmp_path, "movies.dat", "1::Time::Drama\n")  # a title that is one of the names
    assert recsys.read_catalog(film).texts.to_list() == ["Time. Drama"]


@pytest.mark.parametrize("value", ["4,5", "1.234,5", "1 234,50", "-0,5"])
def test_a_comma_before_decimals_is_told_with_the_remedy(tmp_path: Path, value: str):
    file = written(tmp_path, "log.csv", f"user_id;item_id;rating\n1;a;{value}\n2;b;3\n")
    with pytest.raises(DataError, match=f"column 'rating': row 1 is '{value}', .*; write a point before decimals"):
        recsys.read_interactions(file, weight="rating")
    with pytest.raises(DataError, match=f"'{value}', expected a finite number; write a point before decimals"):
        recsys.read_user_table(file, numeric=["rating"])
    with pytest.raises(DataError, match="write a point before decimals"):
        recsys.read_interactions(file, order="rating")


def test_dates_are_no_order_but_a_timestamp(tmp_path: Path):
    file = written(tmp_path, "log.csv", "user_id,item_id,day\n1,a,2024-02-01\n1,b,2024-01-01\n")
    with pytest.raises(DataError, match=r"if it is a time, name the column with timestamp= \(--timestamp\)"):
        recsys.read_interactions(file, order="day")
    assert recsys.read_interactions(file, timestamp="day").frame()["item_id"].to_list() == ["b", "a"]


@pytest.mark.parametrize(
    ("ids", "told"),
    [
        (["4", "4.0", "abc"], "ids in 1 rows are written like '4.0' beside ids that are no numbers, and stay text"),
        (["1.23E+12", "1.23E+12", "x"], "ids in 2 rows are written like '1.23E+12', as spreadsheets cut long numbers"),
        (["th\u00e9 v", "the\u0301 v", "x"], r"ids in 2 rows are spelt so that they look like others, such as 'th\xe9 v'"),
        (["a\u200b", "a", "x"], r"ids in 1 rows are spelt so that they look like others, such as 'a\u200b'"),
    ],
)
def test_ids_that_look_alike_are_told(caplog: pytest.LogCaptureFixture, ids: list[str], told: str):
    frame = pl.DataFrame({"user_id": [1] * len(ids), "item_id": ids})
    with caplog.at_level(logging.WARNING, logger="recsys"):
        log = Interactions.from_frame(frame)
    assert [one for one in caplog.messages if told in one] == caplog.messages[:1] != []
    caplog.clear()
    with caplog.at_level(logging.WARNING, logger="recsys"):
        recsys.Catalog.from_frame(frame.unique("item_id", maintain_order=True), text=["item_id"])
    assert len(caplog.messages) == 1
    assert log.items.ids.to_list() == list(dict.fromkeys(ids))  # told, and kept as they are


def test_ids_of_many_scripts_that_differ_are_not_told(caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.WARNING, logger="recsys"):
        Interactions.from_frame(pl.DataFrame({"user_id": [1, 1, 1, 1], "item_id": ["é", "e", "👩\u200d👧", "１"]}))
        Interactions.from_frame(pl.DataFrame({"user_id": [1, 1], "item_id": ["4", "5.0"]}))
    assert caplog.messages == []


def test_letters_in_several_pieces_explain_why_nothing_joins():
    log = Interactions.from_frame(pl.DataFrame({"user_id": [1, 1], "item_id": ["th\u00e9 vert", "th\u00e9"]}))
    catalog = recsys.Catalog.from_frame(pl.DataFrame({"item_id": ["the\u0301 vert", "the\u0301"]}), text=["item_id"])
    with pytest.raises(DataError, match="letters in several pieces, 100% would be found"):
        check_join(log.items.ids, catalog.items, "the catalogue")


def test_decimals_that_are_whole_are_whole_numbers():
    frame = pl.DataFrame({"user_id": pl.Series([Decimal("4.00"), Decimal("5.00")]), "item_id": [1, 2]})
    assert Interactions.from_frame(frame).users.ids.to_list() == [4, 5]
    mixed = pl.DataFrame({"user_id": pl.Series([Decimal("4.00"), Decimal("5.50")]), "item_id": [1, 2]})
    assert Interactions.from_frame(mixed).users.ids.to_list() == ["4.00", "5.50"]


def test_a_column_of_text_is_named_once(tmp_path: Path):
    frame = pl.DataFrame({"item_id": [1], "title": ["A"]})
    with pytest.raises(ConfigError, match=r"text= \(--text\) names 'title' twice"):
        recsys.Catalog.from_frame(frame, text=["title", "title"])
    frame.write_csv(tmp_path / "items.csv")
    with pytest.raises(ConfigError, match="names 'title' twice"):
        recsys.read_catalog(tmp_path / "items.csv", text=["title", "title"])


@pytest.mark.parametrize("constant", ["NaN", "Infinity", "-Infinity"])
def test_what_is_not_json_is_named_by_its_line(tmp_path: Path, constant: str):
    file = written(
        tmp_path, "log.ndjson", '{"user_id":1,"item_id":2,"w":1}\n{"user_id":1,"item_id":3,"w":' + constant + "}\n"
    )
    with pytest.raises(DataError, match=f"line 2: {constant} is not JSON; write null"):
        recsys.read_interactions(file, weight="w")


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("log.xlsx", "save the sheet as CSV"),
        ("log.json", "write one object a line, and name it .ndjson"),
        ("log.orc", "convert it to Parquet"),
        ("log.csv.bz2", "unpack it, or pack it by gzip"),
        ("log.data", "set format="),
    ],
)
def test_endings_of_other_formats_are_told_with_the_remedy(tmp_path: Path, name: str, remedy: str):
    with pytest.raises(DataError, match=f"{name}: .*{remedy}"):
        recsys.read_interactions(written(tmp_path, name, "x"))


def test_what_is_no_file_is_told_with_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("DATA", "/data")
    monkeypatch.chdir(tmp_path)
    os.mkfifo(tmp_path / "pipe.csv")
    for path, told in {
        "-": "standard input",
        "pipe.csv": "pipe.csv is no file but a pipe or a device, .* write it to a file",
        "file:///data/my%20log.csv": "is an address, .* write /data/my log.csv",
        "~/log.csv": f"write {Path.home()}/log.csv",
        "$DATA/log.csv": "variables are only expanded by a shell; write /data/log.csv",
        "log.csv": "log.csv does not exist$",
        "log*.csv": r"no file matches the pattern log\*.csv",
    }.items():
        for read in (recsys.read_interactions, recsys.read_catalog):
            with pytest.raises(DataError, match=told):
                read(path)


def test_numbers_that_mean_nothing_are_null_too(tmp_path: Path):
    frame = pl.DataFrame(
        {"user_id": [1, 2, 3], "item_id": [7, 8, 9], "timestamp": [-1, 1_700_000_000, None], "w": [-1.0, 0.5, -1.5]}
    )
    frame.write_parquet(tmp_path / "log.parquet")
    frame.write_ndjson(tmp_path / "log.ndjson")
    frame.write_csv(tmp_path / "log.csv")
    for ending in ("parquet", "ndjson", "csv"):
        file = tmp_path / f"log.{ending}"
        log = recsys.read_interactions(file, null_values="-1", drop_unordered=True)
        assert log.frame().rows() == [(2, 8, 1_700_000_000)], ending
        values = ["-1"] if ending == "parquet" else ["-1", "-1.0"]
        with pytest.raises(DataError, match="1 of 3 rows has no value in the column 'w'"):
            recsys.read_interactions(file, order="w", null_values=values)


def test_event_types_that_look_alike_are_told(caplog: pytest.LogCaptureFixture):
    for types, told in ((["View", "view", " view", "buy"], True), (["view", "buy", "views", "buy"], False)):
        caplog.clear()
        with caplog.at_level(logging.WARNING, logger="recsys"):
            Interactions.from_frame(pl.DataFrame({"user_id": [1] * 4, "item_id": [1, 2, 3, 4], "event_type": types}))
        assert any("' view', 'View', 'view' differ only in blanks or letter case" in one for one in caplog.messages) is told


def test_a_table_without_a_first_line_gets_no_hint_of_one(tmp_path: Path):
    pl.DataFrame({"1": [1]}).write_parquet(tmp_path / "log.parquet")
    with pytest.raises(
        DataError, match=r"its columns are 1; name the column of users, user= \(--user\), or rename it user_id$"
    ):
        recsys.read_interactions(tmp_path / "log.parquet")
    pl.DataFrame({"userId": [1], "item_id": [1]}).write_csv(tmp_path / "log.csv")
    with pytest.raises(DataError, match=r"did you mean 'userId'\? Name the column of users, user= \(--user\)"):
        recsys.read_interactions(tmp_path / "log.csv")


def test_a_sample_has_users(ring_split: Split):
    with pytest.raises(ConfigError, match="n must be at least 1, not 0"):
        ring_split.test.sample(0)


def _times(folder: Path, *times: object) -> Path:
    lines = "".join(f"u,i{place},{one}\n" for place, one in enumerate(times))
    (file := folder / "times.csv").write_text(f"user_id,item_id,timestamp\n{lines}")
    return file


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(
    ("times", "said"),
    [
        ((45244, 45245, 45246), "look like the days of a spreadsheet, .* (days - 25569) * 86400"),
        ((19675, 19676), "look like days since 1970"),
        ((2019, 2020, 2021), "look like years"),
        ((202311, 202312), "look like months such as 202405"),
        ((28333333, 28333334), "look like minutes since 1970"),
        ((472222, 472223), "look like hours since 1970"),
        (("1.7E+12", "1.70004E+12"), "2 times are written like '1.7E+12', as spreadsheets cut long numbers"),
        ((0, 1, 2), None),
        (("1.700000000E+09", "1.700000001E+09"), None),
    ],
)
def test_times_in_units_that_are_not_read_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, times: tuple[object, ...], said: str | None, streamed: bool
) -> None:
    file = _times(tmp_path, *times)
    recsys.import_log(file, tmp_path / "store") if streamed else recsys.read_interactions(file)
    warned = [one.getMessage() for one in caplog.records if one.levelname == "WARNING"]
    if said is None:
        assert warned == []
    else:
        assert len(warned) == 1
        assert all(part in warned[0] for part in said.split(".*"))


def test_days_of_a_spreadsheet_with_a_time_of_day_are_refused(tmp_path: Path) -> None:
    file = _times(tmp_path, "45244.25", "45244.5")
    with pytest.raises(DataError, match=r"spreadsheet; save the column as dates.*--time-unit s"):
        recsys.read_interactions(file)
    assert recsys.read_interactions(file, time_unit="s").timestamps.tolist() == [45244, 45244]


@pytest.mark.parametrize("streamed", [False, True])
def test_ids_with_and_without_zeros_in_front_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, streamed: bool
) -> None:
    for name, users in (("a", ["007", "08", "0"]), ("b", ["7", "0012", "12"]), ("c", ["09", "x9"])):
        pl.DataFrame({"user_id": users, "item_id": [f"i{one}" for one in users]}).write_csv(tmp_path / f"{name}.csv")
    recsys.import_log(tmp_path, tmp_path.parent / "s") if streamed else recsys.read_interactions(tmp_path)
    warned = [one.getMessage() for one in caplog.records if "without its zeros" in one.getMessage()]
    assert len(warned) == 2
    assert "b.csv, column 'user_id': ids in 1 rows are written like '0012'" in warned[0]
    assert "2 user ids of all tables are written like '007'" in warned[1]


@pytest.mark.parametrize("name", ["log.csv", "log.parquet", "log.ndjson"])
def test_a_file_that_changes_while_it_is_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    frame = pl.DataFrame({"user_id": ["a", "b"], "item_id": ["x", "y"], "timestamp": [1_700_000_000, 1_700_000_001]})
    file = tmp_path / name
    {".csv": frame.write_csv, ".parquet": frame.write_parquet, ".ndjson": frame.write_ndjson}[file.suffix](file)
    finished = table._without_nulls

    def touched(*given: Any) -> pl.DataFrame:
        os.utime(file, ns=(0, file.stat().st_mtime_ns + 1_000_000))
        return finished(*given)

    monkeypatch.setattr(table, "_without_nulls", touched)
    for read in (recsys.read_interactions, lambda log, **how: recsys.import_log(log, tmp_path / "store", **how)):
        with pytest.raises(DataError, match=f"{name} changed while it was read"):
            read(file, null_values="nothing")
    assert [one.name for one in tmp_path.iterdir()] == [name]
