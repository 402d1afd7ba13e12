"""Cleaning rules as data: a frozen dataclass, which a TOML file holds too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any, Literal, Self, get_type_hints

from recsys.config.options import as_option, checked_options, nearest, read_toml
from recsys.core.arguments import place
from recsys.core.instants import instant_of, span_of
from recsys.data.clean.event_types import Treatment, treatments
from recsys.errors import ConfigError

Duplicates = Literal["all", "first", "last", "sum"]
Sessions = Literal["users", "last"]
OtherTypes = Literal["error", "keep", "drop"]
_LARGEST = 2**31 - 1


@checked_options
@dataclass(frozen=True, kw_only=True)
class CleaningRules:
    """Which events of a log :func:`recsys.clean` keeps, and what it makes of them.

    The rules act in the order of the fields, whatever the order in a file: time window, heavy users, event types, weights,
    sessions, duplicates, core. A rule that is not set does nothing.

    Raises
    ------
    ConfigError
        A value is of a wrong kind or out of range, or a field changes another one that is not set; the message names it.

    Examples
    --------
    >>> rules = recsys.CleaningRules(since="2024-01-01", min_weight=4, user_min=5, item_min=5)
    >>> rules.to_dict()
    {'since': '2024-01-01T00:00:00Z', 'min_weight': 4.0, 'user_min': 5, 'item_min': 5}
    >>> recsys.CleaningRules(min_wait=4)
    Traceback (most recent call last):
    recsys.errors.ConfigError: CleaningRules has no option 'min_wait'; it has ... did you mean 'min_weight'?
    """

    since: str | None = None
    """Keep events from this time on: a date, a time (UTC unless it names a zone), or seconds since 1970."""
    until: str | None = None
    """Keep events before this time."""
    max_events: int | None = None
    """Leave out users with more events than this."""
    max_events_per_hour: int | None = None
    """Leave out users who have more events than this within some 3,600 seconds."""
    max_events_per_day: int | None = None
    """Leave out users who have more events than this within some 86,400 seconds."""
    event_types: Mapping[str, Treatment] = field(default_factory=dict)
    """Event type → its weight, its new name, both (``{"name": ..., "weight": ...}``), or False: leave its events out."""
    other_types: OtherTypes = "error"
    """What to do about types that ``event_types`` does not name: stop, keep their events, or drop them."""
    min_weight: float | None = None
    """Leave out events whose weight is lower than this, after ``event_types`` gave weights."""
    session_gap: str | None = None
    """Cut each history where more than this time lies between two events: a span such as 30m, 12h or 7d."""
    sessions: Sessions = "users"
    """What becomes of the pieces: users of their own, named USER/1, USER/2 and so on; or only the last one is kept."""
    duplicates: Duplicates = "all"
    """What to keep of events of one user on one item: all, the first, the last, or the last with the sum of the weights."""
    duplicates_by_type: bool = False
    """Whether events of different types are no duplicates."""
    user_min: int = 0
    """Keep users with at least this many events, and repeat with ``item_min`` until nothing changes."""
    item_min: int = 0
    """Keep items with at least this many events."""
    source: str = field(default="the cleaning rules", repr=False, compare=False)
    """What messages call the rules: their file, say."""

    def __post_init__(self) -> None:
        for name in ("since", "until"):
            _set(self, name, _instant(name, getattr(self, name)))
        _set(self, "session_gap", _span("session_gap", self.session_gap))
        _set(self, "event_types", treatments(self.event_types))
        hints = get_type_hints(CleaningRules)
        for one in fields(self):
            if one.name != "event_types":
                _set(self, one.name, as_option(one.name, hints[one.name], getattr(self, one.name)))
        self._check_ranges()
        self._check_together()

    def _check_ranges(self) -> None:
        for name, least in (
            ("max_events", 1), ("max_events_per_hour", 1), ("max_events_per_day", 1), ("user_min", 0), ("item_min", 0),
        ):  # fmt: skip
            value = getattr(self, name)
            if value is not None and not least <= value <= _LARGEST:
                raise ConfigError(f"{name} must lie between {least} and {_LARGEST}, not {value}")
        if self.min_weight is not None and not abs(self.min_weight) < float("inf"):
            raise ConfigError(f"min_weight must be a finite number, not {self.min_weight}")
        if self.since is not None and self.until is not None and instant_of(self.since) >= instant_of(self.until):
            raise ConfigError(f"until ({self.until}) must lie after since ({self.since})")

    def _check_together(self) -> None:
        """Refuse a field that changes how another one works, if that one is not set."""
        for name, needed in (
            ("other_types", "event_types"),
            ("sessions", "session_gap"),
            ("duplicates_by_type", "duplicates"),
        ):
            if self.is_set(name) and not self.is_set(needed):
                raise ConfigError(f"{name} needs {needed}, which is not set")

    def is_set(self, name: str) -> bool:
        """Whether a field has another value than its default."""
        return bool(getattr(self, name) != _default(name))

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """Read a TOML file.

        Raises
        ------
        ConfigError
            The file cannot be read, or a key or value cannot be used; the message names file and key.

        Examples
        --------
        >>> written = '''
        ... since = 2024-01-01
        ... duplicates = "last"
        ... user_min = 5
        ...
        ... [event_types]
        ... view = 1
        ... purchase = { name = "buy", weight = 5 }
        ... hover = false
        ... '''
        >>> _ = Path("clean.toml").write_text(written)
        >>> rules = CleaningRules.read("clean.toml")
        >>> rules.duplicates, rules.event_types["purchase"]
        ('last', {'name': 'buy', 'weight': 5.0})
        """
        file = place(path, "path")
        return cls.of(read_toml(file, "the cleaning rules"), str(file))

    @classmethod
    def of(cls, table: Mapping[str, Any], source: str = "the cleaning rules") -> Self:
        """Make rules of what a TOML file holds, or :meth:`to_dict` gave.

        Raises
        ------
        ConfigError
            As for :meth:`read`.
        """
        known = [name for name in _names() if name != "source"]
        for key in table:
            if key not in known:
                raise ConfigError(f"{source}: there is no cleaning rule {key!r}; {nearest(key, known)}")
        try:
            return cls(**table, source=source)
        except ConfigError as error:
            raise ConfigError(f"{source}: {error}") from error

    def to_dict(self) -> dict[str, Any]:
        """The fields that are set, as plain values, ready for JSON and TOML."""
        named = [name for name in _names() if name != "source" and self.is_set(name)]
        return {name: dict(value) if isinstance(value := getattr(self, name), Mapping) else value for name in named}


def _names() -> list[str]:
    return [one.name for one in fields(CleaningRules)]


def _default(name: str) -> Any:
    (found,) = (one for one in fields(CleaningRules) if one.name == name)
    return found.default if found.default is not MISSING else {}


def _set(owner: CleaningRules, name: str, value: object) -> None:
    object.__setattr__(owner, name, value)


def _instant(name: str, value: object) -> str | None:
    """An instant as ISO text in UTC."""
    if value is None or value == "none":
        return None
    if isinstance(value, datetime):
        seconds = int((value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp())
    elif isinstance(value, date):
        seconds = int(datetime.combine(value, time(), UTC).timestamp())
    elif isinstance(value, str | int) and not isinstance(value, bool):
        try:
            seconds = instant_of(str(value))
        except ValueError as error:
            raise ConfigError(f"{name}: {error}") from error
    else:
        raise ConfigError(f"{name} must be a date, a time or seconds since 1970, not {value!r}")
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
    except (OverflowError, ValueError, OSError) as error:
        raise ConfigError(f"{name} is {value}, which lies outside the calendar; seconds since 1970 are meant") from error


def _span(name: str, value: object) -> str | None:
    if value is None or value == "none":
        return None
    try:
        if isinstance(value, str):
            span_of(value)
            return value
    except ValueError as error:
        raise ConfigError(f"{name}: {error}") from error
    raise ConfigError(f"{name} must be a span of time such as '30m', '12h' or '7d', not {value!r}")
