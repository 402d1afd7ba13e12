"""What a window of a log looks like beside what a model knows, and which of its figures are unusual.

A figure alone says little: half of a fashion shop's events are on items of this month, and none of a library's. So the same
figures are taken of earlier windows, and a new window is unusual where it lies outside of what these let one expect.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from recsys.core.ragged import Bool, Int64
from recsys.data.interactions import Interactions
from recsys.evaluation.drift import Bins, jensen_shannon, popularity_bins, psi
from recsys.evaluation.metrics import Values

Kind: TypeAlias = Literal["distance", "share", "count"]
_GROUPS: Final = 10
_LEVEL: Final = 0.99
_LEAST: Final = 4
"""With fewer earlier windows nothing is called usual."""
FIGURES: Final[dict[str, tuple[Kind, str]]] = {
    "new_items": ("share", "events on items that the model does not know"),
    "new_users": ("share", "events of users that the model does not know"),
    "popularity_psi": ("distance", "popularity of the items, PSI"),
    "popularity_js": ("distance", "popularity of the items, Jensen–Shannon"),
    "items_js": ("distance", "items one by one, Jensen–Shannon"),
    "top_item": ("share", "events on the most frequent item"),
    "top_item_users": ("share", "users who touched the item that most touched"),
    "activity_psi": ("distance", "events per user, PSI"),
    "activity_js": ("distance", "events per user, Jensen–Shannon"),
    "history_psi": ("distance", "length of the histories, PSI"),
    "history_js": ("distance", "length of the histories, Jensen–Shannon"),
    "coverage": ("share", "known items that had an event"),
    "days": ("count", "days for as many events"),
}
"""Figure → its kind, and what it is in words."""
_TIMED: Final = ("activity_psi", "activity_js", "history_psi", "history_js", "days")
"""Figures of logs with times alone: where windows are shares of histories, each holds the same share of every user."""


_SCALES: Final[dict[Kind, tuple[Callable[[Values], Values], Callable[[Values], Values]]]] = {
    "distance": (lambda one: np.log(one + 1e-3), lambda one: np.exp(one) - 1e-3),
    "share": (
        lambda one: np.arcsin(np.sqrt(np.clip(one, 0.0, 1.0))),
        lambda one: np.sin(np.clip(one, 0.0, np.pi / 2)) ** 2,
    ),
    "count": (lambda one: np.log(one + 1e-9), np.exp),
}
"""Kind → to the scale on which such a figure is about normal, and back."""
_SMALLEST: Final = 1e-3
"""Least half of a range on its scale: where all windows are equal, rounding is not unusual."""


@dataclass(frozen=True)
class Figure:
    """A figure of the new log beside what is usual.

    The usual range is Student's prediction interval for one more window, mean ± t · s · sqrt(1 + 1/n), 99 %, on a scale on
    which such figures are about normal: the logarithm of distances and counts, the arcsine of the root of shares. A
    distance cannot be too small.

    Attributes
    ----------
    name, meaning : str
    kind : {"distance", "share", "count"}
    values : tuple of float
        Of each new window, the earliest first; NaN where it is undefined.
    usual : tuple of float
        Of each earlier window, the earliest first; with fewer than four nothing is called usual.

    Examples
    --------
    >>> found = Figure("new_items", "events on new items", "share", (0.3,), (0.10, 0.12, 0.09, 0.11, 0.10))
    >>> 0.05 < found.low < 0.09, 0.12 < found.high < 0.17, found.unusual
    (True, True, True)
    """

    name: str
    meaning: str
    kind: Kind
    values: tuple[float, ...]
    usual: tuple[float, ...]

    @property
    def value(self) -> float:
        """Of the last new window."""
        return self.values[-1]

    @cached_property
    def _range(self) -> tuple[float, float] | None:
        """Middle and half of the usual range, on its scale."""
        known = [one for one in self.usual if not math.isnan(one)]
        if len(known) < _LEAST:
            return None
        scaled = _SCALES[self.kind][0](np.array(known))
        half = stats.t.ppf((1 + _LEVEL) / 2, len(known) - 1) * scaled.std(ddof=1) * math.sqrt(1 + 1 / len(known))
        return float(scaled.mean()), max(float(half), _SMALLEST)

    @property
    def low(self) -> float | None:
        """The lower end of the usual range; None where nothing is called usual."""
        if self._range is None:
            return None
        middle, half = self._range
        return 0.0 if self.kind == "distance" else float(_SCALES[self.kind][1](np.array(middle - half)))

    @property
    def high(self) -> float | None:
        """The upper end."""
        if self._range is None:
            return None
        middle, half = self._range
        return float(_SCALES[self.kind][1](np.array(middle + half)))

    def place(self, value: float) -> float | None:
        """Where a value stands in the usual range: 0 in the middle, 1 at the upper end, −1 at the lower one."""
        if self._range is None or math.isnan(value):
            return None
        middle, half = self._range
        return (float(_SCALES[self.kind][0](np.array(value))) - middle) / half

    @property
    def unusual(self) -> bool:
        """Whether the last new window lies outside of the usual range."""
        place = self.place(self.value)
        return place is not None and (place > 1.0 or (place < -1.0 and self.kind != "distance"))

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        found = {"low": self.low, "high": self.high, "value": self.value, "unusual": self.unusual}
        return {one.name: getattr(self, one.name) for one in fields(self)} | found


@dataclass(frozen=True, eq=False)
class Window:
    """Events of a window of a log, and what was known before.

    Attributes
    ----------
    within, before : bool (len(log),)
        The events of the window, and those that the model knows at that moment.
    """

    within: Bool
    before: Bool


def log_figures(log: Interactions, new: Sequence[Window], usual: Sequence[Window]) -> list[Figure]:
    """All figures that a log alone has: see :data:`FIGURES`.

    Items are binned by their popularity before the window, ten bins with as many events each; those without an event before
    are in none (PSI), or in one of their own (Jensen–Shannon). Events per user, and the lengths of their histories, are
    compared with all earlier windows but the same one; a log without times has neither.

    Parameters
    ----------
    log : Interactions
    new, usual : sequence of Window
        Windows should hold about as many events each: small samples look uneven by their nature.
    """
    owners, rows = log.histories.list_index(), log.histories.rows
    windows = [*usual, *new]
    past = [np.bincount(rows[one.before], minlength=len(log.items)).astype(np.int64) for one in windows]
    known = [np.bincount(owners[one.before], minlength=len(log.users)).astype(np.int64) for one in windows]
    activity = [_active(owners[one.within]) for one in windows]
    lengths = [counts[np.unique(owners[one.within])] for counts, one in zip(known, windows, strict=True)]
    table: dict[str, list[float]] = {name: [] for name in FIGURES}
    for place, window in enumerate(windows):
        items, others = rows[window.within], [i for i in range(len(usual)) if i != place]
        found = _of_items(items, past[place])
        pairs = np.unique(owners[window.within].astype(np.int64) * len(log.items) + items)
        found["top_item_users"] = float(np.bincount(pairs % len(log.items)).max() / len(activity[place]))
        found["new_users"] = float(np.mean(known[place][owners[window.within]] == 0))
        found |= dict.fromkeys(_TIMED, math.nan)
        if log.timestamps is not None:
            for name, numbers in (("activity", activity), ("history", lengths)):
                found[f"{name}_psi"], found[f"{name}_js"] = _of_numbers(numbers[place], [numbers[i] for i in others])
            times = log.timestamps[window.within]
            found["days"] = float(times.max() - times.min()) / 86_400
        for name, value in found.items():
            table[name].append(value)
    n = len(usual)
    return [
        Figure(name, meaning, kind, tuple(table[name][n:]), tuple(table[name][:n]))
        for name, (kind, meaning) in FIGURES.items()
        if not all(math.isnan(one) for one in table[name][n:])
    ]


def _active(owners: Int64) -> Int64:
    """Events of each active user."""
    return np.unique(owners, return_counts=True)[1].astype(np.int64)


def _of_items(items: NDArray[np.integer], past: Int64) -> dict[str, float]:
    is_known = past[items] > 0
    groups = popularity_bins(past, _GROUPS)
    expected = np.bincount(groups, weights=past, minlength=_GROUPS + 1).astype(np.int64)
    placed = np.bincount(np.where(is_known, groups[items], _GROUPS), minlength=_GROUPS + 1).astype(np.int64)
    counts = np.bincount(items, minlength=len(past)).astype(np.int64)
    return {
        "new_items": float(1.0 - is_known.mean()),
        "popularity_psi": psi(expected[:_GROUPS], placed[:_GROUPS]),
        "popularity_js": jensen_shannon(expected, placed),
        "items_js": jensen_shannon(past, counts),
        "top_item": float(counts.max() / len(items)),
        "coverage": float(np.mean(counts[past > 0] > 0)) if past.any() else math.nan,
    }


def _of_numbers(values: Int64, others: Sequence[Int64]) -> tuple[float, float]:
    """PSI and Jensen–Shannon distance of numbers against those of other windows."""
    pooled = np.concatenate([np.empty(0, dtype=np.int64), *others])
    bins = Bins.of(pooled)
    expected, found = bins.count(pooled), bins.count(values)
    return psi(expected, found), jensen_shannon(expected, found)
