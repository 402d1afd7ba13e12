"""What a request tells beside items, in the form that the user tower reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from recsys.data.clock import Instant, seconds_of
from recsys.data.row_lists import RowLists
from recsys.errors import ConfigError
from recsys.models.user_tower import UserTower
from recsys.models.user_towers import UserTowers


def with_side(
    histories: RowLists,
    times: Sequence[Sequence[Instant]] | None,
    events: Sequence[Sequence[str]] | None,
    tower: UserTower | UserTowers,
    event_names: Sequence[str],
) -> RowLists:
    """Histories with the times and event types that a tower reads; what it does not read is passed over.

    Parameters
    ----------
    histories : RowLists (n)
    times, events : sequence of sequences, optional
        One value for each item of each history.
    tower : UserTower or UserTowers
    event_names : sequence of str
        The event types that the tower knows, by code.

    Raises
    ------
    ConfigError
        What the tower reads is missing, or there is not one value for each item.
    DataError
        An event is of a type that the tower does not know.
    """
    reads = {"times": tower.time_bias != "none", "events": tower.event_types > 0}
    for name, given in (("times", times), ("events", events)):
        if given is None and reads[name]:
            raise ConfigError(f"this model reads the {name} of a history; give {name}=, one list per history")
        if given is not None and [len(one) for one in given] != histories.lengths.tolist():
            raise ConfigError(f"{name} must have one value for each item of each history")
    if times is not None and reads["times"]:
        histories = replace(histories, times=seconds_of([at for one in times for at in one], "times="))
    if events is not None and reads["events"]:
        names, codes = np.unique([name for one in events for name in one], return_inverse=True)
        histories = replace(histories, events=codes.astype(np.int8)).recoded(names.tolist(), event_names)
    return histories


def event_code(wanted: str, tower: UserTower | UserTowers, event_names: Sequence[str]) -> int:
    """The code of an event type that is asked for.

    Raises
    ------
    ConfigError
        The tower does not tell types apart, or knows no such type.
    """
    if tower.event_heads is None:
        raise ConfigError(f"wanted={wanted!r} needs a model that tells event types apart; fit it with event_heads=True")
    if wanted not in event_names:
        raise ConfigError(f"wanted={wanted!r} is no event type of the model; it has {', '.join(event_names)}")
    return list(event_names).index(wanted)
