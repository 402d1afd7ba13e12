"""Logs and tables of users that get pseudonyms on entry."""

from __future__ import annotations

from dataclasses import replace

from recsys.core.id_map import IdMap
from recsys.core.pseudonym_key import PseudonymKey, checked_key, pseudonyms_of
from recsys.data.interactions import Interactions
from recsys.data.user_table import UserTable
from recsys.errors import DataError


def pseudonymised(log: Interactions, key: PseudonymKey) -> Interactions:
    """A log whose users are pseudonyms; one that holds them already, under the same key, stays as it is.

    Raises
    ------
    ConfigError
        It holds pseudonyms under another key.
    DataError
        An id is written as a pseudonym is.
    """
    if log.pseudonym_key is not None:
        checked_key(key, log.pseudonym_key, "the log")
        return log
    return replace(log, users=IdMap(pseudonyms_of(log.users.ids, key), "user"), pseudonym_key=key.id)


def pseudonymised_table(table: UserTable, key: PseudonymKey) -> UserTable:
    """A table of users by their pseudonyms.

    Raises
    ------
    DataError
        An id is written as a pseudonym is.
    """
    return replace(table, users=IdMap(pseudonyms_of(table.users.ids, key), "user"))


def check_same_ids(bundle: str | None, log: str | None) -> None:
    """Refuse a log whose users have ids where a bundle's have pseudonyms, or the reverse.

    Parameters
    ----------
    bundle, log : str or None
        Id of the key of either's pseudonyms; None: ids as they are.

    Raises
    ------
    DataError
        They differ.
    """
    if bundle != log:
        mine, theirs = ("ids" if one is None else f"pseudonyms under the key {one}" for one in (bundle, log))
        raise DataError(
            f"the users of the bundle have {mine}, and those of the new log {theirs}; read both in the same way "
            "(--pseudonymise)"
        )
