"""The clipped gradient of each user, against a plain loop with autograd, and what one user can change."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from recsys.config.training import Objective
from recsys.models.networks.content import ItemContent, TokenBags
from recsys.models.networks.item_tower import ItemTower
from recsys.models.networks.two_tower import TwoTowerNetwork
from recsys.models.networks.user_tower import UserTower
from recsys.training.private import gradients
from recsys.training.private.gradients import UserLoss, clipped_sum
from recsys.training.windows import Batch

ITEMS, DIM, LENGTHS, WIDTH = 9, 8, (3, 1, 4, 2), 5
NORM = 0.7


def make(*, words: bool = False, **objective: Any) -> UserLoss:
    torch.manual_seed(1)
    bags = TokenBags(torch.arange(ITEMS + 1) * 2, torch.arange(ITEMS * 2) % 5, torch.full((ITEMS * 2,), 0.7), 5)
    content = ItemContent(text=torch.randn(ITEMS, 3), bags=bags) if words else ItemContent()
    items = ItemTower(ITEMS, DIM, content, torch.ones(ITEMS, dtype=torch.bool), id_dropout=0.0)
    net = TwoTowerNetwork(items, UserTower(DIM, 1, 2, WIDTH, 0.0))
    return UserLoss(net, Objective(**({"loss": "softmax"} | objective))).train()


def batch_of(users: list[int], *, weighted: bool = False) -> Batch:
    """One window for each of some users, whose events depend on the user alone."""
    drawn = [torch.randint(0, ITEMS, (2, LENGTHS[one]), generator=torch.Generator().manual_seed(one)) for one in users]
    width = max((LENGTHS[one] for one in users), default=1)
    inputs = (
        torch.stack([F.pad(items[0], (0, width - items.shape[1])) for items in drawn])
        if drawn
        else torch.zeros(0, 1).long()
    )
    targets = torch.cat([items[1] for items in drawn]) if drawn else torch.zeros(0).long()
    places = [row * width + at for row, one in enumerate(users) for at in range(LENGTHS[one])]
    weights = targets.float() + 0.5 if weighted else None
    return Batch(inputs, targets, torch.tensor(places, dtype=torch.long), targets, weights=weights, all_weights=weights)


def naive(
    loss: UserLoss, users: list[int], negatives: Tensor | None = None, *, weighted: bool = False
) -> dict[str, Tensor]:
    """The same sum by a backward pass for each user, with the loss written out."""
    summed = {name: torch.zeros_like(p) for name, p in loss.named_parameters()}
    net = loss.net
    for one in users:
        batch = batch_of([one], weighted=weighted)
        loss.zero_grad()
        table = net.items()
        states = net.users(table[batch.inputs])[0]
        scores = net.scale() * F.normalize(states, dim=-1) @ F.normalize(table, dim=-1).T  # (T, n)
        each = []
        for at, target in enumerate(batch.targets.tolist()):
            pairs = range(ITEMS) if negatives is None else [item for item in negatives.tolist() if item != target]
            shift = 0.0 if negatives is None else float(torch.log(torch.tensor(ITEMS / len(negatives))))
            rest = [scores[at, item] + shift for item in pairs if item != target]
            each.append(torch.logsumexp(torch.stack([scores[at, target], *rest]), 0) - scores[at, target])
        strength = torch.ones(len(each)) if batch.weights is None else batch.weights
        ((torch.stack(each) * strength).sum() / strength.sum()).backward()
        whole = torch.cat([p.grad.flatten() for p in loss.parameters() if p.grad is not None]).norm()
        for name, p in loss.named_parameters():
            if p.grad is not None:
                summed[name] += p.grad * min(1.0, NORM / float(whole))
    return summed


def distance(one: dict[str, Tensor], two: dict[str, Tensor]) -> float:
    return float(torch.cat([(one[name] - two[name]).flatten() for name in one]).norm())


@pytest.mark.parametrize("case", ["softmax", "words and text", "weighted", "public negatives"])
def test_the_sum_is_that_of_a_loop_over_users(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    weighted, negatives = case == "weighted", None
    loss = make(words=case == "words and text", weighted=weighted)
    if case == "public negatives":
        loss = make(loss="sampled", sampler="uniform", negatives=4)
        negatives = loss.draw(torch.Generator().manual_seed(3))
        assert negatives is not None
        assert len(negatives) == 4
    users = [0, 1, 2, 3]
    expected = naive(loss, users, negatives, weighted=weighted)
    for numbers in (1, 10**9):  # one user at a time, all at once
        monkeypatch.setattr(gradients, "_NUMBERS", numbers)
        found = clipped_sum(loss, batch_of(users, weighted=weighted), NORM, negatives)
        assert found.users == 4
        assert set(found.gradients) == set(expected)
        assert distance(found.gradients, expected) < 1e-5 * (
            1 + distance(expected, {k: 0 * v for k, v in expected.items()})
        )


@pytest.mark.parametrize("norm", [1e-3, 0.7, 1e6])
def test_one_user_more_moves_the_sum_by_the_norm_at_most(norm: float) -> None:
    loss = make(words=True)
    whole = clipped_sum(loss, batch_of([0, 1, 2, 3]), norm)
    moved = [
        distance(whole.gradients, clipped_sum(loss, batch_of(rest), norm).gradients) for rest in ([1, 2, 3], [0, 2, 3])
    ]
    assert max(moved) <= norm * (1 + 1e-3)
    assert min(moved) > (0.9 * norm if norm < 1e-2 else 0.0)  # all are clipped where the norm is small


def test_a_step_that_draws_nobody_has_a_sum_of_zeros() -> None:
    found = clipped_sum(make(), batch_of([]), NORM)
    assert found.users == 0
    assert all(not bool(value.any()) for value in found.gradients.values())
