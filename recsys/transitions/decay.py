"""How old the events of a history are, and how much less an older one counts."""

from __future__ import annotations

import numpy as np

from recsys.core.ragged import Float32, Int64, Ragged


def ages(histories: Ragged) -> Int64:
    """int64 (events,): how many events of the same history come after each."""
    return np.repeat(histories.offsets[1:], histories.lengths) - 1 - np.arange(len(histories.rows))


def decays(window: int, decay: float) -> Float32:
    """float32 (window,): how much an event counts by its age in events, 1 for the newest: ``exp(−age / decay)``."""
    weights: Float32 = np.exp(-np.arange(window) / decay).astype(np.float32)
    return weights
