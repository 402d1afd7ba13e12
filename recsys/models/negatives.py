"""Shared negatives for a batch, with the log-probability of each candidate being there."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from recsys.errors import ConfigError


class MixedNegatives:
    """Candidates of a batch: all its own targets together with a uniform draw from the catalogue.

    Item j is a candidate with probability ``q_j = 1 − (1 − u)(1 − b_j)``: it is in the uniform draw without replacement
    with ``u = negatives / n_items``, or is the target of at least one of the batch's positions with
    ``b_j = 1 − (1 − f_j)^N``, where f_j is its share of all training targets and N the positions of the batch.

    Parameters
    ----------
    counts : int64 (n_items,)
        How often each item is a target in training.
    negatives : int
        Size of the uniform draw, at most n_items.

    Raises
    ------
    ConfigError
        ``negatives`` is below 1.
    """

    def __init__(self, counts: Tensor, negatives: int) -> None:
        if negatives < 1:
            raise ConfigError(f"negatives must be at least 1, not {negatives}")
        self.n_items = len(counts)
        self.negatives = min(negatives, self.n_items)
        self.share = counts.double() / counts.sum()

    def log_q(self, candidates: Tensor, positions: int) -> Tensor:
        """float32 (M,): log q_j of each candidate for a batch of ``positions`` targets."""
        share = self.share.to(candidates.device)[candidates]
        absent_from_batch = positions * torch.log1p(-share.clamp(max=1.0))  # log (1 − b_j)
        uniform = self.negatives / self.n_items
        if uniform >= 1.0:
            return torch.zeros(len(candidates), device=candidates.device)
        log_absent = absent_from_batch + math.log1p(-uniform)
        return torch.log(-torch.expm1(log_absent)).float()

    def draw(self, targets: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Candidates for a batch.

        Parameters
        ----------
        targets : int64 (N,)
        generator : torch Generator
            On the CPU.

        Returns
        -------
        candidates : int64 (M,)
            Distinct item rows, ascending; every target is among them.
        places : int64 (N,)
            Index of each target among the candidates.
        log_q : float32 (M,)
        """
        drawn = torch.randperm(self.n_items, generator=generator)[: self.negatives].to(targets.device)
        candidates = torch.unique(torch.cat([targets, drawn]))
        return candidates, torch.searchsorted(candidates, targets), self.log_q(candidates, len(targets))
