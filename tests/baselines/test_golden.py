"""Each baseline's scores against its definition, worked out another way."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from recsys.baselines import ALS, BPR, EASE, REGISTRY, ItemKNN, Popularity, Transitions, ZeroShot, by_name, ease
from recsys.core.ragged import Ragged
from recsys.data.catalog import Catalog
from recsys.data.interactions import Interactions
from recsys.errors import ConfigError, DataError, EncoderError, NotFittedError
from recsys.evaluation.protocol import Recommender
from recsys.index.exact import topk
from recsys.models.encoders.pretrained import TextEncoder

VectorTable = NDArray[np.float64]


def random_log(n_users: int = 60, n_items: int = 14, seed: int = 0) -> Interactions:
    """A log in which popular items exist, some pairs repeat, and weights differ."""
    rng = np.random.default_rng(seed)
    liking = rng.random((n_users, n_items)) < np.linspace(0.1, 0.6, n_items)
    pairs = [(user, item) for user in range(n_users) for item in np.flatnonzero(liking[user]).tolist()]
    pairs += pairs[::7]
    frame = pl.DataFrame(pairs, schema=["user_id", "item_id"], orient="row")
    return Interactions.from_frame(frame.with_columns(weight=pl.Series(rng.integers(1, 6, len(pairs)))))


LOG = random_log()
N_ITEMS = len(LOG.items)


def touched(log: Interactions) -> VectorTable:
    """Users by items, 1 where the user touched the item, however often."""
    matrix = np.zeros((len(log.users), len(log.items)))
    for user, rows in enumerate(log.histories.to_lists()):
        for row in rows:
            matrix[user, row] = 1.0
    return matrix


def scores_of(model: Recommender, history: list[int]) -> VectorTable:
    """Every item's score for one history, by item row."""
    ranked = model.recommend_rows(Ragged.from_lists([history]), len(model.items))
    scores = np.full(len(model.items), np.nan)
    scores[ranked.lists.rows] = ranked.scores
    return scores


def cosines(log: Interactions) -> VectorTable:
    """Item by item: users in common / sqrt(users of one · users of the other); 0 for an item with itself."""
    histories = log.histories.to_lists()
    users_of = [{user for user, rows in enumerate(histories) if item in rows} for item in range(len(log.items))]
    table = np.zeros((len(users_of), len(users_of)))
    for i, mine in enumerate(users_of):
        for j, others in enumerate(users_of):
            if i != j and mine and others:
                table[i, j] = len(mine & others) / math.sqrt(len(mine) * len(others))
    return table


def test_popularity_counts_the_users_of_an_item_not_its_events() -> None:
    counts = [sum(item in row for row in LOG.histories.to_lists()) for item in range(N_ITEMS)]
    assert counts != LOG.item_counts.tolist()
    assert scores_of(Popularity().fit(LOG), [3]).tolist() == counts


def test_recent_popularity_counts_the_users_of_the_last_days_and_breaks_ties_by_all_days() -> None:
    day, end = 86_400, 1_700_000_000
    rows = [("u", "new", end), ("v", "new", end - 1), ("u", "mid", end - 7 * day + 1), ("u", "mid", end), ("u", "old", 5)]
    rows += [(user, "edge", end - 7 * day) for user in "uvw"] + [("w", "often", end), ("v", "often", 9), ("u", "often", 9)]
    frame = pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row")
    log = Interactions.from_frame(frame)

    def ranked(days: float | None) -> list[str]:
        lists = Popularity(days).fit(log).recommend_rows(Ragged.from_lists([[]]), 5).lists
        return log.items.to_ids(lists.rows).to_list()

    assert ranked(7) == ["new", "often", "mid", "edge", "old"]  # in whole users: 2, 1, 1, 0, 0; seven days back is outside
    assert ranked(8) == ["edge", "new", "often", "mid", "old"]
    assert ranked(None) == ["edge", "often", "new", "mid", "old"]
    assert by_name("popularity-30-days").name == "popularity, 30 days"


@pytest.mark.parametrize(
    ("frame", "options", "has"),
    [
        ({"timestamp": [1, 2]}, {}, None),
        ({"order": [1, 2]}, {}, "only an order within each user"),
        ({}, {"unordered": True}, "no order at all"),
    ],
)
def test_recent_popularity_needs_times(frame: dict[str, list[int]], options: dict[str, bool], has: str | None) -> None:
    log = Interactions.from_frame(pl.DataFrame({"user_id": ["u", "v"], "item_id": ["a", "b"]} | frame), **options)
    if has is None:
        assert Popularity(1).fit(log).items.ids.to_list() == ["a", "b"]
        return
    with pytest.raises(DataError, match=rf"popularity, 7 days: .* the log has {has}; .* timestamp= \(--timestamp\)"):
        Popularity(7).fit(log)


