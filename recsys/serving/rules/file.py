"""What a rules file may say: one small dataclass per kind of rule, checked when it is read."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields
from difflib import get_close_matches
from typing import Any, Final, TypeAlias, TypeVar

from recsys.errors import ConfigError

RawId: TypeAlias = str | int

_Rule = TypeVar("_Rule")


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """Items that a rule is about: those that a predicate holds for, or those that are listed.

    Attributes
    ----------
    where : str or None
        A predicate as :func:`recsys.data.filters.parse` reads it.
    items : tuple of ids
    """

    name: str
    where: str | None = None
    items: tuple[RawId, ...] = ()

    def __post_init__(self) -> None:
        if (self.where is None) == (not self.items):
            raise ConfigError('needs either where = "a predicate" or items = ["an id", ...]')


@dataclass(frozen=True, kw_only=True)
class Exclude(Chosen):
    """``[[exclude]]``: items that nobody gets."""


@dataclass(frozen=True, kw_only=True)
class Boost(Chosen):
    """``[[boost]]``: items whose scores are raised or lowered.

    Attributes
    ----------
    add : float or None
        Added to the score.
    times : float or None
        Multiplies the score's distance above the lowest score among the request's candidates: ``low + times · (score −
        low)``. Above 1 it never lowers a score and below 1 it never raises one, whatever the scores' sign, and of two
        boosted items the better one stays the better one.
    """

    add: float | None = None
    times: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.add is None) == (self.times is None):
            raise ConfigError("needs either add (to the score) or times (the distance above the lowest candidate)")
        if self.times is not None and self.times < 0:
            raise ConfigError(f"times must be at least 0, not {self.times}; below 1 it lowers scores")


@dataclass(frozen=True, kw_only=True)
class Pin:
    """``[[pin]]``: an item that stands at one place in every list, among the candidates or not.

    Attributes
    ----------
    position : int
        From 1. A list that ends before it does not show the item at all, and a list with too few other items has it last.
    """

    name: str
    item: RawId
    position: int

    def __post_init__(self) -> None:
        _at_least(self, 1, "position")


@dataclass(frozen=True, kw_only=True)
class Cap:
    """``[[cap]]``: at most so many items of one value in a list.

    An item counts for each of its values (a list column, or text with "|" between them), and one without a value is not
    capped. Pinned items count and stay.
    """

    name: str
    column: str
    at_most: int

    def __post_init__(self) -> None:
        _at_least(self, 1, "at_most")


@dataclass(frozen=True, kw_only=True)
class Diversity:
    """``[diversity]``: maximal marginal relevance; see :func:`recsys.serving.rules.diversity.marginal_relevance`.

    Attributes
    ----------
    trade : float
        Written ``lambda``: 1 is relevance alone, 0 is difference from what stands above alone.
    pool : int
        The best candidates, of which it chooses.
    """

    name: str
    trade: float = 0.7
    pool: int = 100

    def __post_init__(self) -> None:
        if not 0.0 <= self.trade <= 1.0:
            raise ConfigError(f"lambda must lie in [0, 1], not {self.trade}")
        _at_least(self, 1, "pool")


@dataclass(frozen=True, kw_only=True)
class Freshness:
    """``[freshness]``: a bonus of ``weight · 2^(−age / half_life_days)`` for what is new; none where the date is unknown.

    Attributes
    ----------
    column : str
        Dates, datetimes, ISO 8601 text or whole seconds since 1970. What lies ahead of the request counts as new.
    """

    name: str
    column: str
    half_life_days: float
    weight: float

    def __post_init__(self) -> None:
        for name in ("half_life_days", "weight"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} must be above 0, not {getattr(self, name)}")


LISTS: Final[dict[str, type]] = {"exclude": Exclude, "boost": Boost, "pin": Pin, "cap": Cap}
"""Rules of which a file may have several, written ``[[exclude]]``."""
TABLES: Final[dict[str, type]] = {"diversity": Diversity, "freshness": Freshness}
"""Rules of which a file has one at most, written ``[diversity]``."""
_TOP = ("pool", *(f"[[{name}]]" for name in LISTS), *(f"[{name}]" for name in TABLES))
_WRITTEN = {"trade": "lambda"}


def checked(tables: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Rules from the tables of a file: for each kind a tuple of its rules, or the one rule or None, and ``pool``.

    Parameters
    ----------
    tables : mapping
    source : str
        Where they come from, for messages.

    Raises
    ------
    ConfigError
        A key is unknown or missing, a value is of a wrong type or out of range, a name or a pin occurs twice.
    """
    for key, given in tables.items():
        if key not in (*LISTS, *TABLES, "pool"):
            raise ConfigError(
                f"{source}: unknown key {key!r}{_meant(key, [*LISTS, *TABLES])}; rules have {', '.join(_TOP)}"
            )
        if key in LISTS and not isinstance(given, list | tuple):
            raise ConfigError(f"{source}: {key} is a list of tables, not {given!r}; write [[{key}]] above each")
        if key in TABLES and not isinstance(given, Mapping):
            raise ConfigError(f"{source}: {key} is one table, not {given!r}; write [{key}] once")
    found: dict[str, Any] = {
        key: tuple(
            _rule(owner, table, f"{source}: [[{key}]] {place}", f"{key} {place}")
            for place, table in enumerate(tables.get(key, ()), start=1)
        )
        for key, owner in LISTS.items()
    }
    for key, owner in TABLES.items():
        found[key] = _rule(owner, tables[key], f"{source}: [{key}]", key) if key in tables else None
    found["pool"] = tables.get("pool")
    if found["pool"] is not None and not (_is_whole(found["pool"]) and found["pool"] >= 1):
        raise ConfigError(f"{source}: pool must be a whole number from 1, not {found['pool']!r}")
    singles = [found[key] for key in TABLES if found[key] is not None]
    names = [rule.name for rule in [*(one for key in LISTS for one in found[key]), *singles]]
    if (name := _twice(names)) is not None:
        raise ConfigError(f"{source}: two rules are called {name!r}; give each its own name")
    if (item := _twice([pin.item for pin in found["pin"]])) is not None:
        raise ConfigError(f"{source}: the item {item!r} is pinned twice; keep one of the pins")
    if (position := _twice([pin.position for pin in found["pin"]])) is not None:
        raise ConfigError(f"{source}: two items are pinned at position {position}; move one of them")
    return found


