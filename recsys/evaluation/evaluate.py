"""Judge a recommender on a holdout: one blocked pass, every metric at every k from it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import scipy.sparse as sp

from recsys.core.arguments import (
    HOW,
    described,
    flag,
    instance,
    instance_or_none,
    listed,
    text_or_none,
    whole_number,
)
from recsys.core.progress import track, warn
from recsys.core.ragged import Bool, Float32, Int32, Int64, Ragged, contained, mask_of
from recsys.core.ranking import check_k
from recsys.data.catalog import Catalog
from recsys.data.interactions import Interactions
from recsys.data.leakage import check_leakage
from recsys.data.split import Holdout
from recsys.errors import ConfigError, DataError, UnsupportedError
from recsys.evaluation import beyond_accuracy as beyond
from recsys.evaluation.metrics import PER_USER, Values, hit_matrix
from recsys.evaluation.protocol import Ranker
from recsys.evaluation.result import Evaluation

_BLOCK = 2048
_MANY_REPEATS = 0.1
"""Share of targets that the history holds already from which on that is a warning."""

Blocks: TypeAlias = Iterator[tuple[int, int, Ragged]]


@dataclass(frozen=True, eq=False)
class Background:
    """What is known of the items besides the lists, for the metrics beyond accuracy; what is None is not measured.

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


def evaluate(
    model: Ranker,
    holdout: Holdout,
    k: int | Sequence[int] = (10, 20, 50),
    *,
    filter_seen: bool | None = None,
    catalog: Catalog | None = None,
    category: str | None = None,
    eligible: Int32 | None = None,
    allow_leakage: bool = False,
    block: int = 2048,
) -> Evaluation:
    """Rank the whole catalogue for every held-out user and measure what comes first.

    The k best are found once, for the deepest k; every metric at every k, and every segment of the result, comes from that.
    Users go through in blocks and their scores in blocks of 64 MiB, so that memory does not grow with users times
    items; what grows with users alone are the results, 8 bytes per user, metric and k.

    Parameters
    ----------
    model : Ranker
        Its training log, where it tells it, gives the popularity that novelty is measured by.
    holdout : Holdout
        Made from the same or another log; ids are matched by name.
    k : int or sequence of int
    filter_seen : bool, optional
        Whether items of the user's history are left out of the ranking; by default as the model was validated
        (``Training(keep_seen=True)`` keeps them), and left out where it does not tell.
    catalog : Catalog, optional
        With ``category``: measure diversity by category and calibration too.
    category : str, optional
        A column of the catalogue; several categories of an item are separated by "|".
    eligible : int32 rows of ``holdout.items``, optional
        Rank only these items, such as the cold ones.
    allow_leakage : bool
        Judge a model even on pairs of user and item that it was trained on.
    block : int
        Users at a time; results do not depend on it.

    Returns
    -------
    Evaluation

    Raises
    ------
    ConfigError
        A k or the block is no whole number or below 1, or no k is given.
    LeakageError
        The model was trained on what it is to find; the message counts it.
    """
    check_ranker(model, "model")
    instance(holdout, Holdout, "holdout")
    instance_or_none(catalog, Catalog, "catalog")
    text_or_none(category, "category")
    allow_leakage = flag(allow_leakage, "allow_leakage")
    cuts = cuts_of(k)
    block = whole_number(block, "block")
    undecided = filter_seen is None
    filter_seen = filters_seen([model]) if filter_seen is None else flag(filter_seen, "filter_seen")
    traits = model.traits
    trained_on = traits.trained_on
    if trained_on is not None and not allow_leakage:
        check_leakage(trained_on, holdout)
    chosen = None if eligible is None else holdout.items.to_ids(_rows_of(eligible, len(holdout.items)))
    own, counts = _translated(model, holdout)
    mask, n_ranked = None, len(model.items)
    if chosen is not None:
        found = model.items.find_rows(chosen)
        mask = mask_of(found[found >= 0], len(model.items))
        n_ranked = int(mask.sum())
    background = Background(
        train=trained_on if trained_on is not None and trained_on.items.same(model.items) else None,
        vectors=traits.vectors,
        categories=None if catalog is None or category is None else catalog.aligned(model.items).memberships(category)[0],
    )

    request_times = None
    if traits.reads_request_time:
        request_times = _request_times(own)
        own = replace(own, protocol=f"{own.protocol}, request time known")

    if filter_seen and undecided:
        tell_repeats(counts["targets_already_in_history"], len(own.targets.rows))
    if traits.needs_known_users and counts["unknown_users"]:
        raise _stranger(model, holdout, own.user_rows < 0)

    readable = own.histories.lengths > 0  # who has nothing that the model can read gets nothing: all misses, and counted
    counts["users_without_readable_history"] = int((~readable).sum())

    def ranked_blocks() -> Blocks:
        starts = range(0, len(own), block)
        for start in track(starts, total=len(starts), what=f"evaluating {model.name}", unit="block"):
            stop = min(start + block, len(own))
            able = np.flatnonzero(readable[start:stop])
            histories = own.histories.block(start, stop).take(able)
            ranked = model.recommend_rows(
                histories,
                min(cuts[-1], len(model.items)),
                exclude=histories if filter_seen else None,
                users=own.user_rows[start:stop][able],
                eligible=mask,
                request_times=None if request_times is None else request_times[start:stop][able],
            )
            lengths = np.zeros(stop - start, dtype=np.int64)
            lengths[able] = ranked.lists.lengths
            yield start, stop, Ragged.from_lengths(lengths, ranked.lists.rows)

    return _measured(model.name, ranked_blocks(), own, cuts, background, counts, len(model.items), n_ranked, filter_seen)


