"""How a log is cut: a user's last events, an instant, or random items. The future stays out of the past."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from recsys.core.arguments import flag, instance, share, whole_number
from recsys.core.id_map import IdMap
from recsys.core.ragged import Bool, Int32, Int64, Ragged, contained
from recsys.data.interactions import Interactions
from recsys.errors import DataError, LeakageError


@dataclass(frozen=True, eq=False)
class Holdout:
    """What a model is evaluated on: for each user, a history that it may see and targets that it must find.

    Attributes
    ----------
    users, items : IdMap
        The row spaces that the arrays below refer to.
    user_rows : int32 (n,)
        The row of each held-out user.
    histories : Ragged (n)
        Item rows before the targets, in time order, with the times and types of their events if the log has them.
    targets : Ragged (n)
        Item rows to be found; at least one a user, none twice.
    protocol : str
        How it was made, for reports.
    times : int64 (n_targets,), optional
        Seconds since 1970 of each target, aligned with ``targets.rows``; None where the log has no timestamps.
    event_names : tuple of str
        The event types that ``histories.events`` refers to; empty if the log has none.

    Raises
    ------
    DataError
        The holdout has no user, a user has no target or one twice, the arrays differ in length, or histories have event
        types without names.
    """

    users: IdMap
    items: IdMap
    user_rows: Int32
    histories: Ragged
    targets: Ragged
    protocol: str
    times: Int64 | None = None
    event_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not len(self.user_rows) == len(self.histories) == len(self.targets):
            raise DataError("a holdout needs one history and one list of targets per user")
        if (self.histories.events is None) != (not self.event_names):
            raise DataError(
                "event types and event_names go together: give both or neither (histories.without_events() has no types)"
            )
        if len(self.targets) == 0:
            raise DataError(f"{self.protocol}: no user has anything held out; the log is too short for this split")
        if int(self.targets.lengths.min()) < 1:
            raise DataError(f"{self.protocol}: a user without targets cannot be evaluated")
        pairs = self.targets.list_index() * len(self.items) + self.targets.rows
        if len(np.unique(pairs)) != len(pairs):
            raise DataError(f"{self.protocol}: a target occurs twice for the same user")

    def __len__(self) -> int:
        return len(self.user_rows)

    def __repr__(self) -> str:
        return f"Holdout({self.protocol}: {len(self):,} users, {len(self.targets.rows):,} targets)"

    def where(self, keep: Bool) -> Holdout:
        """Only the users with ``keep`` true, bool (n,).

        Raises
        ------
        DataError
            None is left.
        """
        chosen = np.flatnonzero(keep)
        return replace(
            self,
            user_rows=self.user_rows[chosen],
            histories=self.histories.take(chosen),
            targets=self.targets.take(chosen),
            times=None if self.times is None else self.times[keep[self.targets.list_index()]],
        )

    def sample(self, n: int, seed: int = 0) -> Holdout:
        """Draw ``n`` users at random and keep their order; all of them if there are no more.

        The first users of a log are not a fair sample: often they are its oldest or most active.
        """
        if whole_number(n, "n") >= len(self):
            return self
        chosen = np.sort(np.random.default_rng(seed).choice(len(self), n, replace=False))
        targets = replace(self.targets, times=self.times).take(chosen)
        return replace(
            self,
            user_rows=self.user_rows[chosen],
            histories=self.histories.take(chosen),
            targets=targets.without_events(),
            times=targets.times,
        )


@dataclass(frozen=True, eq=False)
class Split:
    """A log cut in two or three.

    Attributes
    ----------
    train : Interactions
        What may be learned from; its id maps cover the whole log.
    validation, test : Holdout
        ``validation`` is None if it was not asked for. Test histories include the validation events.
    """

    train: Interactions
    validation: Holdout | None
    test: Holdout


def leave_last_out(log: Interactions, *, validation: bool = True) -> Split:
    """Hold out each user's last event for test and the one before for validation (protocol LOO).

    Users with fewer than three events (two without validation) are trained on and not evaluated. Order is the log's.

    Parameters
    ----------
    log : Interactions
    validation : bool
        Whether to hold out the last but one event too.

    Returns
    -------
    Split

    Raises
    ------
    DataError
        No user has enough events, or the log has no order.

    Examples
    --------
    >>> log = recsys.Interactions.from_frame(pl.DataFrame({"user_id": ["ann"] * 4, "item_id": ["a", "b", "c", "d"]}))
    >>> split = recsys.leave_last_out(log)
    >>> split.train.histories.to_lists(), split.validation.targets.to_lists(), split.test.targets.to_lists()
    ([[0, 1]], [[2]], [[3]])
    >>> split.test.histories.to_lists()  # at test time the validation item is known
    [[0, 1, 2]]
    """
    instance(log, Interactions, "log")
    validation = flag(validation, "validation")
    if not log.ordered:
        raise DataError(
            "leave-last-out needs an order, and this log has none (read with unordered=True); hold out a random item "
            "of each user instead: recsys.random_split(log) (--split random)"
        )
    held = 2 if validation else 1
    lists = log.histories
    chosen = np.flatnonzero(lists.lengths > held)
    if len(chosen) == 0:
        raise DataError(
            f"leave-last-out needs users with at least {held + 1} events; the longest history here is shorter; "
            "take another split (--split time), or hold out nothing (--split none)"
        )
    ends, whole = lists.offsets[chosen + 1], lists.take(chosen)

    def holdout(back: int, name: str) -> Holdout:
        return Holdout(
            log.users,
            log.items,
            chosen.astype(np.int32),
            whole.head(whole.lengths - back),
            Ragged.from_lengths(np.ones(len(chosen), dtype=np.int64), lists.rows[ends - back]),
            f"leave-last-out, {name}",
            None if lists.times is None else lists.times[ends - back],
            log.event_names,
        )

    second, test = holdout(2, "validation") if validation else None, holdout(1, "test")
    keep = np.ones(len(lists.rows), dtype=np.bool_)
    for back in range(1, held + 1):
        keep[ends - back] = False
    return Split(log.select(keep), second, test)


def time_split(log: Interactions, *, quantile: float = 0.9, validation: bool = True) -> Split:
    """Cut the whole log at one instant (protocol TIME): events at or after it are for test.

    Held out are the users with a history before the cut and at least one item after it that is new to them; their targets
    are those new items. Validation makes the same cut again inside the training part.

    Parameters
    ----------
    log : Interactions
        With timestamps.
    quantile : float
        Share of the events that lie before the cut, between 0 and 1.
    validation : bool

    Returns
    -------
    Split

    Raises
    ------
    LeakageError
        The log has no timestamps, so a global cut would mix times.
    ConfigError
        ``quantile`` is not between 0 and 1.
    DataError
        One side of the cut is empty, or no user can be evaluated.

    Examples
    --------
    >>> log = recsys.Interactions.from_frame(
    ...     pl.DataFrame({"user_id": ["ann"] * 3 + ["bob"], "item_id": ["a", "b", "c", "a"], "timestamp": [1, 2, 9, 3]})
    ... )
    >>> split = recsys.time_split(log, quantile=0.75, validation=False)
    >>> split.train.histories.to_lists(), split.test.targets.to_lists()  # bob did nothing after the cut
    ([[0, 1], [0]], [[2]])
    """
    instance(log, Interactions, "log")
    quantile, validation = share(quantile, "quantile"), flag(validation, "validation")
    train, test = cut_at(log, _instant(log, quantile), "time split, test")
    if not validation:
        return Split(train, None, test)
    earlier, held = cut_at(train, _instant(train, quantile), "time split, validation")
    return Split(earlier, held, test)


def random_split(log: Interactions, *, seed: int = 0, validation: bool = True) -> Split:
    """Hold out a random item of each user for test and another for validation (protocol RANDOM).

    For logs without an order, which have no last event. Each item of a user is equally likely, and all events of that
    user with a held-out item leave training. Users with fewer than three different items (two without validation) are
    trained on and not evaluated. If the log has an order, histories hold events from after the targets: prefer
    :func:`leave_last_out` or :func:`time_split` for it.

    Parameters
    ----------
    log : Interactions
    seed : int
    validation : bool
        Whether to hold out a second item too.

    Returns
    -------
    Split
        Test histories include the validation events.

    Raises
    ------
    ConfigError
        ``seed`` is not a whole number of 0 or more.
    DataError
        No user has enough different items.

    Examples
    --------
    >>> log = recsys.Interactions.from_frame(pl.DataFrame({"user_id": ["ann"] * 4, "item_id": ["a", "b", "c", "d"]}))
    >>> split = recsys.random_split(log, seed=3)
    >>> len(split.train), split.validation.targets.lengths.tolist(), split.test.targets.lengths.tolist()
    (2, [1], [1])
    """
    instance(log, Interactions, "log")
    held, lists, owners = 2 if flag(validation, "validation") else 1, log.histories, log.histories.list_index()
    keys = random_keys(len(log), seed)
    first = first_of_pair(lists, len(log.items))
    n_items = np.bincount(owners[first], minlength=len(lists))
    chosen = np.flatnonzero(n_items > held)
    if len(chosen) == 0:
        raise DataError(f"a random split needs users with at least {held + 1} different items; this log has none")
    drawn = np.flatnonzero(first)
    drawn = drawn[np.lexsort((keys[drawn], owners[drawn]))]  # each user's items in a random order
    starts = np.concatenate([[0], np.cumsum(n_items)])[chosen]
    name = "random split" if log.ordered else "random split (the log has no order)"

    def holdout(place: int, part: str) -> tuple[Bool, Holdout]:
        events = drawn[starts + place]
        wanted = np.full(len(lists), -1, dtype=np.int32)
        wanted[chosen] = lists.rows[events]
        held_out = out | (lists.rows == wanted[owners])
        return held_out, Holdout(
            log.users,
            log.items,
            chosen.astype(np.int32),
            lists.where(~held_out).take(chosen),
            Ragged.from_lengths(np.ones(len(chosen), dtype=np.int64), lists.rows[events]),
            f"{name}, {part}",
            None if log.timestamps is None else log.timestamps[events],
            log.event_names,
        )

    out = np.zeros(len(log), dtype=np.bool_)
    out, test = holdout(0, "test")
    if not validation:
        return Split(log.select(~out), None, test)
    out, second = holdout(1, "validation")
    return Split(log.select(~out), second, test)


def instants_of(log: Interactions, what: str) -> Int64:
    """int64 (len(log),): the timestamps, which ``what`` needs.

    Raises
    ------
    LeakageError
        The log has none.
    """
    if log.timestamps is None:
        has = "only an order within each user" if log.ordered else "no order at all"
        raise LeakageError(f"{what} needs timestamps; this log has {has}; name their column, timestamp= (--timestamp)")
    return log.timestamps


def cut_at(log: Interactions, start: int, name: str, *, end: int | None = None) -> tuple[Interactions, Holdout]:
    """Cut the whole log at the instant ``start``: what comes before, and what is new to each user from then on.

    ``end`` is the first instant in neither part; by default, the second part is all the rest. ``name`` is the protocol.

    Raises
    ------
    LeakageError
        The log has no timestamps.
    DataError
        One side of the cut is empty, or no user can be evaluated.
    """
    times = instants_of(log, "a time split")
    before = times < start
    if not before.any() or before.all():
        raise DataError(
            f"{name}: all events lie on one side of the instant {start}; choose another quantile or horizon, or "
            f"another split (--split)"
        )
    within = ~before if end is None else ~before & (times < end)
    span = "after it" if end is None else f"between it and {end}"
    refusal = f"no user has a history before the instant {start} and a new item {span}; choose another quantile or horizon"
    return log.select(before), hold_out(log, before, within, name, refusal)


def hold_out(log: Interactions, past: Bool, future: Bool, name: str, refusal: str) -> Holdout:
    """Hold out the users who have a past, bool (len(log),); targets are the items of their future, alike, that it lacks.

    Raises
    ------
    DataError
        No user can be held out; the message ends with ``refusal``.
    """
    seen, later = log.histories.where(past), log.histories.where(future)
    fresh = first_of_pair(later, len(log.items)) & ~contained(later, seen, len(log.items))
    targets = later.where(fresh).without_events()
    able = (seen.lengths > 0) & (targets.lengths > 0)
    chosen = np.flatnonzero(able)
    if len(chosen) == 0:
        raise DataError(f"{name}: {refusal}")
    times = None if log.timestamps is None else log.timestamps[future][fresh][able[targets.list_index()]]
    rows, histories = chosen.astype(np.int32), seen.take(chosen)
    return Holdout(log.users, log.items, rows, histories, targets.take(chosen), name, times, log.event_names)


def _instant(log: Interactions, quantile: float) -> int:
    return int(np.quantile(instants_of(log, "a time split"), quantile, method="higher"))


def first_of_pair(lists: Ragged, n_items: int) -> Bool:
    """bool (len(rows),): true at the first occurrence of each row within its list."""
    first = np.zeros(len(lists.rows), dtype=np.bool_)
    _, positions = np.unique(lists.list_index() * n_items + lists.rows, return_index=True)
    first[positions] = True
    return first


def random_keys(n: int, seed: int, stream: int = 0) -> NDArray[np.float64]:
    """float64 (n,): random keys to sort by; another ``stream`` gives other ones."""
    return np.random.Generator(np.random.PCG64((whole_number(seed, "seed", least=0, most=None), stream))).random(n)


def shuffled(n: int, seed: int) -> Int64:
    """int64 (n,): the numbers below ``n`` in a random order that the seed alone decides."""
    return np.argsort(random_keys(n, seed), kind="stable")
