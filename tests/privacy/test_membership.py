"""Attacks on who was trained on, with losses that are known, and with a small model that learns its users by heart."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import torch
import torch.nn.functional as F

import recsys
from recsys.data.interactions import Interactions
from recsys.errors import ConfigError
from recsys.pipeline import membership_test
from recsys.privacy.membership import shadow_attack, threshold_attack, user_losses

HALF = np.arange(200) < 100


def test_the_auc_is_the_share_of_pairs_in_the_right_order() -> None:
    losses = np.array([1.0, 2.0, 2.0, 3.0, 0.5])
    members = np.array([True, True, False, False, False])
    pairs = [(a, b) for a in losses[members] for b in losses[~members]]
    expected = np.mean([1.0 if a < b else 0.5 if a == b else 0.0 for a, b in pairs])
    assert threshold_attack(losses, members).auc == pytest.approx(expected)


def test_what_tells_nothing_is_a_guess_and_what_tells_all_is_certain() -> None:
    generator = np.random.default_rng(0)
    guess = threshold_attack(generator.normal(size=200), HALF)
    assert guess.low < 0.5 < guess.high
    sure = threshold_attack(np.where(HALF, 0.0, 1.0), HALF)
    assert (sure.auc, sure.low, sure.high, sure.caught) == (1.0, 1.0, 1.0, 1.0)


def test_shadows_see_through_users_who_are_hard_by_nature() -> None:
    generator = np.random.default_rng(0)
    hard = generator.normal(0.0, 3.0, 200)  # far more than what being a member changes

    def losses(inside: np.ndarray) -> np.ndarray:
        return hard - 0.8 * inside + generator.normal(0.0, 0.2, 200)

    halves = [generator.permutation(HALF) for _ in range(2)]
    shadows = [(losses(inside), inside) for half in halves for inside in (half, ~half)]
    attacked = losses(HALF)
    assert threshold_attack(attacked, HALF).auc < 0.7
    assert shadow_attack(attacked, HALF, shadows).auc > 0.95
    with pytest.raises(ConfigError, match="missing from another"):
        shadow_attack(attacked, HALF, [(attacked, HALF)])
    with pytest.raises(ConfigError, match="only one kind"):
        threshold_attack(attacked, np.ones(200, dtype=np.bool_))


@pytest.fixture(scope="module")
def noise_log() -> Interactions:
    """Users who do what nobody can foretell: whatever a model knows of them, it has learned by heart."""
    rows = np.random.default_rng(0).integers(0, 40, (24, 6))
    frame = {"user_id": np.repeat([f"u{i}" for i in range(24)], 6), "item_id": [f"i{i}" for i in rows.ravel()]}
    return Interactions.from_frame(pl.DataFrame(frame))


def test_a_model_that_learns_by_heart_is_found_out(noise_log: Interactions) -> None:
    recipe = recsys.Recipe.read(
        model={"encoder": None, "dim": 16, "blocks": 1, "max_length": 5, "dropout": 0.0, "transitions": "none"},
        training={"epochs": 40, "learning_rate": 1e-2, "device": "cpu", "adapt": "off"},
    )
    found = membership_test(recipe, noise_log, shadows=2)
    assert found.threshold.auc > 0.9
    assert found.shadow.auc > 0.9
    assert found.privacy is None
    assert "no privacy: loss threshold: AUC" in str(found)
    with pytest.raises(ConfigError, match="make 3 even"):
        membership_test(recipe, noise_log, shadows=3)


def test_a_users_loss_is_the_mean_over_the_window(noise_log: Interactions) -> None:
    model = recsys.TwoTower(encoder=None, dim=8, blocks=1, max_length=3, transitions="none")
    model.fit(noise_log, training=recsys.Training(epochs=1, device="cpu", adapt="off"))
    towers, histories = model.towers, noise_log.histories.head(np.r_[2, np.full(23, 6)])
    found, net = user_losses(towers, histories), towers.net.eval()
    for user in (0, 5):
        rows = torch.from_numpy(histories[user][-4:].astype(np.int64))
        with torch.inference_mode():
            states = F.normalize(net.users(towers.table[rows[:-1]][None])[0], dim=-1)
            scores = net.scale() * states @ F.normalize(towers.table, dim=-1).T
            expected = F.cross_entropy(scores, rows[1:])
        assert found[user] == pytest.approx(float(expected), rel=1e-4)
