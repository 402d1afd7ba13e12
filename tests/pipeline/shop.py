"""A small shop for the tests of updates: each day 30 people look at three neighbours on a long shelf."""

from __future__ import annotations

import numpy as np
import polars as pl

DAY = 86_400
START = 20_000 * DAY
DAYS = 80


def events(days: range, *, step: int = 1, seed: int = 0) -> pl.DataFrame:
    """What happened on some days, counted from the first; the next item of a walk is ``step`` further along the shelf."""
    generator = np.random.default_rng(seed)
    places = generator.integers(0, 160, (120, 1)) + np.arange(DAYS * 3) // 4
    rows = []
    for day in days:
        here = np.random.default_rng((seed, day)).choice(120, 30, replace=False)
        for user in np.sort(here):
            at = int(places[user, 0]) + (day * 3) // 4
            rows += [
                (f"u{user}", f"i{(at + step * n) % 200}", START + day * DAY + 36_000 + int(user) * 60 + n) for n in range(3)
            ]
    return pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row")
