"""Forget users in the database of a server that does not run, or that shares its database with others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from recsys.core.files import sha256_of
from recsys.core.pseudonym_key import PseudonymKey
from recsys.errors import ConfigError
from recsys.server.database import Database, open_database
from recsys.server.store import EventStore


@dataclass(frozen=True)
class ForgottenUsers:
    """What was removed from a database.

    Attributes
    ----------
    where : str
        Its URL without the password.
    file : Path or None
        The file of SQLite.
    known : tuple of bool (n,)
        Whether anything was stored of each user.
    interactions, impressions, pseudonyms : int
        How many were removed.
    before, after : str or None
        sha256 of the file of SQLite.
    """

    where: str
    file: Path | None
    known: tuple[bool, ...]
    interactions: int
    impressions: int
    pseudonyms: int
    before: str | None
    after: str | None


def forget_users(url: str, users: Sequence[str], key: PseudonymKey | None = None) -> ForgottenUsers:
    """Forget users as a server does: each in a transaction, and noted under a digest, so that no bundle answers for them.

    A file of SQLite is then written anew, so that no page of it holds them, and its log is emptied. PostgreSQL keeps dead
    rows until it vacuums, and copies in its log, its replicas and its backups: that is its administrator's.

    Parameters
    ----------
    url : str
        As for :func:`~recsys.server.database.open_database`.
    users : sequence of str
    key : PseudonymKey, optional
        That of the server.

    Raises
    ------
    ConfigError
        A server has the file of SQLite open: ask it (``DELETE /v1/users/{id}``), or stop it.
    DataError, StoreUnavailableError
        There is no database, it is of another version, or does not answer; who is done is done, and a repetition goes on.
    """
    database = open_database(url, create=False)
    try:
        before = _digest(database)
        try:
            store = EventStore(database, held=0, key=key)
        except ConfigError as error:
            if "written by" not in str(error):
                raise
            raise ConfigError(f"{error}; or send the server DELETE /v1/users/ID for each of them, or stop it") from error
        try:
            found = [store.forget(user) for user in users]
        finally:
            store.close()
        if database.kind == "sqlite":
            database.compact()
        return ForgottenUsers(
            database.where,
            database.file,
            tuple(bool(one.interactions or one.impressions or one.pseudonyms) for one in found),
            sum(one.interactions for one in found),
            sum(one.impressions for one in found),
            sum(one.pseudonyms for one in found),
            before,
            _digest(database),
        )
    finally:
        database.close()


def _digest(database: Database) -> str | None:
    if database.file is None:
        return None
    database.checkpoint()
    return sha256_of(database.file)
