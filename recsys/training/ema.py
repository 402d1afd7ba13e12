"""An exponential moving average of the weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from recsys.training.fsdp import fill


class MovingAverage:
    """``a ← d·a + (1 − d)·w`` after each step, with d rising to ``decay`` as (1 + step) / (10 + step).

    The rising decay lets the average forget the initial weights (as TensorFlow's ExponentialMovingAverage does).

    Parameters
    ----------
    weights : dict of Tensor
        The parameters to follow, by name; the average starts from them.
    decay : float
        In (0, 1).

    Attributes
    ----------
    values : dict of Tensor
        The averages.
    """

    def __init__(self, weights: dict[str, Tensor], decay: float) -> None:
        self.decay = decay
        self._followed = {name: p.detach() for name, p in weights.items()}
        self.values = {name: p.clone() for name, p in self._followed.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Add the weights after step number ``step``, counted from 1."""
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(list(self.values.values()), list(self._followed.values()), 1 - decay)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Give the network the averaged weights in the block, and its own ones after it."""
        own = {name: p.clone() for name, p in self._followed.items()}
        self.keep()
        try:
            yield
        finally:
            fill(self._followed, own)

    def keep(self) -> None:
        """Give the network the averaged weights for good."""
        fill(self._followed, self.values)
