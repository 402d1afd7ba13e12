"""Events on disk: what was acknowledged survives a power failure, and is in the next answer."""

from __future__ import annotations

import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from sqlalchemy import Connection

from recsys.core.files import exclusive
from recsys.core.progress import warn
from recsys.core.pseudonym_key import PseudonymKey
from recsys.errors import ConfigError, DataError, StoreUnavailableError
from recsys.server import event_table as table
from recsys.server.aside import Aside
from recsys.server.database import Database, unreachable
from recsys.server.deltas import Delta, Deltas, Row
from recsys.server.events import LONGEST_ID, Event, Receipt, odd_text, refusal
from recsys.server.group_commit import GroupCommit
from recsys.server.outage import Outage
from recsys.server.person_digest import PersonDigest, as_they_are, check_users, settled

Found = TypeVar("Found")
LONGEST_COMMIT: Final = 15.0
"""Seconds after which a client is not kept waiting for a commit any longer."""
UNSURE: Final = (
    f"the database did not answer within {LONGEST_COMMIT:.0f} seconds, and the events may be stored or not: send them "
    "again with the same event_ids, which stores them once"
)
_STEP: Final = 20_000
"""Rows that a statement reads or deletes."""
_FAR: Final = 200_000
"""Positions behind others after which it is cheaper to begin anew."""


@dataclass(frozen=True)
class Counts:
    """What a store holds, of all users or of a single user."""

    interactions: int
    impressions: int


@dataclass(frozen=True)
class Forgotten:
    """What was removed with a user; no name is in it.

    Attributes
    ----------
    receipt : str
        Under which the audit log has it.
    interactions, impressions, pseudonyms : int
        How many were removed.
    at : int
        Seconds since 1970.
    """

    receipt: str
    interactions: int
    impressions: int
    pseudonyms: int
    at: int

    def to_dict(self) -> dict[str, str | int]:
        """For an answer in JSON."""
        return asdict(self)


