"""A database opens with the schema that this program knows, or says what is wrong with it."""

from __future__ import annotations

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Column, Text

from recsys.errors import ConfigError, DataError, RecsysError, StoreUnavailableError
from recsys.server.database import open_database
from recsys.server.migrations import run
from recsys.server.tables import METADATA


@pytest.mark.parametrize(
    ("url", "error", "says"),
    [
        ("events.db", ConfigError, "is not the URL of a database; write sqlite:///FILE"),
        ("", ConfigError, "is not the URL of a database"),
        ("sqlite://", ConfigError, "names no file on disk"),
        ("sqlite:///:memory:", ConfigError, "names no file on disk"),
        ("sqlite:///DIR", ConfigError, "is a folder; name a file in it"),
        ("sqlite:///DIR/note.txt", DataError, "is not a database of SQLite"),
        ("sqlite:///DIR/note.txt/x.db", ConfigError, "is a file"),
        ("mysql://u:secret@h/x", ConfigError, "of the kind 'mysql'"),
        ("postgresql://u:secret@127.0.0.1:1/x", StoreUnavailableError, "refused"),
    ],
)
def test_a_wrong_url_is_refused_without_its_password(tmp_path: Path, url: str, error: type[RecsysError], says: str) -> None:
    (tmp_path / "note.txt").write_text("remember the milk" * 100)
    with pytest.raises(error, match=says) as refused:
        open_database(url.replace("DIR", str(tmp_path)))
    assert "secret" not in str(refused.value)
    assert (tmp_path / "note.txt").read_text() == "remember the milk" * 100


def test_the_migrations_lead_to_the_tables_that_the_program_uses(tmp_path: Path) -> None:
    database = open_database(f"sqlite:///{tmp_path / 'new' / 'events.db'}")
    with database.reading() as connection:
        assert compare_metadata(MigrationContext.configure(connection), METADATA) == []
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
    database.close()


def test_versions_refuse_each_other_by_name_and_an_older_schema_is_migrated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"sqlite:///{tmp_path / 'events.db'}"
    with pytest.raises(ConfigError, match="does not exist"):
        open_database(url, create=False)
    open_database(url).close()
    with monkeypatch.context() as newer:
        third = (*run.MIGRATIONS, lambda change: change.add_column("recsys_keys", Column("note", Text)))
        for check in (run.check_schema, run.migrate):
            newer.setattr(check, "__defaults__", (third,))
        newer.setattr(run, "__version__", "9.9.9")
        with pytest.raises(DataError, match=r"has schema 2, made by recsys 0.* this is recsys 9.9.9, which needs schema 3"):
            open_database(url, create=False)
        open_database(url).close()
        open_database(url, create=False).close()
    for create in (True, False):
        with pytest.raises(DataError, match=r"has schema 3, made by recsys 9.9.9; this is recsys .*, which knows schema 2"):
            open_database(url, create=create)


def test_a_migration_that_fails_leaves_the_old_schema(tmp_path: Path) -> None:
    database = open_database(f"sqlite:///{tmp_path / 'events.db'}")

    def broken(change: object) -> None:
        change.add_column("recsys_keys", Column("note", Text))  # type: ignore[attr-defined]
        raise RuntimeError

    with pytest.raises(RuntimeError), database.writing() as connection:
        run.migrate(connection, database.where, (*run.MIGRATIONS, broken))
    with database.reading() as connection:
        assert compare_metadata(MigrationContext.configure(connection), METADATA) == []
        run.check_schema(connection, database.where)
    database.close()


def test_two_programs_migrate_a_new_file_at_once(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'events.db'}"
    with ThreadPoolExecutor(4) as pool:
        for database in pool.map(open_database, [url] * 4):
            database.close()
    with sqlite3.connect(tmp_path / "events.db") as connection:
        assert connection.execute("SELECT count(*) FROM recsys_schema").fetchone() == (2,)
