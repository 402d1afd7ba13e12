"""What an update is held to: the events, and what was said of old items before."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from recsys.config.model import ModelConfig
from recsys.config.training import Objective
from recsys.data.catalog import Catalog
from recsys.data.interactions import Interactions
from recsys.models.build import fresh_towers
from recsys.training.losses.soft import soft_label_loss
from recsys.training.update.batches import UpdateBatches
from recsys.training.update.loss import Before, UpdateLoss


def test_the_teacher_says_nothing_of_new_items() -> None:
    torch.manual_seed(0)
    queries, candidates = torch.randn(6, 4, requires_grad=True), torch.randn(9, 4, requires_grad=True)
    teacher, targets = (torch.randn(6, 3), torch.randn(9, 3)), torch.randint(6, (6,))
    known = torch.arange(9) < 6
    soft = torch.zeros(6, 9)
    soft[:, :6] = (teacher[0] @ teacher[1][:6].T).softmax(1)
    wanted = F.cross_entropy(queries @ candidates.T, 0.7 * soft + 0.3 * F.one_hot(targets, 9))
    found = soft_label_loss(queries, candidates, teacher, targets, share=0.7, known=known)
    assert found.item() == pytest.approx(wanted.item(), abs=1e-5)
    grads = (torch.autograd.grad(loss, (queries, candidates)) for loss in (found, wanted))
    for one, other in zip(*grads, strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-4)


def test_what_is_no_negative_has_no_part_in_the_loss() -> None:
    """Samplers give such candidates an infinite log of their probability."""
    torch.manual_seed(0)
    queries, candidates, teacher = (
        torch.randn(3, 4, requires_grad=True),
        torch.randn(5, 4),
        (torch.randn(3, 2), torch.randn(5, 2)),
    )
    log_q = torch.tensor([torch.inf, torch.inf, -1.0, -2.0, -1.5])
    logits, soft = queries @ candidates.T, teacher[0] @ teacher[1].T
    targets = torch.tensor([0, 1, 3])
    own = F.one_hot(targets, 5).bool()
    logits, soft = (torch.where(own, one, one - log_q) for one in (logits, soft))
    label = 0.5 * soft.softmax(1) + 0.5 * own
    wanted = -torch.where(label > 0, label * logits.log_softmax(1), 0.0).sum(1).mean()
    found = soft_label_loss(queries, candidates, teacher, targets, log_q=log_q, share=0.5)
    assert found.item() == pytest.approx(wanted.item(), abs=1e-5)
    assert torch.isfinite(torch.autograd.grad(found, queries)[0]).all()


def test_each_member_is_held_to_what_it_said_of_old_items(ring: Interactions) -> None:
    """Against ten lines of plain cross entropy: labels of new events, and softened ones of old events."""
    config = ModelConfig(encoder=None, dim=8, max_length=8, ensemble_size=2)
    catalog, has_id = Catalog.without_text(ring.items), ring.item_counts > 0
    towers, before = (fresh_towers(config, ring, catalog, None, "cpu", seed, known=has_id) for seed in (0, 1))
    known = torch.arange(len(ring.items)) % 5 > 0
    new = np.zeros(len(ring), dtype=np.bool_)
    new[ring.histories.offsets[1:] - 1] = True
    batch = next(UpdateBatches(ring, length=8, tokens=64, seed=0, new=new, replay=2.0).epoch(0))
    assert batch.replayed is not None
    assert 0 < int(batch.replayed.sum()) < len(batch.replayed)
    counts = torch.from_numpy(ring.item_counts)
    loss = UpdateLoss(towers.net, Objective(), counts, before=Before(before.net, known), share=0.6).eval()
    wanted = []
    for member in range(2):
        logits = []
        for net in (towers.net.eval(), before.net.eval()):
            table = net.items()
            states = net.users(table[batch.inputs], batch.context).flatten(0, 1)[batch.positions]
            logits.append(net.scale() * net.by_member(states)[member] @ net.by_member(table)[member].T)
        soft = logits[1].masked_fill(~known, -torch.inf).softmax(1)
        hard = F.one_hot(batch.targets, len(ring.items)).float()
        label = torch.where(batch.replayed[:, None], 0.6 * soft + 0.4 * hard, hard)
        wanted.append(F.cross_entropy(logits[0], label))
    assert loss(batch).item() == pytest.approx(torch.stack(wanted).mean().item(), abs=1e-5)
