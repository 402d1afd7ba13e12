"""Lists by rules: from ever more candidates, while caps leave lists short that could be longer."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from recsys.core.ragged import Bool, Ragged, overlap, repeated
from recsys.core.ranking import Ranked
from recsys.serving.rules.apply import BoundRules, Ruled

Search: TypeAlias = Callable[[int, Bool | None], Ranked]
"""The k best items of each person among those of a mask, without what each must not get."""


def lists_by(
    rules: BoundRules, search: Search, k: int, *, request_time: int, exclude: Ragged, eligible: Bool | None, alive: Bool
) -> Ruled:
    """The lists of some people, and what the rules moved.

    Parameters
    ----------
    rules : BoundRules
    search : callable
    k : int
        Most items of a list.
    request_time : int
        Seconds since 1970.
    exclude : Ragged (n)
        Item rows that each person must not get.
    eligible : bool (n_items,) or None
        The items that the request allows; None: every item.
    alive : bool (n_items,)
        The items that are not removed.
    """
    candidates = alive if eligible is None else alive & eligible
    if rules.eligible is not None:
        candidates = candidates & rules.eligible
    eligible = overlap(eligible, rules.eligible)
    never = rules.pinned[~candidates[rules.pinned]]
    hidden = exclude.merged(repeated(never, len(exclude)))
    most = max(1, int(candidates.sum()))
    pool = min(rules.pool(k), most)
    while True:
        found = search(pool, eligible)
        ruled = rules.apply(found, k, request_time=request_time, exclude=hidden)
        short = ruled.ranked.lists.lengths < np.minimum(k, found.lists.lengths)
        if pool >= most or not short.any():
            return ruled
        pool = min(most, 8 * pool)
