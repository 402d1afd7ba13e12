"""What is usual for a log: the figures of its last windows, to hold the figures of newly arrived events against."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from recsys.core.ragged import Bool, Int64
from recsys.data.interactions import Interactions
from recsys.errors import DataError
from recsys.evaluation.drift import Bins, popularity_bins, psi

DAY: Final = 86_400
_WEEK: Final = 7 * DAY
_WINDOWS: Final = 8
"""Windows of the past that new events are held against."""
_GROUPS: Final = 10
"""Groups of items by popularity, each with as many past events."""
_FEW: Final = 20
"""With fewer active users nothing is said about how active they are."""
_MANY: Final = 64
"""Of more events, half are left but for a few per cent."""


@dataclass(frozen=True)
class Figures:
    """What one window of a log looks like, beside what came before it.

    Attributes
    ----------
    events : int
    repeats : float
        Share of the events that equal another one in user, item, time and type, the first one left out.
    new_items : float
        Share of the events whose item had no event before.
    new_users : float
        Share of the active users who had no event before.
    items : float
        PSI of the events over ten groups of items of equal past popularity; items without a past are left out.
    activity, histories : float
        PSI of the events that each active user has in the window, and had before it, against the other windows.
    top_item, top_user : float
        Share of the events on the most frequent item, and of the most active user.
    reach : float
        Share of the active users who have an event on the item that most of them have; NaN with fewer than twenty users.
    rate, halved : float
        Mean logarithm of the events of an active user, and what it is to be expected to be once each event is lost with
        probability 1/2, and with it users who have no other; NaN with fewer than twenty users.
    """

    events: int
    repeats: float
    new_items: float
    new_users: float
    items: float
    activity: float
    histories: float
    top_item: float
    top_user: float
    reach: float
    rate: float
    halved: float


@dataclass(frozen=True)
class Usual:
    """New events and windows of the past of about their size.

    Attributes
    ----------
    found : Figures
        Of the new events.
    past : tuple of Figures
        Of earlier windows, the latest first; may be empty.
    by_time : bool
        Whether windows are of equal time; if not, of an equal share of each history, which has no new users.
    span : tuple of int or None
        The window of the new events, from its first second to the one after it; None without times.
    last : int or None
        The last instant that was known.
    gap, usual_gap : int or None
        Seconds from the last known instant to the first new one, and the longest pause in the past windows.
    late : float
        Share of the new events that lie before the last known instant.
    silence : int or None
        Seconds from the last new event to the end of the window.
    """

    found: Figures
    past: tuple[Figures, ...]
    by_time: bool
    span: tuple[int, int] | None = None
    last: int | None = None
    gap: int | None = None
    usual_gap: int | None = None
    late: float = 0.0
    silence: int | None = None

    def of(self, name: str) -> list[float]:
        """A figure of the past windows, without those for which it is undefined."""
        if name not in {field.name for field in fields(Figures)}:
            raise KeyError(name)
        found = [float(getattr(one, name)) for one in self.past]
        return [one for one in found if not np.isnan(one)]


@dataclass(frozen=True, eq=False)
class _Window:
    """Events of a window, and what each user and item had before; all in rows of one log."""

    users: Int64
    items: NDArray[np.integer]
    repeated: Bool
    user_past: Int64
    item_past: Int64

    def thinned(self, n: int, seed: int) -> _Window:
        """The events of users drawn at random, until there are ``n``."""
        if len(self.users) <= n:
            return self
        generator = np.random.default_rng(seed)
        counts = np.bincount(self.users, minlength=len(self.user_past))
        active = generator.permutation(np.flatnonzero(counts))
        enough = int(np.searchsorted(np.cumsum(counts[active]), n)) + 1
        chosen = np.zeros(len(self.user_past), dtype=np.bool_)
        chosen[active[:enough]] = True
        keep = chosen[self.users]
        return _Window(self.users[keep], self.items[keep], self.repeated[keep], self.user_past, self.item_past)

    @property
    def activity(self) -> Int64:
        """Events of each active user."""
        counts = np.bincount(self.users, minlength=len(self.user_past))
        return counts[counts > 0].astype(np.int64)

    @property
    def histories(self) -> Int64:
        """Earlier events of each active user."""
        return self.user_past[np.bincount(self.users, minlength=len(self.user_past)) > 0]


def usual(log: Interactions, fresh: Bool, *, until: int | None = None) -> Usual:
    """Figures of new events, and of windows of the past of the same length.

    With times, the window of the new events begins after the last known instant or day and ends at ``until``; past windows
    are as long and begin at the same time of the day, or of the week where the past has eight weeks of them.
    Without times, past windows are the last shares of all histories. Figures of shape are measured on as many events
    as there are new ones, of users drawn at random: small samples look uneven by their nature.

    Parameters
    ----------
    log : Interactions
        Known and new events.
    fresh : bool (len(log),)
        Which ones are new, in history order.
    until : int, optional
        Seconds since 1970: the new events should be all before this instant. By default the end of the day (UTC) of the
        last new event; or right after that, if the known events reach into the same day.

    Returns
    -------
    Usual

    Raises
    ------
    DataError
        No event is new, or none is known.
    """
    if not fresh.any() or fresh.all():
        raise DataError("no event is new" if fresh.any() is np.False_ else "no event is known, to hold new ones against")
    owners, rows, times = log.histories.list_index(), log.histories.rows, log.timestamps
    sides: tuple[NDArray[Any], ...] = (owners, rows)
    sizes = len(log.users), len(log.items)
    repeated = _repeated(log, fresh)

    def window(chosen: Bool, past: Bool) -> _Window:
        counts = [np.bincount(one[past], minlength=n) for one, n in zip(sides, sizes, strict=True)]
        return _Window(owners[chosen], rows[chosen], repeated[chosen], counts[0], counts[1])

    new = window(fresh, ~fresh)
    if times is None:
        clock = _shares(log, ~fresh)
        width = float(np.clip(fresh.sum() / (~fresh).sum(), 0.02, 0.1))
        ends = [1.0 - k * width for k in range(6)]
        past = [window(~fresh & (clock >= low) & (clock < high), ~fresh & (clock < low)) for high, low in pairwise(ends)]
        return Usual(*_figured(new, past), by_time=False)
    last, first, end = int(times[~fresh].max()), int(times[fresh].min()), int(times[fresh].max())
    span = _span(last, end, until)
    spans = _earlier(span, int(times[~fresh].min()))
    past = [window(~fresh & (times >= low) & (times < high), ~fresh & (times < low)) for low, high in spans]
    recent = np.unique(times[~fresh & (times >= spans[-1][0])]) if spans else np.empty(0, dtype=np.int64)
    return Usual(
        *_figured(new, past),
        by_time=True,
        span=span,
        last=last,
        gap=first - last,
        usual_gap=int(np.diff(recent).max()) if len(recent) > 1 else None,
        late=float(np.mean(times[fresh] < last)),
        silence=max(0, span[1] - end),
    )


def _span(last: int, end: int, until: int | None) -> tuple[int, int]:
    """The window of new events after the last known instant."""
    if until is None:
        until = end + 1 if end // DAY <= last // DAY else (end // DAY + 1) * DAY
    start = last + 1 if until % DAY else (last // DAY + 1) * DAY  # whole days begin at midnight
    return start, max(until, start + 1)


def _earlier(span: tuple[int, int], first: int) -> list[tuple[int, int]]:
    """Windows as long, at the same time of the day or week, that begin when half of the known time or more has passed."""
    length = span[1] - span[0]
    stride = -(-length // DAY) * DAY
    earliest = first + (span[0] - first) // 2
    weekly = -(-length // _WEEK) * _WEEK
    if span[0] - _WINDOWS * weekly >= earliest:
        stride = weekly
    starts = [span[0] - k * stride for k in range(1, _WINDOWS + 1)]
    return [(start, start + length) for start in starts if start >= earliest]


def _shares(log: Interactions, known: Bool) -> NDArray[np.float64]:
    """float64 (len(log),): where in its known history each event stands, in [0, 1), by a random offset for each user."""
    lists = log.histories.where(known)
    places = np.arange(len(lists.rows)) - np.repeat(lists.offsets[:-1], lists.lengths)
    offsets = np.random.default_rng(0).random(len(lists))
    clock = np.full(len(log), np.inf)
    clock[known] = (places + np.repeat(offsets, lists.lengths)) / np.repeat(lists.lengths, lists.lengths)
    return clock


def _repeated(log: Interactions, fresh: Bool) -> Bool:
    """Which events equal an earlier one of the same user in item, time and type; of the known ones, or of the new ones."""
    lists = log.histories
    columns: list[NDArray[Any]] = [lists.list_index(), lists.rows, fresh]
    columns += [one for one in (lists.times, lists.events) if one is not None]
    order = np.lexsort(columns[::-1])
    same = np.ones(len(order), dtype=np.bool_)
    for column in columns:
        ordered = column[order]
        same[1:] &= ordered[1:] == ordered[:-1]
    same[:1] = False
    found = np.zeros(len(order), dtype=np.bool_)
    found[order] = same
    return found


def _figured(new: _Window, past: list[_Window]) -> tuple[Figures, tuple[Figures, ...]]:
    filled = [one for one in past if len(one.users)]
    thin = [one.thinned(len(new.users), seed) for seed, one in enumerate(filled)]
    figures = [_figures(one, [other for other in thin if other is not one]) for one in thin]
    counts = {id(one): figure for one, figure in zip(filled, figures, strict=True)}
    found = [_counted(counts.get(id(one)), one) for one in past]
    return _figures(new, thin), tuple(found)


def _counted(figures: Figures | None, window: _Window) -> Figures:
    """The figures of a thinned window, with the number of its events and the rates of its users before it was thinned."""
    nothing, rates = float("nan"), _rates(window.activity)
    names = [field.name for field in fields(Figures) if field.name != "events"]
    rest = {name: nothing if figures is None else getattr(figures, name) for name in names}
    return Figures(len(window.users), **rest | rates)


def _figures(window: _Window, others: list[_Window]) -> Figures:
    n = len(window.users)
    known = window.item_past[window.items] > 0
    group = popularity_bins(window.item_past, _GROUPS)
    expected = np.bincount(group, weights=window.item_past, minlength=_GROUPS).astype(np.int64)
    found = np.bincount(group[window.items[known]], minlength=_GROUPS).astype(np.int64)
    return Figures(
        events=n,
        repeats=float(window.repeated.mean()),
        new_items=float(1.0 - known.mean()),
        new_users=float((window.histories == 0).mean()),
        items=psi(expected, found),
        activity=_moved(window.activity, [one.activity for one in others]),
        histories=_moved(window.histories, [one.histories for one in others]),
        top_item=float(np.bincount(window.items).max() / n),
        top_user=float(np.bincount(window.users).max() / n),
        reach=_reach(window),
        **_rates(window.activity),
    )


def _rates(activity: Int64) -> dict[str, float]:
    if len(activity) < _FEW:
        return {"rate": float("nan"), "halved": float("nan")}
    logs, left = np.log(activity), 1.0 - 0.5**activity
    after = np.log(activity / 2.0)  # of many events about half are left
    for n in np.unique(activity[activity <= _MANY]):
        kept = np.arange(1, n + 1)
        odds = np.array([math.comb(int(n), int(k)) for k in kept]) * 0.5**n
        after[activity == n] = np.log(kept) @ odds / odds.sum()
    return {"rate": float(logs.mean()), "halved": float(np.average(after, weights=left))}


def _reach(window: _Window) -> float:
    pairs = np.unique(window.users * len(window.item_past) + window.items)
    active = len(np.unique(window.users))
    return float(np.bincount(pairs % len(window.item_past)).max() / active) if active >= _FEW else float("nan")


def _moved(values: Int64, others: list[Int64]) -> float:
    """PSI of numbers against those of other windows; NaN with few on one side."""
    pooled = np.concatenate(others) if others else np.empty(0, dtype=np.int64)
    if min(len(values), len(pooled)) < _FEW:
        return float("nan")
    bins = Bins.of(pooled, n=5)
    return psi(bins.count(pooled), bins.count(values))
