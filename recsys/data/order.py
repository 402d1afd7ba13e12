"""Order events of one time by item; log what orders a log, and whether events are repeated."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import pairwise
from typing import Literal, TypeAlias, get_args

import numpy as np
import polars as pl

from recsys.core.arguments import choice
from recsys.core.id_map import IdMap
from recsys.core.progress import log, warn
from recsys.core.ragged import Int32, Int64, Ragged
from recsys.errors import ConfigError

Ties: TypeAlias = Literal["file", "item"]
"""How events of one user at one time are ordered: as in the file, or by raw item id as text."""

_TIMES = (
    "timestamp", "datetime", "eventtime", "eventtimestamp", "eventdate", "time", "date", "ts", "createdat", "created",
    "createdon", "unixtime", "unixtimestamp", "unixreviewtime", "reviewtime", "epoch", "when", "occurredat", "at",
    "zeitstempel", "zeitpunkt", "datum", "zeit", "fecha", "horodatage", "tijdstip",
)  # fmt: skip
"""Names of columns of times, without case and marks; the likeliest first."""
_LAST_WORDS = frozenset(("timestamp", "datetime", "time", "date", "at", "ts"))
_ENDS = ("zeitstempel", "zeitpunkt", "datum")
"""How compound words end that mean a time, in languages that have such words: ``Bestelldatum``, ``orderdatum``."""
_FIRST_WORDS = frozenset(("date", "fecha"))
"""Where the word that means a time comes first: ``date_commande``, ``fecha_compra``."""
_UNITS = frozenset(("s", "ms", "us", "ns", "utc", "sec", "seconds", "millis"))
_NO_EVENT = (
    "release", "birth", "publi", "launch", "expir", "update", "modif", "sign", "register", "registration", "join",
    "geburt", "erschein", "veröffentlich", "änderung", "aenderung", "registrier", "anlage", "ablauf",
)  # fmt: skip
"""Beginnings of words that mean a day of an item or a user, not of an event."""
_COUNTS = frozenset((
    "plays", "playcount", "playcounts", "playtime", "count", "counts", "cnt", "n", "listens", "listencount", "views",
    "times", "viewcount", "freq", "frequency", "total", "totals", "quantity", "qty", "clicks", "purchases", "orders",
    "visits", "numplays", "streams", "hours", "hoursplayed", "minutes",
))  # fmt: skip
"""Names of columns of totals, without case and marks."""
_SAMPLE = 200_000
"""Events in the sample that shows whether pairs or rows recur: reading a large log must not take longer."""
_TOGETHER = 1 << 22
"""Events that are searched for duplicates together."""
MANY = 0.05
"""Share of repeated events above which a warning is logged."""


def check_ties(ties: Ties, unordered: bool) -> None:
    """Refuse an unknown order of ties, and ties of a log without an order.

    Raises
    ------
    ConfigError
        ``ties`` cannot be used.
    """
    choice(ties, "ties (--ties)", get_args(Ties))
    if ties == "item" and unordered:
        raise ConfigError(
            "ties='item' (--ties item) orders the events of one time, and unordered=True (--unordered) says that the log "
            "has no order; leave one of them out"
        )


def nothing_to_tie(source: str) -> ConfigError:
    """The refusal of ``ties="item"`` for a source without a column that orders its events."""
    return ConfigError(
        f"ties='item' (--ties item) orders the events of one time, and no column orders those of {source}; name it, "
        f"timestamp= (--timestamp) or order= (--order), or leave ties out"
    )


def places_of(items: IdMap) -> Int32:
    """The place of each item among all, sorted by raw id as text, by code point.

    Whole numbers are sorted as text too (10 before 9), so that the order does not depend on how a file stores ids.

    Parameters
    ----------
    items : IdMap

    Returns
    -------
    int32 (n_items,)

    Examples
    --------
    >>> places_of(IdMap(pl.Series([9, 10]), "item")).tolist()
    [1, 0]
    """
    places = np.empty(len(items), dtype=np.int32)
    places[items.ids.cast(pl.String).arg_sort().to_numpy()] = np.arange(len(items), dtype=np.int32)
    return places


def log_left_out(left: int, total: int, compared: Iterable[str]) -> None:
    """Log how many rows are left out as they equal earlier ones in some columns."""
    log(f"left out {left:,} of {total:,} rows, which repeat others in {', '.join(compared)}")


def likely_time(columns: Iterable[str]) -> str | None:
    """Find the column whose name means most clearly when an event took place; None if no name does."""
    names = [name for name in columns if not any(word.startswith(_NO_EVENT) for word in _words(name))]
    known = [name for name in names if _plain(name) in _TIMES]
    if known:
        return min(known, key=lambda name: _TIMES.index(_plain(name)))
    return next((name for name in names if _ends_like_a_time(name)), None)


def likely_count(columns: Iterable[str]) -> str | None:
    """Find the first column whose name means totals, such as plays; None if no name does."""
    return next((name for name in columns if _plain(name) in _COUNTS), None)


def _plain(name: str) -> str:
    return re.sub(r"[^a-z]", "", name.lower())


def _ends_like_a_time(name: str) -> bool:
    """Tell whether a name's last word, apart from a unit, means a time: ``purchaseDate``, ``seen_at_ms``."""
    words = _words(name)
    while len(words) > 2 and words[-1] in _UNITS:
        words.pop()
    return words[-1:] != [] and (
        words[-1].endswith(_ENDS) or (len(words) > 1 and (words[-1] in _LAST_WORDS or words[0] in _FIRST_WORDS))
    )


