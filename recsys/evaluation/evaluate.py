"""Evaluate a recommender on a holdout: one blocked pass over the users, and every metric at every k from it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from recsys.core.arguments import flag, instance, instance_or_none, renamed, text_or_none, whole_number
from recsys.core.progress import track, warn
from recsys.core.ragged import Bool, Int32, Int64, Ragged, contained, mask_of
from recsys.data.catalog import Catalog
from recsys.data.leakage import check_leakage
from recsys.data.split import Holdout
from recsys.errors import DataError, UnsupportedError
from recsys.evaluation.arguments import check_cuts, check_ranker, check_rows, filters_seen
from recsys.evaluation.measure import Background, Blocks, measure
from recsys.evaluation.protocol import Ranker
from recsys.evaluation.result import Evaluation

_MANY_REPEATS = 0.1
"""Share of targets in the history from which on a warning is given."""


@renamed(candidates="eligible")
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

    Lists are made once, for the largest k; every metric at every k, and every segment of the result, comes from them.
    Users are ranked in blocks and their scores in blocks of 64 MiB, so that memory does not grow with users times
    items; only the results grow with the users, 8 bytes per user, metric and k.

    Parameters
    ----------
    model : Ranker
        Its training log, if its traits hold it, gives the popularity that novelty is measured by.
    holdout : Holdout
        Made from the same or another log; ids are matched by name.
    k : int or sequence of int
    filter_seen : bool, optional
        Whether items of the user's history are left out of the ranking; by default as the model was validated
        (``Training(keep_seen=True)`` keeps them), and left out if it does not say.
    catalog : Catalog, optional
        With ``category``: measure diversity by category and calibration too.
    category : str, optional
        A column of the catalogue; several categories of an item are separated by "|".
    eligible : int32 rows of ``holdout.items``, optional
        Rank only these items, such as the cold ones.
    allow_leakage : bool
        Evaluate a model even on pairs of user and item that it was trained on.
    block : int
        Users at a time; results do not depend on it.

    Returns
    -------
    Evaluation

    Raises
    ------
    ConfigError
        A k or the block is not a whole number of 1 or more, or no k is given.
    LeakageError
        The model was trained on pairs that it is to find; the message counts them.
    UnsupportedError
        The model only ranks for users that it knows, and does not know some of these.
    DataError
        The model reads the time of a request, and the holdout has none; or it knows none of its items.

    Examples
    --------
    >>> report = recsys.evaluate(recsys.Popularity().fit(split.train), split.test, k=(5, 10))
    >>> report["recall@10"]
    0.4
    >>> len(report.per_user["recall@5"])  # one value per user
    40
    """
    return evaluated(
        model, holdout, k, filter_seen=filter_seen, catalog=catalog, category=category, eligible=eligible,
        allow_leakage=allow_leakage, block=block,
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class Asked:
    """What a model is asked at one time: lists of so many items for these users.

    Attributes
    ----------
    histories : Ragged (n)
        In the model's rows.
    k : int
    filter_seen : bool
        Whether items of the history are left out.
    users : int32 (n,)
        The model's rows; −1 for those whom it does not know.
    eligible : bool (n_items,), optional
    request_times : int64 (n,), optional
    """

    histories: Ragged
    k: int
    filter_seen: bool
    users: Int32
    eligible: Bool | None
    request_times: Int64 | None

    def answered(self, model: Ranker) -> Ragged:
        """The lists of a model."""
        return model.recommend_rows(
            self.histories,
            self.k,
            exclude=self.histories if self.filter_seen else None,
            users=self.users,
            eligible=self.eligible,
            request_times=self.request_times,
        ).lists


def evaluated(
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
    answer: Callable[[Iterator[Asked]], Iterator[Ragged]] | None = None,
) -> Evaluation:
    """As :func:`evaluate`; ``answer`` gives the lists for what the model is asked, in order, in its place."""
    check_ranker(model, "model")
    instance(holdout, Holdout, "holdout")
    instance_or_none(catalog, Catalog, "catalog")
    text_or_none(category, "category")
    allow_leakage = flag(allow_leakage, "allow_leakage")
    cuts = check_cuts(k)
    block = whole_number(block, "block")
    undecided = filter_seen is None
    filter_seen = filters_seen([model]) if filter_seen is None else flag(filter_seen, "filter_seen")
    traits = model.traits
    trained_on = traits.trained_on
    if trained_on is not None and not allow_leakage:
        check_leakage(trained_on, holdout)
    ids = None if eligible is None else holdout.items.to_ids(check_rows(eligible, len(holdout.items)))
    own, counts = in_rows_of(model, holdout)
    _check_known(model, holdout, counts["unknown_targets"], counts["unknown_history"])
    mask, n_ranked = None, len(model.items)
    if ids is not None:
        found = model.items.find_rows(ids)
        mask = mask_of(found[found >= 0], len(model.items))
        n_ranked = int(mask.sum())
    background = Background(
        train=trained_on if trained_on is not None and trained_on.items.same(model.items) else None,
        vectors=traits.vectors,
        categories=None if catalog is None or category is None else catalog.aligned(model.items).memberships(category)[0],
    )

    request_times = None
    if traits.reads_request_time:
        request_times = request_times_of(own)
        own = replace(own, protocol=f"{own.protocol}, request time known")

    if filter_seen and undecided:
        warn_about_repeats(counts["targets_already_in_history"], len(own.targets.rows))
    if traits.needs_known_users and counts["unknown_users"]:
        raise _unknown_users(model, holdout, own.user_rows < 0)

    readable = own.histories.lengths > 0  # a user without a readable history gets no list: all misses, and counted
    counts["users_without_readable_history"] = int((~readable).sum())

    starts = range(0, len(own), block)

    def asked() -> Iterator[Asked]:
        for start in starts:
            chosen = start + np.flatnonzero(readable[start : start + block])
            times = None if request_times is None else request_times[chosen]
            histories = own.histories.block(start, start + block).take(chosen - start)
            yield Asked(histories, min(cuts[-1], len(model.items)), filter_seen, own.user_rows[chosen], mask, times)

    def ranked_blocks() -> Blocks:
        lists = answer(asked()) if answer is not None else (one.answered(model) for one in asked())
        done = zip(starts, lists, strict=True)
        for start, found in track(done, total=len(starts), what=f"evaluating {model.name}", unit="block"):
            stop = min(start + block, len(own))
            lengths = np.zeros(stop - start, dtype=np.int64)
            lengths[readable[start:stop]] = found.lengths
            yield start, stop, Ragged.from_lengths(lengths, found.rows)

    return measure(model.name, ranked_blocks(), own, cuts, background, counts, len(model.items), n_ranked, filter_seen)


def warn_about_repeats(repeats: int, targets: int) -> None:
    """Warn if many targets are in the history already while seen items are left out of the ranking."""
    if repeats > _MANY_REPEATS * targets:
        warn(
            f"{repeats:,} of {targets:,} targets are in their user's history already and are never found while seen items "
            f"are filtered: keep them with Training(keep_seen=True) and filter_seen=False (--keep-seen) if people return "
            f"to items, or drop_duplicates=True (--drop-duplicates) if the log holds events twice"
        )


def _check_known(model: Ranker, holdout: Holdout, unknown: int, unread: int) -> None:
    """Refuse a model that knows no item, to find or of a history; warn if it lacks most of those to find."""
    targets = len(holdout.targets.rows)
    if unknown <= targets / 2:
        return
    message = (
        f"{model.name} does not know {unknown:,} of the {targets:,} items to find, such as "
        f"{holdout.items.ids[int(holdout.targets.rows[0])]!r}; its own are such as {model.items.ids[0]!r}"
    )
    if unknown == targets and unread == len(holdout.histories.rows):
        raise DataError(f"{message}: it was fitted on other items, or their ids are written otherwise")
    warn(message)


def _unknown_users(model: Ranker, holdout: Holdout, unknown: Bool) -> UnsupportedError:
    user = holdout.users.ids[int(holdout.user_rows[np.argmax(unknown)])]
    return UnsupportedError(
        f"{model.name} only ranks for users that it was fitted on, and does not know {unknown.sum():,} of the "
        f"{len(holdout):,} held-out users, such as {user!r}; evaluate it on those that it knows, "
        f"holdout.where(model.users.find_rows(holdout.users.to_ids(holdout.user_rows)) >= 0), or leave it out"
    )


def request_times_of(holdout: Holdout) -> Int64:
    """int64 (n,): when each user asks, which is the time of the first target; nothing else of a target may be read.

    Raises
    ------
    DataError
        The holdout has no times.
    """
    if holdout.times is None:
        raise DataError("the model reads the time of a request, and the holdout has none; split a log with timestamps")
    times: Int64 = holdout.times[holdout.targets.offsets[:-1]]
    return times


def in_rows_of(model: Ranker, holdout: Holdout) -> tuple[Holdout, dict[str, int]]:
    """The holdout in the model's rows; targets unknown to it get rows past its last, which can never be recommended.

    Events get the model's own codes of event types, if it reads them; a type that it does not know is refused
    (DataError).
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