@pytest.mark.parametrize("days", [0, -1, math.inf, math.nan, "7", True])
def test_days_that_are_none_are_refused(days: Any) -> None:
    with pytest.raises(ConfigError, match="days must be a"):
        Popularity(days)


def test_item_knn_with_room_for_all_neighbours_sums_cosines_over_the_history() -> None:
    model, table = ItemKNN(N_ITEMS).fit(LOG), cosines(LOG)
    for history in ([0], [4, 9], [1, 2, 3, 13]):
        assert scores_of(model, history) == pytest.approx(table[history].sum(0), abs=1e-6)


def test_item_knn_counts_an_item_of_the_history_once() -> None:
    model = ItemKNN(N_ITEMS).fit(LOG)
    assert scores_of(model, [4, 9, 4, 4]).tolist() == scores_of(model, [4, 9]).tolist()


@pytest.mark.parametrize("neighbours", [1, 3, 5])
def test_item_knn_keeps_the_nearest_neighbours_of_an_item_and_no_others(neighbours: int) -> None:
    model, table = ItemKNN(neighbours).fit(LOG), cosines(LOG)
    for item in range(N_ITEMS):
        scores = scores_of(model, [item])
        kept = np.flatnonzero(scores)
        assert len(kept) == neighbours
        assert scores[kept] == pytest.approx(table[item, kept], abs=1e-6)
        assert sorted(scores[kept]) == pytest.approx(sorted(table[item])[-neighbours:], abs=1e-6)


@pytest.mark.parametrize("neighbours", [1, 2, 3])
def test_item_knn_keeps_no_neighbour_too_many_where_others_are_as_near_as_the_item_itself(neighbours: int) -> None:
    frame = pl.DataFrame({"user_id": np.repeat(["p", "q", "r"], 5), "item_id": list("vwxyz") * 3})
    model = ItemKNN(neighbours).fit(Interactions.from_frame(frame))
    for item in range(5):
        scores = scores_of(model, [item])
        assert (scores > 0).sum() == neighbours
        assert scores[item] == 0.0


@pytest.mark.parametrize("regularisation", [0.5, 200.0])
def test_ease_is_a_ridge_regression_of_each_item_on_all_others(regularisation: float) -> None:
    matrix = touched(LOG)
    weights = np.zeros((N_ITEMS, N_ITEMS))
    for item in range(N_ITEMS):
        others = [row for row in range(N_ITEMS) if row != item]
        design = np.vstack([matrix[:, others], math.sqrt(regularisation) * np.eye(N_ITEMS - 1)])
        answer = np.concatenate([matrix[:, item], np.zeros(N_ITEMS - 1)])
        weights[others, item] = np.linalg.lstsq(design, answer)[0]
    model = EASE(regularisation).fit(LOG)
    for history in ([0], [4, 9], [1, 2, 3, 13], [5, 5]):
        assert scores_of(model, history) == pytest.approx(weights[sorted(set(history))].sum(0), abs=1e-5)


def test_ease_refuses_more_items_than_it_can_hold_and_stays_unfitted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ease, "_MOST_ITEMS", N_ITEMS - 1)
    model = EASE()
    with pytest.raises(ConfigError, match=f"EASE on {N_ITEMS} items .* it is limited to {N_ITEMS - 1} items"):
        model.fit(LOG)
    with pytest.raises(NotFittedError):
        model.recommend_rows(Ragged.from_lists([[0]]), 1)


@pytest.mark.parametrize("alpha", [1.0, 4.0])
def test_als_folds_a_history_in_by_the_closed_form_of_its_paper(alpha: float) -> None:
    # implicit: confidence alpha in a touched cell and 1 in an empty one; x = (YᵀCY + λI)⁻¹ YᵀCp.
    regularisation = 0.3
    model = ALS(5, alpha=alpha, regularisation=regularisation, iterations=5).fit(LOG)
    items = model._model.item_factors.astype(np.float64)
    for history in ([0], [4, 9, 4], [1, 2, 3, 13]):
        liked = np.isin(np.arange(N_ITEMS), history)
        confidence = np.where(liked, alpha, 1.0)
        left = items.T @ (confidence[:, None] * items) + regularisation * np.eye(5)
        user = np.linalg.solve(left, items.T @ (confidence * liked))
        assert scores_of(model, history) == pytest.approx(items @ user, rel=1e-4, abs=1e-5)


