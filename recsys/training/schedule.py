"""The learning rate over a run."""

from __future__ import annotations

import math
from collections.abc import Callable

_FLOOR = 0.02


def warmup_cosine(total: int, warmup: float) -> Callable[[int], float]:
    """A factor on the learning rate: a straight rise over ``warmup · total`` steps, then half a cosine down to 0.02.

    Parameters
    ----------
    total : int
        Steps of the run.
    warmup : float
        Share of them, in [0, 1).
    """
    rise = max(1, round(warmup * total))

    def factor(step: int) -> float:
        if step < rise:
            return (step + 1) / rise
        progress = min(1.0, (step - rise) / max(1, total - rise))
        return _FLOOR + (1.0 - _FLOOR) * 0.5 * (1.0 + math.cos(math.pi * progress))

    return factor
