"""How unequally the events are spread over items and users."""

from __future__ import annotations

from typing import Any

import numpy as np

from recsys.core.ragged import Int64

_POINTS = 60
_TOP = (1, 10, 100, 1000)
_QUANTILES = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 1.0)


def long_tail(counts: Int64) -> dict[str, Any]:
    """The share of the events that the most popular items have.

    Parameters
    ----------
    counts : int64 (n,)
        Events of each item, above zero.

    Returns
    -------
    dict
        ``items`` and ``share``, points of the curve; ``top``, shares of the first 1, 10, ... items; ``gini``, 0 where all
        items are equal; how many items have one event, and how many have half of all events.
    """
    falling = np.sort(counts)[::-1]
    reached = np.cumsum(falling) / falling.sum()
    n = len(falling)
    places = np.unique(np.geomspace(1, n, min(_POINTS, n)).round().astype(np.int64))
    return {
        "items": places.tolist(),
        "share": reached[places - 1].tolist(),
        "top": {str(k): float(reached[k - 1]) for k in _TOP if k < n},
        "gini": gini(counts),
        "items_with_one_event": int((counts == 1).sum()),
        "items_with_half_of_the_events": int(np.searchsorted(reached, 0.5) + 1),
    }


def gini(counts: Int64) -> float:
    """How unequal counts are: 0 where all are equal, near 1 where one has all."""
    rising = np.sort(counts)
    n = len(rising)
    places = np.arange(1, n + 1)
    return float((2 * (places * rising).sum() / (n * rising.sum())) - (n + 1) / n)


def history_lengths(lengths: Int64) -> dict[str, Any]:
    """How long the histories are.

    Parameters
    ----------
    lengths : int64 (n,)
        Events of each user, above zero.

    Returns
    -------
    dict
        ``bins``, each twice as wide as the one before, with their users and events; ``quantiles``; ``top_hundredth``, the
        share of the events of the most active hundredth of the users.
    """
    steps = np.ceil(np.log2(lengths)).astype(np.int64)
    users, events = np.bincount(steps), np.bincount(steps, weights=lengths)
    first_bin = int(np.flatnonzero(users)[0])
    labels = ["1", "2"] + [f"{2 ** (i - 1) + 1:,}–{2**i:,}" for i in range(2, len(users))]
    falling = np.sort(lengths)[::-1]
    first = max(1, len(falling) // 100)
    return {
        "bins": [
            {"label": label, "users": int(one), "events": int(all_)}
            for label, one, all_ in list(zip(labels, users, events, strict=False))[first_bin:]
        ],
        "quantiles": quantiles(lengths),
        "top_hundredth": float(falling[:first].sum() / falling.sum()),
        "longest_share": float(falling[0] / falling.sum()),
    }


def quantiles(values: Int64) -> dict[str, float]:
    """Minimum, some quantiles and maximum of numbers."""
    found = np.quantile(values, _QUANTILES)
    return {f"{share:g}": float(value) for share, value in zip(_QUANTILES, found, strict=True)}


def short_number(value: float) -> str:
    """A number with three digits or, if it is large, without a fraction."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
