"""What every recommender promises, as plain functions: ``check(make)``, where ``make()`` gives an unfitted one.

Run them for a new model with ``@pytest.mark.parametrize("check", CHECKS)``, and ``PERSONAL`` too where it reads
histories. The log is two worlds that never meet: each user has touched all items of one world but one, so that the one
left is evident. Requests carry both histories and user rows; a model may read either.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np
import polars as pl
import pytest

from recsys.core.ragged import Bool, Int32, Ragged, mask_of
from recsys.core.ranking import Ranked
from recsys.data.catalog import Catalog
from recsys.data.interactions import Interactions
from recsys.data.split import Holdout
from recsys.errors import ConfigError, DataError, LeakageError, NotFittedError
from recsys.evaluation.evaluate import evaluate
from recsys.evaluation.protocol import Recommender

Make = Callable[[], Recommender]
Check = Callable[[Make], None]

_WORLDS = {
    "a": ("anvil", "hammer", "chisel", "pliers", "saw", "drill"),
    "b": ("rose", "tulip", "daisy", "lily", "orchid", "iris"),
}
_USERS_PER_WORLD = 18
TOLERANCE = 1e-4
"""Between scores of the same item in batches of different size, or in two fits of the same configuration."""


def _events() -> pl.DataFrame:
    """User number n has touched the five items after item n, going round, and lacks item n itself."""
    rows = []
    for number in range(_USERS_PER_WORLD):
        for world, items in _WORLDS.items():
            rows += [(f"{world}{number}", items[(number + step) % len(items)]) for step in range(1, len(items))]
    return pl.DataFrame(rows, schema=["user_id", "item_id"], orient="row")


def _catalog(items: pl.Series, *more: str) -> Catalog:
    names = [*items.to_list(), *more]
    world_of = {item: world for world, items in _WORLDS.items() for item in items}
    titles = [f"{name}, a thing of world {world_of.get(name, 'c')}" for name in names]
    return Catalog.from_frame(pl.DataFrame({"item_id": names, "title": titles}), text=["title"])


LOG = Interactions.from_frame(_events())
CATALOG = _catalog(LOG.items.ids)
EVIDENT: Int32 = LOG.items.to_rows([_WORLDS[user[0]][int(user[1:]) % len(_WORLDS[user[0]])] for user in LOG.users.ids])
"""For each user row, the item row that is left of the user's world."""
EVERYBODY: Int32 = np.arange(len(LOG.users), dtype=np.int32)
N_ITEMS = len(LOG.items)


def _repeated_log() -> Interactions:
    """Every event twice in a row, with weights of 1 to 5."""
    events = _events()
    twice = events[np.repeat(np.arange(events.height), 2).tolist()]
    return Interactions.from_frame(twice.with_columns(weight=pl.int_range(pl.len()) % 5 + 1))


REPEATED_LOG = _repeated_log()
"""The same users and items in the same rows; each event has a weight and happens twice."""


@cache
def fitted(make: Make) -> Recommender:
    """One fitted model per factory; no check may change what it answers."""
    return make().fit(LOG, CATALOG)


def ask(model: Recommender, users: Int32, k: int, exclude: Ragged | None = None, eligible: Bool | None = None) -> Ranked:
    """Rank for some users of the log."""
    return model.recommend_rows(LOG.histories.take(users), k, exclude=exclude, users=users, eligible=eligible)


def scores_by_item(ranked: Ranked) -> list[dict[int, float]]:
    """Per list, the score of each item in it."""
    parts = np.split(ranked.scores, ranked.lists.offsets[1:-1])
    return [dict(zip(rows, part.tolist(), strict=True)) for rows, part in zip(ranked.lists.to_lists(), parts, strict=True)]


def assert_same_scores(found: Ranked, expected: Ranked) -> None:
    """The same items with the same scores; the order follows, but for items whose scores differ by rounding."""
    for one, other in zip(scores_by_item(found), scores_by_item(expected), strict=True):
        assert one == pytest.approx(other, rel=TOLERANCE, abs=TOLERANCE)


def assert_well_formed(ranked: Ranked, n: int, k: int, n_items: int) -> None:
    """n lists of at most k distinct items of the catalogue, best first, equal scores in row order."""
    assert len(ranked) == n
    assert len(ranked.scores) == len(ranked.lists.rows)
    assert np.isfinite(ranked.scores).all()
    for one in scores_by_item(ranked):
        assert len(one) <= k
        assert all(0 <= row < n_items for row in one)
        assert list(one) == sorted(one, key=lambda row: (-one[row], row))
    assert ranked.lists.lengths.tolist() == [len(one) for one in scores_by_item(ranked)], "an item twice in a list"


