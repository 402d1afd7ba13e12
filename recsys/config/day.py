"""Within which bounds newly arrived events are taken for an ordinary day."""

from __future__ import annotations

from dataclasses import dataclass

from recsys.config.options import checked_options, settle
from recsys.errors import ConfigError


@checked_options
@dataclass(frozen=True, kw_only=True)
class DayBounds:
    """Bounds of the checks that newly arrived events must pass before a model learns from them.

    Most are said relative to what was usual in earlier windows of the same log, so that a shop with a quiet month of August
    or a thousand new users a day needs no settings of its own. Defaults were tried on windows of amazon-beauty, ml-1m and
    ml-latest-small: ``training/results/day-checks.md``.

    Raises
    ------
    ConfigError
        A value is not allowed.

    Examples
    --------
    >>> recsys.config.day.DayBounds(least_events=0.8).least_events
    0.8
    """

    least_events: float = 0.65
    """Events that there must be, as a share of the usual number: a load that broke off has less."""
    most_events: float = 3.0
    """Events that there may be, as a multiple of the usual number: a file that was loaded twice, or robots, have more."""
    event_spread: float = 3.0
    """Standard deviations of the logarithm of earlier numbers by which they may differ too: some logs come in bursts."""
    usual_events: int | None = None
    """Usual number of events in such a log, instead of what the past shows; without times there is no past to go by."""
    more_repeats: float = 0.1
    """Share of exact repeats above the largest of earlier windows: a file that was loaded twice has half of them."""
    more_new_items: float = 0.2
    """Share of events on items without a past above the largest of earlier windows: another shop sells other things."""
    more_new_users: float = 0.25
    """Share of users without a past above the largest of earlier windows: another shop has other customers."""
    item_shift: float = 0.5
    """Smallest population stability index that counts as a shift of demand between popular and rare items."""
    activity_shift: float = 0.5
    """Smallest index that counts as a shift of events per user, or of the lengths of their histories."""
    rate_spread: float = 4.0
    """Standard deviations by which users may be less active than usual: rows that are lost at random thin out each user."""
    top_item: float = 0.05
    """Share of all events that one item may always have: more than twice the usual is a campaign, robots or a bug."""
    top_user: float = 0.1
    """Share of all events that one user may always have: more than twice the usual is a robot or a shared account."""
    more_reach: float = 0.25
    """Share of users with an event on one and the same item above the largest of earlier windows: a bug sells it to all."""
    late: float = 0.1
    """Share of events from before the last one that is known: more are an old file, or a log that was cleaned otherwise."""
    ahead: int = 3600
    """Seconds that an event may lie in the future: clocks differ, and an event of next year would make all others late."""
    longest_gap: float = 3.0
    """Pause before the first new event, as a multiple of the usual one, or two days if that is more: a day was left out."""

    longest_silence: float = 1.2
    """Pause after the last new event, as a multiple of the longest usual one, or three hours if that is more: a load broke
    off.
    """

    def __post_init__(self) -> None:
        settle(self)
        for name in (
            "least_events",
            "more_repeats",
            "more_new_items",
            "more_new_users",
            "more_reach",
            "top_item",
            "top_user",
            "late",
        ):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ConfigError(f"{name} is a share in [0, 1], not {getattr(self, name)}")
        for name in ("most_events", "longest_gap", "longest_silence"):
            if not getattr(self, name) >= 1.0:
                raise ConfigError(f"{name} is a multiple of 1 or more, not {getattr(self, name)}")
        for name in ("event_spread", "rate_spread", "item_shift", "activity_shift", "ahead"):
            if not getattr(self, name) >= 0:
                raise ConfigError(f"{name} must not be negative, but is {getattr(self, name)}")
        if self.usual_events is not None and self.usual_events < 1:
            raise ConfigError(f"usual_events must be at least 1, not {self.usual_events}")
