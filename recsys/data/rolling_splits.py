"""Cut the end of a log into windows, and train for each on everything before it: a backtest."""

from __future__ import annotations

import numpy as np

from recsys.core.arguments import instance, whole_number
from recsys.core.arguments import share as a_share
from recsys.data.interactions import Interactions
from recsys.data.split import Split, cut_at, instants_of
from recsys.errors import ConfigError, DataError


def rolling_splits(log: Interactions, *, windows: int = 3, horizon: float = 0.1, min_train: float = 0.5) -> list[Split]:
    """Cut the end of the log into windows, each to evaluate a model of everything before it (a backtest).

    Held out in a window are the users with a history before it; their targets are the items in it that are new to them.
    The splits have no validation part; if fitting needs one, cut ``train`` once more with :func:`time_split`.

    Parameters
    ----------
    log : Interactions
        With timestamps.
    windows : int
    horizon : float or int
        Length of a window: a share of all events, or whole seconds. Events of one instant stay together, so windows by
        share may differ in size.
    min_train : float
        Least share of all events before the first window, between 0 and 1.

    Returns
    -------
    list of Split
        One per window, earliest first; the windows touch and do not overlap, and the last ends with the log.

    Raises
    ------
    LeakageError
        The log has no timestamps.
    ConfigError
        ``windows`` is below 1 or above the number of events, ``horizon`` is neither a share nor seconds, or the windows
        exceed the log.
    DataError
        Too few events lie before the first window, or a window has no user to evaluate.

    Examples
    --------
    >>> events = pl.DataFrame({"user_id": ["ann", "bob"] * 5, "item_id": list("aabbccddee"), "timestamp": range(10)})
    >>> log = recsys.Interactions.from_frame(events)
    >>> [len(split.train) for split in recsys.rolling_splits(log, windows=2, horizon=0.2)]
    [6, 8]
    """
    instance(log, Interactions, "log")
    min_train, windows = a_share(min_train, "min_train"), whole_number(windows, "windows")
    if not 1 <= windows <= len(log):
        raise ConfigError(f"windows must be at least 1 and at most the {len(log)} events, not {windows}")
    times = instants_of(log, "a rolling split")
    if isinstance(horizon, int | np.integer) and not isinstance(horizon, bool):
        if horizon < 1:
            raise ConfigError(f"horizon must be at least 1 second, or a share between 0 and 1, not {horizon}")
        starts = [int(times.max()) + 1 - back * int(horizon) for back in range(windows, 0, -1)]
    else:
        horizon = a_share(horizon, "horizon (a share; whole numbers are seconds)")
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