class EventStore:
    """Events in a database, and behind it in memory what users did.

    A single thread writes: what gathers during a commit goes into the next one, so that many clients share a wait.
    A file of SQLite belongs to one process. Many can share PostgreSQL; each asks it for new events before it answers.

    Parameters
    ----------
    database : Database
        Its owner closes it, after the store.
    held : int
        Interactions to keep in memory at most, about 150 bytes each.
    largest : int
        Events in one commit.
    waiting : int
        Events that may wait for a commit.
    patience : float
        Seconds that :meth:`deltas` waits for PostgreSQL before it goes on with what is known.
    on_commit : function, optional
        Called after each commit with the number of its events and its seconds.
    key : PseudonymKey, optional
        Keys the digests under which forgotten users are noted, besides a salt in the database.
    pseudonymise : bool
        Whether the database gets pseudonyms under this key in place of the users' ids, which callers give all the same.

    Raises
    ------
    ConfigError
        Another process has opened the file of SQLite, or the digests in it are under a key that was not given.
    StoreUnavailableError
        The database does not answer.

    Examples
    --------
    >>> from recsys.server.database import open_database
    >>> database = open_database("sqlite:///events.db")
    >>> store = EventStore(database)
    >>> store.append([Event("e1", "42", "toy-story", 1_700_000_000)])
    [Receipt(event_id='e1', result='accepted', reason=None)]
    >>> store.deltas(["42"])[0].item_ids
    ('toy-story',)
    >>> store.close(), database.close()
    (True, None)
    """

    def __init__(
        self,
        database: Database,
        *,
        held: int = 1_000_000,
        largest: int = 1_000,
        waiting: int = 20_000,
        patience: float = 2.0,
        on_commit: Callable[[int, float], None] | None = None,
        key: PseudonymKey | None = None,
        pseudonymise: bool = False,
    ) -> None:
        self._key = key if pseudonymise else None
        self._database = database
        self._on_commit = on_commit
        self._deltas = Deltas(self._load, held)
        self._outage = Outage(self._probe)
        self._aside = Aside("recsys-reads") if database.kind == "postgresql" else None
        self._patience = patience
        self._catching = threading.RLock()
        self._state = table.State(0, 0)
        self._early: set[str] = set()
        self._forgotten: dict[str, int] = {}
        self._owned = ExitStack()
        if database.file:
            self._owned.enter_context(_one_process(database, database.file))
        try:
            self._digest = _digest_of(database, key, pseudonymise=pseudonymise)
            self._open(held)
        except BaseException:
            self._owned.close()
            raise
        self._writer = GroupCommit(self._commit, largest, waiting, "recsys-events")

    @property
    def stale(self) -> bool:
        """Whether the database cannot be reached, so that answers rest on what is known."""
        return self._outage.now

    @property
    def waiting(self) -> int:
        """Events that wait for a commit."""
        return self._writer.waiting

    @property
    def alive(self) -> bool:
        """Whether events can still be written; false only after :meth:`close`."""
        return self._writer.alive

    def append(self, events: Sequence[Event]) -> list[Receipt]:
        """Store events, and wait until they are on disk and in :meth:`deltas`.

        Parameters
        ----------
        events : sequence of Event
            Stored together or not at all, except the events that are refused.

        Returns
        -------
        list of Receipt
            In their order.

        Raises
        ------
        StoreUnavailableError
            The database cannot be written; nothing was acknowledged, and the same events can be sent again.
        OverloadedError
            Too many events wait.
        DataError
            More events than may ever wait.
        """
        future = self.submit(events)
        try:
            return future.result(LONGEST_COMMIT)
        except TimeoutError as error:
            future.cancel()
            raise StoreUnavailableError(UNSURE) from error

    def submit(self, events: Sequence[Event]) -> Future[list[Receipt]]:
        """As :meth:`append`, without waiting; the future fails as ``append`` does.

        Raises
        ------
        OverloadedError, DataError
            As :meth:`append`.
        StoreUnavailableError
            The database cannot be reached, or the store was closed.
        """
        self._refuse_outage()
        return self._writer.submit(list(events))

    def deltas(self, users: Sequence[str]) -> list[Delta]:
        """What users did: a delta for each user, in their order, which may be empty.

        While the database cannot be reached, it is what is known; see :attr:`stale`.
        """
        users = self._called(users)
        if not self._outage.now:
            try:
                if self._aside is None:
                    return self._deltas.of(users)
                return self._aside.run(partial(self._newest, users)).result(self._patience)
            except (StoreUnavailableError, TimeoutError):
                self._outage.begin()
        return self._deltas.known(users)

    def newer(self, position: int, limit: int) -> tuple[table.State, list[Row]]:
        """The interactions behind a position, at most ``limit``, and where the store stands.

        Raises
        ------
        StoreUnavailableError
            The database does not answer.
        """
        with self._database.reading() as connection:
            return table.newer(connection, position, limit)

    def interactions_of(self, users: Sequence[str]) -> list[Row]:
        """All interactions of some users, each one's in the order of their commits; raises as :meth:`newer`."""
        return list(self._load(self._called(users)))

    def counts(self, user: str | None = None) -> Counts:
        """Events of all users, or of a single user.

        Raises
        ------
        StoreUnavailableError
            The database does not answer.
        """
        if user is not None and odd_text("user_id", user, LONGEST_ID):
            return Counts(0, 0)
        with self._database.reading() as connection:
            by_kind = table.count_by_kind(connection, None if user is None else self._called([user])[0])
        return Counts(by_kind.get("interaction", 0), by_kind.get("impression", 0))

    def pseudonym(self, user: str) -> str:
        """A name for logs; after :meth:`forget` nothing leads from it to the user.

        Raises
        ------
        StoreUnavailableError
            The database cannot be written.
        DataError
            The id is blank, or not valid text.
        """
        digest = self._proven_digest(user)
        return self._writer.run(lambda: self._change(lambda connection: table.pseudonym_of(connection, digest))).result()

    def forget(self, user: str) -> Forgotten:
        """Remove all that is stored of a user, in one transaction; earlier :meth:`append` calls are included.

        Raises
        ------
        StoreUnavailableError
            The database cannot be written; nothing was removed.
        DataError
            The id is blank, or not valid text.
        """
        digest = self._proven_digest(user)
        called = self._called([user])[0]
        return self._writer.run(lambda: self._forget(called, digest)).result()

    def retain(self, seconds: int, now: float | None = None) -> int:
        """Remove events whose timestamp is older; events go on being stored meanwhile.

        Parameters
        ----------
        seconds : int
            Age up to which events stay.
        now : float, optional
            Seconds since 1970; by default the clock's.

        Returns
        -------
        int
            Events removed.

        Raises
        ------
        StoreUnavailableError
            The database cannot be written; what was removed before stays removed.
        """
        oldest = int((time.time() if now is None else now) - seconds)
        with self._database.reading() as connection:
            last = table.read_state(connection).position
        return sum(self._writer.run(partial(self._remove_older, oldest, after)).result() for after in range(0, last, _STEP))

    def close(self, timeout: float | None = None) -> bool:
        """Take no more events, and write those that wait; false if that takes longer than ``timeout`` seconds."""
        ended = self._writer.close(timeout)
        self._outage.close()
        if self._aside:
            self._aside.close()
        if ended:
            self._owned.close()
        return ended

    def _called(self, users: Sequence[str]) -> Sequence[str]:
        """What the database calls users; ids that it never holds stay as they are."""
        if self._key is None:
            return users
        storable = [user for user in users if odd_text("user_id", user, LONGEST_ID) is None]
        names = dict(zip(storable, self._key.of(storable).to_list(), strict=True))
        return [names.get(user, user) for user in users]

    def _proven_digest(self, user: str) -> str:
        if odd := odd_text("user_id", user, sys.maxsize):
            raise DataError(odd)
        return self._digest.of(self._called([user])[0])

    def _open(self, held: int) -> None:
        with self._database.reading() as connection:
            self._state = table.read_state(connection)
            self._forgotten = table.forgotten_users(connection)
            if table.count_by_kind(connection, None).get("interaction", 0) <= held:
                self._deltas.fill(table.interactions(connection, self._state.position))

    def _newest(self, users: Sequence[str]) -> list[Delta]:
        self._again(self._catch_up)
        return self._again(partial(self._deltas.of, users))

    def _load(self, users: Sequence[str]) -> Iterator[Row]:
        storable = [user for user in users if odd_text("user_id", user, LONGEST_ID) is None]
        with self._database.reading() as connection:
            yield from table.interactions_of(connection, storable)

    def _probe(self) -> None:
        with self._database.reading() as connection:
            table.read_state(connection)

    def _again(self, work: Callable[[], Found]) -> Found:
        """Do it once more on a new connection, where the database has closed the old ones."""
        try:
            return work()
        except StoreUnavailableError as error:
            if not unreachable(error):
                raise
            return work()

    def _change(self, work: Callable[[Connection], Found]) -> Found:
        """Write in a transaction."""
        self._refuse_outage()

        def once() -> Found:
            with self._database.writing() as connection:
                return work(connection)

        try:
            return self._again(once)
        except StoreUnavailableError as error:
            if unreachable(error):
                self._outage.begin()
            raise

    def _refuse_outage(self) -> None:
        if self._outage.now:
            raise StoreUnavailableError(
                f"{self._database.where} cannot be reached; nothing was stored: send it again later"
            )

    def _commit(self, events: list[Event]) -> list[Receipt]:
        started, now = time.monotonic(), time.time()
        reasons = [refusal(event, now) for event in events]
        good = [event for event, reason in zip(events, reasons, strict=True) if reason is None]
        if self._key is not None:
            names = self._called([event.user_id for event in good])
            good = [replace(event, user_id=name) for event, name in zip(good, names, strict=True)]
        receipts, rows = self._change(lambda connection: table.write(connection, good)) if good else ([], [])
        self._take_up(rows)
        if self._on_commit:
            self._on_commit(len(good), time.monotonic() - started)
        stored = iter(receipts)
        return [
            next(stored) if reason is None else Receipt(str(event.event_id), "refused", reason)
            for event, reason in zip(events, reasons, strict=True)
        ]

    def _take_up(self, rows: list[Row]) -> None:
        """Make the next answers know what was committed."""
        if self._database.kind == "sqlite":
            self._deltas.add(rows)
            return
        try:
            self._again(self._catch_up)
        except StoreUnavailableError:
            self._outage.begin()
            self._early |= {row.user_id for row in rows}
            self._deltas.add(rows)

    def _catch_up(self) -> None:
        """Read what others, and this process, have committed since."""
        with self._catching:
            while True:
                with self._database.reading() as connection:
                    state, rows = table.newer(connection, self._state.position, _STEP)
                    if state.generation != self._state.generation:
                        self._forgotten = table.forgotten_users(connection)
                far = state.position > self._state.position + _FAR
                if state.generation != self._state.generation or far:
                    self._deltas.clear()
                self._deltas.drop(self._early)
                self._early.clear()
                self._deltas.add(rows)
                if far or len(rows) < _STEP:
                    self._state = state
                    return
                self._state = table.State(rows[-1].position, state.generation)

    def forgotten_at(self, users: Sequence[str]) -> list[int | None]:
        """When each user was forgotten, in seconds since 1970: what a bundle holds of them up to then must not count.

        None for those who were not.
        """
        if not self._forgotten:
            return [None] * len(users)
        return [self._forgotten.get(self._digest.of(user)) for user in self._called(users)]

    def _forget(self, user: str, digest: str) -> Forgotten:
        now = int(time.time())
        counts, pseudonyms = self._change(lambda connection: table.remove_user(connection, user, digest, now))
        self._forgotten = {**self._forgotten, digest: now}
        self._deltas.empty(user)
        self._shrink_log()
        receipt, interactions, impressions = uuid.uuid4().hex, counts.get("interaction", 0), counts.get("impression", 0)
        return Forgotten(receipt, interactions, impressions, pseudonyms, now)

    def _remove_older(self, oldest: int, after: int) -> int:
        removed = self._change(lambda connection: table.remove_older(connection, oldest, after, after + _STEP))
        if removed:
            self._deltas.clear()
            self._shrink_log()
        return removed

    def _shrink_log(self) -> None:
        """Remove from SQLite's log what was removed from its tables; a reader may put it off to the next time."""
        if self._database.kind == "sqlite":
            try:
                self._database.checkpoint()
            except StoreUnavailableError as error:  # the tables are as they should be
                warn(f"what was removed is still in SQLite's log, until it is emptied the next time: {error}")


def _digest_of(database: Database, key: PseudonymKey | None, *, pseudonymise: bool) -> PersonDigest:
    """How users are called in tables that outlive their events, so that no copy of the database holds the ids."""
    with database.reading() as connection:
        found = as_they_are(connection, key, pseudonymise=pseudonymise)
    if found is None:
        with database.writing() as connection:
            check_users(connection, key, database.where, pseudonymise=pseudonymise)
            found = settled(connection, key, database.where)
        if database.kind == "sqlite":
            database.checkpoint()  # its log holds no digest of before
    return found


@contextmanager
def _one_process(database: Database, file: Path) -> Iterator[None]:
    """What this process knows of a file would be wrong where another one writes it."""
    with ExitStack() as owned:
        try:
            owned.enter_context(exclusive(file))
        except DataError as error:
            raise ConfigError(f"{error}; several servers need PostgreSQL") from error
        except OSError as error:
            raise ConfigError(
                f"{database.where}: {error.filename or file.parent} cannot be written; {error.strerror}"
            ) from error
        yield
