"""What a request tells beside items, in the form that the user tower reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from recsys.core.arguments import listed
from recsys.core.ragged import Ragged
from recsys.data.times.request_time import Instant, seconds_of
from recsys.errors import ConfigError, DataError
from recsys.models.networks.ensemble import UserEnsemble
from recsys.models.networks.user_tower import UserTower


def with_side(
    histories: Ragged,
    times: Sequence[Sequence[Instant]] | None,
    events: Sequence[Sequence[str]] | None,
    tower: UserTower | UserEnsemble,
    event_names: Sequence[str],
) -> Ragged:
    """Histories with the times and event types that a tower reads; what it does not read is passed over.

    Parameters
    ----------
    histories : Ragged (n)
    times, events : sequence of sequences, optional
        One value for each item of each history.
    tower : UserTower or UserEnsemble
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
    if times is not None:
        told = [listed(one, f"times[{i}]", "times") for i, one in enumerate(listed(times, "times", "lists of times"))]
        _check_lengths("times", [len(one) for one in told], histories)
        if reads["times"]:
            flat = [at for one in told for at in one]
            if bool in set(map(type, flat)):
                raise ConfigError("times must hold times; they hold True or False")
            at = seconds_of(flat, "times=")
            owners = histories.list_index()
            back = np.flatnonzero((np.diff(at) < 0) & (np.diff(owners) == 0))
            if len(back):
                raise DataError(f"times[{owners[back[0]]}] go back; give each history's events oldest first")
            histories = replace(histories, times=at)
    if events is not None:
        types = [listed(one, f"events[{i}]", "event types") for i, one in enumerate(listed(events, "events", "lists"))]
        _check_lengths("events", [len(one) for one in types], histories)
        if reads["events"]:
            names, codes = np.unique([str(name) for one in types for name in one], return_inverse=True)
            if len(strange := sorted(set(names.tolist()) - set(event_names))):
                raise DataError(
                    f"events of type {', '.join(map(repr, strange[:5]))} are not among the known event types "
                    f"({', '.join(event_names)})"
                )
            histories = replace(histories, events=codes.astype(np.int8)).recoded(names.tolist(), event_names)
    return histories


def _check_lengths(name: str, lengths: list[int], histories: Ragged) -> None:
    expected = histories.lengths.tolist()
    if len(lengths) != len(expected):
        raise ConfigError(f"{name} has {len(lengths)} lists for {len(expected)} histories; it needs one for each")
    for i, (given, needed) in enumerate(zip(lengths, expected, strict=True)):
        if given != needed:
            raise ConfigError(
                f"{name} must have one value for each item of each history; {name}[{i}] has {given}, the history {needed}"
            )


def event_code(target_event: str, tower: UserTower | UserEnsemble, event_names: Sequence[str]) -> int:
    """The code of an event type that is asked for.

    Raises
    ------
    ConfigError
        The tower does not tell types apart, or knows no such type.
    """
    if tower.event_heads is None:
        raise ConfigError(
            f"target_event={target_event!r} needs a model that tells event types apart; fit it with event_heads=True"
        )
    if target_event not in event_names:
        raise ConfigError(f"target_event={target_event!r} is no event type of the model; it has {', '.join(event_names)}")
    return list(event_names).index(target_event)