def _rule(owner: Callable[..., _Rule], table: Any, where: str, name: str) -> _Rule:
    """One rule from its table."""
    if not isinstance(table, Mapping):
        raise ConfigError(f"{where} must be a table of options, not {table!r}")
    needed = {_WRITTEN.get(field.name, field.name): field for field in fields(owner)}  # type: ignore[arg-type]
    values: dict[str, Any] = {"name": name}
    for key, value in table.items():
        if key not in needed:
            raise ConfigError(f"{where} has no key {key!r}{_meant(key, needed)}; it has {', '.join(sorted(needed))}")
        fits, wanted = _KINDS[key]
        if not fits(value):
            raise ConfigError(f"{where}: {key} must be {wanted}, not {value!r}")
        values[needed[key].name] = tuple(value) if key == "items" else value
    for key, field in needed.items():
        if field.default is MISSING and field.name not in values:
            raise ConfigError(f"{where} needs {key}: {_KINDS[key][1]}")
    try:
        return owner(**values)
    except ConfigError as error:
        raise ConfigError(f"{where} {error}") from error


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number that no float holds
        return False


def _is_id(value: Any) -> bool:
    return isinstance(value, str) or _is_whole(value)


def _are_ids(value: Any) -> bool:
    return isinstance(value, list | tuple) and bool(value) and all(map(_is_id, value))


_KINDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    **dict.fromkeys(("name", "where", "column"), (_is_text, "a text that is not blank")),
    **dict.fromkeys(("add", "times", "lambda", "half_life_days", "weight"), (_is_number, "a finite number")),
    **dict.fromkeys(("position", "at_most", "pool"), (_is_whole, "a whole number")),
    "item": (_is_id, "an id: text or a whole number"),
    "items": (_are_ids, "a list of ids, not empty"),
}
"""Key → what it takes; a key means the same in every rule."""


def _at_least(owner: object, least: int, name: str) -> None:
    if getattr(owner, name) < least:
        raise ConfigError(f"{name} must be at least {least}, not {getattr(owner, name)}")


def _twice(values: list[Any]) -> Any:
    """The first value that occurs again, or None."""
    return next((value for place, value in enumerate(values) if value in values[:place]), None)


def _meant(key: str, known: Any) -> str:
    near = get_close_matches(key, list(known), n=1)
    return f" (did you mean {near[0]}?)" if near else ""
