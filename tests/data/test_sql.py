"""A query's result is read as a file of these columns is: by both kinds of drivers, and with the same errors."""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import adbc_driver_postgresql.dbapi
import polars as pl
import pytest

import recsys
from recsys.cli.parser import main
from recsys.data.interactions import Interactions
from recsys.data.sql import _ordered, opened_query, read_frame
from recsys.errors import ConfigError, DataError, DependencyError
from tests.data.worlds import refused
from tests.server.postgres import Postgres, binaries

SETUP = """
CREATE TABLE events (who TEXT, what BIGINT, at TIMESTAMP, stars NUMERIC(4, 1), kind VARCHAR(10));
INSERT INTO events VALUES
  ('ann', 7, '2024-01-02 00:00:00', 5.0, 'buy'), ('bob', 8, '2024-01-01 00:00:00', 3.5, 'view'),
  ('ann', 8, '2024-01-01 00:00:00', 4.0, 'view'), ('cid', 7, '2024-01-03 12:00:00', 1.0, 'view');
"""
NAMES = {"user": "who", "item": "what", "timestamp": "at", "weight": "stars", "event": "kind"}
FRAME = pl.DataFrame(
    {
        "who": ["ann", "bob", "ann", "cid"],
        "what": [7, 8, 8, 7],
        "at": ["2024-01-02", "2024-01-01", "2024-01-01", "2024-01-03T12:00:00"],
        "stars": [5.0, 3.5, 4.0, 1.0],
        "kind": ["buy", "view", "view", "view"],
    }
)
LOG = recsys.read_interactions(FRAME, **NAMES)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("sql") / "a shop#1.db"
    with sqlite3.connect(found) as connection:
        connection.executescript(SETUP)
    return found


