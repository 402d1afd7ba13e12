"""Bayesian personalised ranking."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from recsys.config.training import Objective
from recsys.training.losses.contrast import Contrast, Loss
from recsys.training.losses.negatives import check_scores, masked_negatives, weighted_mean


def bpr_loss(positive: Tensor, negative: Tensor, *, mask: Tensor | None = None, weights: Tensor | None = None) -> Tensor:
    """Put the positive above each of its K_i negatives, pair by pair.

        l_i = −1/K_i Σ_j log σ(s_i+ − s_ij)

    Requirements: sampled negatives. Only differences of scores count, so the scores have no zero point and are not
    probabilities.

    Relations: ``bce_loss`` judges positive and negatives alone, so that its scores have a zero point. ``softmax_loss``
    compares the positive with all candidates at once, which pulls harder on the negatives that score high.

    Parameters
    ----------
    positive : float (N,)
        Score of each position's item.
    negative : float (N, K)
        Scores of its negatives; one that was drawn twice counts twice.
    mask : bool (N, K), optional
        True where a negative does not count, whatever its score. A position without negatives has nothing to compare: it
        is left out of the mean, weight and all.
    weights : float (N,), optional
        Strength of each position, not negative; a constant. Where all are 0, the loss is 0 without gradient.

    Returns
    -------
    float ()
        Weighted mean over positions, in nats.

    Raises
    ------
    ConfigError
        There is no position, or the shapes clash.

    References
    ----------
    Rendle et al., "BPR: Bayesian Personalized Ranking from Implicit Feedback", UAI 2009: BPR-OPT without its regulariser.

    Examples
    --------
    >>> import torch
    >>> bpr_loss(torch.tensor([2.0]), torch.tensor([[0.0, -1.0]])).item()  # (0.127 + 0.049) / 2
    0.0877...
    """
    check_scores(positive, negative, mask, weights)
    negative, counts = masked_negatives(negative, mask)
    pairs = F.softplus(negative - positive[:, None]).sum(1) / counts.clamp(min=1)
    present = (counts > 0).to(pairs.dtype)
    return weighted_mean(pairs, present if weights is None else present * weights)


def _compute(contrast: Contrast, _: Objective) -> Tensor:
    """Positions without negatives count as 0: a process's share is weighted by all of its positions."""
    positive, mask = contrast.positive(), contrast.mask()
    counted = torch.ones_like(positive) if contrast.weights is None else contrast.weights
    compared = (counted * ~mask.all(1)).sum() / counted.sum().clamp(min=torch.finfo(counted.dtype).tiny)
    return compared * bpr_loss(positive, contrast.negative(), mask=mask, weights=contrast.weights)


BPR = Loss(_compute)
