"""API keys: printed once, stored as a digest, found by their id."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import re
import secrets
import threading
import time
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, get_args

from sqlalchemy import insert, select, update

from recsys.errors import ConfigError, DataError, StoreUnavailableError
from recsys.server.database import Database
from recsys.server.tables import KEYS

Role: TypeAlias = Literal["read", "events", "items", "admin"]

_SECRET: Final = re.compile(r"rk_([0-9a-f]{12})_[A-Za-z0-9_-]{43}")
_RATE: Final = re.compile(r"[1-9][0-9]{0,8}/(second|minute|hour|day)")
_NONE: Final = hashlib.sha256(b"").hexdigest()
_LONGEST_NAME: Final = 200


@dataclass(frozen=True)
class Key:
    """What is known of a key; not the key itself.

    Attributes
    ----------
    id : str
        Its part between ``rk_`` and the secret; it may be logged.
    role : {"read", "events", "items", "admin"}
        An admin may do all.
    name : str, optional
        For people.
    rate : str, optional
        Such as 100/second; none leaves it to the server's settings.
    created : int
        Seconds since 1970.
    expires, revoked : int, optional
        Seconds since 1970.
    """

    id: str
    role: Role
    name: str | None
    rate: str | None
    created: int
    expires: int | None
    revoked: int | None

    def valid(self, now: float) -> bool:
        """Whether it opens anything at this time."""
        return self.revoked is None and (self.expires is None or now < self.expires)


class Keys:
    """The keys of a database.

    All of them are read at once, and again after ``fresh`` seconds: a revocation is seen that fast, and a flood of wrong
    keys costs no queries. While the database cannot be reached, the keys that were read last go on being valid.

    Parameters
    ----------
    database : Database
    fresh : float
        Seconds for which what was read is not read again.

    Examples
    --------
    >>> from recsys.server.database import open_database
    >>> database = open_database("sqlite:///events.db")
    >>> keys = Keys(database)
    >>> key, secret = keys.create("read", name="shop")
    >>> keys.check(secret) == key, keys.check("rk_guessed"), len(secret)
    (True, None, 59)
    >>> database.close()
    """

    def __init__(self, database: Database, fresh: float = 2.0) -> None:
        self._database, self._fresh = database, fresh
        self._lock = threading.Lock()
        self._next = -float("inf")
        self._known: dict[str, tuple[str, Key]] | None = None

    def create(
        self, role: Role, *, name: str | None = None, seconds: float | None = None, rate: str | None = None
    ) -> tuple[Key, str]:
        """Make a key.

        Parameters
        ----------
        role : {"read", "events", "items", "admin"}
        name : str, optional
            For people.
        seconds : float, optional
            How long it is valid; by default for ever.
        rate : str, optional
            Such as 100/second.

        Returns
        -------
        key : Key
        secret : str
            What a client sends; it is stored nowhere.

        Raises
        ------
        ConfigError
            An argument that cannot be.
        StoreUnavailableError
            The database cannot be written.
        """
        if role not in get_args(Role):
            raise ConfigError(f"role= (--role) is {role!r}, expected one of {', '.join(get_args(Role))}")
        if rate is not None and not _RATE.fullmatch(rate):
            raise ConfigError(f"rate= (--rate) is {rate!r}; write a rate such as 100/second or 5000/minute")
        if seconds is not None and not 0 < seconds < 1e10:
            raise ConfigError(f"a key cannot be valid for {seconds:g} seconds; --expires must lie ahead, such as 90d")
        if name is not None and ("\0" in name or not 0 < len(name) <= _LONGEST_NAME or not name.isprintable()):
            raise ConfigError(f"name= (--name) is {name!r:.60}; write 1 to {_LONGEST_NAME} printable characters")
        now = int(time.time())
        expires = None if seconds is None else int(now + seconds)
        key = Key(secrets.token_hex(6), role, name, rate, now, expires, None)
        secret = f"rk_{key.id}_{secrets.token_urlsafe(32)}"
        with self._database.writing() as connection:
            connection.execute(insert(KEYS).values(sha256=_digest(secret), **vars(key)))
        self._forget()
        return key, secret

    def check(self, secret: str) -> Key | None:
        """The valid key that a secret belongs to, in a time that does not depend on how much of it is right.

        Parameters
        ----------
        secret : str
            Whatever a client sent.

        Returns
        -------
        Key or None
            None if it is unknown, expired or revoked.

        Raises
        ------
        StoreUnavailableError
            The database has not been reached yet.
        """
        shape = _SECRET.fullmatch(secret)
        sha256, key = self._now().get(shape[1] if shape else "", (_NONE, None))
        same = hmac.compare_digest(sha256, _digest(secret))
        return key if key is not None and same and key.valid(time.time()) else None

    def list(self) -> list[Key]:
        """All keys, the oldest first; also expired and revoked ones.

        Raises
        ------
        StoreUnavailableError
            The database does not answer.
        """
        return [key for _, key in self._read().values()]

    def revoke(self, key_id: str) -> Key:
        """Make a key invalid for ever; the time of the first revocation stays.

        Parameters
        ----------
        key_id : str
            Its id, not its secret.

        Raises
        ------
        DataError
            No key has this id.
        StoreUnavailableError
            The database cannot be written.
        """
        valid = (KEYS.c.id == key_id) & KEYS.c.revoked.is_(None)
        with self._database.writing() as connection:
            connection.execute(update(KEYS).where(valid).values(revoked=int(time.time())))
        self._forget()
        found = self._read()
        if key_id not in found:
            shown = "the secret of a key" if key_id.startswith("rk_") else repr(key_id)[:40]
            raise DataError(f"no key has the id {shown}; recsys keys list shows their ids")
        return found[key_id][1]

    def _forget(self) -> None:
        with self._lock:
            self._next = -float("inf")

    def _now(self) -> dict[str, tuple[str, Key]]:
        with self._lock:
            started = time.monotonic()
            if self._known is None:
                self._known = self._read()
            elif started >= self._next:
                with contextlib.suppress(StoreUnavailableError):  # the keys that were read last stay
                    self._known = self._read()
            else:
                return self._known
            ended = time.monotonic()
            self._next = ended + max(
                self._fresh, 10 * (ended - started)
            )  # a database that hangs holds up a tenth of the time
            return self._known

    def _read(self) -> dict[str, tuple[str, Key]]:
        columns = (KEYS.c.sha256, *(KEYS.c[name] for name in Key.__dataclass_fields__))
        with self._database.reading() as connection:
            rows = connection.execute(select(*columns).order_by(KEYS.c.created, KEYS.c.id)).all()
        return {row[1]: (row[0], Key(*row[1:])) for row in rows}


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
