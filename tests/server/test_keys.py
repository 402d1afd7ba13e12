"""Keys are printed once, stored as digests, and end when they are told to."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from recsys.errors import ConfigError, DataError, StoreUnavailableError
from recsys.server import keys as module
from recsys.server.database import Database, open_database
from recsys.server.keys import Keys


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = open_database(f"sqlite:///{tmp_path / 'events.db'}")
    yield opened
    opened.close()


def test_a_key_opens_and_only_its_digest_is_stored(database: Database) -> None:
    keys = Keys(database)
    key, secret = keys.create("events", name="shop", rate="100/second")
    assert (key.role, key.rate, key.name) == ("events", "100/second", "shop")
    assert secret.startswith(f"rk_{key.id}_")
    assert len(secret) == len("rk_") + 12 + 1 + 43
    assert keys.check(secret) == key
    assert database.file is not None
    assert not any(secret[16:].encode() in file.read_bytes() for file in database.file.parent.iterdir())


@pytest.mark.parametrize(
    "wrong", ["", "rk_", "x" * 100_000, "rk_é", "\ud800", "rk_0123456789ab_" + "a" * 43, "rk__" + "a" * 43]
)
def test_a_wrong_key_opens_nothing(database: Database, wrong: str) -> None:
    keys = Keys(database)
    _, secret = keys.create("admin")
    changed = secret[:-1] + ("a" if secret[-1] != "a" else "b")
    assert [keys.check(one) for one in (wrong, changed, secret + "a", secret[:-1], secret.upper())] == [None] * 5


def test_a_revoked_key_opens_nothing_here_at_once_and_elsewhere_soon(database: Database) -> None:
    here, elsewhere = Keys(database), Keys(database, fresh=0.0)
    key, secret = here.create("read")
    assert elsewhere.check(secret) == key
    assert here.revoke(key.id).revoked is not None
    assert here.check(secret) is None
    until = time.monotonic() + 30  # ten times as long as the reading of the keys took
    while elsewhere.check(secret) is not None:
        assert time.monotonic() < until
        time.sleep(0.01)
    assert here.revoke(key.id) == here.list()[0]
    with pytest.raises(DataError, match="no key has the id 'nobody'"):
        here.revoke("nobody")
    with pytest.raises(DataError, match="no key has the id the secret of a key"):
        here.revoke(secret)


def test_a_key_ends_when_its_time_has_come(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = Keys(database)
    key, secret = keys.create("read", seconds=60)
    assert keys.check(secret) == key
    monkeypatch.setattr(module.time, "time", lambda: key.created + 60.0)
    assert keys.check(secret) is None


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ({"role": "root"}, "expected one of read, events, items, admin"),
        ({"rate": "fast"}, "write a rate such as 100/second"),
        ({"rate": "0/second"}, "write a rate such as 100/second"),
        ({"seconds": -1}, "must lie ahead"),
        ({"name": "a\nb"}, "printable characters"),
        ({"name": ""}, "printable characters"),
    ],
)
def test_an_argument_that_cannot_be_is_refused(database: Database, how: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        Keys(database).create(**{"role": "read", **how})  # type: ignore[arg-type]


def test_a_flood_of_wrong_keys_asks_the_database_once(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = Keys(database, fresh=60.0)
    reads = []
    read = keys._read
    monkeypatch.setattr(keys, "_read", lambda: reads.append(1) or read())
    for number in range(1000):
        assert keys.check(f"rk_{number:012x}_" + "a" * 43) is None
    assert len(reads) == 1


def test_the_keys_that_were_read_last_open_while_the_database_is_away(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys, fresh = Keys(database, fresh=0.0), Keys(database)
    key, secret = keys.create("read")
    assert keys.check(secret) == key

    def away() -> None:
        raise StoreUnavailableError("away")

    for one in (keys, fresh):
        monkeypatch.setattr(one, "_read", away)
    assert [keys.check(secret), keys.check(secret + "x")] == [key, None]
    with pytest.raises(StoreUnavailableError, match="away"):
        fresh.check(secret)
