"""An ensemble is its ensemble_size: what each of them would do alone, side by side."""

from typing import Any

import numpy as np
import pytest
import torch

from recsys.config.model import ModelConfig
from recsys.config.training import LossName, Objective
from recsys.models.build import Shape, network
from recsys.models.networks.content import ItemContent, TokenBags
from recsys.models.networks.context import Context
from recsys.models.networks.ensemble import UserEnsemble
from recsys.models.networks.two_tower import TwoTowerNetwork
from recsys.training.next_item_loss import NextItemLoss
from recsys.training.windows import Batch

N_ITEMS, DIM, MEMBERS = 12, 8, 3
HISTORIES, LENGTHS = torch.tensor([[1, 2, 3, 4], [5, 11, 0, 0]]), torch.tensor([4, 2])


def make_content() -> ItemContent:
    torch.manual_seed(1)
    bags = TokenBags(torch.arange(N_ITEMS + 1), torch.arange(N_ITEMS) % 4, torch.rand(N_ITEMS) + 0.5, size=4)
    return ItemContent(text=torch.randn(N_ITEMS, 5), numbers=torch.randn(N_ITEMS, 2), bags=bags)


def make_net(ensemble_size: int = MEMBERS, **options: Any) -> TwoTowerNetwork:
    """Untrained towers that read everything, without anything random."""
    model = ModelConfig(dim=DIM, ensemble_size=ensemble_size, max_length=6, dropout=0.0, id_dropout=0.0, **options)
    torch.manual_seed(2)
    shape = Shape(event_types=3 if options.get("event_heads") else 0, user_features=(4,))
    net = network(model, make_content(), torch.arange(N_ITEMS) > 0, shape)
    with torch.no_grad():  # nothing may pass for being zero or one
        for name, weight in net.named_parameters():
            if name != "log_scale":
                weight.add_(torch.randn_like(weight) * 0.1)
    return net


def alone(net: TwoTowerNetwork, member: int, **options: Any) -> TwoTowerNetwork:
    """One member as a model of its own: the weights of its tower, and its directions of the items' weights."""
    assert isinstance(net.users, UserEnsemble)
    one = make_net(1, **options)
    one.users.load_state_dict(net.users.towers[member].state_dict())
    state, own = net.items.state_dict(), slice(member * DIM, (member + 1) * DIM)
    for name in ("id.weight", "bags.vectors.weight"):
        state[name] = state[name][:, own]
    for name in ("project.weight", "project_numbers.weight", "norm.weight", "norm.bias"):
        state[name] = state[name][own]
    one.items.load_state_dict(state)
    return one


OPTIONS: dict[str, dict[str, Any]] = {
    "cosine": {},
    "dot": {"score": "dot"},
    "time and event heads": {"time_bias": "request", "event_heads": True},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_scores_are_the_mean_of_the_members_scores(options: dict[str, Any]) -> None:
    side = Context(features=torch.tensor([[2], [0]]))
    if "event_heads" in options:
        times = torch.tensor([[0, 60, 900, 90_000], [5, 70, 0, 0]])
        events = torch.tensor([[0, 1, 2, 0], [1, 1, 0, 0]])
        side = Context(
            times=times, request=times + 60, events=events, features=side.features, target_event=torch.tensor([1, 2])
        )

    def scores(net: TwoTowerNetwork) -> torch.Tensor:
        table = net.items()
        assert table.shape == (N_ITEMS, net.users.ensemble_size * DIM)
        return net.user_vectors(table, HISTORIES, LENGTHS, side) @ net.for_score(table).T

    net = make_net(**options)
    apart = [scores(alone(net, member, **options)) for member in range(MEMBERS)]
    assert not torch.allclose(apart[0], apart[1], atol=1e-2)
    torch.testing.assert_close(scores(net), torch.stack(apart).mean(0))


def test_vectors_of_an_ensemble_are_of_unit_length_under_cosine() -> None:
    net = make_net()
    table = net.items()
    torch.testing.assert_close(net.for_score(table).norm(dim=1), torch.ones(N_ITEMS))
    torch.testing.assert_close(net.user_vectors(table, HISTORIES, LENGTHS).norm(dim=1), torch.ones(2))


@pytest.mark.parametrize("score", ["cosine", "dot"])
@pytest.mark.parametrize("name", ["softmax", "sampled", "bce", "gbce", "bpr", "mse"])
def test_members_learn_what_each_would_learn_alone(name: LossName, score: str) -> None:
    """The loss is the mean of the ensemble_size' own, and the gradient of a member's weights is its share of that mean."""

    def step(net: TwoTowerNetwork) -> tuple[float, TwoTowerNetwork]:
        objective = Objective(loss=name, sampler="uniform", negatives=6, mask_history=name != "mse")
        loss = NextItemLoss(net, objective, torch.arange(N_ITEMS))
        targets = torch.tensor([2, 3, 4, 6, 11])
        weights = torch.tensor([1.0, 3.0, 2.0, 5.0, 4.0])
        features = Context(features=torch.tensor([[2], [0]]))
        batch = Batch(HISTORIES, targets, torch.arange(5), targets, weights=weights, context=features)
        value = loss(batch)
        value.backward()
        return float(value.detach()), net

    value, net = step(make_net(score=score))
    apart = [step(alone(net, member, score=score)) for member in range(MEMBERS)]
    assert value == pytest.approx(np.mean([one for one, _ in apart]), rel=1e-5)
    assert isinstance(net.users, UserEnsemble)
    for member, (_, one) in enumerate(apart):
        for mine, theirs in zip(net.users.towers[member].parameters(), one.users.parameters(), strict=True):
            if theirs.grad is not None:
                torch.testing.assert_close(mine.grad * MEMBERS, theirs.grad, rtol=1e-3, atol=1e-5)
        ids = net.items.id.weight.grad[:, member * DIM : (member + 1) * DIM]
        torch.testing.assert_close(ids * MEMBERS, one.items.id.weight.grad, rtol=1e-3, atol=1e-5)


def test_members_start_apart() -> None:
    towers = network(
        ModelConfig(dim=DIM, ensemble_size=2), make_content(), torch.ones(N_ITEMS, dtype=torch.bool), Shape()
    ).users
    assert isinstance(towers, UserEnsemble)
    one, other = (tower.state_dict()["blocks.0.qkv.weight"] for tower in towers.towers)
    assert not torch.allclose(one, other, atol=0.1)


def test_an_entry_starts_as_wide_as_in_a_single_tower() -> None:
    has_id = torch.ones(5_000, dtype=torch.bool)

    def spread(ensemble_size: int) -> float:
        model = ModelConfig(encoder=None, word_features="off", dim=DIM, ensemble_size=ensemble_size)
        return float(network(model, ItemContent(), has_id, Shape()).items.id.weight.detach().std())

    assert spread(4) == pytest.approx(spread(1), rel=0.02)
