"""An acknowledged event is on disk, once, and in the next answer."""

from __future__ import annotations

import importlib
import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from recsys.errors import ConfigError, DataError, OverloadedError, StoreUnavailableError
from recsys.server.database import Database, open_database
from recsys.server.events import Event
from recsys.server.store import Counts, EventStore

NOW = 1_700_000_000


def event(name: str, user: str = "u", item: str = "i", **more: object) -> Event:
    return Event(name, user, item, NOW, **more)  # type: ignore[arg-type]


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = open_database(f"sqlite:///{tmp_path / 'events.db'}")
    yield opened
    opened.close()


@pytest.fixture
def store(database: Database) -> Iterator[EventStore]:
    opened = EventStore(database)
    yield opened
    opened.close()


def results(store: EventStore, *events: Event) -> list[str]:
    return [receipt.result for receipt in store.append(events)]


def test_an_event_counts_once_however_often_it_is_sent(store: EventStore) -> None:
    assert results(store, event("a"), event("a"), event("b", kind="impression")) == ["accepted", "duplicate", "accepted"]
    assert results(store, event("a"), event("b", kind="impression"), event("c")) == ["duplicate", "duplicate", "accepted"]
    assert store.counts() == Counts(interactions=2, impressions=1)
    assert store.deltas(["u"])[0].item_ids == ("i", "i")


def test_an_id_of_another_event_is_refused(store: EventStore) -> None:
    store.append([event("a")])
    receipt = store.append([event("a", item="j")])[0]
    assert receipt.result == "refused"
    assert "belongs to another event" in (receipt.reason or "")


def test_a_refused_event_does_not_keep_the_others_away(store: EventStore) -> None:
    assert results(store, event("a"), event(""), event("b", user="x" * 10_000), event("c")) == [
        "accepted", "refused", "refused", "accepted",
    ]  # fmt: skip


def test_deltas_hold_each_users_interactions_in_the_order_of_the_commits(store: EventStore) -> None:
    store.append(
        [event("a", item="1", event="view"), event("b", "v", "2"), event("c", item="3"), event("d", kind="impression")]
    )
    mine, nobodys, others = store.deltas(["u", "nobody", "v"])
    assert mine.item_ids == ("1", "3")
    assert mine.events == ("view", None)
    assert mine.timestamps.tolist() == [NOW, NOW]
    assert (len(nobodys), others.item_ids) == (0, ("2",))


@pytest.mark.parametrize("held", [1_000_000, 0], ids=["in memory", "asked for"])
def test_a_store_opened_again_knows_what_it_knew(database: Database, held: int) -> None:
    first = EventStore(database)
    first.append([event(f"e{number}", f"u{number % 3}", f"i{number}") for number in range(30)])
    before = [delta.item_ids for delta in first.deltas(["u0", "u1", "u2", "u3"])]
    assert first.close()
    again = EventStore(database, held=held)
    assert [delta.item_ids for delta in again.deltas(["u0", "u1", "u2", "u3"])] == before
    assert results(again, event("e29", "u2", "i29")) == ["duplicate"]
    again.close()


@pytest.mark.parametrize("held", [1_000_000, 5], ids=["in memory", "mostly asked for"])
def test_each_thread_reads_what_it_has_just_written(database: Database, held: int) -> None:
    store = EventStore(database, held=held)

    def write_and_read(thread: int) -> int:
        found = 0
        for number in range(25):
            user = f"u{(thread + number) % 5}"
            store.append([event(f"{thread}-{number}", user, f"{thread}-{number}")])
            found += f"{thread}-{number}" in store.deltas([user])[0].item_ids
        return found

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(write_and_read, range(8))) == 200
    users = [f"u{number}" for number in range(5)]
    assert sum(len(delta) for delta in store.deltas(users)) == store.counts().interactions == 200
    store.close()


def test_a_forgotten_user_is_gone_from_answers_and_file(store: EventStore, database: Database) -> None:
    store.append([event("a", "somebody", "i1"), event("b", "somebody", "i2", kind="impression"), event("c", "other")])
    receipt = store.forget("somebody")
    assert (receipt.interactions, receipt.impressions) == (1, 1)
    assert len(store.deltas(["somebody"])[0]) == 0
    assert store.counts() == Counts(interactions=1, impressions=0)
    assert database.file is not None
    files = list(database.file.parent.iterdir())
    assert files
    assert not any(b"somebody" in file.read_bytes() for file in files)
    assert results(store, event("a", "somebody", "i1")) == ["accepted"]


