"""Hold out whole users, and show a part of each one's history (protocol STRONG)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from recsys.core.arguments import flag, instance
from recsys.core.arguments import share as a_share
from recsys.data.interactions import Interactions
from recsys.data.split import Holdout, Split, hold_out, random_keys, shuffled
from recsys.errors import ConfigError, DataError


def user_split(
    log: Interactions,
    *,
    users: float = 0.1,
    fold_in: float = 0.8,
    seed: int = 0,
    random: bool = False,
    validation: bool = True,
) -> Split:
    """Hold out whole users; show a part of each one's history and evaluate on the rest (protocol STRONG).

    The rest of ``n`` events is ``(1 - fold_in) * n`` rounded down, but at least one. Targets are the items of the rest that
    the shown part lacks. Users without targets (such as those with one event) are trained on and never drawn.

    Parameters
    ----------
    log : Interactions
    users : float or int
        Share or number of the users to hold out for test, among those with targets; validation takes as many others.
    fold_in : float
        Share of a held-out user's events to show, between 0 and 1.
    seed : int
    random : bool
        Show random events, as published (Liang et al. 2018), instead of the first ones. Histories keep their time order,
        yet hold events from after the targets.
    validation : bool

    Returns
    -------
    Split
        ``train`` has no event of a held-out user; its id maps cover the whole log.

    Raises
    ------
    ConfigError
        A share is not between 0 and 1, the number of users below 1 or ``seed`` below 0.
    DataError
        The log has too few users.

    Examples
    --------
    >>> split = recsys.user_split(log, users=5, fold_in=0.5, validation=False)
    >>> split.test.histories.lengths.tolist()  # half of each user's 8 events
    [4, 4, 4, 4, 4]
    """
    instance(log, Interactions, "log")
    fold_in, random, validation = a_share(fold_in, "fold_in"), flag(random, "random"), flag(validation, "validation")
    if not log.ordered and not random:
        raise ConfigError(
            "this log has no order, so it has no first events; show random ones: user_split(..., random=True)"
        )
    lists, owners = log.histories, log.histories.list_index()
    place = np.arange(len(log)) - np.repeat(lists.offsets[:-1], lists.lengths)
    if random:
        place[np.lexsort((random_keys(len(log), seed, stream=1), owners))] = place.copy()
    # Rounded first: 0.55 * 100 is 55.00000000000001, which must not become 56.
    shown = np.clip(np.ceil(np.round(fold_in * lists.lengths, 6)), 1, np.maximum(lists.lengths - 1, 1))
    first = place < shown[owners]
    name = f"user split, {'random' if random else 'first'} {fold_in:.0%} shown"
    everyone = hold_out(log, first, ~first, name, "no user has two different items, one to show and one to find")
    count = _number_of_users(users, len(everyone))
    folds = 2 if validation else 1
    if not 0 < count * folds < len(everyone):
        raise DataError(
            f"user split: users={users} holds out {folds} x {count} of the {len(everyone)} users who can be evaluated; "
            "at least one must be held out and one left to train on: choose another number"
        )
    order = shuffled(len(everyone), seed)

    def fold(number: int, part: str) -> Holdout:
        chosen = np.isin(np.arange(len(everyone)), order[number * count : (number + 1) * count])
        return replace(everyone.where(chosen), protocol=f"{name}, {part}")

    held = np.zeros(len(log.users), dtype=np.bool_)
    held[everyone.user_rows[order[: folds * count]]] = True
    return Split(log.select(~held[owners]), fold(1, "validation") if validation else None, fold(0, "test"))


def _number_of_users(users: float, total: int) -> int:
    if isinstance(users, int | np.integer) and not isinstance(users, bool):
        if users < 1:
            raise ConfigError(f"users must be at least 1, or a share between 0 and 1, not {users}")
        return int(users)
    return round(a_share(users, "users (a share; whole numbers count)") * total)
