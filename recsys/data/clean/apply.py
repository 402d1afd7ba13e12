"""Clean a log: apply rules in their fixed order, count what each left out, and make the log of what is left."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl

from recsys.core.arguments import instance
from recsys.core.id_map import IdMap
from recsys.core.progress import log as tell
from recsys.core.ragged import Int32, Int64, Ragged
from recsys.data.clean.rules import CleaningRules
from recsys.data.clean.selection import Selection
from recsys.data.clean.steps import STEPS
from recsys.data.clean.waterfall import Step, Waterfall
from recsys.data.interactions import Interactions
from recsys.errors import DataError


def clean(log: Interactions, rules: CleaningRules | Mapping[str, Any]) -> tuple[Interactions, Waterfall]:
    """Clean a log.

    The rules act in one order: ``since``, ``until``, ``max_events`` and the rates, ``event_types``, ``min_weight``,
    ``session_gap``, ``duplicates``, ``user_min`` with ``item_min``. So users are judged by all that they did in the time
    window, and the core is counted last. Events keep their order; users and items that lose all their events are left out,
    and the others keep the order of their rows.

    Parameters
    ----------
    log : Interactions
        In memory or from a store; only the columns that a rule needs are read, and what is left is copied once.
    rules : CleaningRules or mapping
        A mapping has its fields as keys.

    Returns
    -------
    Interactions, Waterfall
        The log that is left, whose ``waterfalls`` end with the second: what each rule left out.

    Raises
    ------
    ConfigError
        A rule needs times, weights or event types, and the log has none.
    DataError
        A rule leaves no event; the message names it.

    Examples
    --------
    >>> frame = pl.DataFrame({"user_id": [1, 1, 1, 2], "item_id": [7, 7, 8, 7], "weight": [5.0, 4.0, 1.0, 5.0]})
    >>> cleaned, waterfall = recsys.clean(Interactions.from_frame(frame), {"min_weight": 2, "duplicates": "last"})
    >>> cleaned.frame().rows()
    [(1, 7, 4.0), (2, 7, 5.0)]
    >>> print(waterfall)
    rule                     dropped  events  users  items
    before                                 4      2      2
    weight of at least 2           1       3      2      1
    last of each user, item        1       2      2      1
    """
    instance(log, Interactions, "log")
    if isinstance(rules, Mapping):
        rules = CleaningRules.of(rules)
    instance(rules, CleaningRules, "rules")
    events = Selection.of(log, rules.source)
    before = events.counts()
    for key, (step, words) in STEPS.items():
        if rules.is_set(key) or (key == "user_min" and rules.is_set("item_min")):
            count = events.steps[-1].events if events.steps else before[0]
            events.narrow(step(rules, events))
            left = events.counts()
            if not left[0]:
                raise DataError(
                    f"{rules.source}: the rule {_written(rules, key)} leaves none of the {count:,} events"
                    f"{' that earlier rules left' if events.steps else ''}; loosen it, or leave it out"
                )
            events.steps.append(Step(key, words(rules), count - left[0], *left))
    waterfall = Waterfall(rules.to_dict(), *before, tuple(events.steps))
    return _made(events, waterfall), waterfall


def cleaned(log: Interactions, rules: CleaningRules | None) -> Interactions:
    """The log that :func:`clean` makes, whose waterfall is logged; without rules, the log itself."""
    if rules is None:
        return log
    log, waterfall = clean(log, rules)
    tell(f"cleaned by {rules.source}:\n{waterfall}")
    return log


def _written(rules: CleaningRules, key: str) -> str:
    """How a rule is written in a file."""
    if key == "user_min":
        return f"user_min = {rules.user_min}, item_min = {rules.item_min}"
    value = rules.to_dict()[key]
    return "[event_types]" if isinstance(value, Mapping) else f"{key} = {value!r}".replace("'", '"')


def _made(events: Selection, waterfall: Waterfall) -> Interactions:
    """The log of the events that are left."""
    log, rows = events.log, events.left(events.log.histories.rows)
    waterfalls = (*log.waterfalls, waterfall)
    if not events.steps:
        return replace(log, waterfalls=waterfalls)
    owners = events.left(events.owners)
    lengths = np.bincount(owners, minlength=events.n_owners)
    if events.session_users is not None:
        alive = np.flatnonzero(lengths)
        users = _sessions(log.users, events.session_users, alive)
    else:
        alive = np.flatnonzero((lengths > 0) | (log.histories.lengths == 0))
        users = _part(log.users, alive)
    counts = np.bincount(rows, minlength=len(log.items))
    items = np.flatnonzero((counts > 0) | (log.item_counts == 0))
    if len(items) < len(log.items):
        renumbered = np.zeros(len(log.items), dtype=np.int32)
        renumbered[items] = np.arange(len(items), dtype=np.int32)
        rows = renumbered[rows]
    histories = Ragged.from_lengths(
        lengths[alive],
        rows,
        None if log.timestamps is None else events.times(),
        None if events.events is None else events.left(events.events),
    )
    return replace(
        log,
        users=users,
        items=_part(log.items, items),
        histories=histories,
        weights=None if events.weights is None else events.left(events.weights),
        event_names=events.event_names,
        waterfalls=waterfalls,
    )


def _part(ids: IdMap, rows: Int64) -> IdMap:
    """The ids of some rows; the map itself if these are all of them."""
    return ids if len(rows) == len(ids) else IdMap(ids.ids.gather(rows), ids.kind, checked=True)


def _sessions(users: IdMap, session_users: Int32, alive: Int64) -> IdMap:
    """Ids of the sessions that are left: the user's id, a stroke, and the session's number from 1, in time order.

    Sessions are numbered before duplicates and core leave any out.
    """
    first = np.searchsorted(session_users, session_users)  # they ascend
    numbers = np.arange(1, len(session_users) + 1) - first
    ids = users.ids.gather(session_users[alive]).cast(pl.String)
    named = pl.select(pl.format("{}/{}", pl.lit(ids), pl.lit(pl.Series(numbers[alive])))).to_series()
    return IdMap(named, "user", checked=True)
