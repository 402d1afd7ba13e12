"""Digests of users for tables that outlive their events: keyed, so that a copy of the database cannot be tried with ids."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from functools import partial

from sqlalchemy import Connection, Table, select, update

from recsys.core.pseudonym_key import VARIABLE, PseudonymKey
from recsys.errors import ConfigError
from recsys.server.tables import EVENTS, FORGOTTEN, PERSON_KEY, PSEUDONYMS


@dataclass(frozen=True, repr=False)
class PersonDigest:
    """How a user is called where their id must not stand: HMAC-SHA-256 of the SHA-256 of the id.

    The first key is a salt that lies in the database: it makes tables of digests useless that were computed elsewhere. The
    others are the secrets of the operator's key (``RECSYS_PSEUDONYM_KEY``, or ``pseudonym_key_file``): without these, not
    even who has the whole database can tell whether somebody is in it.

    Attributes
    ----------
    salt : bytes
    key : PseudonymKey or None
    """

    salt: bytes
    key: PseudonymKey | None = None

    def of(self, user: str) -> str:
        """The digest of an id, hexadecimal."""
        digest = _salted(self.salt, hashlib.sha256(user.encode("utf-8", "surrogatepass")).hexdigest())
        return digest if self.key is None else _under(self.key.secrets, digest)


def _salted(salt: bytes, sha256: str) -> str:
    """The digest of a user by the plain SHA-256 of their id, which older databases held: none of them is lost."""
    return hmac.digest(salt, sha256.encode(), "sha256").hex()


def _under(secrets: tuple[bytes, ...], digest: str) -> str:
    for secret in secrets:
        digest = hmac.digest(secret, digest.encode(), "sha256").hex()
    return digest


def settled(connection: Connection, key: PseudonymKey | None, where: str) -> PersonDigest:
    """The digests of a database, those that are there brought under a key that is new, or that came from the one before.

    Parameters
    ----------
    connection : Connection
        In a transaction that will write; others wait meanwhile.
    key : PseudonymKey or None
    where : str
        The database, for messages.

    Raises
    ------
    ConfigError
        The digests are under a key that was not given: forgotten users would come back. Nothing was changed.
    """
    if (digest := as_they_are(connection, key)) is not None:
        return digest
    salt, known = _told(connection)
    if key is None:
        raise ConfigError(
            f"{where} tells whom it has forgotten under the key {known}, without which they would come back: give it by "
            f"{VARIABLE}, or pseudonym_key_file"
        )
    before = 0 if known is None else key.prefixes().get(known)
    if before is None:
        raise ConfigError(
            f"{where} tells whom it has forgotten under the key {known}, and the key {key.id} was given, which did not "
            "come from it: give the right one, or make one that did (recsys pseudonyms key FILE --after OLD)"
        )
    for table in (FORGOTTEN, PSEUDONYMS):
        _rewrite(connection, table, partial(_under, key.secrets[before:]))
    connection.execute(update(PERSON_KEY).values(key_id=key.id))
    return PersonDigest(salt, key)


def as_they_are(connection: Connection, key: PseudonymKey | None, *, pseudonymise: bool = False) -> PersonDigest | None:
    """The digests of a database where they, and the names of users, are under this key; None where they are not."""
    salt, known = _told(connection)
    wanted = None if key is None else key.id
    users = connection.execute(select(PERSON_KEY.c.users_key_id)).scalar()
    same = known == wanted and users == (wanted if pseudonymise else None)
    return PersonDigest(salt, key) if same else None


def check_users(connection: Connection, key: PseudonymKey | None, where: str, *, pseudonymise: bool) -> None:
    """Prove that users are called in the database as they will be; an empty one takes the key.

    Raises
    ------
    ConfigError
        They are pseudonyms under another key, or raw ids where pseudonyms are wanted, or the other way round.
    """
    wanted = key.id if pseudonymise and key is not None else None
    known = connection.execute(select(PERSON_KEY.c.users_key_id)).scalar()
    if known == wanted:
        return
    used = any(connection.execute(select(table).limit(1)).first() for table in (EVENTS, FORGOTTEN, PSEUDONYMS))
    if known is not None or used:
        one, other = ("raw ids" if which is None else f"pseudonyms under the key {which}" for which in (known, wanted))
        raise ConfigError(
            f"the users of {where} are {one}, and {other} are wanted: give the right key, or begin a new database"
        )
    connection.execute(update(PERSON_KEY).values(users_key_id=wanted))


def _told(connection: Connection) -> tuple[bytes, str | None]:
    salt, known = connection.execute(select(PERSON_KEY.c.salt, PERSON_KEY.c.key_id)).one()
    return bytes.fromhex(salt), known


def _rewrite(connection: Connection, table: Table, change: partial[str]) -> None:
    """Replace the digest of every row of a table."""
    digests = list(connection.execute(select(table.c.digest)).scalars())
    for one in digests:
        connection.execute(update(table).where(table.c.digest == one).values(digest=change(one)))
