"""What users did on the server becomes a log that fit reads, and keys are made on the command line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

import recsys
from recsys.cli.parser import main
from recsys.errors import ConfigError, StoreUnavailableError
from recsys.server import export as module
from recsys.server.database import Database, open_database
from recsys.server.events import Event
from recsys.server.export import export_events
from recsys.server.keys import Keys
from recsys.server.store import EventStore

NOW = 1_700_000_000
ODD = ['o\'Brien, "Bob"', "👩‍👩‍👧", "007", "a\nb", "7"]


@pytest.fixture
def filled(tmp_path: Path) -> Iterator[Database]:
    database = open_database(f"sqlite:///{tmp_path / 'events.db'}")
    store = EventStore(database)
    store.append([Event(f"e{n}", user, f"i{n % 2}", NOW + n * 100, event="view") for n, user in enumerate(ODD)])
    store.append([Event("shown", "7", "i1", NOW, kind="impression", request_id="r1")])
    store.close()
    yield database
    database.close()


@pytest.mark.parametrize("ending", ["parquet", "csv"])
def test_a_log_is_read_as_it_was_reported(
    filled: Database, tmp_path: Path, ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_ROWS", 2)
    file = tmp_path / f"log.{ending}"
    found = export_events(filled, file)
    assert (found.events, found.typed, found.weighted) == (5, True, False)
    log = recsys.read_interactions(str(file), event="event_type", weight="weight").frame()
    assert sorted(log["user_id"].to_list()) == sorted(ODD)
    assert sorted(log["timestamp"].to_list()) == [NOW + n * 100 for n in range(5)]
    assert log["event_type"].unique().to_list() == ["view"]
    assert log["weight"].unique().to_list() == [1.0]


def test_times_and_kinds_choose_what_is_written(filled: Database, tmp_path: Path) -> None:
    file = tmp_path / "log.parquet"
    assert export_events(filled, file, since=NOW + 100, until=NOW + 300).events == 2
    assert export_events(filled, file, kind="all").events == 6
    assert export_events(filled, file, kind="impression").events == 1
    assert pl.read_parquet(file).rows() == [("7", "i1", NOW, None, 1.0, "impression", "r1")]
    with pytest.raises(ConfigError, match=r"must end in \.parquet or \.csv"):
        export_events(filled, tmp_path / "log.txt")


def test_a_database_that_fails_meanwhile_leaves_the_old_file(
    filled: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "log.parquet"
    export_events(filled, file)
    before = file.read_bytes()

    def fail(*_: object) -> None:
        raise StoreUnavailableError("gone")

    monkeypatch.setattr(module._Source, "_frame", fail)
    with pytest.raises(StoreUnavailableError, match="gone"):
        export_events(filled, file)
    assert file.read_bytes() == before
    assert sorted(one.name for one in tmp_path.iterdir() if "events.db" not in one.name) == ["log.parquet"]


def test_commands_write_a_log_and_make_list_and_revoke_keys(
    filled: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    db = ["--db", f"sqlite:///{tmp_path / 'events.db'}"]
    assert main(["export-events", *db, "--out", str(tmp_path / "log.csv"), "--since", str(NOW + 400)]) == 0
    assert "1 events" in capsys.readouterr().out
    assert main(["keys", "create", *db, "--role", "read", "--name", "shop", "--expires", "90d", "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert Keys(filled).check(made["secret"]) is not None
    assert main(["keys", "revoke", made["id"], *db]) == 0
    capsys.readouterr()
    assert main(["keys", "list", *db]) == 0
    out = capsys.readouterr().out
    assert "revoked" in out
    assert made["secret"] not in out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("export-events --out x.csv --until 1970-01-01", "holds no interaction of this time"),
        ("export-events --out x.csv --since 2026-01-02 --until 2026-01-01", "--until must lie after --since"),
        ("keys create", "needs --role"),
        ("keys revoke", "needs the id of a key"),
        ("keys list --role read", "--role is for recsys keys create"),
        ("keys create abc --role read", "takes no id"),
        ("keys revoke abc", "no key has the id 'abc'"),
    ],
)
def test_commands_refuse_what_they_would_ignore(
    filled: Database, tmp_path: Path, words: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words.split(), "--db", filled.where]) == 2
    assert says in capsys.readouterr().err
