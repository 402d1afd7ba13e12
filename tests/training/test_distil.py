"""An ensemble is distilled into one member of its width."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import recsys
from recsys.config.training import Objective, Training
from recsys.data.interactions import Interactions
from recsys.data.split import Split
from recsys.errors import ConfigError
from recsys.models.members import member
from recsys.training.losses.soft import soft_label_loss
from recsys.training.losses.softmax import softmax_loss
from recsys.two_tower import TwoTower

_TRAINING = Training(epochs=3, batch_tokens=64, learning_rate=0.01)


@pytest.fixture(scope="module")
def ensemble(ring_split: Split) -> TwoTower:
    model = TwoTower(encoder=None, dim=16, max_length=8, ensemble_size=3)
    return model.fit(ring_split.train, validation=ring_split.validation, training=_TRAINING)


def test_soft_labels_are_cross_entropy_with_probabilities(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recsys.training.losses.soft._CHUNK_LOGITS", 20)  # two positions at once
    torch.manual_seed(0)
    queries, candidates = torch.randn(7, 4, requires_grad=True), torch.randn(9, 4, requires_grad=True)
    teacher, targets, log_q = (torch.randn(7, 3), torch.randn(9, 3)), torch.randint(9, (7,)), -torch.rand(9)
    label = 0.6 * (teacher[0] @ teacher[1].T).softmax(1) + 0.4 * F.one_hot(targets, 9)
    pairs = [
        (
            soft_label_loss(queries, candidates, teacher, targets, share=0.6),
            F.cross_entropy(queries @ candidates.T, label),
        ),
        (
            soft_label_loss(queries, candidates, teacher, targets, log_q=log_q, share=0.0),
            softmax_loss(queries, candidates, targets, log_q=log_q),
        ),
    ]
    for found, wanted in pairs:
        assert found.item() == pytest.approx(wanted.item(), abs=1e-5)
        for one, other in zip(*(torch.autograd.grad(loss, (queries, candidates)) for loss in (found, wanted)), strict=True):
            torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-4)


def test_a_member_scores_as_in_the_ensemble(ensemble: TwoTower, ring_split: Split) -> None:
    histories, towers = ring_split.validation.histories, ensemble.towers
    members = [member(towers, ensemble.fitted_config, number) for number in range(3)]
    apart = torch.stack([one.user_vectors(histories) @ one.item_vectors.T for one in members])
    together = towers.user_vectors(histories) @ towers.item_vectors.T
    torch.testing.assert_close(apart.mean(0), together, atol=1e-5, rtol=1e-4)


def test_one_member_is_left_and_the_ensemble_stays(ensemble: TwoTower, ring_split: Split, tmp_path: Path) -> None:
    before = ensemble.vectors.copy()
    student = ensemble.distil(ring_split.validation)
    assert np.array_equal(ensemble.vectors, before)
    assert (student.fitted_config.ensemble_size, student.vectors.shape[1]) == (1, 16)
    assert student.log is not None
    assert student.log.distilled_from == 3
    figures = [recsys.evaluate(model, ring_split.validation, 10)["ndcg@10"] for model in (student, ensemble)]
    assert figures[0] > 0.9 * figures[1]
    student.retriever(index="exact").save(tmp_path / "run")
    again = recsys.load(tmp_path / "run")
    assert np.array_equal(again.bundle.towers.vectors, student.vectors)
    assert json.loads((tmp_path / "run" / "config.json").read_text())["training"]["distilled_from"] == 3
    with pytest.raises(ConfigError, match="refit the ensemble, then distil it"):
        student.refit(ring_split.train)
    with pytest.raises(ConfigError, match="one member cannot be distilled further"):
        student.distil(ring_split.validation)


def test_what_cannot_be_distilled_is_refused(ensemble: TwoTower, ring: Interactions, ring_split: Split) -> None:
    with pytest.raises(ConfigError, match="share must be above 0"):
        ensemble.distil(ring_split.validation, share=0.0)
    hidden = TwoTower(encoder=None, dim=4, ensemble_size=2, transitions="none").fit(
        ring, training=Training(epochs=1, batch_tokens=512), objective=Objective(mask_history=True)
    )
    with pytest.raises(ConfigError, match="mask_history"):
        hidden.distil(ring_split.validation)
