"""A learning-rate finder: the loss over a short run in which the rate rises step by step."""

from __future__ import annotations

import math
from dataclasses import dataclass

import lightning as L
import torch

from recsys.errors import RecsysError
from recsys.training.batches import WindowBatches
from recsys.training.config import Training
from recsys.training.module import NextItemLoss
from recsys.training.optimizer import make_optimizer

_SMOOTHING = 0.9
_DIVERGED = 1.5
"""The sweep ends when the smoothed loss is this many times its lowest value."""


@dataclass(frozen=True)
class RateSweep:
    """What a sweep over learning rates showed.

    Attributes
    ----------
    rates, losses : tuple of float
        Learning rate and smoothed loss of each step.
    suggestion : float
        The rate at which the loss fell fastest.
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    suggestion: float


def find_rate(
    fabric: L.Fabric,
    loss: NextItemLoss,
    batches: WindowBatches,
    config: Training,
    *,
    lowest: float = 1e-5,
    highest: float = 0.3,
    steps: int = 100,
) -> RateSweep:
    """Try rising learning rates (arXiv 1506.01186) and put the weights back.

    The suggestion is the rate of the steepest fall of the smoothed loss, as in fastai.

    Parameters
    ----------
    fabric : Fabric
        Launched.
    loss : NextItemLoss
    batches : WindowBatches
    config : Training
    lowest, highest : float
        First and last rate, evenly apart on a log scale.
    steps : int

    Raises
    ------
    RecsysError
        The loss never falls.
    """
    loss = loss.to(fabric.device)
    before = {name: value.detach().clone() for name, value in loss.state_dict().items()}
    draws = loss.draws.get_state()
    optimizer = make_optimizer(loss, config)
    rates, losses, smooth = [], [], 0.0
    with torch.random.fork_rng(enabled=True):
        step = epoch = 0
        while step < steps:
            for batch in batches.epoch(epoch):
                rate = lowest * (highest / lowest) ** (step / (steps - 1))
                for group in optimizer.param_groups:
                    group["lr"] = rate * group["peak"] / config.learning_rate
                value = loss(batch.to(fabric.device))
                value.backward()
                torch.nn.utils.clip_grad_norm_(loss.parameters(), config.clip_norm)
                optimizer.step()
                optimizer.zero_grad()
                step += 1
                smooth = _SMOOTHING * smooth + (1 - _SMOOTHING) * float(value.detach())
                rates.append(rate)
                losses.append(smooth / (1 - _SMOOTHING**step))
                if step == steps or not math.isfinite(smooth) or losses[-1] > _DIVERGED * min(losses):
                    step = steps
                    break
            epoch += 1
    loss.load_state_dict(before)
    loss.draws.set_state(draws)
    return RateSweep(tuple(rates), tuple(losses), _steepest(rates, losses))


def _steepest(rates: list[float], losses: list[float]) -> float:
    slopes = [losses[i + 1] - losses[i - 1] for i in range(1, len(losses) - 1)]
    if not slopes or not min(slopes) < 0:
        raise RecsysError("the loss does not fall at any learning rate; look at the data, or lower the lowest rate")
    return rates[1 + slopes.index(min(slopes))]
