"""A path is a name first; what a folder or a pattern stands for is never guessed."""

import logging
from pathlib import Path

import polars as pl
import pytest

from recsys.data.formats.paths import expand, partition_values
from recsys.data.read import read_catalog, read_interactions, read_items, read_users
from tests.data.worlds import refused, written

LOGS = {
    "csv": "user_id,item_id\n{u},i\n",
    "tsv": "user_id\titem_id\n{u}\ti\n",
    "dat": "{u}::i::3::5\n",
    "ndjson": '{{"user_id": "{u}", "item_id": "i"}}\n',
}


def log_file(file: Path, user: str) -> Path:
    if file.suffix == ".parquet":
        file.parent.mkdir(parents=True, exist_ok=True)
        pl.DataFrame({"user_id": [user], "item_id": ["i"]}).write_parquet(file)
        return file
    return written(file, LOGS[file.suffix[1:]].format(u=user))


def users(path: object) -> list[str]:
    return read_interactions(path).users.ids.to_list()


@pytest.mark.parametrize("kind", [*LOGS, "parquet"])
@pytest.mark.parametrize(("name", "other"), [("log[1]", "log1"), ("log*", "logs"), ("log?", "log1"), ("{a,b}", "a")])
def test_a_name_that_looks_like_a_pattern_is_read_as_the_name(tmp_path: Path, kind, name, other):
    log_file(tmp_path / f"{other}.{kind}", "other")
    file = log_file(tmp_path / f"{name}.{kind}", "own")
    assert users(file) == users(str(file)) == ["own"]
    assert users([file]) == ["own"]


@pytest.mark.parametrize("kind", [*LOGS, "parquet"])
def test_a_folder_whose_name_looks_like_a_pattern_is_read_as_the_name(tmp_path: Path, kind):
    log_file(tmp_path / "run1" / f"a.{kind}", "other")
    log_file(tmp_path / "run[1]" / f"a.{kind}", "own")
    assert users(tmp_path / "run[1]") == ["own"]


def test_catalogues_and_tables_are_read_by_their_names_too(tmp_path: Path):
    for name, title in (("t1.csv", "other"), ("t[1].csv", "own")):
        written(tmp_path / name, f"item_id,user_id,title\n1,1,{title}\n")
    file = tmp_path / "t[1].csv"
    assert read_catalog(file).columns["title"].to_list() == ["own"]
    assert read_items(file)["title"].to_list() == ["own"]
    assert read_users(file, "user_id", "title")["title"].to_list() == ["own"]


def test_a_pattern_is_one_where_no_such_file_exists_and_is_told(tmp_path: Path, caplog):
    caplog.set_level(logging.INFO, "recsys")
    log_file(tmp_path / "log1.csv", "a")
    log_file(tmp_path / "log2.csv", "b")
    assert users(f"{tmp_path}/log[12].csv") == ["a", "b"]
    assert "as a pattern, it matches 2 files" in caplog.text


def test_partitions_are_read_and_their_values_are_columns(tmp_path: Path):
    log_file(tmp_path / "loose.csv", "0")
    log_file(tmp_path / "year=2023" / "part.csv", "1")
    log_file(tmp_path / "year=2024" / "month=1" / "part.parquet", "2")
    assert users(tmp_path) == [0, 1, 2]
    (tmp_path / "loose.csv").unlink()
    log = read_interactions(tmp_path, order="year")
    assert log.users.ids.to_list() == [1, 2]
    frame = read_users(tmp_path, "user_id", "year")
    assert frame.rows() == [(1, "2023"), (2, "2024")]


def test_a_file_s_own_column_wins_over_its_folder_s_name(tmp_path: Path):
    written(tmp_path / "t" / "city=Rome" / "a.csv", "user_id,city\n1,Oslo\n")
    written(tmp_path / "t" / "city=__HIVE_DEFAULT_PARTITION__" / "a.csv", "user_id\n2\n")
    written(tmp_path / "t" / "city=S%C3%A3o%20Paulo" / "a.csv", "user_id\n3\n")
    found = read_users(tmp_path / "t", "user_id", "city").sort("user_id").rows()
    assert found == [(1, "Oslo"), (2, None), (3, "São Paulo")]


def test_folders_above_the_named_one_tell_nothing(tmp_path: Path):
    file = written(tmp_path / "run=7" / "t" / "city=Rome" / "a.csv", "user_id\n1\n")
    assert partition_values(tmp_path / "run=7" / "t", file) == {"city": "Rome"}
    assert partition_values(file, file) == {}


def test_nested_folders_alone_are_read_and_beside_loose_files_are_refused(tmp_path: Path):
    inner = log_file(tmp_path / "2024" / "01" / "a.csv", "a")
    assert expand(tmp_path) == [inner]
    loose = log_file(tmp_path / "b.csv", "b")
    with refused(f"the folder {tmp_path}", "beside its inner folders", loose, inner):
        expand(tmp_path)


HIDDEN = ["_SUCCESS", ".part-0.csv.crc", "._a.csv", "_old.csv", "_temporary/0/part.csv", ".git/x.csv", "_delta_log/0.csv"]


