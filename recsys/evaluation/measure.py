"""Measure ranked lists: every metric at every k, from one pass over blocks of users."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import scipy.sparse as sp

from recsys.core.ragged import Bool, Float32, Int32, Int64, Ragged
from recsys.data.interactions import Interactions
from recsys.data.split import Holdout
from recsys.errors import ConfigError
from recsys.evaluation import beyond_accuracy as beyond
from recsys.evaluation.arguments import check_cuts
from recsys.evaluation.metrics import PER_USER, Values, hit_matrix
from recsys.evaluation.result import Evaluation

Blocks: TypeAlias = Iterator[tuple[int, int, Ragged]]
"""First user, the user after the last, and the lists of those between."""
_BLOCK = 2048


@dataclass(frozen=True, eq=False)
class Background:
    """What is known about the items, for the metrics beyond accuracy; what is None is not measured.

    Attributes
    ----------
    train : Interactions, optional
        For novelty, popularity and serendipity.
    vectors : float32 (n_items, D), optional
        For diversity.
    categories : bool CSR (n_items, n_categories), optional
        For diversity by category and calibration.
    """

    train: Interactions | None = None
    vectors: Float32 | None = None
    categories: sp.csr_matrix[np.bool_] | None = None


def evaluate_lists(
    lists: Ragged, holdout: Holdout, k: int | Sequence[int], *, background: Background | None = None, name: str = "lists"
) -> Evaluation:
    """Measure lists that were made elsewhere.

    Parameters
    ----------
    lists : Ragged (n_users)
        Item rows of ``holdout.items``, best first, aligned with the holdout's users.
    holdout : Holdout
    k : int or sequence of int
    background : Background, optional
    name : str

    Returns
    -------
    Evaluation

    Raises
    ------
    ConfigError
        The number of lists is not the number of users.
    """
    if len(lists) != len(holdout):
        raise ConfigError(f"{len(lists)} lists do not fit {len(holdout)} held-out users")
    n, blocks = len(holdout.items), list_blocks(lists)
    return measure(name, blocks, holdout, check_cuts(k), background or Background(), {}, n, n, seen_filtered=False)


def list_blocks(lists: Ragged) -> Blocks:
    """Lists that are all there, in blocks of users."""
    for start in range(0, len(lists), _BLOCK):
        yield start, min(start + _BLOCK, len(lists)), lists.block(start, start + _BLOCK)


def measure(
    name: str,
    blocks: Blocks,
    own: Holdout,
    cuts: tuple[int, ...],
    background: Background,
    counts: dict[str, int],
    n_items: int,
    n_ranked: int,
    seen_filtered: bool | None,
) -> Evaluation:
    """Measure lists that come in blocks of users.

    Parameters
    ----------
    name : str
        Of the model.
    blocks : iterator
        In the order of the holdout's users, without a gap.
    own : Holdout
        In the rows of the lists.
    cuts : tuple of int
        List lengths, ascending.
    background : Background
    counts : dict of int
        Data quality, to be kept beside what is counted here.
    n_items, n_ranked : int
        Items of the model, and how many of them could be returned.
    seen_filtered : bool or None
        Whether the lists leave out what the users had seen; None: it is not known.

    Returns
    -------
    Evaluation
    """
    relevant = own.targets.lengths
    parts: dict[str, list[Values]] = {}
    exposure: dict[int, Int64] = {cut: np.zeros(n_items, dtype=np.int64) for cut in cuts}
    places = np.zeros(len(own.targets.rows), dtype=np.int32)
    quality: dict[str, int] = {}
    for start, stop, lists in blocks:
        targets, histories = own.targets.block(start, stop), own.histories.block(start, stop)
        hits = hit_matrix(lists, targets, min(cuts[-1], max(1, n_items)))  # no list is longer than the catalogue
        for metric, function in PER_USER.items():
            for cut in cuts:
                parts.setdefault(f"{metric}@{cut}", []).append(function(hits, relevant[start:stop], cut))
        for metric, values in _beyond(lists, hits, histories, background, cuts).items():
            parts.setdefault(metric, []).append(values)
        for cut in cuts:
            exposure[cut] += beyond.exposure(lists, n_items, cut)
        for metric, count in beyond.quality(lists, n_items, cuts[-1]).items():
            quality[metric] = quality.get(metric, 0) + count
        places[own.targets.offsets[start] : own.targets.offsets[stop]] = target_places(lists, targets, n_items)
    overall = {f"coverage@{cut}": float((exposure[cut] > 0).sum() / n_ranked) for cut in cuts}
    overall |= {f"gini@{cut}": beyond.gini(exposure[cut]) for cut in cuts}
    return Evaluation(
        model=name,
        protocol=own.protocol,
        k=cuts,
        per_user={metric: np.concatenate(values) for metric, values in parts.items()},
        overall=overall,
        exposure=exposure,
        target_places=places,
        holdout=own,
        counts=quality | counts,
        n_items=n_ranked,
        seen_filtered=seen_filtered,
    )


def _beyond(
    lists: Ragged, hits: Bool, histories: Ragged, background: Background, cuts: tuple[int, ...]
) -> dict[str, Values]:
    found: dict[str, Values] = {}
    for cut in cuts:
        if background.train is not None:
            users, counts = background.train.item_users, background.train.item_counts
            found[f"novelty@{cut}"] = beyond.novelty(lists, users, int((background.train.histories.lengths > 0).sum()), cut)
            found[f"popularity@{cut}"] = beyond.average_popularity(lists, counts, cut)
            found[f"popularity_lift@{cut}"] = beyond.popularity_lift(lists, histories, counts, cut)
            found[f"serendipity@{cut}"] = beyond.serendipity(lists, hits, users, cut)
        if background.vectors is not None and cut > 1:
            found[f"diversity@{cut}"] = beyond.diversity(lists, background.vectors, cut)
        if background.categories is not None:
            if cut > 1:
                found[f"category_diversity@{cut}"] = beyond.category_diversity(lists, background.categories, cut)
            found[f"calibration@{cut}"] = beyond.calibration(lists, histories, background.categories, cut)
    return found


def target_places(lists: Ragged, targets: Ragged, n_items: int) -> Int32:
    """The place of each target in its user's list.

    Parameters
    ----------
    lists, targets : Ragged (n)
    n_items : int

    Returns
    -------
    int32 (len(targets.rows),)
        From 1; 0 if the target is not in the list.
    """
    width = max(n_items, 1 + int(targets.rows.max(initial=0)))
    keys = lists.list_index() * width + lists.rows
    order = np.argsort(keys, kind="stable")
    sought = targets.list_index() * width + targets.rows
    if len(keys) == 0:
        return np.zeros(len(sought), dtype=np.int32)
    at = order[np.minimum(np.searchsorted(keys, sought, sorter=order), len(keys) - 1)]
    places = at - lists.offsets[targets.list_index()] + 1
    return np.where(keys[at] == sought, places, 0).astype(np.int32)