def _words(name: str) -> list[str]:
    return re.findall(r"[^\W\d_]+", re.sub(r"([a-z])([A-Z])", r"\1 \2", name).lower())


def log_order(
    ordered_by: str, lists: Ragged, n_items: int, others: Iterable[str] | None, weight: str | None = None
) -> None:
    """Log what orders the events; warn if it is their position in the file and a column speaks against that.

    Parameters
    ----------
    ordered_by : str
        The order, in words.
    lists : Ragged (n_users)
        The histories.
    n_items : int
        Above every row.
    others : iterable of str, optional
        The columns that were not read; None: a column orders the events, or the caller says that the log has no order.
    weight : str, optional
        The column that weights are read from.
    """
    log(f"the order of events: {ordered_by}")
    if others is None:
        return
    others = list(others)
    if (column := likely_time(others)) is not None:
        warn(
            f"the events are taken in file order, yet the column {column!r} looks like their time: name it, "
            f"timestamp={column!r} (--timestamp {column}); if the rows have no order, set unordered=True (--unordered)"
        )
    elif (column := weight or likely_count(others)) is not None and not _pairs_recur(lists, n_items):
        warn(
            f"no user has an item twice and no column holds times, so with its column {column!r} the log looks like a "
            f"table of totals, in which a user's last row is not the last event: set unordered=True (--unordered), or name "
            f"the column that orders the events, order= (--order)"
        )


def log_duplicates(lists: Ragged, n_items: int) -> None:
    """Log how many events equal another one in user, item, time and type, if the log has times; warn about many."""
    if lists.times is None:
        return
    some = _sample(lists, _SAMPLE)
    count, total = duplicates(some, n_items), len(some.rows)
    if some is not lists and count >= MANY / 2 * total:
        count, total = _all_duplicates(lists, n_items), len(lists.rows)
    if count == 0:
        return
    said = f"{count:,} of {total:,} events repeat another one in user, item and time"
    if count < MANY * total:
        said = said if total == len(lists.rows) else f"in a sample, {said}"
        log(f"{said}; drop_duplicates=True (--drop-duplicates) leaves such rows out")
    else:
        warn(f"{said}, as if rows were written or read twice: leave them out, drop_duplicates=True (--drop-duplicates)")


def duplicates(lists: Ragged, n_items: int) -> int:
    """Count the events that equal an earlier one of the same user in item, time (to the second) and type.

    Parameters
    ----------
    lists : Ragged (n_users)
        Histories in time order.
    n_items : int
        Above every row.
    """
    if len(lists.rows) == 0:
        return 0
    owners = lists.list_index()
    same = owners[1:] == owners[:-1]
    if lists.times is not None:
        same &= lists.times[1:] == lists.times[:-1]
    moment = np.concatenate([[0], np.cumsum(~same)])
    shared = np.bincount(moment)[moment] > 1  # most events are alone at their time and need no sorting
    keys: Int64 = moment[shared] * n_items + lists.rows[shared]
    if lists.events is not None:
        keys = keys * (int(lists.events.max()) + 1) + lists.events[shared]
    return len(keys) - len(np.unique(keys))


def _all_duplicates(lists: Ragged, n_items: int) -> int:
    """As :func:`duplicates`, some histories at a time: a large log may lie on disk."""
    cuts = np.flatnonzero(np.diff(lists.offsets[1:] // _TOGETHER, prepend=0)) + 1
    edges = [0, *cuts.tolist(), len(lists)]
    return sum(duplicates(lists.block(begin, end), n_items) for begin, end in pairwise(edges))


def _pairs_recur(lists: Ragged, n_items: int) -> bool:
    """Tell whether any user has an item twice; only a sample of a large log is searched."""
    lists = _sample(lists, _SAMPLE)
    keys = lists.list_index() * n_items + lists.rows
    return len(np.unique(keys)) < len(keys)


def _sample(lists: Ragged, most: int) -> Ragged:
    """Select histories of evenly spaced users with about so many events in all; all of them if there are no more."""
    if len(lists.rows) <= most:
        return lists
    return lists.take(np.arange(0, len(lists), -(-len(lists.rows) // most)))