def test_als_comes_close_to_the_log_with_as_many_factors_as_items() -> None:
    model = ALS(N_ITEMS, regularisation=1e-3, iterations=30).fit(LOG)
    matrix = touched(LOG)
    found = np.array([scores_of(model, history) for history in LOG.histories.to_lists()])
    assert found == pytest.approx(matrix, abs=0.1)


@pytest.mark.parametrize("make", [lambda seed: ALS(4, seed=seed), lambda seed: BPR(4, seed=seed)])
def test_the_seed_decides_the_factors(make: Callable[[int], Recommender]) -> None:
    users = np.arange(len(LOG.users), dtype=np.int32)

    def scores(seed: int) -> list[float]:
        return make(seed).fit(LOG).recommend_rows(LOG.histories, N_ITEMS, users=users).scores.tolist()

    assert scores(1) == scores(1)
    assert scores(1) != scores(2)


def test_bpr_ranks_what_a_user_touched_above_what_the_user_did_not() -> None:
    model = BPR(8, learning_rate=0.05, iterations=300).fit(LOG)
    matrix = touched(LOG)
    users = np.arange(len(LOG.users), dtype=np.int32)
    lists = model.recommend_rows(LOG.histories, N_ITEMS, users=users).lists.to_lists()
    pairs = [
        (one.index(liked) < one.index(other))
        for user, one in enumerate(lists)
        for liked in np.flatnonzero(matrix[user]).tolist()
        for other in np.flatnonzero(matrix[user] == 0).tolist()
    ]
    assert np.mean(pairs) > 0.9  # 0.5 by chance


def test_bpr_knows_a_user_by_row_whatever_the_history_says() -> None:
    model = BPR(4, iterations=20).fit(LOG)
    users = np.array([7, 3], dtype=np.int32)
    nothing = model.recommend_rows(Ragged.empty(2), 5, users=users)
    something = model.recommend_rows(LOG.histories.take(users[::-1]), 5, users=users)
    assert nothing.lists.to_lists() == something.lists.to_lists()


