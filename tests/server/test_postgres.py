"""Replicas share PostgreSQL: each sees at once what the others stored, and goes on without it where it can."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import count
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from recsys.errors import StoreUnavailableError
from recsys.server.database import open_database
from recsys.server.events import Event, Receipt
from recsys.server.export import export_events
from recsys.server.item_changes import ItemChanges
from recsys.server.keys import Keys
from recsys.server.store import Counts, EventStore
from recsys.server.tables import METADATA
from tests.server.postgres import Postgres, binaries

pytestmark = pytest.mark.skipif(binaries() is None, reason="PostgreSQL is not installed")
NOW = 1_700_000_000
_NUMBERS = count()


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    server = Postgres()
    yield server
    server.remove()


@pytest.fixture
def url(postgres: Postgres) -> str:
    return postgres.new_database(f"test{next(_NUMBERS)}")


@pytest.fixture
def replicas(url: str) -> Iterator[list[EventStore]]:
    with ExitStack() as opened:
        stores = []
        for held in (1_000_000, 1_000_000, 3):  # the last one asks again and again
            database = open_database(url)
            opened.callback(database.close)
            stores.append(EventStore(database, held=held))
            opened.callback(stores[-1].close)
        yield stores


def event(name: str, user: str = "u", item: str = "i", **more: object) -> Event:
    return Event(name, user, item, NOW, **more)  # type: ignore[arg-type]


def test_each_replica_reads_what_any_has_just_stored(replicas: list[EventStore]) -> None:
    def write_and_read(thread: int) -> int:
        found = 0
        for number in range(10):
            user, item = f"u{(thread + number) % 4}", f"{thread}-{number}"
            replicas[thread % 3].append([event(item, user, item), event(f"shown {item}", user, kind="impression")])
            found += all(item in replica.deltas([user])[0].item_ids for replica in replicas)
        return found

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(write_and_read, range(6))) == 60
    users = [f"u{number}" for number in range(4)]
    known = [[delta.item_ids for delta in replica.deltas(users)] for replica in replicas]
    assert known[0] == known[1] == known[2]
    assert replicas[0].counts() == Counts(interactions=60, impressions=60)


def test_an_event_counts_once_whichever_replica_it_is_sent_to(replicas: list[EventStore]) -> None:
    with ThreadPoolExecutor(6) as pool:
        sent = [pool.submit(replica.append, [event(f"e{n}") for n in range(20)]) for replica in replicas for _ in range(2)]
        results = [receipt.result for future in sent for receipt in future.result()]
    assert (results.count("accepted"), results.count("duplicate")) == (20, 100)
    assert [len(replica.deltas(["u"])[0]) for replica in replicas] == [20, 20, 20]


def test_a_user_forgotten_by_one_replica_is_forgotten_by_all(replicas: list[EventStore]) -> None:
    replicas[0].append([event("a"), event("b", "v")])
    assert [len(replica.deltas(["u"])[0]) for replica in replicas] == [1, 1, 1]
    name = replicas[0].pseudonym("u")
    assert replicas[1].pseudonym("u") == name
    receipt = replicas[1].forget("u")
    assert (receipt.interactions, receipt.pseudonyms) == (1, 1)
    for replica in replicas:
        assert [len(delta) for delta in replica.deltas(["u", "v"])] == [0, 1]
    assert replicas[0].pseudonym("u") != name
    assert replicas[0].retain(0, now=NOW + 1) == 1
    assert [len(replica.deltas(["v"])[0]) for replica in replicas] == [0, 0, 0]


def test_reads_go_on_and_writes_recover_when_it_is_stopped(replicas: list[EventStore], postgres: Postgres) -> None:
    store = replicas[0]
    store.append([event("a", item="1")])
    postgres.stop("immediate")
    try:
        started = time.monotonic()
        assert store.deltas(["u"])[0].item_ids == ("1",)
        assert store.stale
        for _ in range(20):
            with pytest.raises(StoreUnavailableError, match="nothing was stored"):
                store.append([event("b", item="2")])
        assert store.deltas(["u", "nobody"])[0].item_ids == ("1",)
        assert time.monotonic() - started < 3
    finally:
        postgres.start()
    assert _until_accepted(store, event("b", item="2"))[0].result == "accepted"
    assert [replica.deltas(["u"])[0].item_ids for replica in replicas[:2]] == [("1", "2"), ("1", "2")]
    assert not store.stale


def test_reads_go_on_when_it_hangs(url: str, postgres: Postgres) -> None:
    database = open_database(url)
    store = EventStore(database, patience=0.2)
    store.append([event("a", item="1")])
    frozen = postgres.freeze()
    try:
        started = time.monotonic()
        for _ in range(20):
            assert store.deltas(["u"])[0].item_ids == ("1",)
        assert store.stale
        assert time.monotonic() - started < 1
    finally:
        postgres.thaw(frozen)
    assert _until_accepted(store, event("b", item="2"))[0].result == "accepted"
    assert store.deltas(["u"])[0].item_ids == ("1", "2")
    store.close()
    database.close()


def test_a_database_that_was_restarted_between_two_requests_is_not_noticed(
    replicas: list[EventStore], postgres: Postgres
) -> None:
    replicas[0].append([event("a", item="1")])
    assert len(replicas[1].deltas(["u"])[0]) == 1
    postgres.stop()
    postgres.start()
    assert replicas[0].append([event("b", item="2")])[0].result == "accepted"
    assert replicas[1].deltas(["u"])[0].item_ids == ("1", "2")


def _until_accepted(store: EventStore, one: Event) -> list[Receipt]:
    for _ in range(100):
        try:
            return store.append([one])
        except StoreUnavailableError:
            time.sleep(0.05)
    raise AssertionError("it did not recover within 5 seconds")


def test_schema_keys_changes_and_exports_are_as_in_sqlite(url: str, tmp_path: Path) -> None:
    with ThreadPoolExecutor(3) as pool:
        databases = list(pool.map(open_database, [url] * 3))
    database = databases[0]
    with database.reading() as connection:
        assert compare_metadata(MigrationContext.configure(connection), METADATA) == []
    key, secret = Keys(database).create("read")
    assert Keys(databases[1]).check(secret) == key
    ItemChanges(database).record("a", "put", {"title": "👩‍👩‍👧 'x' %s"})
    assert [dict(change.columns) for change in ItemChanges(databases[1]).since(0)] == [{"title": "👩‍👩‍👧 'x' %s"}]
    odd = ["o'Brien\"; --", "👩‍👩‍👧", "👩" * 500, "%s", ":1", "a\nb", "\\", " 7"]
    store = EventStore(database, held=0)
    assert [len(delta) for delta in store.deltas(["\0", "\ud800", "x" * 100_000, ""])] == [0, 0, 0, 0]
    assert not store.stale
    assert {one.result for one in store.append([event(f"e{n}", text, text) for n, text in enumerate(odd)])} == {"accepted"}
    assert [delta.item_ids for delta in store.deltas(odd)] == [(text,) for text in odd]
    assert export_events(database, tmp_path / "log.parquet").events == len(odd)
    store.close()
    for one in databases:
        one.close()


def test_a_database_that_forgets_what_it_acknowledged_is_refused(postgres: Postgres, url: str) -> None:
    database = open_database(url + "?options=-csynchronous_commit%3Doff")
    with database.reading() as connection:
        assert connection.exec_driver_sql("SHOW synchronous_commit").scalar() == "on"
    database.close()
