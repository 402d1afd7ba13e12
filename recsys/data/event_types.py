"""Event types: how many there may be, and their weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from recsys.core.arguments import number
from recsys.core.ragged import Float32
from recsys.data.store.manifest import MOST_EVENT_TYPES
from recsys.errors import ConfigError, DataError


def check_event_types(count: int) -> None:
    """Refuse a column of event types that has too many different values.

    Raises
    ------
    DataError
        There are more than 127.
    """
    if count > MOST_EVENT_TYPES:
        raise DataError(
            f"the column of event types has {count:,} different values, at most {MOST_EVENT_TYPES} are allowed; "
            f"name a column of kinds such as view, cart and buy"
        )


def weights_of_types(names: Sequence[str], weights: Mapping[str, float]) -> Float32:
    """float32 (len(names),): the weight of each event type.

    Raises
    ------
    ConfigError
        A type has no weight, a weight no type, or a weight is not finite.
    """
    known = f"the log's event types are {', '.join(names)}"
    for name in weights:
        if name not in names:
            raise ConfigError(f"event_weights names the event type {name!r}, which no event has; {known}")
    for name in names:
        if name not in weights:
            raise ConfigError(f"event_weights has no weight for the event type {name!r}; {known}")
        if not abs(number(weights[name], f"the weight of the event type {name!r}")) <= float(np.finfo(np.float32).max):
            raise ConfigError(f"the weight of the event type {name!r} must be a finite number, not {weights[name]}")
    return np.array([weights[name] for name in names], dtype=np.float32)