@pytest.mark.parametrize("make", [ItemKNN, lambda: BPR(4, iterations=20)])
def test_answers_do_not_depend_on_how_many_scores_are_held_at_once(
    make: Callable[[], Recommender], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, users = make().fit(LOG), np.arange(len(LOG.users), dtype=np.int32)
    whole = model.recommend_rows(LOG.histories, 5, exclude=LOG.histories, users=users)
    monkeypatch.setattr(topk, "BLOCK_BYTES", 4 * 7 * N_ITEMS)
    blocked = model.recommend_rows(LOG.histories, 5, exclude=LOG.histories, users=users)
    assert blocked.lists.to_lists() == whole.lists.to_lists()
    assert blocked.scores == pytest.approx(whole.scores, abs=1e-6)


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (ItemKNN, {"neighbours": 0}, "neighbours must be at least 1, not 0"),
        (EASE, {"regularisation": 0.0}, "regularisation must be above 0 and finite, not 0.0"),
        (EASE, {"regularisation": -1.0}, "regularisation must be above 0 and finite, not -1.0"),
        (EASE, {"regularisation": math.nan}, "regularisation must be above 0 and finite, not nan"),
        (EASE, {"regularisation": math.inf}, "regularisation must be above 0 and finite, not inf"),
        (ALS, {"factors": 0}, "factors must be at least 1, not 0"),
        (ALS, {"iterations": 0}, "iterations must be at least 1, not 0"),
        (ALS, {"regularisation": -0.1}, "regularisation must be at least 0 and finite, not -0.1"),
        (ALS, {"alpha": 0.0}, "alpha must be above 0 and finite, not 0.0"),
        (BPR, {"factors": -2}, "factors must be at least 1, not -2"),
        (BPR, {"iterations": 0}, "iterations must be at least 1, not 0"),
        (BPR, {"regularisation": math.nan}, "regularisation must be at least 0 and finite, not nan"),
        (BPR, {"learning_rate": 0.0}, "learning_rate must be above 0 and finite, not 0.0"),
    ],
)
def test_an_option_out_of_range_is_refused_when_the_model_is_made(
    make: Callable[..., Recommender], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        make(**options)


# Zero-shot, on vectors made by hand.

VECTORS = {"east": [3.0, 0.0], "north": [0.0, 0.5], "north-east": [2.0, 2.0], "west": [-1.0, 0.0], "east again": [5.0, 0.0]}


@pytest.fixture
def handmade(monkeypatch: pytest.MonkeyPatch, tiny_encoder: Path) -> str:
    """An encoder that gives each text of VECTORS its vector."""

    def encode(self: TextEncoder, texts: list[str]) -> NDArray[np.float32]:
        return np.array([VECTORS[text] for text in texts], dtype=np.float32)

    monkeypatch.setattr(TextEncoder, "encode", encode)
    return str(tiny_encoder)


def compass(*more: str) -> tuple[Interactions, Catalog]:
    """Two events, and a catalogue with one item for each text and one without a text."""
    log = Interactions.from_frame(pl.DataFrame({"user_id": ["u", "u"], "item_id": ["east", "north"]}))
    names = [*VECTORS, *more]
    frame = pl.DataFrame({"item_id": [*names, "blank"], "title": [name.split(" (")[0] for name in names] + [None]})
    return log, Catalog.from_frame(frame, text=["title"])


def scores_by_name(model: ZeroShot, history: list[str]) -> dict[str, float]:
    return dict(zip(model.items.ids, scores_of(model, model.items.to_rows(history).tolist()).tolist(), strict=True))


def test_zero_shot_is_the_cosine_with_the_mean_of_the_unit_vectors(handmade: str) -> None:
    model = ZeroShot(handmade).fit(*compass())
    half = math.sqrt(0.5)
    one = {"east": 1.0, "north": 0.0, "north-east": half, "west": -1.0, "east again": 1.0, "blank": 0.0}
    assert scores_by_name(model, ["east"]) == pytest.approx(one, abs=1e-6)
    both = {"east": half, "north": half, "north-east": 1.0, "west": -half, "east again": half, "blank": 0.0}
    assert scores_by_name(model, ["east", "north"]) == pytest.approx(both, abs=1e-6)  # whatever the vectors' lengths
    assert scores_by_name(model, ["east", "north", "east", "blank"]) == pytest.approx(both, abs=1e-6)


def test_a_history_without_a_text_leaves_all_items_alike_to_zero_shot(handmade: str) -> None:
    model = ZeroShot(handmade).fit(*compass())
    assert set(scores_by_name(model, ["blank"]).values()) == {0.0}
    assert set(scores_by_name(model, ["east", "west"]).values()) == {0.0}  # they cancel out, and nothing is divided by 0


def test_zero_shot_compares_whitened_vectors_where_asked(handmade: str) -> None:
    # Of distinct texts alone: the ten copies of "west" have no weight of their own.
    model = ZeroShot(handmade, whiten=True).fit(*compass(*(f"west ({i})" for i in range(10))))
    table = np.array(list(VECTORS.values()))
    centred = table - table.mean(0)
    variances, directions = np.linalg.eigh(centred.T @ centred / len(table))
    white = centred @ directions / np.sqrt(variances + 0.01 * variances.mean())
    white /= np.linalg.norm(white, axis=1, keepdims=True)
    query = white[0] + white[1]
    expected = white @ query / np.linalg.norm(query)
    found = scores_by_name(model, ["east", "north"])
    assert [found[name] for name in VECTORS] == pytest.approx(expected.tolist(), abs=1e-4)


def test_zero_shot_on_a_real_encoder_is_the_same_sum(tiny_encoder: Path, ring: Interactions, ring_catalog: Catalog) -> None:
    model = ZeroShot(str(tiny_encoder)).fit(ring, ring_catalog)
    texts = ring_catalog.aligned(model.items).texts.to_list()
    unit = TextEncoder(tiny_encoder).encode(texts)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    query = unit[[3, 8, 20]].sum(0)
    assert scores_of(model, [3, 8, 20]) == pytest.approx(unit @ query / np.linalg.norm(query), abs=1e-4)


def test_zero_shot_without_texts_is_refused_and_stays_unfitted(handmade: str) -> None:
    log, catalog = compass()
    model = ZeroShot(handmade)
    for empty in (None, Catalog.without_text(catalog.items)):
        with pytest.raises(DataError, match=r"zero-shot only reads texts: .*\(--catalog, --text\)"):
            model.fit(log, empty)
    with pytest.raises(NotFittedError):
        _ = model.items
    with pytest.raises(EncoderError, match="nowhere-at-all"):
        ZeroShot("./nowhere-at-all").fit(log, catalog)


def test_every_baseline_has_a_name_by_which_it_is_made() -> None:
    made = {name: type(by_name(name)) for name in REGISTRY}
    assert made == {
        "popularity": Popularity, "item-knn": ItemKNN, "ease": EASE, "als": ALS, "bpr": BPR, "zero-shot": ZeroShot,
        "transitions": Transitions, "popularity-7-days": Popularity, "popularity-30-days": Popularity,
        "popularity-90-days": Popularity,
    }  # fmt: skip
    with pytest.raises(ConfigError, match="no baseline 'magic'; choose one of popularity"):
        by_name("magic")
