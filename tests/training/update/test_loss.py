"""What an update is held to: the events, and what was said of old items before."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from recsys.training.losses.soft import soft_label_loss


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