def check_is_a_recommender(make: Make) -> None:
    model = fitted(make)
    assert isinstance(model, Recommender)
    assert model.name


def check_refuses_to_answer_before_fit(make: Make) -> None:
    model = make()
    with pytest.raises(NotFittedError, match="fit"):
        ask(model, EVERYBODY, 3)
    with pytest.raises(NotFittedError, match="fit"):
        _ = model.users
    with pytest.raises(NotFittedError, match="fit"):
        _ = model.items


def check_fit_returns_the_model_itself(make: Make) -> None:
    model = make()
    assert model.fit(LOG, CATALOG) is model


def check_knows_the_users_and_items_of_its_log(make: Make) -> None:
    model = fitted(make)
    assert model.users.ids.to_list() == LOG.users.ids.to_list()
    assert model.items.ids.to_list() == LOG.items.ids.to_list()


def check_lists_are_well_formed(make: Make) -> None:
    for k in (1, 5, N_ITEMS, 1000):
        ranked = ask(fitted(make), EVERYBODY, k)
        assert_well_formed(ranked, len(EVERYBODY), k, N_ITEMS)
        assert ranked.lists.lengths.tolist() == [min(k, N_ITEMS)] * len(EVERYBODY)


def check_a_shorter_list_is_the_head_of_a_longer_one(make: Make) -> None:
    short, long = ask(fitted(make), EVERYBODY, 4), ask(fitted(make), EVERYBODY, N_ITEMS)
    assert short.lists.to_lists() == [one[:4] for one in long.lists.to_lists()]


def check_excluded_items_never_appear(make: Make) -> None:
    whole = list(range(N_ITEMS))
    exclusions = {
        "nothing": [],
        "one item": [3],
        "one item twice": [3, 3],
        "the history": LOG.histories[0].tolist(),
        "all but one": [row for row in whole if row != 7],
        "everything": whole,
    }
    users = np.zeros(len(exclusions), dtype=np.int32)
    ranked = ask(fitted(make), users, N_ITEMS, Ragged.from_lists(exclusions.values()))
    assert_well_formed(ranked, len(users), N_ITEMS, N_ITEMS)
    for (what, gone), shown in zip(exclusions.items(), ranked.lists.to_lists(), strict=True):
        assert set(shown) == set(whole) - set(gone), f"with {what} excluded"


def check_fewer_come_where_fewer_are_eligible(make: Make) -> None:
    gone = [row for row in range(N_ITEMS) if row not in (2, 9)]
    ranked = ask(fitted(make), EVERYBODY[:1], 5, Ragged.from_lists([gone]))
    assert sorted(ranked.lists[0].tolist()) == [2, 9]


def check_exclusion_leaves_the_rest_as_it_was(make: Make) -> None:
    free = ask(fitted(make), EVERYBODY, N_ITEMS)
    seen = LOG.histories.take(EVERYBODY)
    ranked = ask(fitted(make), EVERYBODY, N_ITEMS, seen)
    expected = [[row for row in one if row not in seen[i]] for i, one in enumerate(free.lists.to_lists())]
    assert ranked.lists.to_lists() == expected


def check_only_eligible_items_are_returned(make: Make) -> None:
    free, seen = ask(fitted(make), EVERYBODY, N_ITEMS), LOG.histories.take(EVERYBODY)
    for chosen in ([], [4], [2, 3, 9], list(range(N_ITEMS))):
        eligible = mask_of(np.array(chosen, dtype=np.int64), N_ITEMS)
        ranked = ask(fitted(make), EVERYBODY, N_ITEMS, eligible=eligible)
        assert ranked.lists.to_lists() == [[row for row in one if row in chosen] for one in free.lists.to_lists()]
        both = ask(fitted(make), EVERYBODY, 2, seen, eligible)
        expected = [[row for row in one if row not in seen[i]][:2] for i, one in enumerate(ranked.lists.to_lists())]
        assert both.lists.to_lists() == expected


def check_the_traits_say_what_it_learned_from(make: Make) -> None:
    traits = fitted(make).traits
    assert traits.trained_on is not None
    assert traits.trained_on.histories.to_lists() == LOG.histories.to_lists()
    assert traits.vectors is None or len(traits.vectors) == N_ITEMS
    assert not traits.reads_request_time
    assert traits.event_names == ()


