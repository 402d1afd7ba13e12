"""The ids that a command was given: in words, in a file, or both."""

from __future__ import annotations

from argparse import Namespace
from collections import Counter

from recsys.core.progress import log
from recsys.core.schema import ITEM, USER
from recsys.data.id_list import read_ids
from recsys.errors import ConfigError

_EVERYBODY = "all"


def ids_of(arguments: Namespace, name: str, column: str = ITEM) -> list[str] | None:
    """What ``--NAME`` and ``--NAME-file`` hold, in this order; None where neither is given.

    Raises
    ------
    DataError
        The file cannot be used.
    """
    words, file = getattr(arguments, name), vars(arguments)[f"{name}_file"]
    if file is None:
        return list(words) if words else None
    return [*(words or []), *read_ids(file, column)]


def users_of(arguments: Namespace) -> list[str] | None:
    """The users to recommend to, each once; None for all of them.

    Raises
    ------
    ConfigError
        "all" stands beside other users.
    DataError
        The file cannot be used.
    """
    if arguments.users and _EVERYBODY in arguments.users:
        if arguments.users_file is not None or set(arguments.users) != {_EVERYBODY}:
            raise ConfigError(
                "--users all cannot be combined with other users; if a user's id is 'all', put it in a file (--users-file)"
            )
        return None
    found = ids_of(arguments, "users", USER)
    return None if found is None else once(found, "user")


def history_of(arguments: Namespace) -> list[str] | None:
    """The history of a new user, oldest first.

    Raises
    ------
    ConfigError
        It is given twice: in words and in a file.
    DataError
        The file cannot be used.
    """
    if arguments.history and arguments.history_file:
        raise ConfigError("--history and --history-file cannot be combined, as the order of their items would be unknown")
    return ids_of(arguments, "history")


def items_of(arguments: Namespace) -> list[str]:
    """The items a command is about, each once.

    Raises
    ------
    ConfigError
        There is none.
    DataError
        The file cannot be used.
    """
    found = ids_of(arguments, "items")
    if not found:
        raise ConfigError("name at least one item, as a word or in a file (--items-file)")
    return once(found, "item")


def once(ids: list[str], kind: str) -> list[str]:
    """Each id at its first place; a line says which ids are repeated."""
    found = list(dict.fromkeys(ids))
    if len(found) < len(ids):
        again = [one for one, times in Counter(ids).items() if times > 1]
        what = (
            f"the {kind} id {again[0]!r} is" if len(again) == 1 else f"{len(again):,} {kind} ids, such as {again[0]!r}, are"
        )
        log(f"{what} given more than once and answered once")
    return found
