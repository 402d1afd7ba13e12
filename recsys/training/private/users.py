"""Batches of users, each drawn on its own, with one window of the history of each."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise

import numpy as np

from recsys.core.ragged import Int64
from recsys.privacy.noise import Noise
from recsys.training.windows import WindowBatches


@dataclass(eq=False)
class UserBatches(WindowBatches):
    """Epochs of steps; each step draws every user independently (Poisson sampling) and takes one window of each drawn.

    A batch has one window a user, so that whatever a person did, and however much of it, is in one row of it. Its size is
    random, and may be 0. The accountants hold for this way of drawing, not for shuffled batches of one size.

    Parameters
    ----------
    users_per_step : int
        Expected users of a step.
    noise : Noise
        Draws users and windows: whoever could repeat the draw would know who was in a step.
    log, length, tokens, seed, options, ...
        As for :class:`WindowBatches`.
    """

    users_per_step: int = 1
    noise: Noise = field(default_factory=lambda: Noise(None))

    @cached_property
    def eligible(self) -> Int64:
        """int64 (n,): users with two events or more, who alone have a gradient."""
        return np.flatnonzero(self.log.histories.lengths >= 2).astype(np.int64)

    @property
    def rate(self) -> float:
        """Probability with which each of them is drawn for a step."""
        return min(1.0, self.users_per_step / max(1, len(self.eligible)))

    @cached_property
    def steps(self) -> int:
        """Steps of an epoch, over which each user is expected once."""
        return round(1.0 / self.rate) if len(self.eligible) else 0

    def plan(self, epoch: int) -> tuple[tuple[Int64, Int64, Int64], list[Int64]]:
        """Windows of an epoch, and those of each step, the longest first; drawn anew at each call."""
        targets = self.log.histories.lengths - 1
        drawn = [self.eligible[self.noise.uniform(len(self.eligible)) < self.rate] for _ in range(self.steps)]
        owners = np.concatenate(drawn)
        sizes = np.minimum(targets[owners], self.length)
        starts = (self.noise.uniform(len(owners)) * (targets[owners] - sizes + 1)).astype(np.int64)
        edges = np.cumsum([0, *map(len, drawn)])
        batches = [low + np.argsort(-sizes[low:high], kind="stable") for low, high in pairwise(edges)]
        return (owners, starts, sizes), batches
