"""What each cleaning rule does to the events that are left."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from recsys.core.instants import instant_of, span_of
from recsys.core.ragged import Bool, Int64, stable_order
from recsys.data.clean.core import core
from recsys.data.clean.event_types import treated
from recsys.data.clean.rules import CleaningRules
from recsys.data.clean.selection import Selection
from recsys.errors import ConfigError, DataError

_HOUR, _DAY = 3600, 86_400


def _needs_times(events: Selection, rule: str) -> None:
    if events.log.timestamps is None:
        raise ConfigError(
            f"{events.source}: {rule} needs the times of the events, and the log has none; name their column, "
            f"timestamp= (--timestamp), or leave the rule out"
        )


def _all(events: Selection) -> Bool:
    return np.ones(len(events.left(events.owners)), dtype=np.bool_)


def since(rules: CleaningRules, events: Selection) -> Bool:
    """Events from a time on."""
    _needs_times(events, "since")
    return events.times() >= instant_of(str(rules.since))


def until(rules: CleaningRules, events: Selection) -> Bool:
    """Events before a time."""
    _needs_times(events, "until")
    return events.times() < instant_of(str(rules.until))


def max_events(rules: CleaningRules, events: Selection) -> Bool:
    """Users with few events in all."""
    owners = events.left(events.owners)
    enough = np.bincount(owners, minlength=events.n_owners) <= (rules.max_events or 0)
    kept: Bool = enough[owners]
    return kept


def max_events_per_hour(rules: CleaningRules, events: Selection) -> Bool:
    """Users with few events in each hour."""
    _needs_times(events, "max_events_per_hour")
    return _slow(events, rules.max_events_per_hour or 0, _HOUR)


def max_events_per_day(rules: CleaningRules, events: Selection) -> Bool:
    """Users with few events in each day."""
    _needs_times(events, "max_events_per_day")
    return _slow(events, rules.max_events_per_day or 0, _DAY)


def _slow(events: Selection, most: int, seconds: int) -> Bool:
    """Events of users of whom no ``most + 1`` events lie within the span.

    In a history in time order, an event and the one ``most`` places later are then a whole span apart.
    """
    owners, times = events.left(events.owners), events.times()
    if len(owners) <= most:
        return _all(events)
    falling = (times[1:] < times[:-1]) & (owners[1:] == owners[:-1])
    if falling.any():  # another column than the time orders the histories
        times = times[stable_order(owners, times)]
    fast = owners[most:][(owners[most:] == owners[:-most]) & (times[most:] - times[:-most] < seconds)]
    slow = np.ones(events.n_owners, dtype=np.bool_)
    slow[fast] = False
    kept: Bool = slow[owners]
    return kept


def event_types(rules: CleaningRules, events: Selection) -> Bool:
    """Events of the types that are kept, under their new names, with their weights."""
    if events.events is None:
        raise ConfigError(
            f"{events.source}: event_types needs event types, and the log has none; name their column, event= (--event), "
            f"or leave the rule out"
        )
    try:
        table = treated(events.event_names, rules.event_types, rules.other_types)
    except ConfigError as error:
        raise ConfigError(f"{events.source}: {error}") from error
    weights = [table[name].weight for name in events.event_names]
    if any(weight is not None for weight in weights):
        if events.weights is not None:
            raise ConfigError(
                f"{events.source}: event_types gives weights, and the log has weights already; leave out either: these, or "
                f"weight= (--weight, or --event-weights)"
            )
        by_type = np.array([0.0 if weight is None else weight for weight in weights], dtype=np.float32)
        events.weights = by_type[events.events]
    names = sorted({one.name for one in table.values() if one.name is not None})
    news = [table[name].name for name in events.event_names]
    codes = np.array([-1 if name is None else names.index(name) for name in news], dtype=np.int8)
    if tuple(news) == events.event_names:
        return _all(events)
    events.events, events.event_names = codes[events.events], tuple(names)
    return events.left(events.events) >= 0


def min_weight(rules: CleaningRules, events: Selection) -> Bool:
    """Events of enough weight; NaN is not enough."""
    if events.weights is None:
        raise ConfigError(
            f"{events.source}: min_weight needs weights, and the log has none; name their column, weight= (--weight), or "
            f"give weights in event_types"
        )
    return events.left(events.weights) >= np.float32(rules.min_weight or 0.0)


def session_gap(rules: CleaningRules, events: Selection) -> Bool:
    """All events, with sessions for owners; or those of the last session of each user."""
    _needs_times(events, "session_gap")
    owners, times = events.left(events.owners), events.times()
    if not len(owners):
        return _all(events)
    fresh = np.ones(len(owners), dtype=np.bool_)
    fresh[1:] = (owners[1:] != owners[:-1]) | (times[1:] - times[:-1] > span_of(str(rules.session_gap)))
    session = np.cumsum(fresh, dtype=np.int32)
    session -= 1
    if rules.sessions == "users":
        events.session_users, events.n_owners = owners[fresh], int(session[-1]) + 1
        events.owners = events.whole(session, np.zeros(len(events.owners), dtype=np.int32))
        return _all(events)
    last = np.zeros(events.n_owners, dtype=np.int32)
    last[owners] = session  # the last of each user stays
    kept: Bool = session == last[owners]
    return kept


def duplicates(rules: CleaningRules, events: Selection) -> Bool:
    """One event of each user and item."""
    log = events.log
    how = rules.duplicates
    if not log.ordered and how != "sum" and (events.weights is not None or events.events is not None):
        raise ConfigError(
            f'{events.source}: duplicates = {how!r} needs an order, and the log has none; write "sum", or leave it out'
        )
    owners, keys = events.left(events.owners), events.left(log.histories.rows).astype(np.int64)
    if rules.duplicates_by_type:
        if events.events is None:
            raise ConfigError(f"{events.source}: duplicates_by_type needs event types, and the log has none; leave it out")
        keys = keys * len(events.event_names) + events.left(events.events)
    order = stable_order(owners, keys)
    owners, keys = owners[order], keys[order]
    changed = (owners[1:] != owners[:-1]) | (keys[1:] != keys[:-1])
    starts = np.flatnonzero(np.concatenate([[True], changed])) if len(order) else np.zeros(0, dtype=np.int64)
    chosen = order[starts if how == "first" else np.append(starts[1:], len(order)) - 1]
    if how == "sum" and len(order):
        _sum_weights(events, order, starts, chosen)
    kept = np.zeros(len(order), dtype=np.bool_)
    kept[chosen] = True
    return kept


def _sum_weights(events: Selection, order: np.ndarray, starts: Int64, chosen: np.ndarray) -> None:
    """Give the chosen event of each group the sum of the group's weights; without weights, its number of events."""
    if events.weights is None:
        sums = np.diff(np.append(starts, len(order))).astype(np.float64)
    else:
        sums = np.add.reduceat(events.left(events.weights)[order].astype(np.float64), starts)
    summed = np.zeros(len(order), dtype=np.float32)
    with np.errstate(over="ignore"):
        summed[chosen] = sums
    if not np.isfinite(summed).all():
        raise DataError(
            f'{events.source}: duplicates = "sum" makes a weight that does not fit into 32 bits; use smaller weights'
        )
    events.weights = events.whole(summed, np.zeros(len(events.owners), dtype=np.float32))


