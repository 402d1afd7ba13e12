"""Why an item is recommended, against loops that ask the model again and again."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from recsys.config.training import Training
from recsys.core.id_map import IdMap
from recsys.core.ragged import Ragged
from recsys.data.catalog import Catalog
from recsys.data.interactions import Interactions
from recsys.data.split import leave_last_out
from recsys.data.user_table import UserTable
from recsys.errors import ConfigError, DataError, UnsupportedError
from recsys.models.networks.content import ItemContent, TokenBags
from recsys.models.networks.ensemble import UserEnsemble
from recsys.models.networks.item_tower import ItemTower
from recsys.models.networks.two_tower import TwoTowerNetwork
from recsys.models.networks.user_tower import UserTower
from recsys.models.towers import TwoTowerModel, numpy_of
from recsys.serving.explain import explain, nearest_in_history, occlusion
from recsys.serving.occlude import Explanation, explanation_frame, sentences
from recsys.serving.score_breakdown import score_breakdown, text_occlusion, token_shares
from recsys.two_tower import TwoTower
from tests.conftest import make_events, make_items

QUICK = Training(epochs=3, batch_tokens=64, learning_rate=1e-2, device="cpu")
HOUR = 3600
READ = 4
"""Events that the models here read; histories of the training log have 6."""

MODELS: dict[str, dict[str, Any]] = {
    "text": {"word_features": "on", "text_dim": 8},
    "content": {"encoder": None, "word_features": "on", "categories": ("kinds",), "numbers": ("price",), "score": "dot"},
    "sides": {"encoder": None, "time_bias": "request", "event_heads": True, "score": "dot"},
}


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    frame = make_items()
    words = frame["title"].str.split(" ")
    frame = frame.with_columns(
        kinds=words.list.get(1) + "|" + words.list.get(2),
        price=pl.Series([None, *range(31)]),
    )
    return Catalog.from_frame(frame, text=["title"])


@pytest.fixture(scope="module")
def models(catalog: Catalog, tiny_encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, TwoTower]:
    """One fitted model of each kind, with hours between events, types of events, and teams of users."""
    kinds = pl.Series(["view", "cart", "view", "buy"] * 80)
    log = Interactions.from_frame(make_events().with_columns(pl.col("timestamp") * HOUR, event_type=kinds))
    people = UserTable.from_frame(
        pl.DataFrame({"user_id": [f"u{i}" for i in range(40)], "team": ["red", "blue"] * 20}), categorical=["team"]
    )
    fitted = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RECSYS_CACHE", str(tmp_path_factory.mktemp("cache")))
        for name, options in MODELS.items():
            shape = {"encoder": str(tiny_encoder), "dim": 16, "heads": 2, "max_length": READ, "dropout": 0.0}
            users = people if name == "sides" else None
            fitted[name] = TwoTower(**shape | options).fit(leave_last_out(log).train, catalog, training=QUICK, users=users)
    return fitted


@pytest.fixture(params=MODELS)
def model(models: dict[str, TwoTower], request: pytest.FixtureRequest) -> TwoTower:
    return models[request.param]


TARGETS = np.array([0, 7, 30, 11], dtype=np.int32)


def history_of(model: TwoTower, user: int, length: int = 6) -> Ragged:
    log = model.traits.trained_on
    assert log is not None
    return log.histories.take(np.array([user])).tail(length)


def scores(
    towers: TwoTowerModel,
    history: Ragged,
    user: int = -1,
    request_time: int | None = None,
    target_event: int | None = None,
) -> Any:
    """What the model gives each target when it is asked as it always is."""
    times = None if request_time is None else np.array([request_time])
    vector = numpy_of(towers.user_vectors(history, np.array([user], dtype=np.int32), times, target_event))[0]
    return np.array([float(vector @ towers.vectors[target]) for target in TARGETS])


def without(history: Ragged, place: int) -> Ragged:
    return history.where(np.arange(len(history.rows)) != place)


@pytest.mark.parametrize("length", [2, READ, READ + 1, READ + 2])
def test_a_contribution_is_the_score_with_the_event_less_the_score_without(model: TwoTower, length: int) -> None:
    history, towers = history_of(model, 3, length), model.towers
    now = 1000 * HOUR
    whole = scores(towers, history, request_time=now)
    naive = np.array([whole - scores(towers, without(history, place), request_time=now) for place in range(length)])
    found = occlusion(towers, history, TARGETS, request_time=now)
    assert found.shape == (length, 4)
    assert found.dtype == np.float32
    assert np.abs(naive).max() > 0.01
    np.testing.assert_allclose(found, naive, atol=2e-5)


def test_an_event_too_old_to_be_read_contributes_exactly_nothing(model: TwoTower) -> None:
    found = occlusion(model.towers, history_of(model, 3), TARGETS)
    assert (found[: 6 - READ] == 0).all()
    assert (found[6 - READ :] != 0).all()


def test_the_only_event_contributes_the_whole_score(model: TwoTower) -> None:
    history = history_of(model, 3, 1)
    np.testing.assert_allclose(occlusion(model.towers, history, TARGETS), [scores(model.towers, history)], atol=2e-5)


def test_features_of_the_user_and_the_wanted_event_are_asked_with_and_without(models: dict[str, TwoTower]) -> None:
    towers, history = models["sides"].towers, history_of(models["sides"], 3)
    assert history.times is not None
    asked = {"user": 5, "request_time": int(history.times[-1]) + 60, "target_event": 0}
    found = occlusion(towers, history, TARGETS, **asked)
    naive = [scores(towers, history, **asked) - scores(towers, without(history, place), **asked) for place in range(6)]
    np.testing.assert_allclose(found, naive, atol=2e-5)
    for other in ({"user": 4}, {"request_time": 10**9}, {"target_event": 1}):
        assert not np.allclose(occlusion(towers, history, TARGETS, **asked | other), found, atol=1e-4)


def test_the_clock_stands_at_the_last_event_even_where_that_is_left_out(models: dict[str, TwoTower]) -> None:
    towers, history = models["sides"].towers, history_of(models["sides"], 3)
    assert history.times is not None
    clocked = occlusion(towers, history, TARGETS, request_time=int(history.times[-1]))
    np.testing.assert_array_equal(occlusion(towers, history, TARGETS), clocked)


def test_all_histories_are_encoded_in_one_call(model: TwoTower, monkeypatch: pytest.MonkeyPatch) -> None:
    calls, encode = [], TwoTowerModel.user_vectors
    monkeypatch.setattr(
        TwoTowerModel, "user_vectors", lambda self, *given: calls.append(len(given[0])) or encode(self, *given)
    )
    occlusion(model.towers, history_of(model, 3), TARGETS)
    assert calls == [READ + 1]


def test_what_cannot_be_explained_is_refused(models: dict[str, TwoTower]) -> None:
    towers = models["sides"].towers
    with pytest.raises(ConfigError, match="one history is explained at a time, and there are 2"):
        occlusion(towers, Ragged.empty(2), TARGETS)
    with pytest.raises(DataError, match="the history is empty"):
        occlusion(towers, Ragged.empty(1), TARGETS)
    with pytest.raises(DataError, match="reads the times of a history"):
        occlusion(towers, history_of(models["sides"], 3).without_events(), TARGETS)
    with pytest.raises(ConfigError, match="an event type is asked for of a tower without event heads"):
        occlusion(models["text"].towers, history_of(models["text"], 3), TARGETS, target_event=0)


def test_explanations_hold_the_score_and_the_column_of_their_target(model: TwoTower) -> None:
    history = history_of(model, 3)
    found = explain(model.towers, history, TARGETS, user=2)
    assert [one.item for one in found] == TARGETS.tolist()
    np.testing.assert_allclose([one.score for one in found], scores(model.towers, history, user=2), atol=2e-5)
    columns = occlusion(model.towers, history, TARGETS, user=2).T
    np.testing.assert_array_equal([one.contributions for one in found], columns)


@pytest.mark.parametrize("top", [1, 3, 9])
def test_the_nearest_of_a_history_are_those_of_the_largest_cosine(model: TwoTower, top: int) -> None:
    history = np.array([9, 2, 2, 14, 7, 9], dtype=np.int32)
    rows, cosines = nearest_in_history(model.towers, history, TARGETS, top)
    vectors = model.vectors.astype(np.float64)
    for target, found, near in zip(TARGETS, rows.tolist(), cosines, strict=True):
        naive = {
            row: vectors[row] @ vectors[target] / np.linalg.norm(vectors[row]) / np.linalg.norm(vectors[target])
            for row in set(history.tolist())
        }
        assert found == sorted(naive, key=lambda row: -naive[row])[:top]
        np.testing.assert_allclose(near, [naive[row] for row in found], atol=1e-5)


def test_nearness_to_nothing_is_refused(models: dict[str, TwoTower]) -> None:
    with pytest.raises(ConfigError, match="top must be at least 1, not 0"):
        nearest_in_history(models["text"].towers, TARGETS, TARGETS, 0)
    with pytest.raises(DataError, match="the history is empty"):
        nearest_in_history(models["text"].towers, TARGETS[:0], TARGETS)


def test_people_read_ids_titles_and_places_the_largest_contribution_first(catalog: Catalog) -> None:
    history = catalog.items.to_rows(["i3", "i1", "i4", "i3"])
    explanation = Explanation(0, 0.9, history, np.array([0.125, -0.25, 0.5, 0.125], dtype=np.float32))
    frame = explanation_frame(explanation, catalog)
    assert frame.to_dict(as_series=False) == {
        "item_id": ["i4", "i3", "i3", "i1"],
        "title": ["a red bike", "a red train", "a red train", "a red boat"],
        "contribution": [0.5, 0.125, 0.125, -0.25],
        "place": [3, 1, 4, 2],
    }


def test_sentences_say_because_and_although_and_nothing_of_nothing() -> None:
    frame = pl.DataFrame(
        {
            "item_id": [1, 5, 2, 3],
            "title": ["Toy Story", "5", "Jumanji", "Heat"],
            "contribution": [0.1234, 0.1, 0.004, -0.05],
            "place": [1, 2, 3, 4],
        }
    )
    lines = [
        "because you interacted with Toy Story (1): +0.12",
        "because you interacted with 5: +0.10",
        "although you interacted with Heat (3): -0.05",
    ]
    assert sentences(frame) == lines
    assert sentences(frame, top=3) == lines[:2]


def every_part(*, cosine: bool, ensemble_size: int = 1) -> TwoTowerModel:
    """Towers of nine items with every part there is; items 0 and 1 have no id, item 2 no text and no words."""
    generator = torch.Generator().manual_seed(0)

    def noise(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    offsets = torch.tensor([0, 2, 4, 4, 5, 6, 8, 9, 10, 12])
    bags = TokenBags(offsets, torch.tensor([0, 3, 1, 2, 0, 1, 2, 3, 0, 1, 0, 3]), noise(12).abs(), size=4)
    text = noise(9, 5)
    text[2] = 0
    content = ItemContent(text=text, images=noise(9, 3), numbers=noise(9, 2), bags=bags)
    towers = [UserTower(8 // ensemble_size, 1, 2, 4, 0.0) for _ in range(ensemble_size)]
    items = ItemTower(9, 8, content, torch.arange(9) > 1, ensemble_size=ensemble_size)
    net = TwoTowerNetwork(items, UserEnsemble(towers) if ensemble_size > 1 else towers[0], cosine=cosine)
    with torch.no_grad():
        for weight in net.items.parameters():
            weight.copy_(noise(*weight.shape))
        assert net.items.id is not None
        net.items.id.weight[:2] = noise(2, 8)  # left out for not being known, rather than for being zero
    names = IdMap(pl.Series([f"i{row}" for row in range(9)]), "item")
    return TwoTowerModel(net, IdMap(pl.Series(["u"]), "user"), names, None, None)


def shares_by_gradient(towers: TwoTowerModel, user: Any, item: int, ensemble_size: int) -> dict[str, float]:
    """Gradient of the score by each part, times the part, with deviation and length detached."""
    tower = towers.net.items
    begin, end = tower.bags.offsets[item].item(), tower.bags.offsets[item + 1].item()
    parts = {
        "id": tower.id.weight[item] * float(tower.has_id[item]),
        "text": tower.project.weight @ tower.text[item],
        "image": tower.project_images.weight @ tower.images[item],
        "numbers": tower.project_numbers.weight @ tower.numbers[item],
        "words and categories": sum(
            (tower.bags.weights[at] * tower.bags.vectors.weight[tower.bags.tokens[at]] for at in range(begin, end)),
            start=torch.zeros(8),
        ),
    }
    leaves = {name: part.detach().double().requires_grad_() for name, part in parts.items()}
    x = sum(leaves.values())
    score = torch.zeros((), dtype=torch.float64)
    for own in torch.arange(8).chunk(ensemble_size):
        y = x[own]
        deviation = ((y - y.mean()).square().mean() + tower.norm.eps).sqrt().detach()
        vector = (y - y.mean()) / deviation * tower.norm.weight[own] + tower.norm.bias[own]
        length = ensemble_size**0.5 * (vector.norm().detach() if towers.net.cosine else 1.0)
        score = score + (torch.from_numpy(user)[own].double() * vector / length).sum()
    gradients = torch.autograd.grad(score, list(leaves.values()))
    return {name: float(slope @ leaves[name].detach()) for name, slope in zip(leaves, gradients, strict=True)}


@pytest.mark.parametrize("cosine", [True, False])
@pytest.mark.parametrize("ensemble_size", [1, 2])
def test_shares_are_the_slopes_of_the_score_and_add_up_to_it(cosine: bool, ensemble_size: int) -> None:
    towers = every_part(cosine=cosine, ensemble_size=ensemble_size)
    user = np.random.default_rng(1).normal(size=8).astype(np.float32)
    found = score_breakdown(towers, user, np.arange(9, dtype=np.int32))
    assert list(found) == ["id", "text", "image", "numbers", "words and categories", "bias"]
    np.testing.assert_allclose(sum(found.values()), towers.vectors @ user, rtol=1e-5, atol=1e-5)
    for item in range(9):
        naive = shares_by_gradient(towers, user, item, ensemble_size)
        np.testing.assert_allclose([found[name][item] for name in naive], list(naive.values()), rtol=1e-4, atol=1e-5)


def test_what_an_item_lacks_has_no_share_in_its_score() -> None:
    found = score_breakdown(every_part(cosine=True), np.arange(8, dtype=np.float32), np.array([0, 1, 2, 3], dtype=np.int32))
    assert (found["id"] == 0).tolist() == [True, True, False, False]
    for name in ("text", "words and categories"):
        assert (found[name] == 0).tolist() == [False, False, True, False]


PARTS = {
    "text": ["id", "text", "words and categories", "bias"],
    "content": ["id", "numbers", "words and categories", "bias"],
    "sides": ["id", "bias"],
}


@pytest.mark.parametrize("kind", PARTS)
def test_shares_of_a_fitted_model_name_the_parts_it_has_and_no_others(models: dict[str, TwoTower], kind: str) -> None:
    model, rows = models[kind], np.arange(32, dtype=np.int32)
    user = numpy_of(model.towers.user_vectors(history_of(model, 3)))[0]
    found = score_breakdown(model.towers, user, rows)
    assert list(found) == PARTS[kind]
    assert all(share.shape == (32,) and share.dtype == np.float32 for share in found.values())
    np.testing.assert_allclose(sum(found.values()), model.vectors @ user, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("item", range(9))
def test_shares_of_tokens_add_up_to_that_of_the_bag(item: int) -> None:
    towers = every_part(cosine=True)
    user = np.random.default_rng(1).normal(size=8).astype(np.float32)
    tokens, shares = token_shares(towers, user, item)
    bags = towers.net.items.bags
    assert bags is not None
    assert tokens.tolist() == bags.tokens[bags.offsets[item] : bags.offsets[item + 1]].tolist()
    whole = score_breakdown(towers, user, np.array([item], dtype=np.int32))["words and categories"][0]
    assert shares.sum() == pytest.approx(whole, abs=1e-5)


def test_the_share_of_a_token_is_what_its_vector_adds() -> None:
    towers = every_part(cosine=True)
    user = np.random.default_rng(1).normal(size=8).astype(np.float32)
    bags = towers.net.items.bags
    assert bags is not None
    tokens, shares = token_shares(towers, user, 0)
    assert tokens.tolist() == [0, 3]
    alone = copy.deepcopy(towers.net.items.bags)
    assert alone is not None
    alone.weights[1] = 0.0  # of token 3, and the sum that fixes the norm is kept by moving it into the id's part
    moved = copy.deepcopy(towers)
    moved.net.items.bags = alone
    with torch.no_grad():
        moved.net.items.has_id[0] = True
        moved.net.items.id.weight[0] = bags.weights[1] * bags.vectors.weight[3]
    as_id = score_breakdown(moved, user, np.array([0], dtype=np.int32))
    assert shares.tolist() == pytest.approx([as_id["words and categories"][0], as_id["id"][0]], abs=1e-5)


def test_a_model_without_words_or_categories_has_no_tokens(models: dict[str, TwoTower]) -> None:
    with pytest.raises(UnsupportedError, match="has no words or categories"):
        token_shares(models["sides"].towers, np.zeros(16, dtype=np.float32), 0)


def test_a_word_changes_the_score_by_what_the_tower_says_without_it(
    models: dict[str, TwoTower], catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recsys.core.device.has_bf16", lambda device: False)  # in float32, so as to be compared
    model = models["text"]
    towers = model.towers
    user = numpy_of(towers.user_vectors(history_of(model, 3)))[0]
    item = int(model.items.to_rows(["new0"])[0])
    calls, encode = [], towers.encoder.encode
    monkeypatch.setattr(towers.encoder, "encode", lambda texts: calls.append(texts) or encode(texts))
    found = text_occlusion(towers, "a red  car .", user, item)
    assert len(calls) == 1
    assert [word for word, _ in found] == ["a", "red", "car", "."]

    def asked(text: str) -> float:
        net = copy.deepcopy(towers.net)
        assert towers.whitening is not None
        net.items.text[item] = torch.from_numpy(towers.whitening(encode([text])))[0]
        with torch.inference_mode():
            return float(net.for_score(net.items())[item].numpy() @ user)

    texts = ["red car .", "a car .", "a red .", "a red car"]
    naive = [asked("a red car .") - asked(text) for text in texts]
    assert max(map(abs, naive)) > 1e-3
    assert [change for _, change in found] == pytest.approx(naive, abs=2e-5)


def test_without_its_only_word_an_item_has_no_text(models: dict[str, TwoTower], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recsys.core.device.has_bf16", lambda device: False)
    towers = models["text"].towers
    user = np.ones(16, dtype=np.float32)
    net = copy.deepcopy(towers.net)
    assert towers.whitening is not None
    with torch.inference_mode():
        net.items.text[1] = torch.from_numpy(towers.whitening(towers.encoder.encode(["boat"])))[0]
        told = net.for_score(net.items())[1].numpy() @ user
        net.items.text[1] = 0
        untold = net.for_score(net.items())[1].numpy() @ user
    [(word, change)] = text_occlusion(towers, "boat", user, 1)
    assert word == "boat"
    assert change == pytest.approx(told - untold, abs=2e-5)


def test_words_of_no_text_are_refused(models: dict[str, TwoTower]) -> None:
    user = np.zeros(16, dtype=np.float32)
    first = models["text"].items.ids[0]
    with pytest.raises(DataError, match=f"the text of item '{first}' is blank"):
        text_occlusion(models["text"].towers, "  ", user, 0)
    with pytest.raises(UnsupportedError, match="without a text encoder"):
        text_occlusion(models["content"].towers, "a red car", user, 0)