def evaluate_lists(
    lists: Ragged, holdout: Holdout, k: int | Sequence[int], *, background: Background | None = None, name: str = "lists"
) -> Evaluation:
    """Measure lists that something else made.

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
        There is not one list per user.
    """
    if len(lists) != len(holdout):
        raise ConfigError(f"{len(lists)} lists do not fit {len(holdout)} held-out users")
    blocks = (
        (start, min(start + _BLOCK, len(lists)), lists.block(start, start + _BLOCK))
        for start in range(0, len(lists), _BLOCK)
    )
    n = len(holdout.items)
    return _measured(name, blocks, holdout, cuts_of(k), background or Background(), {}, n, n, seen_filtered=False)


def tell_repeats(repeats: int, targets: int) -> None:
    """Warn where many targets stand in the history already, while seen items are left out of the ranking."""
    if repeats > _MANY_REPEATS * targets:
        warn(
            f"{repeats:,} of {targets:,} items to be found stand in their user's history already and are never found while "
            f"seen items are filtered: keep them with Training(keep_seen=True) and filter_seen=False (--keep-seen) if "
            f"people come back to items, or drop_duplicates=True (--drop-duplicates) if the log holds events twice"
        )


def _stranger(model: Ranker, holdout: Holdout, unknown: Bool) -> UnsupportedError:
    user = holdout.users.ids[int(holdout.user_rows[np.argmax(unknown)])]
    return UnsupportedError(
        f"{model.name} knows users only by name, and {unknown.sum():,} of the {len(holdout):,} judged users, such as "
        f"{user!r}, are unknown to it; judge it on those that it knows, "
        f"holdout.where(model.users.find_rows(holdout.users.to_ids(holdout.user_rows)) >= 0), or leave it out"
    )


def check_ranker(model: object, name: str) -> None:
    """Refuse what is not a :class:`recsys.evaluation.protocol.Ranker`.

    Raises
    ------
    ConfigError
    """
    if isinstance(model, type) or not isinstance(model, Ranker):
        raise ConfigError(f"{name} must be a Ranker, not {described(model)}; pass {HOW['Ranker']}")


def _rows_of(eligible: object, n_items: int) -> Int32:
    """Item rows as an array.

    Raises
    ------
    ConfigError
        They are no whole numbers from 0 to below ``n_items``.
    """
    rows = eligible if isinstance(eligible, np.ndarray) else np.array(listed(eligible, "eligible", "item rows"))
    if rows.ndim != 1 or (len(rows) and rows.dtype.kind not in "iu"):
        raise ConfigError(f"eligible must be a list of item rows, which are whole numbers, not {described(eligible)}")
    if len(rows) and not 0 <= rows.min() <= rows.max() < n_items:
        wrong = rows[(rows < 0) | (rows >= n_items)][0]
        raise ConfigError(f"eligible must hold rows from 0 to {n_items - 1}; it holds {wrong}")
    return rows.astype(np.int32)


