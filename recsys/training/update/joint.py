"""Join a new log with what a bundle knows, and tell which events the bundle was not trained on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl

from recsys.bundle.contents import Bundle
from recsys.core.progress import log as say
from recsys.core.ragged import Bool, Int64, Ragged, ragged_positions
from recsys.data.event_types import check_event_types
from recsys.data.interactions import Interactions
from recsys.data.join import check_join
from recsys.data.pseudonyms import check_same_ids
from recsys.errors import DataError


def joined(bundle: Bundle, log: Interactions) -> Interactions:
    """The histories of a bundle, and the events of a newer log.

    Ids are matched by their value; users and items of the bundle come first, in its rows. Events find their place by time,
    behind those of the same instant that are known. Where there are times, an event that the bundle knows (the same user,
    item, time and type) is not taken twice, so that the newer log may hold older events too. Without times the new events
    follow the old ones; a log in which the history of every known user begins as the bundle has it is taken to be the
    whole log.

    Parameters
    ----------
    bundle : Bundle
    log : Interactions
        With times and event types where the bundle's histories have them; what these lack is left out.

    Returns
    -------
    Interactions
        Without weights, unless the newer log is the whole log: a bundle keeps none.

    Raises
    ------
    DataError
        The log lacks times or event types, shares neither users nor items with the bundle, or its users have ids where the
        bundle's have pseudonyms.
    """
    known, key = bundle.histories, bundle.data.get("pseudonym_key")
    check_same_ids(key, log.pseudonym_key)
    for what, has, given, how in (
        ("times", known.times is not None, log.timestamps is not None, "name their column, timestamp= (--timestamp)"),
        ("event types", known.events is not None, log.events is not None, "name their column, event= (--event)"),
    ):
        if has and not given:
            raise DataError(f"the histories of the bundle have {what}, and the new log has none; {how}")
    check_join(log.items.to_ids(np.flatnonzero(log.item_counts).astype(np.int32)), bundle.items, "the bundle", refuse=False)
    users, items = bundle.users.extended(log.users.ids), bundle.items.extended(log.items.ids)
    names = union_of(bundle.event_names, log.event_names) if known.events is not None else ()
    more = log.histories.remap(items.find_rows(log.items.ids))
    more = replace(more, times=more.times if known.times is not None else None)
    more = more.recoded(log.event_names, names) if known.events is not None else replace(more, events=None)
    place = log.users.find_rows(users.ids)
    more = more.aligned(place)
    old = known.aligned(np.where(np.arange(len(users)) < len(known), np.arange(len(users)), -1))
    ordering = {"ordered": bundle.ordered, "order_column": log.order_column if bundle.ordered else None, "ties": log.ties}
    ordering |= {"pseudonym_key": key}
    if len(known.rows) and _is_whole(old, more, len(items)):
        say(f"the new log holds all {len(known.rows):,} events that are known: it is taken to be the whole log")
        weights = log.weights
        if weights is not None:
            there = place[place >= 0].astype(np.int64)
            weights = weights[ragged_positions(log.histories.offsets[there], log.histories.lengths[there])]
        histories = more
    else:
        weights, fresh = None, more
        if known.times is not None:
            fresh = more.where(~matched(more, old, len(items)))
        if repeated := len(more.rows) - len(fresh.rows):
            say(f"{repeated:,} of {len(log):,} events of the new log are known already")
        histories = old.merged(fresh).by_time()
    return Interactions(users, items, histories, weights, names, **ordering)  # type: ignore[arg-type]


def union_of(names: tuple[str, ...], others: tuple[str, ...]) -> tuple[str, ...]:
    """The first event types in their order, then those that only the others have; refused if they are too many."""
    both = (*names, *(name for name in others if name not in names))
    check_event_types(len(both))
    return both


def _is_whole(old: Ragged, more: Ragged, n_items: int) -> bool:
    """Whether a log has every event that is known; without times, also in the same places of each history."""
    if old.times is not None:
        return bool(matched(old, more, n_items).all())
    heads = more.head(old.lengths)
    return np.array_equal(heads.offsets, old.offsets) and np.array_equal(heads.rows, old.rows)


def matched(lists: Ragged, others: Ragged, n_items: int) -> Bool:
    """Tell which events of some histories the same users' other histories hold too, each one once.

    Events are equal in item and, where both have them, in time and type. Of equal events in one history the first are
    matched, as many as the other history has.

    Parameters
    ----------
    lists, others : Ragged (n)
    n_items : int
        Above every row of both.

    Returns
    -------
    bool (len(lists.rows),)
    """
    frames = []
    for one in (lists, others):
        columns: dict[str, Any] = {"user": one.list_index(), "item": one.rows}
        for name in ("times", "events"):
            if getattr(lists, name) is not None and getattr(others, name) is not None:
                columns[name] = getattr(one, name)
        frames.append(pl.DataFrame(columns))
    compared = frames[0].columns
    mine = frames[0].with_columns(pl.int_range(pl.len()).over(compared).alias("nth"))
    theirs = frames[1].group_by(compared).agg(pl.len().alias("times_held"))
    met = mine.join(theirs, on=compared, how="left", maintain_order="left")
    found: Bool = (met["nth"] < met["times_held"].fill_null(0)).to_numpy()
    return found


def untrained(bundle: Bundle, log: Interactions) -> Bool:
    """Tell which events of a log the bundle was not trained on, bool (len(log),) in history order.

    Parameters
    ----------
    bundle : Bundle
        Where it does not tell what it was trained on, all of its histories are held to be.
    log : Interactions
        In the item rows of the bundle, more behind them; with the bundle's event types first.
    """
    known = bundle.histories if bundle.trained is None else bundle.histories.head(bundle.trained)
    place = bundle.users.find_rows(log.users.ids)
    return ~matched(log.histories, known.aligned(place), len(log.items))


def time_range(times: Int64 | None) -> tuple[int, int] | None:
    """The first and the last of some instants, in seconds since 1970; None without any."""
    return None if times is None or len(times) == 0 else (int(times.min()), int(times.max()))
