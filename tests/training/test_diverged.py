"""A training that diverges says what, when and by which option, whenever it is met."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from recsys.config.training import Training
from recsys.data.catalog import Catalog
from recsys.data.split import Split
from recsys.errors import RecsysError
from recsys.training.next_item_loss import NextItemLoss
from tests.training.test_resume import fit, model

pytestmark = pytest.mark.usefixtures("no_forecast")
QUICK = Training(epochs=2, batch_tokens=64, device="cpu")


@pytest.mark.parametrize("validated", [True, False])
@pytest.mark.parametrize("batch_tokens", [64, 100_000])
@pytest.mark.parametrize("epochs", [1, 3])
def test_a_learning_rate_beyond_sense_is_named_with_step_and_epoch(
    epochs: int, batch_tokens: int, validated: bool, ring_split: Split, ring_catalog: Catalog, tmp_path: Path
) -> None:
    training = Training(epochs=epochs, batch_tokens=batch_tokens, device="cpu", learning_rate=1e30, warmup=0.0)
    options: dict[str, Any] = {} if validated else {"validation": None}
    says = r"the training diverged: .* in step \d+, epoch [12]; lower the learning rate \(1e\+30\); the checkpoints were"
    with pytest.raises(RecsysError, match=says):
        fit(ring_split, ring_catalog, tmp_path / "run", training, **options)


def test_the_option_furthest_above_its_default_is_named(
    ring_split: Split, ring_catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = NextItemLoss.forward
    for training, says in (
        (replace(QUICK, max_grad_norm=1e6), "lower max_grad_norm (1e+06)"),
        (replace(QUICK, learning_rate=0.5, max_grad_norm=2.0), "lower the learning rate (0.5)"),
        (replace(QUICK, learning_rate=1e-5), "lower the learning rate (1e-05)"),
    ):
        monkeypatch.setattr(NextItemLoss, "forward", lambda self, batch: real(self, batch) * float("nan"))
        with pytest.raises(RecsysError) as caught:
            fit(ring_split, ring_catalog, tmp_path / "run", training)
        assert f"diverged: the loss is nan in step 1, epoch 1; {says}" in str(caught.value)


def test_a_gradient_is_told_from_a_loss(
    ring_split: Split, ring_catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = NextItemLoss.forward

    def forward(self: NextItemLoss, batch: Any) -> torch.Tensor:
        position: torch.Tensor = self.net.users.position  # type: ignore[assignment]
        return real(self, batch) + (position * 0.0).sqrt().sum()

    monkeypatch.setattr(NextItemLoss, "forward", forward)
    with pytest.raises(RecsysError, match=r"diverged: the gradient is not finite, though the loss is \d+"):
        fit(ring_split, ring_catalog, tmp_path / "run", QUICK, model=model())
