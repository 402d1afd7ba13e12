"""A learning-rate finder: the loss over a short run in which the rate rises step by step."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

import lightning as L
import torch

from recsys.config.training import Training
from recsys.errors import RecsysError
from recsys.training.next_item_loss import NextItemLoss
from recsys.training.optimizer import make_optimizer
from recsys.training.windows import Batch, WindowBatches

_SMOOTHING = 0.9
_DIVERGED = 1.5
"""The sweep ends when the smoothed loss is this many times its lowest value."""
_SKIPPED = 0.1
"""Share of the sweep at its beginning that is noise: few batches are averaged, and the rates are too low to learn."""
_FALL = 0.01
"""Share of the loss by which it must fall for the sweep to mean anything."""


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
    """Try rising learning rates (arXiv 1506.01186), then restore weights and random states.

    The suggestion is the rate of the steepest fall of the smoothed loss, as in fastai.

    Parameters
    ----------
    fabric : Fabric
        Launched.
    loss : NextItemLoss
    batches : WindowBatches
    config : Training
    lowest, highest : float
        First and last rate; those between are evenly spaced on a log scale.
    steps : int
        At least 20.

    Raises
    ------
    RecsysError
        The loss never falls.
    """
    loss = loss.to(fabric.device)
    rates, losses, total, positions, skipped = list[float](), list[float](), 0.0, 0.0, round(_SKIPPED * steps)
    with loss.restored():
        optimizer = make_optimizer(loss, config)
        for step, batch in zip(range(steps), _endless(batches), strict=False):
            rate = lowest * (highest / lowest) ** (step / (steps - 1))
            for group in optimizer.param_groups:
                group["lr"] = rate * group["peak"] / config.learning_rate
            value = loss(batch.to(fabric.device))
            total = _SMOOTHING * total + float(value.detach()) * len(batch.targets)
            positions = _SMOOTHING * positions + len(batch.targets)
            if not math.isfinite(total):
                break
            rates.append(rate)
            losses.append(total / positions)
            if losses[-1] > _DIVERGED * min(losses[skipped:], default=math.inf):
                break
            value.backward()
            torch.nn.utils.clip_grad_norm_(loss.parameters(), config.max_grad_norm)
            optimizer.step()
            optimizer.zero_grad()
    return RateSweep(tuple(rates), tuple(losses), _steepest(rates, losses, skipped))


def _endless(batches: WindowBatches) -> Iterator[Batch]:
    for epoch in count():
        yield from batches.epoch(epoch)


def _steepest(rates: list[float], losses: list[float], skipped: int) -> float:
    """The rate in the middle of the steepest fall over two steps, after the first ``skipped`` ones."""
    slopes = [losses[i + 1] - losses[i - 1] for i in range(skipped + 1, len(losses) - 1)]
    if not slopes or min(losses[skipped:]) > (1.0 - _FALL) * losses[skipped]:
        raise RecsysError(
            "the loss does not fall at any learning rate: it starts at "
            f"{losses[0] if losses else math.nan:.4g} and never falls below {min(losses, default=math.nan):.4g}; "
            "check the data and the objective"
        )
    return rates[skipped + 1 + slopes.index(min(slopes))]
