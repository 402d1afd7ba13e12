"""When the events took place: coverage, gaps, resolution, ties, and the time between two events."""

from __future__ import annotations

from typing import Any

import numpy as np

from recsys.core.ragged import Int64, Ragged, mask_of
from recsys.data.summary import day_of

_DAY = 86_400
_MOST_BINS = 800
_UNITS = (("day", _DAY), ("hour", 3_600), ("minute", 60), ("second", 1))
_GAPS = (
    ("the same time", 1),
    ("under a minute", 60),
    ("under an hour", 3_600),
    ("under a day", _DAY),
    ("under a week", 7 * _DAY),
    ("under 30 days", 30 * _DAY),
)
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


def moments(lists: Ragged, times: Int64, n_items: int) -> dict[str, Any]:
    """Count the events over time.

    Parameters
    ----------
    lists : Ragged (n_users)
        Histories in time order.
    times : int64 (n,)
        Seconds since 1970 of their events.
    n_items : int

    Returns
    -------
    dict
        ``from``, ``to``; ``bins`` of ``days_per_bin`` days with events, and users and items seen for the first time;
        ``periods``, events by month or year; ``empty_days`` and ``longest_gap_days`` without an event; ``resolution``, the
        largest unit that all times are multiples of; ``hours`` (of UTC) and ``weekdays``.
    """
    days = times // _DAY
    last = int(days.max())
    span = last - int(days.min()) + 1
    width = 1 if span <= 400 else 7 * -(-span // (7 * _MOST_BINS))
    size = -(-span // width)
    first = last - size * width + 1  # the last bin is whole, or the line would fall at its end
    there = np.flatnonzero(np.bincount(days - first))
    resolution, seconds = next((name, unit) for name, unit in _UNITS if not (times % unit).any())
    firsts = times[lists.offsets[:-1][lists.lengths > 0]]
    return {
        "from": day_of(int(times.min())),
        "to": day_of(int(times.max())),
        "days": span,
        "empty_days": span - len(there),
        "longest_gap_days": int(np.diff(there).max() - 1) if len(there) > 1 else 0,
        "resolution": resolution,
        "days_per_bin": width,
        "bins": {
            "from": [day_of((first + i * width) * _DAY) for i in range(size)],
            "events": _binned(days, first, width, size),
            "new_users": _binned(firsts // _DAY, first, width, size),
            "new_items": _binned(first_times(lists.rows, times, n_items) // _DAY, first, width, size),
        },
        "periods": _periods(times, by_month=span <= 1100),
        "hours": np.bincount((times // 3_600) % 24, minlength=24).tolist() if seconds < _DAY else None,
        "weekdays": np.bincount((days + 3) % 7, minlength=7).tolist(),
    }


def first_times(rows: np.ndarray[Any, np.dtype[np.int32]], times: Int64, n_items: int) -> Int64:
    """int64 (m,): the time of the first event of each item that has one."""
    first = np.full(n_items, np.iinfo(np.int64).max)
    np.minimum.at(first, rows, times)
    return first[first < np.iinfo(np.int64).max]


def _binned(days: Int64, first: int, width: int, size: int) -> list[int]:
    found: list[int] = np.bincount((days - first) // width, minlength=size).tolist()
    return found


def _periods(times: Int64, *, by_month: bool) -> list[dict[str, Any]]:
    unit = "M" if by_month else "Y"
    whole = times.astype("datetime64[s]").astype(f"datetime64[{unit}]").astype(np.int64)
    first = int(whole.min())
    counts = np.bincount(whole - first)
    places = np.flatnonzero(counts)
    labels = (places + first).astype(f"datetime64[{unit}]").astype(str)
    return [{"label": str(label), "events": int(counts[i])} for label, i in zip(labels, places, strict=True)]


def ties(lists: Ragged, times: Int64) -> dict[str, Any]:
    """Count events that share their time with the one before, and how far apart events are.

    Parameters
    ----------
    lists : Ragged (n_users)
        Histories in time order.
    times : int64 (n,)

    Returns
    -------
    dict
        ``tied``, the share of events with the time of the event before in the history; ``users_with_ties``;
        ``last_tied``, the share of users with two events or more whose last event has the time of the one before;
        ``same_day``, whose last two events are of one day; ``gaps``, the time between two events in classes.
    """
    owners = lists.list_index()
    within = owners[1:] == owners[:-1]
    apart = np.diff(times)[within]
    tied = np.zeros(len(times), np.bool_)
    tied[1:] = within & (times[1:] == times[:-1])
    several = lists.lengths > 1
    last = lists.offsets[1:][several] - 1
    bounds = np.array([above for _, above in _GAPS])
    classes = np.bincount(np.searchsorted(bounds, apart, side="right"), minlength=len(_GAPS) + 1)
    names = [*(name for name, _ in _GAPS), "longer"]
    return {
        "tied": float(tied.mean()),
        "users_with_ties": int(mask_of(owners[tied], len(lists)).sum()),
        "last_tied": float(tied[last].mean()) if len(last) else 0.0,
        "same_day": float((times[last] // _DAY == times[last - 1] // _DAY).mean()) if len(last) else 0.0,
        "gaps": [{"label": name, "events": int(count)} for name, count in zip(names, classes, strict=True)],
    }
