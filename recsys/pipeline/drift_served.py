"""What a model makes of each window of a log: the scores it gives, the items it shows, and what it finds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from recsys.config.drift import DriftOptions
from recsys.core.ragged import Bool, Ragged
from recsys.data.interactions import Interactions
from recsys.data.live_windows import each_event
from recsys.errors import DataError
from recsys.evaluation.ageing import K, recall_of
from recsys.evaluation.drift import Bins, jensen_shannon, psi
from recsys.evaluation.shift import Figure, Kind, Window

if TYPE_CHECKING:
    from recsys.core.ranking import Ranked
    from recsys.serving.retriever import Retriever

_USERS: Final = 500
"""Users of a window who are answered."""
_FEW: Final = 20
"""With fewer nothing is said of scores and coverage."""
FIGURES: Final[dict[str, tuple[Kind, str]]] = {
    "scores_psi": ("distance", "scores of the best items, PSI"),
    "scores_js": ("distance", "scores of the best items, Jensen–Shannon"),
    "recommended": ("share", f"distinct items in lists of {K}, of the most"),
}
"""Figure → its kind, and what it is in words."""


def served_figures(
    retriever: Retriever, joint: Interactions, new: Sequence[Window], usual: Sequence[Window], seed: int = 0
) -> list[Figure]:
    """Scores and coverage of the lists that users of each window would get at its end.

    As many users are drawn in each window, and their histories end with it. The scores of earlier windows are of a model
    that learned from them, so that the usual range is rather too wide than too narrow.

    Parameters
    ----------
    retriever : Retriever
    joint : Interactions
        Its users and items come first, in its rows.
    new, usual : sequence of Window
    seed : int
    """
    windows = [*usual, *new]
    histories = [_histories(retriever, joint, one) for one in windows]
    users = min((len(one) for one in histories), default=0)
    if users < _FEW:
        return []
    random = np.random.default_rng(seed)
    lists = [_answered(retriever, one.take(random.permutation(len(one))[: min(users, _USERS)])) for one in histories]
    best = [found.scores[found.lists.offsets[:-1][found.lists.lengths > 0]].astype(np.float64) for found in lists]
    candidates = int(retriever.index.alive.sum())
    table: dict[str, list[float]] = {name: [] for name in FIGURES}
    for place, found in enumerate(lists):
        pooled = np.concatenate([np.empty(0), *(best[i] for i in range(len(usual)) if i != place)])
        bins = Bins.of(pooled)
        expected, counted = bins.count(pooled), bins.count(best[place])
        table["scores_psi"].append(psi(expected, counted))
        table["scores_js"].append(jensen_shannon(expected, counted))
        shown = len(found.lists.rows)
        distinct = len(np.unique(found.lists.rows))
        table["recommended"].append(distinct / min(candidates, shown) if shown else math.nan)
    n = len(usual)
    return [
        Figure(name, meaning, kind, tuple(table[name][n:]), tuple(table[name][:n]))
        for name, (kind, meaning) in FIGURES.items()
    ]


def _histories(retriever: Retriever, joint: Interactions, window: Window) -> Ragged:
    """Histories, up to the end of a window, of its users; without the items and types of events that the model lacks."""
    bundle = retriever.bundle
    owners = joint.histories.list_index()
    users = np.unique(owners[window.within])
    readable = (joint.histories.rows < len(bundle.items)) & _until(joint, window)
    if bundle.histories.events is not None and joint.events is not None:
        readable &= joint.events < len(bundle.event_names)
    read = joint.histories.where(readable).take(users)
    return read.take(np.flatnonzero(read.lengths > 0))


def _until(joint: Interactions, window: Window) -> Bool:
    """bool (len(joint),): no later than the window's last event of the same user."""
    owners, place = joint.histories.list_index(), np.arange(len(joint))
    last = np.full(len(joint.users), -1)
    np.maximum.at(last, owners[window.within], place[window.within])
    until: Bool = place <= last[owners]
    return until


def _answered(retriever: Retriever, histories: Ragged) -> Ranked:
    times = None
    if retriever.towers.reads_request_time and histories.times is not None:
        times = histories.times[histories.offsets[1:] - 1]
    exclude = None if retriever.bundle.keep_seen else histories.without_events()
    return retriever.recommend_rows(histories, K, exclude=exclude, request_times=times)


def served_recall(
    retriever: Retriever, joint: Interactions, windows: Sequence[Bool], options: DriftOptions
) -> tuple[float, ...]:
    """recall@10 of the model on the events of each window, each found from all that its user did before; NaN without any.

    Parameters
    ----------
    retriever : Retriever
    joint : Interactions
    windows : sequence of bool (len(joint),)
        New events only, none from before the last known one.
    options : DriftOptions
    """
    found, keep_seen = [], retriever.bundle.keep_seen
    for number, within in enumerate(windows, start=1):
        try:
            held = each_event(
                joint,
                within,
                f"new events, window {number}",
                most=options.judged,
                per_user=max(1, options.judged // 20),
                seed=options.seed,
                keep_seen=keep_seen,
            )
        except DataError:  # nobody did anything new
            found.append(math.nan)
            continue
        found.append(float(recall_of(retriever, held, keep_seen=keep_seen).mean()))
    return tuple(found)