def check_request_times_are_accepted_by_a_model_that_does_not_read_them(make: Make) -> None:
    times = np.arange(len(EVERYBODY), dtype=np.int64)
    timed = fitted(make).recommend_rows(LOG.histories.take(EVERYBODY), 3, users=EVERYBODY, request_times=times)
    assert_same_scores(timed, ask(fitted(make), EVERYBODY, 3))


def check_it_can_be_evaluated(make: Make) -> None:
    targets = Ragged.from_lists([[row] for row in EVIDENT])
    holdout = Holdout(LOG.users, LOG.items, EVERYBODY, LOG.histories, targets, "what is left of each user's world")
    report = evaluate(fitted(make), holdout, (1, N_ITEMS))
    assert report.n_users == len(EVERYBODY)
    assert report[f"recall@{N_ITEMS}"] == 1.0
    cold = evaluate(fitted(make), holdout, N_ITEMS, eligible=np.unique(EVIDENT)[:3])
    assert cold.n_items == 3
    with pytest.raises(LeakageError):
        evaluate(fitted(make), replace(holdout, histories=targets, targets=LOG.histories), 1)


def check_a_batch_answers_as_one_by_one(make: Make) -> None:
    seen = LOG.histories.take(EVERYBODY)
    together = ask(fitted(make), EVERYBODY, N_ITEMS, seen)
    alone = [ask(fitted(make), EVERYBODY[i : i + 1], N_ITEMS, seen.block(i, i + 1)) for i in EVERYBODY]
    assert_same_scores(Ranked.joined(alone), together)


def check_the_order_of_requests_does_not_matter(make: Make) -> None:
    shuffled = np.random.default_rng(1).permutation(EVERYBODY).astype(np.int32)
    assert_same_scores(ask(fitted(make), shuffled, N_ITEMS), ask(fitted(make), EVERYBODY, N_ITEMS).take(shuffled))


def check_no_requests_give_no_lists(make: Make) -> None:
    assert len(ask(fitted(make), EVERYBODY[:0], 3)) == 0


def check_the_same_question_has_the_same_answer(make: Make) -> None:
    first, second = ask(fitted(make), EVERYBODY, N_ITEMS), ask(fitted(make), EVERYBODY, N_ITEMS)
    assert second.lists.to_lists() == first.lists.to_lists()
    assert second.scores.tolist() == first.scores.tolist()


def check_two_fits_of_the_same_configuration_agree(make: Make) -> None:
    assert_same_scores(ask(make().fit(LOG, CATALOG), EVERYBODY, N_ITEMS), ask(fitted(make), EVERYBODY, N_ITEMS))


def check_a_refit_forgets_the_first_log(make: Make) -> None:
    other = LOG.select(LOG.histories.list_index() % 3 == 0).compact()
    model = make().fit(other, _catalog(other.items.ids)).fit(LOG, CATALOG)
    assert model.items.ids.to_list() == LOG.items.ids.to_list()
    assert_same_scores(ask(model, EVERYBODY, N_ITEMS), ask(fitted(make), EVERYBODY, N_ITEMS))


def check_items_of_the_catalogue_alone_are_candidates(make: Make) -> None:
    model = make().fit(LOG, _catalog(pl.Series(["comet"]), *LOG.items.ids, "meteor"))
    assert model.items.ids.to_list() == [*LOG.items.ids, "comet", "meteor"]
    comet, meteor = N_ITEMS, N_ITEMS + 1
    ranked = ask(model, EVERYBODY, 100)
    assert_well_formed(ranked, len(EVERYBODY), 100, N_ITEMS + 2)
    assert ranked.lists.lengths.tolist() == [N_ITEMS + 2] * len(EVERYBODY)
    strange = Ragged.from_lists([[comet], [0, meteor, comet]])
    assert_well_formed(model.recommend_rows(strange, 5, exclude=strange, users=EVERYBODY[:2]), 2, 5, N_ITEMS + 2)
    others = Ragged.from_lists([[row for row in range(N_ITEMS + 2) if row != meteor]])
    assert ask(model, EVERYBODY[:1], 5, others).lists.to_lists() == [[meteor]]


def check_fit_leaves_the_log_as_it_was(make: Make) -> None:
    weights = np.arange(1, len(LOG) + 1, dtype=np.float32)
    offsets, rows = LOG.histories.offsets.copy(), LOG.histories.rows.copy()
    train = replace(LOG, histories=Ragged(offsets, rows), weights=weights)
    make().fit(train, CATALOG)
    assert np.array_equal(train.histories.offsets, LOG.histories.offsets)
    assert np.array_equal(train.histories.rows, LOG.histories.rows)
    assert np.array_equal(weights, np.arange(1, len(LOG) + 1, dtype=np.float32))
    assert train.items.ids.to_list() == LOG.items.ids.to_list()


