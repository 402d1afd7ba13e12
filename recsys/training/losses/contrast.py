"""What a loss is computed from: the positions of a batch and the candidates that they are compared with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from recsys.config.training import Objective


@dataclass(frozen=True, eq=False)
class Contrast:
    """The positions of a batch, each with its target, among candidates that all positions share.

    Attributes
    ----------
    queries : float (N, D)
        One vector per position, already divided by the temperature.
    candidates : float (M, D)
        Vectors of distinct items.
    targets : int64 (N,)
        Index of each position's next item among the candidates.
    negatives : int
        How many items of the catalogue can be a negative.
    log_q : float (M,), optional
        Log of each candidate's probability of being in the sample; infinite for one that is not a negative of any
        position. None: all candidates are there for certain.
    masked : (int64 (P,), int64 (P,)), optional
        Positions, ascending, and for each of them a candidate that is not a negative of it.
    weights : float (N,), optional
        Strength of each position.
    ratings : float (N,), optional
        What the log says each target is worth.
    rating_scale : float (2,), optional
        Learned gain and offset from a score to a rating.
    bias : float (), optional
        Learned offset of every score, for losses that judge each item alone.
    bf16 : bool
        Make the products of a softmax in bfloat16.
    """

    queries: Tensor
    candidates: Tensor
    targets: Tensor
    negatives: int
    log_q: Tensor | None = None
    masked: tuple[Tensor, Tensor] | None = None
    weights: Tensor | None = None
    ratings: Tensor | None = None
    rating_scale: Tensor | None = None
    bias: Tensor | None = None
    bf16: bool = False

    def positive(self) -> Tensor:
        """float (N,): score of each position's target."""
        return (self.queries * self.candidates[self.targets]).sum(1)

    def negative(self) -> Tensor:
        """float (N, M): score of each candidate; :meth:`mask` tells which are negatives."""
        return self.queries @ self.candidates.T

    def mask(self) -> Tensor:
        """bool (N, M): True where a candidate is not a negative of the position."""
        mask = torch.zeros(len(self.targets), len(self.candidates), dtype=torch.bool, device=self.targets.device)
        mask[torch.arange(len(self.targets), device=mask.device), self.targets] = True
        if self.masked is not None:
            mask[self.masked] = True
        if self.log_q is not None:
            mask |= self.log_q.isposinf()
        return mask

    def drawn(self) -> int:
        """How many negatives a position has, before any is masked; at least 1."""
        drawn = len(self.candidates) - 1
        if self.log_q is not None:
            drawn = min(drawn, int((~self.log_q.isposinf()).sum()))
        return max(1, drawn)

    def sampling_rate(self) -> float:
        """The share, in (0, 1], of all possible negatives that are among the candidates."""
        return self.drawn() / max(1, self.negatives - 1)


@dataclass(frozen=True)
class Loss:
    """A loss as training knows it.

    Attributes
    ----------
    compute : callable
        From a :class:`Contrast` and the options to the mean over positions, float ().
    candidates : str
        What a position is compared with: ``"all"`` items, a ``"sample"`` of them, or the batch's ``"targets"`` alone.
    rates : bool
        Whether it predicts ratings, with a learned gain and offset.
    biased : bool
        Whether it judges each item alone, with a learned offset of all scores.
    """

    compute: Callable[[Contrast, Objective], Tensor]
    candidates: Literal["all", "sample", "targets"] = "sample"
    rates: bool = False
    biased: bool = False
