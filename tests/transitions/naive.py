"""Oracles of the transition memory: the definitions, one event after the other."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from recsys.core.ragged import Ragged

Dense = NDArray[np.float64]


def positions(histories: Ragged, n_items: int, window: int, decay: float) -> tuple[Dense, Dense]:
    """X and Y: a row for each event that has a next one."""
    before, after = [], []
    for history in histories.to_lists():
        for t in range(len(history) - 1):
            x, y = np.zeros(n_items), np.zeros(n_items)
            for age in range(min(window, t + 1)):
                x[history[t - age]] += math.exp(-age / decay)
            y[history[t + 1]] = 1
            before.append(x)
            after.append(y)
    return np.array(before).reshape(-1, n_items), np.array(after).reshape(-1, n_items)


def score(table: Dense, history: list[int], window: int, decay: float) -> Dense:
    """What a history adds to the score of each item, with a weight of 1."""
    total = np.zeros(len(table))
    for age, item in enumerate(reversed(history[-window:])):
        total += math.exp(-age / decay) * table[item]
    return total