@pytest.mark.parametrize("pattern", ["", "*", "**/*"])
def test_hidden_names_do_not_break_a_folder(tmp_path: Path, pattern):
    own = log_file(tmp_path / "part-0.csv", "a")
    for name in HIDDEN:
        written(tmp_path / name, "nonsense\n")
    assert expand(f"{tmp_path}/{pattern}" if pattern else tmp_path) == [own]


def test_hidden_names_are_read_where_the_caller_names_them(tmp_path: Path):
    file = log_file(tmp_path / "_hidden" / "_a.csv", "a")
    for path in (file, tmp_path / "_hidden" / "_*.csv", f"{tmp_path}/_hidden/_a.*"):
        assert expand(path) == [file]


def test_files_of_a_folder_that_are_not_read_are_told(tmp_path: Path, caplog):
    caplog.set_level(logging.INFO, "recsys")
    log_file(tmp_path / "a.csv", "a")
    written(tmp_path / "b.csv.zip", "x")
    expand(tmp_path)
    assert "not read" in caplog.text
    assert "b.csv.zip" in caplog.text


def test_a_named_format_opens_a_folder_of_files_without_endings(tmp_path: Path):
    written(tmp_path / "part-00000", LOGS["csv"].format(u="a"))
    with refused(f"the folder {tmp_path} holds no file ending in"):
        read_interactions(tmp_path)
    assert read_interactions(tmp_path, format="csv").users.ids.to_list() == ["a"]


def test_one_file_under_two_names_is_refused(tmp_path: Path):
    file = log_file(tmp_path / "a.csv", "a")
    link = tmp_path / "b.csv"
    link.symlink_to(file)
    for both in ([file, link], tmp_path, [file, f"{tmp_path}/./a.csv", f"{tmp_path}/../{tmp_path.name}/a.csv"]):
        with refused("named twice", "count double"):
            expand(both)


def test_a_folder_that_holds_itself_by_a_link_ends(tmp_path: Path):
    file = log_file(tmp_path / "t" / "a.csv", "a")
    (tmp_path / "t" / "again").symlink_to(tmp_path / "t")
    assert expand(tmp_path / "t") == [file]


def test_the_folders_that_a_pattern_matches_are_partitions_too(tmp_path: Path):
    for year in ("2023", "2024"):
        log_file(tmp_path / "run=7" / f"year={year}" / "kind%20of=a%2Fb" / "part.csv", year)
    for pattern in (f"{tmp_path}/run=7/year=*/*/part.csv", f"{tmp_path}/run=7/**/*.csv"):
        frame = read_users(pattern, "user_id", "year", "kind of")
        assert sorted(frame.rows()) == [(2023, "2023", "a/b"), (2024, "2024", "a/b")]
    with refused("no column 'run'"):
        read_users(f"{tmp_path}/run=7/year=*/*/part.csv", "user_id", "run")
    log_file(tmp_path / "year=1" / "year=2" / "part.csv", "1")
    with refused("its folders name 'year' twice"):
        read_users(tmp_path / "year=1" / "..", "user_id")


def test_a_partition_can_be_the_type_and_the_time_of_events(tmp_path: Path):
    for day, kind in (("2024-02-01", "buy"), ("2024-01-01", "view")):
        log_file(tmp_path / f"day={day}" / f"kind={kind}" / "part.parquet", "a")
    log = read_interactions(tmp_path, timestamp="day", event="kind", event_weights={"view": 1, "buy": 5})
    assert log.event_names == ("buy", "view")
    assert log.weights is not None
    assert log.weights.tolist() == [1, 5]  # in the order of time
    log_file(tmp_path / "day=__HIVE_DEFAULT_PARTITION__" / "kind=view" / "part.parquet", "a")
    with refused("DEFAULT_PARTITION__/kind=view/part.parquet", "no value in the column 'day' that orders them"):
        read_interactions(tmp_path, timestamp="day", event="kind")
    assert len(read_interactions(tmp_path, timestamp="day", event="kind", drop_unordered=True)) == 2


@pytest.mark.parametrize(
    ("log", "kind", "instead"),
    [
        ("_delta_log/00000000000000000000.json", "Delta", "deltalake.DeltaTable(folder).to_pyarrow_dataset()"),
        ("metadata/00001-ab.metadata.json", "Iceberg", "table.scan().to_arrow_batch_reader()"),
        (".hoodie/hoodie.properties", "Hudi", "its own reader"),
        ("_versions/1.manifest", "Lance", "lance.dataset(folder)"),
    ],
)
def test_a_folder_that_holds_versions_of_its_rows_is_refused(tmp_path: Path, log: str, kind: str, instead: str):
    file = log_file(tmp_path / "t" / "day=1" / "part.parquet", "a")
    written(tmp_path / "t" / log, "{}")
    for path in (tmp_path / "t", tmp_path, f"{tmp_path}/t/*/*.parquet", f"{tmp_path}/**/*.parquet"):
        with refused(f"the folder {tmp_path / 't'} is a {kind} table", instead):
            expand(path)
    assert expand([file]) == [file]
