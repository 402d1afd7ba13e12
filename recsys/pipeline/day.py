"""Check newly arrived events before anything costly is done with them: half-loaded, doubled, poisoned, of another shop."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final, Literal, TypeAlias

import numpy as np
import polars as pl

from recsys.config.day import DayBounds
from recsys.core.ragged import Bool
from recsys.core.text_table import as_text
from recsys.data.interactions import Interactions
from recsys.errors import ConfigError
from recsys.evaluation.usual import DAY, Usual, usual

Verdict: TypeAlias = Literal["passed", "refused", "accepted", "not judged"]

_QUIET: Final = 3 * 3_600
"""Seconds without an event at the end that never matter."""
_FEW_WINDOWS: Final = 4
"""With fewer earlier windows nothing is called usual."""
_UNKNOWN: Final = {
    "new-items": 0.8,
    "new-users": 0.95,
    "repeats": 0.2,
    "items": 1.0,
    "top-item": 0.2,
    "top-user": 0.2,
    "reach": 0.8,
}
"""Bounds where there is no past to compare with: only what cannot be right is refused."""
MEANING: Final = {
    "events": "the number of events",
    "repeats": "the share of events that equal another one",
    "new-items": "the share of events on items without an earlier event",
    "new-users": "the share of users without an earlier event",
    "items": "the shift of demand between popular and rare items (PSI)",
    "activity": "the shift of events per user (PSI)",
    "histories": "the shift of the lengths of the users' histories (PSI)",
    "rate": "the number of events of an active user (geometric mean)",
    "top-item": "the share of events on one item",
    "top-user": "the share of events of one user",
    "reach": "the share of users with an event on one and the same item",
    "late": "the share of events from before the last known one",
    "ahead": "the number of events in the future",
    "gap": "the days before the first new event",
    "silence": "the days after the last new event, up to where the log should end",
}
"""Name of a check → what it looks at."""


@dataclass(frozen=True)
class DayCheck:
    """One check.

    Attributes
    ----------
    name : str
        One of :data:`MEANING`.
    value : float
    usual : float or None
        The median of earlier windows.
    least, most : float or None
        The bounds.
    verdict : {"passed", "refused", "accepted", "not judged"}
        ``accepted``: out of bounds, and let through on purpose.
    note : str
        What else is to be said, such as the item.
    """

    name: str
    value: float
    usual: float | None
    least: float | None
    most: float | None
    verdict: Verdict
    note: str = ""


@dataclass(frozen=True)
class DayReport:
    """What the checks found about new events.

    Attributes
    ----------
    checks : tuple of DayCheck
    windows : int
        Earlier windows that they were held against.
    described : str
        What was compared with what, in words.
    """

    checks: tuple[DayCheck, ...]
    windows: int
    described: str

    @property
    def refused(self) -> tuple[DayCheck, ...]:
        """The checks that say no."""
        return tuple(one for one in self.checks if one.verdict == "refused")

    @property
    def reasons(self) -> str:
        """Why the events are refused, in one line."""
        return "; ".join(
            f"{one.name}: {MEANING[one.name]} is {_number(one.value)}, allowed {_bounds(one)}"
            f"{f' ({one.note})' if one.note else ''}"
            for one in self.refused
        )

    def to_dict(self) -> dict[str, Any]:
        """For JSON, and for the lineage of a bundle."""
        checks = [asdict(one) | {"value": None if math.isnan(one.value) else one.value} for one in self.checks]
        return {"checks": checks, "windows": self.windows, "described": self.described}

    def __str__(self) -> str:
        rows = [
            {
                "check": one.name,
                "value": _number(one.value),
                "usual": "" if one.usual is None else _number(one.usual),
                "allowed": _bounds(one),
                "verdict": one.verdict,
                "": one.note,
            }
            for one in self.checks
        ]
        return f"{self.described}\n{as_text(pl.DataFrame(rows))}"


def check_day(
    joint: Interactions,
    fresh: Bool,
    bounds: DayBounds | None = None,
    *,
    accept: Sequence[str] = (),
    until: int | None = None,
    now: float | None = None,
) -> DayReport:
    """Hold new events against what was usual before.

    Each figure of the new events (:class:`recsys.evaluation.usual.Figures`) is compared with the same figure of up to eight
    earlier windows of the log, of the same length and time of the week. A bound is the larger one of an absolute value
    below which nobody would worry and a multiple or margin over the most that was met before. The number of events may
    differ from the median of earlier numbers by the factor ``least_events`` or ``most_events``, or by ``event_spread``
    standard deviations of their logarithms where that is more. The events of an active user (``rate``) may be fewer by
    ``rate_spread`` standard deviations, or half of what the loss of every other row would make, whichever is more.

    Parameters
    ----------
    joint : Interactions
        Known and new events, in one row space, as the update will see them.
    fresh : bool (len(joint),)
        Which ones are new.
    bounds : DayBounds, optional
    accept : sequence of str
        Names of checks that may be out of bounds this time.
    until : int, optional
        The instant up to which the new events should be complete; see :func:`recsys.evaluation.usual.usual`.
    now : float, optional
        Seconds since 1970, instead of the clock's.

    Returns
    -------
    DayReport

    Raises
    ------
    ConfigError
        ``accept`` names something else.
    DataError
        There is nothing new, or nothing known.
    """
    if strange := [one for one in accept if one not in MEANING]:
        raise ConfigError(f"accept (--accept) names {strange[0]!r}; the checks are {', '.join(MEANING)}")
    bounds = bounds or DayBounds()
    found = usual(joint, fresh, until=until)
    checks = [
        _events(found, bounds),
        _most(found, "repeats", bounds.more_repeats),
        _most(found, "new-items", bounds.more_new_items),
        _most(found, "new-users", bounds.more_new_users),
        _shift(found, "items", bounds.item_shift),
        _of_users(found, "activity", bounds),
        _of_users(found, "histories", bounds),
        _rate(found, bounds),
        replace(_twice(found, "top-item", bounds.top_item), note=_top(joint, fresh, "item")),
        replace(_twice(found, "top-user", bounds.top_user), note=_top(joint, fresh, "user")),
        _most(found, "reach", bounds.more_reach),
        *_times(found, joint, fresh, bounds, time.time() if now is None else now),
    ]
    named = set(accept)
    checks = [replace(one, verdict="accepted") if one.verdict == "refused" and one.name in named else one for one in checks]
    return DayReport(tuple(checks), len(found.past), _described(found))


def _judged(name: str, value: float, usual_: float | None, *, least: float | None = None, most: float | None) -> DayCheck:
    if math.isnan(value):
        return DayCheck(name, value, usual_, least, most, "not judged", "too few users to tell")
    outside = (least is not None and value < least) or (most is not None and value > most)
    return DayCheck(name, value, usual_, least, most, "refused" if outside else "passed")


def _events(found: Usual, bounds: DayBounds) -> DayCheck:
    past, value = found.of("events"), float(found.found.events)
    if bounds.usual_events is not None:
        usual_ = float(bounds.usual_events)
        return _judged("events", value, usual_, least=bounds.least_events * usual_, most=bounds.most_events * usual_)
    if not found.by_time or len(past) < _FEW_WINDOWS:
        why = "no past to compare with" if found.by_time else "no times"
        return DayCheck("events", value, None, None, None, "not judged", f"{why}: give the usual number, usual_events")
    logs = np.log(np.array(past) + 0.5)
    usual_, away = float(np.median(past)), bounds.event_spread * float(logs.std(ddof=1))
    least = usual_ * min(bounds.least_events, math.exp(-away))
    return _judged("events", value, usual_, least=least, most=max(usual_, 1.0) * max(bounds.most_events, math.exp(away)))


def _past(found: Usual, name: str) -> list[float]:
    past = found.of(name.replace("-", "_"))
    has_past = len(past) >= _FEW_WINDOWS and (found.by_time or name != "new-users")  # every history begins before its end
    return past if has_past else []


def _value(found: Usual, name: str) -> float:
    return float(getattr(found.found, name.replace("-", "_")))


def _most(found: Usual, name: str, margin: float) -> DayCheck:
    past = _past(found, name)
    if not past:
        return _judged(name, _value(found, name), None, most=_UNKNOWN[name])
    return _judged(name, _value(found, name), float(np.median(past)), most=min(1.0, max(past) + margin))


def _shift(found: Usual, name: str, least: float) -> DayCheck:
    past = _past(found, name)
    if not past and name not in _UNKNOWN:
        return DayCheck(name, _value(found, name), None, None, None, "not judged", "no past to compare with")
    if not past:
        return _judged(name, _value(found, name), None, most=max(least, _UNKNOWN[name]))
    return _judged(name, _value(found, name), float(np.median(past)), most=max(least, 2.0 * max(past)))


def _of_users(found: Usual, name: str, bounds: DayBounds) -> DayCheck:
    """A shift of users; without times windows are shares of histories, and no new log is cut like that."""
    if found.by_time:
        return _shift(found, name, bounds.activity_shift)
    return DayCheck(name, _value(found, name), None, None, None, "not judged", "no times to cut earlier windows by")


def _rate(found: Usual, bounds: DayBounds) -> DayCheck:
    """Whether users are less active than ever, as if rows were lost at random: nearer to half the rows than to all."""
    value, past = math.exp(found.found.rate), found.of("rate")
    if not found.by_time or len(past) < _FEW_WINDOWS:
        why = "no past to compare with" if found.by_time else "no times to cut earlier windows by"
        return DayCheck("rate", value, None, None, None, "not judged", why)
    mean, halved = float(np.mean(past)), float(np.mean(found.of("halved")))
    least = min((mean + halved) / 2.0, mean - bounds.rate_spread * float(np.std(past, ddof=1)))
    return _judged("rate", value, math.exp(mean), least=math.exp(least), most=None)


def _twice(found: Usual, name: str, always: float) -> DayCheck:
    past = _past(found, name)
    if not past:
        return _judged(name, _value(found, name), None, most=max(always, _UNKNOWN[name]))
    return _judged(name, _value(found, name), float(np.median(past)), most=min(1.0, max(always, 2.0 * max(past))))


def _top(joint: Interactions, fresh: Bool, kind: Literal["item", "user"]) -> str:
    rows = joint.histories.rows[fresh] if kind == "item" else joint.histories.list_index()[fresh]
    ids = joint.items if kind == "item" else joint.users
    return f"{kind} {ids.to_ids(np.array([np.bincount(rows).argmax()], dtype=np.int32))[0]!r}"


def _times(found: Usual, joint: Interactions, fresh: Bool, bounds: DayBounds, now: float) -> list[DayCheck]:
    if joint.timestamps is None or found.gap is None:
        return []
    latest = int(now) + bounds.ahead
    ahead = joint.timestamps[fresh] > latest
    note = f"the last is of {_day(int(joint.timestamps[fresh].max()))}" if ahead.any() else ""
    pause = max(2.0 * DAY, bounds.longest_gap * (found.usual_gap or 0)) / DAY
    usual_gap = None if found.usual_gap is None else found.usual_gap / DAY
    quiet = None if found.usual_gap is None else max(_QUIET, bounds.longest_silence * found.usual_gap) / DAY
    silence = _judged("silence", (found.silence or 0) / DAY, usual_gap, most=quiet)
    if quiet is None:
        silence = replace(silence, verdict="not judged", note="no past to compare with")
    return [
        _judged("late", found.late, None, most=bounds.late),
        replace(_judged("ahead", float(ahead.sum()), None, most=0.0), note=note),
        _judged("gap", max(found.gap, 0) / DAY, usual_gap, most=pause),
        silence,
    ]


def _described(found: Usual) -> str:
    n = f"{found.found.events:,} new events"
    if found.span is None:
        return f"{n}, without times; held against the ends of all histories"
    what = f"{n} from {_day(found.span[0])} to {_day(found.span[1])} (UTC)"
    if len(found.past) < _FEW_WINDOWS:
        return f"{what}; the past is too short to tell what is usual"
    return f"{what}; held against {len(found.past)} earlier windows of the same length and hour"


def _day(seconds: int) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M")
    except (OverflowError, ValueError, OSError):
        return str(seconds)


def _number(value: float) -> str:
    if math.isnan(value):
        return "–"
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.3f}"


def _bounds(one: DayCheck) -> str:
    if one.least is not None and one.most is not None:
        return f"{_number(one.least)} to {_number(one.most)}"
    if one.least is not None:
        return f"from {_number(one.least)}"
    return f"up to {_number(one.most)}" if one.most is not None else "any"
