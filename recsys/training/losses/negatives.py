"""What the losses over scores share: checked shapes, masked negatives, the weighted mean."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from recsys.errors import ConfigError
from recsys.training.losses.contrast import Contrast


def check_scores(positive: Tensor, negative: Tensor | None, mask: Tensor | None, weights: Tensor | None) -> None:
    """Refuse scores whose shapes clash.

    Parameters
    ----------
    positive : float (N,)
    negative : float (N, K) or None
    mask : bool (N, K) or None
    weights : float (N,) or None

    Raises
    ------
    ConfigError
        There is no position, or a shape is another one.
    """
    if positive.dim() != 1 or len(positive) == 0:
        raise ConfigError(f"a loss needs at least one position and one score for each, not shape {tuple(positive.shape)}")
    if negative is not None and (negative.dim() != 2 or len(negative) != len(positive)):
        raise ConfigError(f"negatives of shape {tuple(negative.shape)} for {len(positive)} positions; (N, K) is needed")
    if mask is not None and negative is not None and (mask.dtype != torch.bool or mask.shape != negative.shape):
        raise ConfigError(f"the mask must be bool {tuple(negative.shape)}, not {mask.dtype} {tuple(mask.shape)}")
    if weights is not None and weights.shape != positive.shape:
        raise ConfigError(f"weights of shape {tuple(weights.shape)} for {len(positive)} positions; one each is needed")


def masked_negatives(negative: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """Negatives whose masked scores are −inf, where softplus and its gradient are exactly 0, and how many count.

    Returns
    -------
    negative : float (N, K)
    counts : (N,)
    """
    if mask is None:
        return negative, negative.new_full((len(negative),), negative.shape[1])
    return negative.masked_fill(mask, -torch.inf), (~mask).sum(1)


def weighted_mean(losses: Tensor, weights: Tensor | None) -> Tensor:
    """``Σ w_i l_i / Σ w_i``, float (); 0 without gradient where all weights are 0. No gradient flows into the weights."""
    if weights is None:
        return losses.mean()
    weights = weights.detach().to(losses.dtype)
    return (losses * weights).sum() / weights.sum().clamp(min=torch.finfo(losses.dtype).tiny)


def binary_cross_entropy(
    positive: Tensor, negative: Tensor, beta: float, mask: Tensor | None, weights: Tensor | None
) -> Tensor:
    """``−(β log σ(s_i+) + Σ_j log(1 − σ(s_ij))) / (K_i + 1)``, averaged; BCE (β = 1) and gBCE are made of it."""
    check_scores(positive, negative, mask, weights)
    negative, counts = masked_negatives(negative, mask)
    # −log σ(s) = softplus(−s) and −log(1 − σ(s)) = softplus(s), which neither overflow nor vanish early
    return weighted_mean((beta * F.softplus(-positive) + F.softplus(negative).sum(1)) / (counts + 1), weights)


def judged_alone(contrast: Contrast, beta: float) -> Tensor:
    """The sum that BCE (β = 1) and gBCE take over a positive and its K negatives, of scores moved to where they belong.

    A positive among K negatives has odds of β to K before anything is known of it, so the scores that are judged are
    ``s + b + log(β / K)`` with a learned b that starts at 0. Ranking never sees the offset. Without it, cosines over a
    temperature start at odds of 1 and cannot fall for all negatives at once: a vector has few directions that are far from
    most others, and training spends its epochs on finding them (SigLIP, Zhai et al., ICCV 2023, section 3.2, has the same
    cause and remedy).

    The sum is SASRec's own equation. Its mean over K + 1 has gradients so small that AdamW's ε is no longer small beside
    them.

    Parameters
    ----------
    contrast : Contrast
        With a ``bias``.
    beta : float
        Weight of a positive.

    Returns
    -------
    float ()
        Weighted mean over positions, in nats.

    Raises
    ------
    ConfigError
        There is no position, or no bias.
    """
    if contrast.bias is None:
        raise ConfigError("a loss that judges each item alone needs a learned bias, and there is none")
    drawn = contrast.drawn()
    offset = contrast.bias + math.log(beta / drawn)
    positive, negative = contrast.positive() + offset, contrast.negative() + offset
    return (drawn + 1) * binary_cross_entropy(positive, negative, beta, contrast.mask(), contrast.weights)
