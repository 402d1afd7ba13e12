"""Splits for other questions than the next item (cold items, new users, backtests), and checks that nothing leaks.

Seeds alone decide what is drawn: no global generator is read or advanced.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from recsys.core.arguments import flag, instance, whole_number
from recsys.core.arguments import share as between
from recsys.core.ragged import Bool, Int32, Int64, Ragged
from recsys.data.interactions import Interactions
from recsys.data.split import Holdout, Split, cut_at, first_of_pair, hold_out, instants_of, leave_last_out
from recsys.errors import ConfigError, DataError


def random_split(log: Interactions, *, seed: int = 0, validation: bool = True) -> Split:
    """Hold out a random item of each user for test and another for validation (protocol RANDOM).

    For logs without order, of which no event is the last. Each item of a user is equally likely, and all events of that
    user with a held-out item leave training. Users with fewer than three different items (two without validation) are
    trained on and not judged. Of a log with an order, histories hold events that came after the targets: prefer
    :func:`leave_last_out` or :func:`time_split` there.

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
        ``seed`` is no whole number of 0 or more.
    DataError
        No user has enough different items.
    """
    instance(log, Interactions, "log")
    held, lists, owners = 2 if flag(validation, "validation") else 1, log.histories, log.histories.list_index()
    keys = _keys(len(log), seed)
    first = first_of_pair(lists, len(log.items))
    n_items = np.bincount(owners[first], minlength=len(lists))
    judged = np.flatnonzero(n_items > held)
    if len(judged) == 0:
        raise DataError(f"a random split needs users with at least {held + 1} different items; none has so many here")
    drawn = np.flatnonzero(first)
    drawn = drawn[np.lexsort((keys[drawn], owners[drawn]))]  # each user's items in a random order
    starts = np.concatenate([[0], np.cumsum(n_items)])[judged]
    name = "random split" if log.ordered else "random split (the log has no order)"

    def holdout(place: int, part: str) -> tuple[Bool, Holdout]:
        events = drawn[starts + place]
        wanted = np.full(len(lists), -1, dtype=np.int32)
        wanted[judged] = lists.rows[events]
        held_out = out | (lists.rows == wanted[owners])
        return held_out, Holdout(
            log.users,
            log.items,
            judged.astype(np.int32),
            lists.where(~held_out).take(judged),
            Ragged.from_lengths(np.ones(len(judged), dtype=np.int64), lists.rows[events]),
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


@dataclass(frozen=True, eq=False)
class ItemSplit:
    """A log from whose training part some items are gone altogether.

    Attributes
    ----------
    train : Interactions
        Without any event of a cold item and without the hot targets; the vocabularies cover the whole log.
    validation : Holdout or None
        Leave-last-out on the hot items: each user's last event but one.
    hot : Holdout
        Leave-last-out on the hot items: each user's last event. The price of being able to rank the cold ones.
    cold : Holdout
        History: what the user did before the first cold event. Targets: all the cold items that the user touched.
    cold_rows : int32 (n_cold,)
        Rows of the cold items, ascending; a caller may rank among these only.
    skipped : int
        Users who touched a cold item with no event before it, and so are not in ``cold``.
    """

    train: Interactions
    validation: Holdout | None
    hot: Holdout
    cold: Holdout
    cold_rows: Int32
    skipped: int


def item_split(
    log: Interactions, *, share: float = 0.1, seed: int = 0, min_count: int = 1, validation: bool = True
) -> ItemSplit:
    """Remove a random share of the items from training, to be ranked by their text alone (protocol COLD).

    Hot targets are as in :func:`leave_last_out`, repeats included; as in :func:`random_split` where the log has no order.
    A user's hot events after the first cold one stay in training (as other users' later events do in leave-last-out), but
    never enter a cold history.

    Parameters
    ----------
    log : Interactions
    share : float
        Of the items with ``min_count`` events or more, between 0 and 1; the number is rounded.
    seed : int
    min_count : int
        Items with fewer events are never drawn.
    validation : bool
        Whether to hold out the last hot event but one too.

    Returns
    -------
    ItemSplit

    Raises
    ------
    ConfigError
        ``share`` is not between 0 and 1, ``min_count`` is below 1 or ``seed`` below 0.
    DataError
        No item would be cold, or none hot, or one of the holdouts would have nobody.
    """
    instance(log, Interactions, "log")
    share, min_count, validation = (
        between(share, "share"),
        whole_number(min_count, "min_count"),
        flag(validation, "validation"),
    )
    eligible = np.flatnonzero(log.item_counts >= min_count)
    n_cold, n_alive = round(share * len(eligible)), np.count_nonzero(log.item_counts)
    if not 0 < n_cold < n_alive:
        raise DataError(
            f"item split: a share of {share} of the {len(eligible)} items with {min_count} or more events makes {n_cold} "
            f"of {n_alive} items cold; choose another share or min_count"
        )
    cold_rows = np.sort(eligible[_shuffled(len(eligible), seed)[:n_cold]]).astype(np.int32)
    is_cold = np.zeros(len(log.items), dtype=np.bool_)
    is_cold[cold_rows] = True
    cold = is_cold[log.histories.rows]
    so_far = np.concatenate([[0], np.cumsum(cold)])
    early = so_far[1:] == np.repeat(so_far[log.histories.offsets[:-1]], log.histories.lengths)
    if not log.ordered:  # nothing came before anything: all hot events are shown
        early = ~cold
    judged = hold_out(
        log, early, cold, "item split, cold", f"no user has an event before one of the {n_cold} cold items; raise share"
    )
    hot = log.select(~cold)
    rest = (
        leave_last_out(hot, validation=validation) if log.ordered else random_split(hot, seed=seed, validation=validation)
    )
    return ItemSplit(
        train=rest.train,
        validation=None if rest.validation is None else replace(rest.validation, protocol="item split, hot validation"),
        hot=replace(rest.test, protocol="item split, hot test"),
        cold=judged,
        cold_rows=cold_rows,
        skipped=len(np.unique(log.histories.list_index()[cold])) - len(judged),
    )


def user_split(
    log: Interactions,
    *,
    users: float = 0.1,
    fold_in: float = 0.8,
    seed: int = 0,
    random: bool = False,
    validation: bool = True,
) -> Split:
    """Hold out whole users, and judge each on the rest of a history of which a part is shown (protocol STRONG).

    Of ``n`` events the rest is ``(1 - fold_in) * n`` rounded down, but at least one. Targets are the items of the rest that
    the shown part lacks; users in whom there are none (those with one event, say) are trained on and never drawn.

    Parameters
    ----------
    log : Interactions
    users : float or int
        A share of the users who can be judged, or their number, for test; validation takes as many others.
    fold_in : float
        Share of a held-out user's events that is shown, between 0 and 1.
    seed : int
    random : bool
        Draw the shown events at random, as published (Liang et al. 2018), instead of taking the first; histories keep
        their time order, yet hold events that came after the targets.
    validation : bool

    Returns
    -------
    Split
        Of which ``train`` has no event of a held-out user; the vocabularies stay whole.

    Raises
    ------
    ConfigError
        A share is not between 0 and 1, the number of users below 1 or ``seed`` below 0.
    DataError
        There are too few users.
    """
    instance(log, Interactions, "log")
    fold_in, random, validation = between(fold_in, "fold_in"), flag(random, "random"), flag(validation, "validation")
    if not log.ordered and not random:
        raise ConfigError(
            "this log has no order, so that no events come first; show random ones: user_split(..., random=True)"
        )
    lists, owners = log.histories, log.histories.list_index()
    place = np.arange(len(log)) - np.repeat(lists.offsets[:-1], lists.lengths)
    if random:
        place[np.lexsort((_keys(len(log), seed, stream=1), owners))] = place.copy()
    # Rounded first: 0.55 * 100 is 55.00000000000001, which must not become 56.
    shown = np.clip(np.ceil(np.round(fold_in * lists.lengths, 6)), 1, np.maximum(lists.lengths - 1, 1))
    first = place < shown[owners]
    name = f"user split, {'random' if random else 'first'} {fold_in:.0%} shown"
    everyone = hold_out(log, first, ~first, name, "no user has two different items, one to show and one to find")
    count = _number_of_users(users, len(everyone))
    folds = 2 if validation else 1
    if not 0 < count * folds < len(everyone):
        raise DataError(
            f"user split: users={users} holds out {folds} x {count} of the {len(everyone)} users who can be judged; at "
            "least one must be held out and one left to train on: choose another number"
        )
    order = _shuffled(len(everyone), seed)

    def fold(number: int, part: str) -> Holdout:
        chosen = np.isin(np.arange(len(everyone)), order[number * count : (number + 1) * count])
        return replace(everyone.where(chosen), protocol=f"{name}, {part}")

    held = np.zeros(len(log.users), dtype=np.bool_)
    held[everyone.user_rows[order[: folds * count]]] = True
    return Split(log.select(~held[owners]), fold(1, "validation") if validation else None, fold(0, "test"))


def rolling_splits(log: Interactions, *, windows: int = 3, horizon: float = 0.1, min_train: float = 0.5) -> list[Split]:
    """Cut the end of the log into windows; judge each on a model of everything before it (a backtest).

    Judged in a window are the users with a history before it, on the items in it that are new to them. There is no
    validation part; where fitting needs one, cut ``train`` once more with :func:`time_split`.

    Parameters
    ----------
    log : Interactions
        With timestamps.
    windows : int
    horizon : float or int
        Length of a window: a share of all events, or whole seconds. Events of one instant are never parted, so that windows
        by share may differ in size.
    min_train : float
        The least share of all events that must lie before the first window, between 0 and 1.

    Returns
    -------
    list of Split
        One a window, earliest first; the windows touch and do not overlap, and the last ends with the log.

    Raises
    ------
    LeakageError
        The log has only an order and no instants.
    ConfigError
        ``windows`` is below 1 or above the number of events, ``horizon`` is neither a share nor seconds, or the windows are
        more than the whole log.
    DataError
        Too little lies before the first window, or nobody can be judged in one.
    """
    instance(log, Interactions, "log")
    min_train, windows = between(min_train, "min_train"), whole_number(windows, "windows")
    if not 1 <= windows <= len(log):
        raise ConfigError(f"windows must be at least 1 and at most the {len(log)} events, not {windows}")
    times = instants_of(log, "a rolling split")
    if isinstance(horizon, int | np.integer) and not isinstance(horizon, bool):
        if horizon < 1:
            raise ConfigError(f"horizon must be at least 1 second, or a share between 0 and 1, not {horizon}")
        starts = [int(times.max()) + 1 - back * int(horizon) for back in range(windows, 0, -1)]
    else:
        horizon = between(horizon, "horizon (a share; whole numbers are seconds)")
        if windows * horizon >= 1:
            raise ConfigError(f"{windows} windows of {horizon} are more than the whole log; use fewer or shorter ones")
        starts = [int(np.quantile(times, 1 - back * horizon, method="higher")) for back in range(windows, 0, -1)]
    trained = float(np.mean(times < starts[0]))
    if trained < min_train:
        raise DataError(
            f"rolling split: {windows} windows of {horizon} leave {trained:.1%} of the events before the first, below "
            f"min_train={min_train}; use fewer or shorter windows, or lower min_train"
        )
    names = [f"rolling split, window {number + 1} of {windows}" for number in range(windows)]
    cuts = [cut_at(log, *one[:2], end=one[2]) for one in zip(starts, names, [*starts[1:], None], strict=True)]
    return [Split(train, None, test) for train, test in cuts]


def _keys(n: int, seed: int, stream: int = 0) -> NDArray[np.float64]:
    """float64 (n,): random keys to sort by; ``stream`` tells two draws of one split apart."""
    return np.random.Generator(np.random.PCG64((whole_number(seed, "seed", least=0, most=None), stream))).random(n)


def _shuffled(n: int, seed: int) -> Int64:
    return np.argsort(_keys(n, seed), kind="stable")


def _number_of_users(users: float, total: int) -> int:
    if isinstance(users, int | np.integer) and not isinstance(users, bool):
        if users < 1:
            raise ConfigError(f"users must be at least 1, or a share between 0 and 1, not {users}")
        return int(users)
    return round(between(users, "users (a share; whole numbers count)") * total)