def cores(rules: CleaningRules, events: Selection) -> Bool:
    """Events of the core."""
    owners, rows = events.left(events.owners), events.left(events.log.histories.rows)
    sizes = (events.n_owners, len(events.log.items))
    return core(owners, rows, sizes, user_min=rules.user_min, item_min=rules.item_min)


STEPS: Final[dict[str, tuple[Callable[[CleaningRules, Selection], Bool], Callable[[CleaningRules], str]]]] = {
    "since": (since, lambda rules: f"since {rules.since}"),
    "until": (until, lambda rules: f"until {rules.until}"),
    "max_events": (max_events, lambda rules: f"users of at most {rules.max_events:,} events"),
    "max_events_per_hour": (max_events_per_hour, lambda rules: f"at most {rules.max_events_per_hour:,} events an hour"),
    "max_events_per_day": (max_events_per_day, lambda rules: f"at most {rules.max_events_per_day:,} events a day"),
    "event_types": (event_types, lambda rules: f"event types ({_types_words(rules)})"),
    "min_weight": (min_weight, lambda rules: f"weight of at least {rules.min_weight:g}"),
    "session_gap": (session_gap, lambda rules: f"{_session_words(rules)} with gaps of at most {rules.session_gap}"),
    "duplicates": (duplicates, lambda rules: f"{rules.duplicates} of each user, item{_type_word(rules)}"),
    "user_min": (cores, lambda rules: f"core of {rules.user_min} events a user, {rules.item_min} an item"),
}
"""Key of a rule → what it does, and how the waterfall says it; in the order in which the rules act."""


def _types_words(rules: CleaningRules) -> str:
    dropped = [name for name, one in rules.event_types.items() if one is False]
    words = [f"without {', '.join(dropped)}"] if dropped else []
    return ", ".join([*words, *(["no others"] if rules.other_types == "drop" else [])]) or "all kept"


def _session_words(rules: CleaningRules) -> str:
    return "sessions as users," if rules.sessions == "users" else "last session,"


def _type_word(rules: CleaningRules) -> str:
    return ", type" if rules.duplicates_by_type else ""