@pytest.mark.parametrize("held", [1_000_000, 0], ids=["in memory", "asked for"])
def test_users_who_cannot_be_stored_have_no_events(database: Database, held: int) -> None:
    store = EventStore(database, held=held)
    store.append([event("a")])
    odd = ["", "\0", "\ud800", "x" * 100_000, "'; --"]
    assert [len(delta) for delta in store.deltas([*odd, "u"])] == [0, 0, 0, 0, 0, 1]
    assert [store.counts(user) for user in odd] == [Counts(0, 0)] * 5
    assert not store.stale
    with pytest.raises(DataError, match="half a character"):
        store.forget("\ud800")
    assert store.forget("x" * 100_000).interactions == 0
    assert [at is not None for at in store.forgotten_at(odd)] == [False, False, False, True, False]
    store.close()


def test_old_events_are_removed_and_the_younger_stay(store: EventStore) -> None:
    old = Event("old", "u", "i0", NOW - 100)
    store.append([old, event("young")])
    assert store.retain(50, now=NOW + 1) == 1
    assert store.deltas(["u"])[0].item_ids == ("i",)


def test_a_second_process_is_refused_a_file_of_sqlite(store: EventStore, database: Database) -> None:
    with pytest.raises(ConfigError, match="several servers need PostgreSQL"):
        EventStore(database)


def test_more_than_can_wait_is_refused_at_once(database: Database) -> None:
    store = EventStore(database, waiting=10)
    with pytest.raises(DataError, match="11 events at once; send at most 10"):
        store.submit([event(str(number)) for number in range(11)])
    with database.writing():  # the writer waits for this transaction
        futures = [store.submit([event(str(number))]) for number in range(9)]
        with pytest.raises(OverloadedError, match="wait to be written"):
            futures += [store.submit([event(f"more {number}") for number in range(10)]) for _ in range(2)]
    assert {receipt.result for future in futures for receipt in future.result()} == {"accepted"}
    store.close()


def test_a_closed_store_has_written_what_waited_and_takes_nothing_more(database: Database) -> None:
    store = EventStore(database)
    futures = [store.submit([event(str(number))]) for number in range(50)]
    assert store.close()
    assert all(future.result()[0].result == "accepted" for future in futures)
    with pytest.raises(StoreUnavailableError, match="closed"):
        store.append([event("late")])


def test_a_full_disk_acknowledges_nothing_and_room_mends_it(store: EventStore, database: Database) -> None:
    store.append([event("a")])
    with database.writing() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StoreUnavailableError, match="nothing was stored: make room"):
        store.append([event(f"b{number}", item="x" * 400) for number in range(200)])
    assert store.deltas(["u"])[0].item_ids == ("i",)
    with database.writing() as connection:
        connection.exec_driver_sql("PRAGMA max_page_count = 1000000")
    assert results(store, event("b0", item="x" * 400)) == ["accepted"]


def test_a_kill_loses_no_acknowledged_event_and_stores_none_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "training" / "benchmarks"))
    benchmark = importlib.import_module("server_durability")
    url = f"sqlite:///{tmp_path / 'events.db'}"
    tally = benchmark.on_sqlite(url, kills=2, end=time.monotonic() + 60, chance=random.Random(0))  # noqa: S311
    assert (tally.kills, tally.lost, tally.twice, tally.unseen) == (2, 0, 0, 0)
    assert tally.surplus <= benchmark.THREADS
    assert len(tally.acknowledged) >= 40


def test_a_file_that_was_removed_takes_no_more_events(store: EventStore, database: Database, tmp_path: Path) -> None:
    store.append([event("a", weight=10**300)])
    assert database.file is not None
    database.file.rename(tmp_path / "elsewhere.db")
    with pytest.raises(StoreUnavailableError, match="was removed or replaced"):
        store.append([event("b")])
    (tmp_path / "elsewhere.db").rename(database.file)
    assert results(store, event("b"), event("a", weight=10**300)) == ["accepted", "duplicate"]
