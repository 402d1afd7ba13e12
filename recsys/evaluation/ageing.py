"""How much a model loses by its age: models of several ages judged on the same events."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from recsys.core.progress import muted
from recsys.core.ragged import Int64
from recsys.data.interactions import Interactions
from recsys.data.live_windows import each_event
from recsys.data.split import Holdout
from recsys.errors import DataError
from recsys.evaluation.evaluate import evaluate
from recsys.evaluation.metrics import Values
from recsys.evaluation.protocol import Ranker

_DRAWS = 1000
K = 10
"""Recall at this is looked at."""


@dataclass(frozen=True)
class AgeLoss:
    """What models of one age lose against those that are trained up to the window that both are judged on.

    Attributes
    ----------
    age : int
        In windows; 0 is the fresh model itself.
    loss : float
        1 − recall of the old models / recall of the fresh ones.
    low, high : float
        95 % bootstrap interval, users drawn anew in each window.
    recall : float
        Mean of the old models.
    windows, users : int
        How many they were judged on; a user counts in each window.
    """

    age: int
    loss: float
    low: float
    high: float
    recall: float
    windows: int
    users: int


def ageing(
    log: Interactions,
    number: Int64,
    fit: Callable[[Interactions], Ranker],
    *,
    oldest: int = 4,
    judged: int = 1000,
    keep_seen: bool = False,
    seed: int = 0,
) -> tuple[AgeLoss, ...]:
    """Train models up to the start of each window of a log, and judge each on this and the later windows.

    A model of age a was trained up to a windows before the one that it is judged on. All of them read the same histories,
    those of each moment, as :func:`recsys.data.live_windows.each_event` makes them; items that an old model does not know
    are misses.

    Parameters
    ----------
    log : Interactions
    number : int64 (len(log),)
        The window of each event, from 1 on; 0: before the first.
    fit : callable
        Gets the events before a window, without the users and items that come later; returns a model.
    oldest : int
        Greatest age.
    judged : int
        Events in each window, drawn at random, at most a twentieth of them of one user.
    keep_seen : bool
    seed : int

    Returns
    -------
    tuple of AgeLoss
        By age; windows without an event to judge by are left out, and ages that no window has.
    """
    last = int(number.max())
    found: dict[int, dict[int, Values]] = {}
    held = {}
    for window in range(1, last + 1):
        try:
            per_user = max(1, judged // 20)
            held[window] = each_event(
                log, number == window, f"window {window}", most=judged, per_user=per_user, seed=seed, keep_seen=keep_seen
            )
        except DataError:  # nobody did anything new in it
            continue
    for start in range(last):
        model = fit(log.select(number <= start).compact())
        for window in range(start + 1, min(last, start + 1 + oldest) + 1):
            if window in held:
                found.setdefault(window - start - 1, {})[window] = recall_of(model, held[window], keep_seen=keep_seen)
    return tuple(_lost(age, by_window, found[0]) for age, by_window in sorted(found.items()))


def recall_of(model: Ranker, held: Holdout, *, keep_seen: bool) -> Values:
    """recall@10 of each user, float64 (n_distinct_users,) in ascending row order, as the mean over the user's events.

    All are 0 where the model knows none of the items.
    """
    known = model.items.find_rows(held.items.ids) >= 0
    values = np.zeros(len(held))
    if known[held.targets.rows].any():
        with muted():  # what it does not know is counted as a miss, and is what is measured here
            values = evaluate(model, held, K, filter_seen=not keep_seen).per_user[f"recall@{K}"]
    place = np.unique(held.user_rows, return_inverse=True)[1]
    return np.bincount(place, values) / np.bincount(place)


def _lost(age: int, old: dict[int, Values], fresh: dict[int, Values]) -> AgeLoss:
    windows = sorted(old)
    pairs = [(old[window], fresh[window]) for window in windows]
    share, low, high = ratio_of_means(pairs)
    recall = float(np.mean([one.mean() for one, _ in pairs]))
    return AgeLoss(age, 1 - share, 1 - high, 1 - low, recall, len(windows), sum(len(one) for one, _ in pairs))


def ratio_of_means(
    pairs: Sequence[tuple[Values, Values]], *, draws: int = _DRAWS, seed: int = 0
) -> tuple[float, float, float]:
    """Mean of ours over the mean of others', both over windows of means over users, with a 95 % bootstrap interval.

    Users are drawn with replacement in each window, the same for both.

    Parameters
    ----------
    pairs : sequence of (float64 (n,), float64 (n,))
        Ours and theirs in each window: a value for each user, the same users.

    Returns
    -------
    share, low, high : float
        NaN where the others' mean is 0.

    Examples
    --------
    >>> ratio_of_means([(np.array([1.0, 0.0]), np.array([1.0, 1.0]))])[0]
    0.5
    """
    random = np.random.default_rng(seed)
    sums = np.zeros((2, draws + 1))
    for values in (np.stack(pair) for pair in pairs):
        n = values.shape[1]
        drawn = random.multinomial(n, np.full(n, 1 / n), size=draws)
        sums[:, 1:] += values @ drawn.T / n
        sums[:, 0] += values.mean(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        shares = sums[0] / sums[1]
    if not np.isfinite(shares[0]):
        return float("nan"), float("nan"), float("nan")
    low, high = np.quantile(shares[1:][np.isfinite(shares[1:])], (0.025, 0.975))
    return float(shares[0]), float(low), float(high)