@pytest.fixture(params=["adbc", "sqlalchemy"])
def driver(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "sqlalchemy":
        monkeypatch.setattr("recsys.data.sql._adbc", lambda place: None)
    return str(request.param)


def same(found: Interactions) -> bool:
    one, other = (log.frame().sort("user_id", "timestamp") for log in (found, LOG))
    return one.equals(other) and found.event_names == LOG.event_names


@pytest.mark.usefixtures("driver")
def test_a_query_of_sqlite_gives_the_log_of_its_rows(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "recsys")
    url = f"sqlite:///{file}"
    assert same(recsys.read_sql("SELECT * FROM events", url, **NAMES))
    assert "events of one user at one time come in any order" in caplog.text
    assert same(recsys.read_sql("WITH x AS (SELECT * FROM events) SELECT * FROM x;\n", url, **NAMES))
    assert read_frame("SELECT who FROM events", url)["who"].to_list() == FRAME["who"].to_list()
    for query, told in {
        "SELECT who, what, 'x' AS stars FROM events": "the query's result, column 'stars': row 1 is 'x'",
        "SELECT who, what FROM events": "the query's result has no column 'at'",
        "SELECT who, what, at, stars, kind FROM events WHERE what > 9": "the query's result has no rows",
        "SELECT who, what, who FROM events": "the query's result has two columns called 'who'",
        "SELECT gone FROM events": f"the query of sqlite:///{file} failed: ",
        "WITH x AS (SELECT 1) DELETE FROM events": "failed",
    }.items():
        with refused(told):
            recsys.read_sql(query, url, **(NAMES | {"timestamp": None, "event": None} if "'x'" in query else NAMES))
    assert same(recsys.read_sql("SELECT * FROM events", url, **NAMES))  # nothing was deleted
    with refused("1 of 4 rows has no value, the first is row 4"):
        recsys.read_sql("SELECT * FROM events", url, **NAMES, null_values="cid")


def test_a_query_without_an_order_gives_an_unordered_log(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    names = {"user": "who", "item": "what"}
    url = f"sqlite:///{file}"
    assert not recsys.read_sql("SELECT * FROM events -- ORDER BY at", url, **names).ordered
    assert "the log is read as unordered; name timestamp=" in caplog.text
    assert recsys.read_sql("SELECT * FROM events ORDER BY at", url, **names).ordered
    assert recsys.read_sql("SELECT * FROM events", url, **names, order="stars").order_column == "stars"
    assert not recsys.read_sql("SELECT * FROM events", url, **names, unordered=True).ordered


@pytest.mark.parametrize(
    ("query", "ordered"),
    [
        ("SELECT a FROM b ORDER  BY c", True),
        ("SELECT a FROM (SELECT a FROM b ORDER BY (c)) x", False),
        ("SELECT row_number() OVER (PARTITION BY (a) ORDER BY b) FROM c", False),
        ("SELECT 'order by' FROM b /* ORDER BY c */ -- ORDER BY d", False),
        ('SELECT "order by" FROM b', False),
        ("SELECT $x$ ORDER BY $x$ FROM b\norder\nby 1", True),
    ],
)
def test_an_order_counts_only_where_it_orders_the_result(query: str, ordered: bool) -> None:
    assert _ordered(query) is ordered


def test_what_cannot_be_queried_is_told(file: Path, tmp_path: Path) -> None:
    url = f"sqlite:///{file}"
    for query in ("DELETE FROM events", "/* SELECT */ DROP TABLE events", "-- SELECT\nUPDATE events SET what = 1"):
        with pytest.raises(ConfigError, match="must begin with SELECT or WITH"):
            recsys.read_sql(query, url)
    for place, told in {"nonsense SECRET": "is no URL of a database", "sqlite://": "names no file of SQLite"}.items():
        with pytest.raises(ConfigError, match=told) as caught:
            recsys.read_sql("SELECT 1", place)
        assert "SECRET" not in str(caught.value)
    with refused(tmp_path / "none.db", "does not exist"):
        recsys.read_sql("SELECT 1", f"sqlite:///{tmp_path / 'none.db'}")
    assert not (tmp_path / "none.db").exists()
    with pytest.raises(DependencyError, match="nosuch:// need another package"):
        recsys.read_sql("SELECT 1", "nosuch://me:SECRET@host/db")
    with pytest.raises(DataError, match="the query of postgresql://127.0.0.1:1/shop failed: .*refused") as refusal:
        recsys.read_sql("SELECT 1", "postgresql://me:SECRET@127.0.0.1:1/shop?password=SECRET")
    assert "SECRET" not in str(refusal.value)
    assert refusal.value.__cause__ is None


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    if binaries() is None and "CI" not in os.environ:
        pytest.skip("PostgreSQL is not installed")
    cluster = Postgres()
    setup = SETUP + "ALTER TABLE events ADD COLUMN ip inet DEFAULT '1.2.3.4', ADD COLUMN id uuid;"
    setup += "UPDATE events SET id = md5(who)::uuid; CREATE SEQUENCE numbers"
    with adbc_driver_postgresql.dbapi.connect(cluster.url, autocommit=True) as connection, connection.cursor() as cursor:
        for statement in setup.split(";"):
            cursor.execute(statement)
    yield cluster.url
    cluster.remove()


@pytest.mark.usefixtures("driver")
def test_a_query_of_postgresql_gives_the_same_log(postgres: str, driver: str) -> None:
    assert same(recsys.read_sql("SELECT * FROM events ORDER BY at", postgres, **NAMES))
    zoned = "SELECT who, what, at AT TIME ZONE 'UTC' AS at, stars, kind::text AS kind FROM events"
    assert same(recsys.read_sql(zoned, postgres, **NAMES))
    ids = recsys.read_sql(
        "SELECT id, what, at FROM events ORDER BY who", postgres, **NAMES | {"user": "id", "weight": None, "event": None}
    )
    assert ids.users.ids[0] == "7e0d7f8a-5d96-c24f-fcc8-40f31bce72b2"
    numbers = "SELECT n % 100 AS user_id, n AS item_id, n AS at FROM generate_series(1, 100000) n"
    many = recsys.read_sql(numbers, postgres, order="at")
    assert (len(many), len(many.users)) == (100_000, 100)
    with opened_query(numbers, postgres) as table:
        sizes = [frame.height for frame, _ in table.pieces({"user_id": "user_id"}, 10_000)]
    assert sizes == ([100_000] if driver == "adbc" else [65_536, 34_464])  # ADBC cuts at 16 MiB
    with refused("in a read-only transaction"):
        recsys.read_sql("SELECT nextval('numbers') AS user_id, 1 AS item_id", postgres)
    with refused("failed: "):
        recsys.read_sql("WITH x AS (DELETE FROM events RETURNING *) SELECT * FROM x", postgres, **NAMES)
    with refused("the query's result, column 'ip': is of "):
        recsys.read_sql("SELECT ip, what FROM events", postgres, user="ip", item="what")


def test_commands_read_a_query(file: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    query = [
        "--sql",
        "SELECT * FROM events",
        "--db",
        f"sqlite:///{file}",
        "--user",
        "who",
        "--item",
        "what",
        "--timestamp",
        "at",
    ]
    assert main(["inspect", *query]) == 0
    assert main(["import", *query, "--weight", "stars", "--out", str(tmp_path / "store")]) == 0
    assert recsys.open_store(tmp_path / "store").weights.tolist() == [4.0, 5.0, 3.5, 1.0]
    assert "4" in capfd.readouterr().out
    with pytest.raises(SystemExit):
        main(["inspect"])
    assert "required: LOG, or --sql QUERY and --db URL" in capfd.readouterr().err
    for wrong, told in {
        ("inspect", "a.csv", *query): "name files or --sql, not both",
        ("inspect", *query[:2]): "--sql needs --db URL",
        ("inspect", "a.csv", *query[2:4]): "--db is for --sql",
        ("inspect", *query, "--separator", ";"): "--separator is for text files",
        (
            "inspect",
            "--sql",
            "SELECT 1",
            "--db",
            "postgresql://me:SECRET@127.0.0.1:1/shop",
        ): "postgresql://127.0.0.1:1/shop failed",
    }.items():
        assert main(list(wrong)) == 2
        error = capfd.readouterr().err
        assert told in error
        assert "SECRET" not in error