def filters_seen(models: Sequence[Ranker]) -> bool:
    """Whether seen items are left out where nobody says so: as the models were validated; yes where none tells.

    Raises
    ------
    ConfigError
        Some were validated with seen items kept, and some without.
    """
    told = {model.name: keeps for model in models if (keeps := model.traits.keep_seen) is not None}
    if len(set(told.values())) > 1:
        kept, left = (next(name for name, keeps in told.items() if keeps is one) for one in (True, False))
        raise ConfigError(
            f"{kept} was validated with seen items kept and {left} with seen items filtered; say how to judge all of them: "
            f"filter_seen=True or False (--no-keep-seen or --keep-seen)"
        )
    return not any(told.values())


def _request_times(holdout: Holdout) -> Int64:
    """When each user asks: at the time of the first target, which is all that is told of it.

    Raises
    ------
    DataError
        The holdout has no times.
    """
    if holdout.times is None:
        raise DataError("the model reads the time of a request, and the holdout has none; split a log with timestamps")
    times: Int64 = holdout.times[holdout.targets.offsets[:-1]]
    return times


def cuts_of(k: object) -> tuple[int, ...]:
    """The cuts in ascending order, each once, from one whole number or several.

    Raises
    ------
    ConfigError
        There is none, or one that is no whole number of 1 or more.
    """
    several = isinstance(k, Iterable) and not isinstance(k, str) and getattr(k, "ndim", 1) > 0
    asked = listed(list(k) if isinstance(k, Set) else k, "k", "whole numbers, or one of them") if several else [k]
    if not asked:
        raise ConfigError("evaluate needs at least one k")
    return tuple(sorted({check_k(cut) for cut in asked}))


def _measured(
    name: str,
    blocks: Blocks,
    own: Holdout,
    cuts: tuple[int, ...],
    background: Background,
    counts: dict[str, int],
    n_items: int,
    n_ranked: int,
    seen_filtered: bool,
) -> Evaluation:
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
    """Where each target stands in its user's list.

    Parameters
    ----------
    lists, targets : Ragged (n)
    n_items : int

    Returns
    -------
    int32 (len(targets.rows),)
        From 1; 0 where the target is not in the list.
    """
    width = max(n_items, 1 + int(targets.rows.max(initial=0)))
    keys = lists.list_index() * width + lists.rows
    order = np.argsort(keys, kind="stable")
    wanted = targets.list_index() * width + targets.rows
    if len(keys) == 0:
        return np.zeros(len(wanted), dtype=np.int32)
    at = order[np.minimum(np.searchsorted(keys, wanted, sorter=order), len(keys) - 1)]
    places = at - lists.offsets[targets.list_index()] + 1
    return np.where(keys[at] == wanted, places, 0).astype(np.int32)


def _translated(model: Ranker, holdout: Holdout) -> tuple[Holdout, dict[str, int]]:
    """The holdout in the model's rows; targets unknown to it get rows past its last, which can never be recommended.

    Where the model names the event types that it was trained on (``event_names``), the histories are put into its codes;
    a type that it does not know is refused (DataError).
    """
    n = len(model.items)
    moved = holdout
    if holdout.event_names and (names := model.traits.event_names):
        moved = replace(holdout, histories=holdout.histories.recoded(holdout.event_names, names), event_names=names)
    counts = {"unknown_targets": 0, "unknown_history": 0}
    if model.items is not holdout.items or model.users is not holdout.users:
        everything = model.items.extended(holdout.items.ids)
        place = everything.find_rows(holdout.items.ids)
        targets, read = holdout.targets.remap(place), moved.histories.remap(place)
        readable = read.rows < n
        moved = replace(
            moved,
            users=model.users,
            items=everything,
            user_rows=model.users.find_rows(holdout.users.to_ids(holdout.user_rows)),
            histories=read.where(readable),
            targets=targets,
        )
        counts = {"unknown_targets": int((targets.rows >= n).sum()), "unknown_history": int((~readable).sum())}
    repeats = contained(moved.targets, moved.histories, len(moved.items))
    counts["unknown_users"] = int((moved.user_rows < 0).sum())
    return moved, counts | {"targets_already_in_history": int(repeats.sum())}
