import hashlib
import sqlite3
from pathlib import Path

import pytest

from recsys.core.pseudonym_key import PseudonymKey
from recsys.errors import ConfigError
from recsys.server.database import open_database
from recsys.server.events import Event
from recsys.server.forgetting import forget_users
from recsys.server.migrations import first
from recsys.server.migrations.run import migrate
from recsys.server.store import EventStore

ONE = PseudonymKey((b"1" * 32,))
TWO = PseudonymKey((b"1" * 32, b"2" * 32))
OTHER = PseudonymKey((b"3" * 32,))


def known(url: str, key: PseudonymKey | None) -> list[bool]:
    database = open_database(url)
    try:
        store = EventStore(database, key=key)
        try:
            return [at is not None for at in store.forgotten_at(["ann", "bob"])]
        finally:
            store.close()
    finally:
        database.close()


def holds(folder: Path, text: str) -> bool:
    return any(text.encode() in file.read_bytes() for file in folder.iterdir())


def test_who_was_forgotten_under_plain_digests_stays_forgotten_and_the_digests_are_gone(tmp_path: Path) -> None:
    url, plain = f"sqlite:///{tmp_path}/old.db", hashlib.sha256(b"ann").hexdigest()
    from sqlalchemy import create_engine

    engine = create_engine(url)
    with engine.begin() as connection:
        migrate(connection, url, (first.upgrade,))
        connection.exec_driver_sql("INSERT INTO recsys_forgotten VALUES (?, 5)", (plain,))
        connection.exec_driver_sql("INSERT INTO recsys_pseudonyms VALUES (?, 'person-1')", (plain,))
    engine.dispose()
    assert holds(tmp_path, plain)
    assert known(url, None) == [True, False]
    assert not holds(tmp_path, plain)
    assert known(url, ONE) == [True, False]  # a key that is given later
    with sqlite3.connect(tmp_path / "old.db") as connection:
        (digest,) = connection.execute("SELECT digest FROM recsys_pseudonyms").fetchone()
        salt = bytes.fromhex(connection.execute("SELECT salt FROM recsys_person_key").fetchone()[0])
    import hmac

    salted = hmac.digest(salt, plain.encode(), "sha256").hex()
    assert digest == hmac.digest(b"1" * 32, salted.encode(), "sha256").hex()


def test_a_key_is_rotated_and_a_missing_or_wrong_one_brings_nobody_back(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/events.db"
    database = open_database(url)
    store = EventStore(database, key=ONE)
    store.append([Event("e1", "bob", "i1", 1_700_000_000)])
    store.forget("bob")
    store.close()
    database.close()
    for wrong in (None, OTHER):
        with pytest.raises(ConfigError, match=ONE.id):
            known(url, wrong)
    assert known(url, TWO) == [False, True]
    with pytest.raises(ConfigError, match=TWO.id):
        known(url, ONE)
    assert known(url, TWO) == [False, True]


def test_users_are_forgotten_in_the_file_of_a_server_that_does_not_run(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/events.db"
    database = open_database(url)
    store = EventStore(database)
    store.append([Event(f"e{i}", f"somebody-{i % 3}", f"i{i}", 1_700_000_000 + i) for i in range(300)])
    with pytest.raises(ConfigError, match="DELETE /v1/users"):
        forget_users(url, ["somebody-1"])
    store.close()
    database.close()
    found = forget_users(url, ["somebody-1", "nobody-1"])
    assert (found.known, found.interactions) == ((True, False), 100)
    assert found.before != found.after
    assert holds(tmp_path, "somebody-2")
    assert not holds(tmp_path, "somebody-1")
    assert not holds(tmp_path, hashlib.sha256(b"somebody-1").hexdigest())