def check_an_answer_leaves_the_request_as_it_was(make: Make) -> None:
    histories, exclude = LOG.histories.take(EVERYBODY), Ragged.from_lists([[5, 2]] * len(EVERYBODY))
    users = EVERYBODY.copy()
    fitted(make).recommend_rows(histories, 3, exclude=exclude, users=users)
    assert histories.to_lists() == LOG.histories.to_lists()
    assert exclude.to_lists() == [[5, 2]] * len(EVERYBODY)
    assert np.array_equal(users, EVERYBODY)


def check_a_k_below_1_is_refused(make: Make) -> None:
    for k in (0, -1):
        with pytest.raises(ConfigError, match=f"k must be at least 1, not {k}"):
            ask(fitted(make), EVERYBODY, k)


def check_exclusions_that_are_not_one_list_per_request_are_refused(make: Make) -> None:
    for lists in (len(EVERYBODY) - 1, len(EVERYBODY) + 1):
        with pytest.raises(ConfigError, match=f"exclude has {lists} lists"):
            ask(fitted(make), EVERYBODY, 3, Ragged.empty(lists))


def check_an_empty_log_is_refused(make: Make) -> None:
    model = make()
    with pytest.raises(DataError):
        model.fit(LOG.select(np.zeros(len(LOG), dtype=np.bool_)), CATALOG)
    with pytest.raises(NotFittedError):
        ask(model, EVERYBODY, 3)


def check_a_log_with_weights_and_repeated_events_is_learned_from(make: Make) -> None:
    seen = REPEATED_LOG.histories
    ranked = make().fit(REPEATED_LOG, CATALOG).recommend_rows(seen, N_ITEMS, exclude=seen, users=EVERYBODY)
    assert_well_formed(ranked, len(EVERYBODY), N_ITEMS, N_ITEMS)
    assert ranked.lists.lengths.tolist() == [N_ITEMS - 5] * len(EVERYBODY)


def check_the_evident_item_comes_first(make: Make) -> None:
    ranked = ask(fitted(make), EVERYBODY, 1, LOG.histories.take(EVERYBODY))
    assert ranked.lists.rows.tolist() == EVIDENT.tolist()


def check_the_evident_item_comes_first_also_with_weights_and_repeated_events(make: Make) -> None:
    seen = REPEATED_LOG.histories
    ranked = make().fit(REPEATED_LOG, CATALOG).recommend_rows(seen, 1, exclude=seen, users=EVERYBODY)
    assert ranked.lists.rows.tolist() == EVIDENT.tolist()


CHECKS: tuple[Check, ...] = (
    check_is_a_recommender,
    check_refuses_to_answer_before_fit,
    check_fit_returns_the_model_itself,
    check_knows_the_users_and_items_of_its_log,
    check_lists_are_well_formed,
    check_a_shorter_list_is_the_head_of_a_longer_one,
    check_excluded_items_never_appear,
    check_fewer_come_where_fewer_are_eligible,
    check_exclusion_leaves_the_rest_as_it_was,
    check_only_eligible_items_are_returned,
    check_the_traits_say_what_it_learned_from,
    check_request_times_are_accepted_by_a_model_that_does_not_read_them,
    check_it_can_be_evaluated,
    check_a_batch_answers_as_one_by_one,
    check_the_order_of_requests_does_not_matter,
    check_no_requests_give_no_lists,
    check_the_same_question_has_the_same_answer,
    check_two_fits_of_the_same_configuration_agree,
    check_a_refit_forgets_the_first_log,
    check_items_of_the_catalogue_alone_are_candidates,
    check_fit_leaves_the_log_as_it_was,
    check_an_answer_leaves_the_request_as_it_was,
    check_a_k_below_1_is_refused,
    check_exclusions_that_are_not_one_list_per_request_are_refused,
    check_an_empty_log_is_refused,
    check_a_log_with_weights_and_repeated_events_is_learned_from,
)
"""What every recommender promises."""

PERSONAL: tuple[Check, ...] = (
    check_the_evident_item_comes_first,
    check_the_evident_item_comes_first_also_with_weights_and_repeated_events,
)
"""What a recommender promises besides if its lists differ from user to user."""
