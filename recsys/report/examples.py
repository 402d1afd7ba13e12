"""A few users with the titles of their history, of their held-out items and of their recommendations."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from recsys.bundle.contents import Bundle
from recsys.core.ragged import Int32, Int64
from recsys.evaluation.protocol import Ranker
from recsys.evaluation.result import Evaluation

_EACH = 3
"""Users with a hit, and as many without."""
_LAST = 5
_TOP = 5
_TARGETS = 3


def chosen_users(bundle: Bundle, ranker: Ranker, report: Evaluation, k: int, seed: int) -> dict[str, Any]:
    """Some users with a target among the first k and some without, drawn from the seed.

    Returns
    -------
    dict
        ``k``, ``deepest`` (the longest list that was evaluated), ``found_share`` (of all users), and ``users``: each with
        ``user``, ``found``, ``history`` (last titles, oldest first), ``history_length``, ``targets`` (``title`` and
        ``place``, None if it is beyond the deepest), ``more_targets``, ``recommended`` (``title`` and ``hit``).
    """
    holdout = report.holdout
    found = report.per_user[f"hit_rate@{k}"] > 0
    users = _drawn(np.flatnonzero(found), np.flatnonzero(~found), np.random.default_rng(seed))
    histories = holdout.histories.take(users)
    ranked = ranker.recommend_rows(
        histories, min(_TOP, len(bundle.items)), exclude=histories if report.seen_filtered else None
    )
    users_shown = []
    for i, user in enumerate(users):
        start, stop = int(holdout.targets.offsets[user]), int(holdout.targets.offsets[user + 1])
        targets, places = holdout.targets[user], report.target_places[start:stop]
        best = np.lexsort((np.where(places > 0, places, np.iinfo(np.int32).max),))[:_TARGETS]
        row = int(holdout.user_rows[user])
        users_shown.append(
            {
                "user": str(holdout.users.ids[row]) if row >= 0 else "new user",
                "found": bool(found[user]),
                "history": _titles(bundle, report, histories[i][-_LAST:]),
                "history_length": len(histories[i]),
                "targets": [
                    {"title": title, "place": int(place) or None}
                    for title, place in zip(_titles(bundle, report, targets[best]), places[best], strict=True)
                ],
                "more_targets": len(targets) - len(best),
                "recommended": [
                    {"title": title, "hit": bool(item in targets)}
                    for title, item in zip(_titles(bundle, report, ranked.lists[i]), ranked.lists[i], strict=True)
                ],
            }
        )
    return {"k": k, "deepest": report.k[-1], "found_share": float(found.mean()), "users": users_shown}


def _drawn(hits: Int64, misses: Int64, generator: np.random.Generator) -> Int64:
    """Three of each; more of the others if one has fewer."""
    n_hits = min(len(hits), max(_EACH, 2 * _EACH - len(misses)))
    n_misses = min(len(misses), 2 * _EACH - n_hits)
    return np.concatenate(
        [np.sort(generator.choice(hits, n_hits, replace=False)), np.sort(generator.choice(misses, n_misses, replace=False))]
    )


def _titles(bundle: Bundle, report: Evaluation, rows: Int32) -> list[str]:
    """Titles of item rows; the id of an item without a title, or that the model does not know."""
    known = rows < len(bundle.items)
    titles = iter(bundle.catalog.title_of(rows[known]).to_list())
    ids = report.holdout.items.to_ids(rows).cast(pl.String).to_list()
    return [next(titles) if is_known else raw for is_known, raw in zip(known, ids, strict=True)]
