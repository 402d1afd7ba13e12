"""Kill -9 at random moments under event load: no acknowledged event may be lost, or stored twice.

    python training/benchmarks/server_durability.py --kills 50 --out training/results

A process of its own stores events by eight threads, one event after another, and says which were acknowledged. It is
killed at a random moment; then the database is read. The next process goes on behind the last acknowledged event of each
thread, so that the event under way at the kill is sent again. On PostgreSQL, every other kill hits the database (the server
and each process of it) instead; the client then repeats its event until it is taken.

Good: of the acknowledged events, none is missing; no event is stored twice; and a thread has at most one event stored that
was not acknowledged. A kill leaves the system's cache, so this shows what a crash of a program does, not a power failure:
against that stand ``synchronous = FULL`` and PostgreSQL's ``fsync``, which are checked when a database is opened. Where the
system has a folder in memory, PostgreSQL's files lie there: for a kill that is the same, and its recovery is faster.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import platform
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

ROOT = Path(__file__).parents[2]
THREADS = 8


_fork = multiprocessing.get_context("forkserver")
_fork.set_forkserver_preload(["recsys.server.store"])  # so that a process begins to store at once


def work(url: str, starts: list[int], said: Connection) -> None:
    """In a process of its own: store events until killed, and say which were acknowledged."""
    from recsys.errors import StoreUnavailableError
    from recsys.server.database import open_database
    from recsys.server.events import Event
    from recsys.server.store import EventStore

    store, saying = EventStore(open_database(url)), threading.Lock()

    def client(thread: int, number: int) -> None:
        while True:
            name = f"{thread}-{number}"
            try:
                receipt = store.append([Event(name, f"u{number % 50}", name, 1_700_000_000 + number)])[0]
            except StoreUnavailableError:
                time.sleep(0.02)
                continue
            seen = name in store.deltas([f"u{number % 50}"])[0].item_ids
            with saying:
                said.send((name, receipt.result, seen))
            number += 1

    threads = [threading.Thread(target=client, args=one) for one in enumerate(starts)]
    for thread in threads:
        thread.start()


@dataclass
class Tally:
    """What is known of one database."""

    acknowledged: dict[str, str] = field(default_factory=dict)
    kills: int = 0
    lost: int = 0
    twice: int = 0
    surplus: int = 0
    unseen: int = 0
    repeated: int = 0

    def starts(self) -> list[int]:
        """Behind the last acknowledged event of each thread."""
        last = Counter[int]()
        for name in self.acknowledged:
            thread, number = map(int, name.split("-"))
            last[thread] = max(last[thread], number + 1)
        return [last[thread] for thread in range(THREADS)]

    def check(self, url: str) -> None:
        """Compare what is stored with what was acknowledged."""
        stored = Counter(stored_items(url))
        self.lost += sum(name not in stored for name in self.acknowledged)
        self.twice += sum(count > 1 for count in stored.values())
        self.surplus = max(self.surplus, len(stored.keys() - self.acknowledged.keys()))


def stored_items(url: str) -> list[str]:
    """The item of each stored event; it is the id under which the event was sent."""
    from sqlalchemy import select

    from recsys.server.database import open_database
    from recsys.server.tables import EVENTS

    database = open_database(url)
    with database.reading() as connection:
        items = [str(item) for item in connection.execute(select(EVENTS.c.item_id)).scalars()]
    database.close()
    return items


class Client:
    """The process that stores events, and a thread that reads what it says."""

    def __init__(self, url: str, tally: Tally) -> None:
        self._heard, said = _fork.Pipe(duplex=False)
        self.process = _fork.Process(target=work, args=(url, tally.starts(), said))
        self.process.start()
        said.close()
        self.lines, self._tally = 0, tally
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        while True:
            try:
                name, result, seen = self._heard.recv()
            except (EOFError, OSError):
                return  # killed; what it was about to say, a client would not have known
            self._tally.acknowledged[name] = result
            self._tally.repeated += result == "duplicate"
            self._tally.unseen += not seen
            self.lines += 1

    def wait_for(self, lines: int, limit: float = 60.0) -> None:
        """Until that many more events were acknowledged."""
        goal, end = self.lines + lines, time.monotonic() + limit
        while self.lines < goal:
            if time.monotonic() > end or not self.process.is_alive():
                self.kill()
                raise SystemExit("the client stopped storing events")
            time.sleep(0.002)

    def kill(self) -> None:
        """SIGKILL, and read what it had said."""
        self.process.kill()
        self.process.join()
        self._reader.join()


def on_sqlite(url: str, kills: int, end: float, chance: random.Random) -> Tally:
    """Kill the process that writes the file."""
    tally = Tally()
    while tally.kills < kills and time.monotonic() < end:
        client = Client(url, tally)
        client.wait_for(20)
        time.sleep(chance.uniform(0.0, 0.3))
        client.kill()
        tally.kills += 1
        tally.check(url)
    return tally


def on_postgresql(kills: int, end: float, chance: random.Random) -> Tally:
    """Kill by turns the database and the process that writes to it."""
    sys.path.insert(0, str(ROOT))
    from tests.server.postgres import Postgres

    server, tally = Postgres(), Tally()
    url, client = server.new_database("durability"), None
    try:
        while tally.kills < kills and time.monotonic() < end:
            client = Client(url, tally)
            client.wait_for(20)
            time.sleep(chance.uniform(0.0, 0.3))
            server.kill()
            server.start()
            tally.kills += 1
            client.wait_for(20)
            time.sleep(chance.uniform(0.0, 0.3))
            client.kill()
            tally.kills += 1
            tally.check(url)
    finally:
        if client is not None:
            client.kill()
        server.remove()
    return tally


def table(tallies: dict[str, Tally]) -> str:
    """The result as Markdown."""
    head = "database | kills | acknowledged events | lost | stored twice | most that were stored and not acknowledged"
    rows = [head + " | sent again and recognised | not in the next answer", "|".join(["---"] * 8)]
    for name, one in tallies.items():
        cells = (one.kills, len(one.acknowledged), one.lost, one.twice, one.surplus, one.repeated, one.unseen)
        rows.append(" | ".join([name, *(f"{cell:,}" for cell in cells)]))
    return "\n".join(f"| {row} |" for row in rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50, help="kills of each database (default: 50)")
    parser.add_argument(
        "--minutes",
        type=float,
        default=4.0,
        help="limit of the whole; PostgreSQL has what SQLite leaves of it (default: 4)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the moments (default: 0)")
    parser.add_argument("--out", type=Path, help="folder for server-durability.md")
    arguments = parser.parse_args()
    chance = random.Random(arguments.seed)  # noqa: S311 - moments, not secrets
    start, limit = time.monotonic(), arguments.minutes * 60
    tallies = {}
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/events.db"
        tallies["SQLite"] = on_sqlite(url, arguments.kills, start + limit / 2, chance)
    tallies["PostgreSQL"] = on_postgresql(arguments.kills, start + limit, chance)
    found = table(tallies)
    print(found)
    if arguments.out:
        command = f"python training/benchmarks/server_durability.py --kills {arguments.kills} --seed {arguments.seed}"
        what = f"{platform.platform()}, {os.cpu_count()} cores, Python {platform.python_version()}"
        explained = (__doc__ or "").split("\n\n", 2)[2]
        text = f"# Events through kill -9\n\n`{command}` on {what}.\n\n{found}\n\n{explained}"
        (arguments.out / "server-durability.md").write_text(text, encoding="utf-8")
    if any(one.lost or one.twice or one.unseen or one.surplus > THREADS for one in tallies.values()):
        raise SystemExit("an acknowledged event was lost, stored twice, or missing in the next answer")


if __name__ == "__main__":
    main()
