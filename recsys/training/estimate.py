"""What a run would cost, and a good learning rate for it, before it starts."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from recsys.config.augment import Augment
from recsys.config.model import ModelConfig
from recsys.config.training import Objective, Training
from recsys.core.device import pick_device
from recsys.data.catalog import Catalog
from recsys.data.interactions import Interactions
from recsys.data.user_table import UserTable
from recsys.training.checks import check_objective
from recsys.training.forecast import Forecast, forecast
from recsys.training.lr_finder import RateSweep, find_rate
from recsys.training.prepare import prepare
from recsys.training.surroundings import own_determinism, quiet
from recsys.training.trainer import copies_of_weights, make_batches, make_fabric, make_loss


@dataclass(frozen=True)
class Estimate:
    """What to expect of a run that has not started.

    Attributes
    ----------
    forecast : Forecast
    sweep : RateSweep or None
    """

    forecast: Forecast
    sweep: RateSweep | None = None

    def __str__(self) -> str:
        lines = [str(self.forecast)]
        if self.sweep is not None:
            lines.append(f"suggested learning rate: {self.sweep.suggestion:.1e}")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """For programs to read."""
        return asdict(self)


def estimate(
    model: ModelConfig,
    objective: Objective,
    augment: Augment,
    training: Training,
    log: Interactions,
    catalog: Catalog | None = None,
    users: UserTable | None = None,
    *,
    sweep: bool = False,
) -> Estimate:
    """Estimate time, memory and, with ``sweep``, a good learning rate without running; raises what the run would raise."""
    inputs = prepare(model, log, catalog, training=training, augment=augment, users=users)
    check_objective(inputs.log, objective)
    device = pick_device(training.device)
    with quiet(), own_determinism(device), torch.random.fork_rng(enabled=True):
        torch.manual_seed(training.seed)
        fabric = make_fabric(replace(training, devices=1), device)  # one process shows the cost of each
        batches = make_batches(inputs, training, augment)
        loss = make_loss(inputs, training, objective, device)
        expected = forecast(fabric, loss, batches, copies=copies_of_weights(training, judged=True))
        return Estimate(expected, find_rate(fabric, loss, batches, training) if sweep else None)
