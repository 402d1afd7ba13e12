"""An exponential moving average of the weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class MovingAverage:
    """``a ← d·a + (1 − d)·w`` after each step, with d rising to ``decay`` as (1 + step) / (10 + step).

    The rising decay lets the average forget where training began (as TensorFlow's ExponentialMovingAverage does).

    Parameters
    ----------
    net : Module
        Its floating-point parameters are followed.
    decay : float
        In (0, 1).
    """

    def __init__(self, net: nn.Module, decay: float) -> None:
        self.decay = decay
        self._followed = {name: p for name, p in net.named_parameters() if p.requires_grad and p.is_floating_point()}
        self.values = {name: p.detach().clone() for name, p in self._followed.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights as they are after step number ``step``, counted from 1."""
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(list(self.values.values()), [p.detach() for p in self._followed.values()], 1 - decay)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Within the block the network has the averaged weights; after it, its own again."""
        own = {name: p.detach().clone() for name, p in self._followed.items()}
        self._fill(self.values)
        try:
            yield
        finally:
            self._fill(own)

    def keep(self) -> None:
        """Give the network the averaged weights for good."""
        self._fill(self.values)

    def restore(self, values: dict[str, Tensor]) -> None:
        """Take over averages that a checkpoint held."""
        for name, value in self.values.items():
            value.copy_(values[name])

    @torch.no_grad()
    def _fill(self, values: dict[str, Tensor]) -> None:
        for name, p in self._followed.items():
            p.copy_(values[name])
