"""The table ``[event_types]`` of cleaning rules: which types are kept, under which name, with which weight."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from recsys.config.options import nearest
from recsys.core.arguments import described, number
from recsys.errors import ConfigError

Treatment: TypeAlias = float | str | bool | Mapping[str, float | str]
"""What becomes of a type: a weight, a new name, both as a table, or False: its events are left out."""
_KEYS = ("name", "weight")
_LARGEST = 3.4028234663852886e38
"""What a float32 holds."""


@dataclass(frozen=True)
class EventType:
    """What becomes of the events of one type.

    Attributes
    ----------
    name : str or None
        What the type is called afterwards; None: its events are left out.
    weight : float or None
        Of each of its events.
    """

    name: str | None
    weight: float | None = None


def treatments(written: object) -> dict[str, Treatment]:
    """Check the table, and make it a plain one: texts as keys, and each treatment in its shortest form.

    Raises
    ------
    ConfigError
        A value says nothing, is of another kind, or only some of the types that are kept have weights.
    """
    if not isinstance(written, Mapping):
        raise ConfigError(f"event_types must be a table, such as {{view = 1, buy = 5}}, not {described(written)}")
    found: dict[str, Treatment] = {}
    for key, value in written.items():
        if isinstance(key, bool) or not isinstance(key, str | int):
            raise ConfigError(f"event_types must have the names of event types as keys, not {described(key)}")
        found[str(key)] = _treatment(f"event_types.{key}", value)
    kept = {name: one for name, value in found.items() if (one := event_type(name, value)).name is not None}
    bare = [name for name, one in kept.items() if one.weight is None]
    if bare and len(bare) < len(kept):
        weighted = next(name for name, one in kept.items() if one.weight is not None)
        raise ConfigError(
            f"event_types gives a weight to {weighted!r} and none to {bare[0]!r}; give one to each type that is kept, "
            f"or to none"
        )
    return found


def _treatment(key: str, value: object) -> Treatment:
    if value is False:
        return False
    if value is True:
        raise ConfigError(f"{key} = true says nothing; write a weight, a new name, or false to leave these events out")
    if isinstance(value, str):
        return _name(key, value)
    if not isinstance(value, Mapping):
        return _weight(key, value)
    for name in value:
        if name not in _KEYS:
            raise ConfigError(f"{key} has no option {name!r}; {nearest(str(name), _KEYS)}")
    if not value:
        raise ConfigError(f"{key} is empty; write a weight, a name, or both")
    table: dict[str, float | str] = {}
    if "name" in value:
        table["name"] = _name(f"{key}.name", value["name"])
    if "weight" in value:
        table["weight"] = _weight(f"{key}.weight", value["weight"])
    return table if len(table) > 1 else next(iter(table.values()))


def _name(key: str, value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ConfigError(f"{key} must be the new name of the type, not {described(value)}")
    return value


def _weight(key: str, value: object) -> float:
    weight = number(value, key)
    if not abs(weight) <= _LARGEST:
        raise ConfigError(f"{key} must be a finite number, not {value}")
    return weight


def event_type(name: str, treatment: Treatment) -> EventType:
    """A treatment of the type with this name, spelled out."""
    if treatment is False:
        return EventType(None)
    if isinstance(treatment, str):
        return EventType(treatment)
    if isinstance(treatment, Mapping):
        return EventType(str(treatment.get("name", name)), float(treatment["weight"]))
    return EventType(name, float(treatment))


def treated(names: tuple[str, ...], table: Mapping[str, Treatment], others: str) -> dict[str, EventType]:
    """What becomes of each event type of a log.

    Parameters
    ----------
    names : tuple of str
        The types that the log has.
    table : mapping
        From :func:`treatments`.
    others : {"error", "keep", "drop"}
        What becomes of types that the table does not name.

    Raises
    ------
    ConfigError
        A type of the log is not named, and others are an error or would have no weight; or a type that is named does not
        occur, and others are no error, so that it may be a slip.
    """
    known = f"the log's event types are {', '.join(names)}"
    for name in names:
        if name not in table and others == "error":
            alike = difflib.get_close_matches(name, list(table), n=1, cutoff=0.6)
            slip = f" (it names {alike[0]!r}: is that a slip?)" if alike else ""
            raise ConfigError(
                f"event_types does not name the event type {name!r}{slip}; add {name!r}, with false to leave it out, or "
                f'set other_types = "keep" or "drop"; {known}'
            )
    if others != "error" and (strange := [name for name in table if name not in names]):
        raise ConfigError(f"event_types names {strange[0]!r}, which no event has; {known}")
    found = {name: event_type(name, table[name]) for name in names if name in table}
    weighted = any(one.weight is not None for one in found.values())
    for name in names:
        if name not in table:
            found[name] = EventType(name if others == "keep" else None)
            if weighted and others == "keep":
                raise ConfigError(
                    f'event_types gives weights, and other_types = "keep" would keep the type {name!r} without one; name it'
                )
    return found
