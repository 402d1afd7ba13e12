"""What the lists of any system are judged by: the users to judge, what they did, and what is known about the items."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from recsys.core.id_map import IdMap
from recsys.core.progress import warn
from recsys.core.ragged import Ragged, contained
from recsys.data.catalog import Catalog
from recsys.data.interactions import Interactions
from recsys.data.join import check_join
from recsys.data.leakage import check_leakage
from recsys.data.recommendations import PADDING, Recommendations, padding
from recsys.data.split import Holdout, first_of_pair
from recsys.errors import ConfigError, LeakageError
from recsys.evaluation import beyond_accuracy as beyond
from recsys.evaluation.measure import Background, list_blocks, measure
from recsys.evaluation.result import OF_GIVEN_LISTS, Evaluation
from recsys.evaluation.segments import HISTORY, standard_segments

_MANY_REPEATS = 0.1
"""Share of targets in the history from which on a warning is given."""


@dataclass(frozen=True, eq=False)
class Truth:
    """What lists are judged by.

    Attributes
    ----------
    holdout : Holdout
        The users to judge: what they were to be shown, and their history if one is given.
    history : Interactions, optional
    catalog : Catalog, optional
    category : str, optional
        A column of the catalogue.
    n_known : int
        Items of the history and the catalogue, the first rows of ``holdout.items``; 0 if neither is given.
    counts : dict of int
        Data quality.
    """

    holdout: Holdout
    history: Interactions | None
    catalog: Catalog | None
    category: str | None
    n_known: int
    counts: dict[str, int]

    @classmethod
    def of(
        cls,
        truth: Interactions | Holdout,
        history: Interactions | None = None,
        catalog: Catalog | None = None,
        *,
        category: str | None = None,
        allow_leakage: bool = False,
    ) -> Truth:
        """Join a truth with what is known about users and items.

        Raises
        ------
        ConfigError
            A category is given without a catalogue.
        LeakageError
            The history holds events of the truth.
        """
        if category is not None and catalog is None:
            raise ConfigError(
                "category= (--category) is a column of the catalogue, and none is given: catalog= (--catalog)"
            )
        given = [one.items for one in (history, catalog) if one is not None]
        items = given[0] if given else truth.items
        for more in given[1:]:
            items = items.extended(more.ids)
        n_known = len(items) if given else 0
        items = items.extended(truth.items.ids)
        if isinstance(truth, Holdout):
            if history is not None and not allow_leakage:
                check_leakage(history, truth)
            place = items.find_rows(truth.items.ids)
            histories, targets = truth.histories.without_events().remap(place), truth.targets.remap(place)
            held = replace(truth, items=items, histories=histories, targets=targets, event_names=())
            repeated = 0
        else:
            held = _held(truth, history, items)
            repeated = len(truth) - len(held.targets.rows)
        repeats, pairs = int(contained(held.targets, held.histories, len(items)).sum()), len(held.targets.rows)
        if history is not None and not isinstance(truth, Holdout):
            _check_repeats(repeats, pairs, truth, history, allow_leakage=allow_leakage)
        past = held.histories.lengths
        if history is not None and not past.any():  # some new users are no surprise, new ones only are
            check_join(held.users.to_ids(held.user_rows), history.users, "the history", source="the truth", refuse=False)
        if given:
            ids = items.to_ids(np.unique(held.targets.rows))
            known = IdMap(items.ids[:n_known], "item", checked=True)
            check_join(ids, known, "history and catalogue", source="the truth", refuse=False)
        counts = {
            "repeated_truth": repeated,
            "users_without_history": int((past == 0).sum()) if history is not None else 0,
            "new_targets": int((held.targets.rows >= n_known).sum()) if given else 0,
            "targets_already_in_history": repeats,
        }
        return cls(held, history, catalog, category, n_known, counts)

    def judge(self, found: Recommendations, cuts: tuple[int, ...], name: str) -> Evaluation:
        """Measure the lists of one system.

        Raises
        ------
        DataError
            No user of the truth has a list, no item of the lists is known, or a list holds −1, which no item is called.
        """
        wanted = self.holdout.users.to_ids(self.holdout.user_rows)
        check_join(wanted, found.users, "the table of lists", source="the truth")
        mine = found.users.find_rows(wanted)
        self._check_items(found)
        items = self.holdout.items.extended(found.items.ids)
        lists = found.lists.aligned(mine).head(np.full(len(mine), cuts[-1], dtype=np.int64))
        lists = lists.remap(items.find_rows(found.items.ids))
        holdout = replace(self.holdout, items=items)
        counts = self.counts | {
            "users_without_list": int((mine < 0).sum()),
            "lists_without_truth": len(found.users) - int((mine >= 0).sum()),
            "lists_with_equal_scores": int(found.tied[mine[mine >= 0]].sum()),
            "unknown_recommended": int((lists.rows >= self.n_known).sum()) if self.n_known else 0,
            "seen_recommended": int(contained(lists, holdout.histories, len(items)).sum()),
        }
        self._tell(name, counts, len(lists.rows))
        evaluation = measure(
            name,
            list_blocks(lists),
            holdout,
            cuts,
            self._background(items),
            counts,
            len(items),
            len(items),
            seen_filtered=None if not len(holdout.histories.rows) else counts["seen_recommended"] == 0,
        )
        known = {cut: shown[: self.n_known] for cut, shown in evaluation.exposure.items()} if self.n_known else {}
        overall = {f"coverage@{cut}": beyond.catalog_coverage(shown) for cut, shown in known.items()}
        overall |= {f"gini@{cut}": beyond.gini(shown) for cut, shown in known.items()}
        counts = {name: count for name, count in evaluation.counts.items() if name != "users_with_none"}  # without a list
        return replace(evaluation, overall=overall, n_items=self.n_known, counts=counts, definition=OF_GIVEN_LISTS)

    def segments(self, evaluation: Evaluation) -> dict[str, pl.DataFrame]:
        """An evaluation by groups of users and items, as far as history and catalogue allow."""
        items, catalog, history = evaluation.holdout.items, self.catalog, self.history
        found = standard_segments(
            evaluation,
            None if history is None else history.with_items(items.ids),
            None if catalog is None else catalog.aligned(items),
            self.category,
        )
        return (
            found
            if len(evaluation.holdout.histories.rows)
            else {name: one for name, one in found.items() if name != HISTORY}
        )

    def _background(self, items: IdMap) -> Background:
        catalog, category = self.catalog, self.category
        return Background(
            train=None if self.history is None else self.history.with_items(items.ids),
            categories=None if catalog is None or category is None else catalog.aligned(items).memberships(category)[0],
        )

    def _check_items(self, found: Recommendations) -> None:
        base = self.holdout.items
        fill = found.items.find_rows([PADDING])[0]
        if fill >= 0 and base.find_rows([PADDING])[0] < 0:
            owner = found.lists.list_index()[int(np.argmax(found.lists.rows == fill))]
            raise padding(found.users.ids[int(owner)])
        known = IdMap(base.ids, "item", checked=True)
        if self.n_known:
            check_join(found.items.ids, known, "history, catalogue and truth", source="the recommendations")
        elif (base.find_rows(found.items.ids) < 0).all():  # a truth of few items may lack most of those recommended
            check_join(found.items.ids, known, "the truth", source="the recommendations", refuse=False)

    def _tell(self, name: str, counts: dict[str, int], places: int) -> None:
        """Warn of what makes figures other than they look."""
        if seen := counts["seen_recommended"]:
            warn(
                f"{name}: {seen:,} of {places:,} recommended items are in their user's history already; if people do not "
                f"return to items, the system should leave them out"
            )
        if missing := counts["users_without_list"]:
            warn(f"{name}: {missing:,} of {len(self.holdout):,} users of the truth have no list and count as misses")


def _held(truth: Interactions, history: Interactions | None, items: IdMap) -> Holdout:
    """The users of the truth, each item once, with what they did before."""
    some = np.flatnonzero(truth.histories.lengths)
    lists = truth.histories.take(some).remap(items.find_rows(truth.items.ids))
    targets = lists.where(first_of_pair(lists, len(items)))
    histories = Ragged.empty(len(some))
    if history is not None:
        rows = history.users.find_rows(truth.users.to_ids(some.astype(np.int32)))
        histories = history.histories.without_events().aligned(rows).remap(items.find_rows(history.items.ids))
    return Holdout(
        truth.users, items, some.astype(np.int32), histories, targets.without_events(), "given lists", targets.times
    )


def _check_repeats(repeats: int, pairs: int, truth: Interactions, history: Interactions, *, allow_leakage: bool) -> None:
    """Refuse a history that holds the truth's own events; warn if it holds many of the pairs."""
    shared = _shared_events(truth, history) if repeats else 0
    timed = truth.timestamps is not None and history.timestamps is not None
    if (shared or (repeats == pairs and not timed)) and not allow_leakage:
        what = f"{shared:,} of {len(truth):,} events" if timed else f"all {pairs:,} pairs of user and item"
        raise LeakageError(
            f"the history holds {what} of the truth, which the system was to foretell; take them out of the history, or "
            f"set allow_leakage=True (--allow-leakage) if the history is right"
        )
    if repeats > _MANY_REPEATS * pairs:
        warn(
            f"{repeats:,} of {pairs:,} pairs of the truth are in their user's history already: either people return to "
            f"items, or the history holds what the system was to foretell"
        )


def _shared_events(truth: Interactions, history: Interactions) -> int:
    """How many events of the truth the history has too: user, item and time."""
    if truth.timestamps is None or history.timestamps is None:
        return 0
    users, items = history.users.find_rows(truth.users.ids), history.items.find_rows(truth.items.ids)
    owners = truth.histories.list_index()
    mine = pl.DataFrame([users[owners], items[truth.histories.rows], truth.timestamps], schema=["user", "item", "time"])
    theirs = pl.DataFrame(
        [history.histories.list_index().astype(np.int32), history.histories.rows, history.timestamps],
        schema=["user", "item", "time"],
    )
    return mine.join(theirs, on=["user", "item", "time"], how="semi").height
