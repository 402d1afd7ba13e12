"""Losses over a few negatives per position (BCE, gBCE, BPR) and over ratings (MSE), as pure functions of scores.

All are means over positions, weighted where weights are given: ``Σ w_i l_i / Σ w_i``, and 0 without gradient where no
position has a weight. Weights are constants, not negative. A negative that is masked is as good as absent, whatever its
score, also an infinite one; one that was drawn twice counts twice, once per draw.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from recsys.errors import ConfigError


def bce_loss(positive: Tensor, negative: Tensor, *, mask: Tensor | None = None, weights: Tensor | None = None) -> Tensor:
    """Binary cross entropy of a positive against its K_i negatives, those that count.

        l_i = −(log σ(s_i+) + Σ_j log(1 − σ(s_ij))) / (K_i + 1)

    SASRec's loss (Kang & McAuley, ICDM 2018) in the normalisation of Petrov & Macdonald (RecSys 2023); with
    one negative it is half the sum that SASRec's equation prints. ``gbce_loss`` is its calibrated form, ``bpr_loss``
    compares pairs instead.

    Parameters
    ----------
    positive : float (N,)
        Score of each position's item.
    negative : float (N, K)
        Scores of its negatives.
    mask : bool (N, K), optional
        True where a negative does not count. A position without any negative left contributes −log σ(s+).
    weights : float (N,), optional

    Returns
    -------
    float ()
        In nats.

    Raises
    ------
    ConfigError
        There is no position, or the shapes clash.
    """
    return _binary(positive, negative, 1.0, mask, weights)


def gbce_loss(
    positive: Tensor,
    negative: Tensor,
    sampling_rate: float,
    calibration: float,
    *,
    mask: Tensor | None = None,
    weights: Tensor | None = None,
) -> Tensor:
    """Generalised binary cross entropy: the positive's probability to the power β offsets what sampling inflates.

        l_i = −(β log σ(s_i+) + Σ_j log(1 − σ(s_ij))) / (K_i + 1),   β = α (t (1 − 1/α) + 1/α) = 1 − t (1 − α)

    gSASRec's loss (Petrov & Macdonald, RecSys 2023). With t = 0 it is ``bce_loss``; with t = 1 the
    probabilities are calibrated as though every item had been a negative. Since σ^β is a power, log σ^β = β log σ, and no
    score is lost to rounding on the way.

    Parameters
    ----------
    positive : float (N,)
        Score of each position's item.
    negative : float (N, K)
        Scores of its negatives, drawn uniformly.
    sampling_rate : float
        α in (0, 1]: the share of all possible negatives that is drawn, K / (n_items − 1).
    calibration : float
        t in [0, 1].
    mask : bool (N, K), optional
        True where a negative does not count. A position without any negative left contributes −β log σ(s+).
    weights : float (N,), optional

    Returns
    -------
    float ()
        In nats.

    Raises
    ------
    ConfigError
        There is no position, the shapes clash, or α or t is out of range.
    """
    if not 0.0 < sampling_rate <= 1.0:
        raise ConfigError(f"sampling_rate must be above 0 and at most 1, not {sampling_rate}")
    if not 0.0 <= calibration <= 1.0:
        raise ConfigError(f"calibration must be between 0 and 1, not {calibration}")
    return _binary(positive, negative, 1.0 - calibration * (1.0 - sampling_rate), mask, weights)


def bpr_loss(positive: Tensor, negative: Tensor, *, mask: Tensor | None = None, weights: Tensor | None = None) -> Tensor:
    """Bayesian personalised ranking: how surely the positive is above each of its K_i negatives.

        l_i = −1/K_i Σ_j log σ(s_i+ − s_ij)

    Rendle et al., UAI 2009, BPR-OPT without its regulariser. Only differences count, so that scores have no zero point.

    Parameters
    ----------
    positive : float (N,)
        Score of each position's item.
    negative : float (N, K)
        Scores of its negatives.
    mask : bool (N, K), optional
        True where a negative does not count. A position without any negative left has nothing to compare: it is left out
        of the mean, weight and all.
    weights : float (N,), optional

    Returns
    -------
    float ()
        In nats.

    Raises
    ------
    ConfigError
        There is no position, or the shapes clash.
    """
    _check(positive, negative, mask, weights)
    negative, counts = _counted(negative, mask)
    pairs = F.softplus(negative - positive[:, None]).sum(1) / counts.clamp(min=1)
    present = (counts > 0).to(pairs.dtype)
    return _mean(pairs, present if weights is None else present * weights)


def mse_loss(predicted: Tensor, ratings: Tensor, weights: Tensor | None = None) -> Tensor:
    """Mean squared error of predicted ratings.

    Parameters
    ----------
    predicted, ratings : float (N,)
    weights : float (N,), optional

    Returns
    -------
    float ()
        In squared units of the ratings.

    Raises
    ------
    ConfigError
        There is no rating, or the shapes clash.
    """
    _check(predicted, None, None, weights)
    if ratings.shape != predicted.shape:
        raise ConfigError(f"{len(predicted)} predictions and ratings of shape {tuple(ratings.shape)}; one each is needed")
    return _mean((predicted - ratings).square(), weights)


def _binary(positive: Tensor, negative: Tensor, beta: float, mask: Tensor | None, weights: Tensor | None) -> Tensor:
    _check(positive, negative, mask, weights)
    negative, counts = _counted(negative, mask)
    # −log σ(s) = softplus(−s) and −log(1 − σ(s)) = softplus(s), which neither overflow nor vanish early
    return _mean((beta * F.softplus(-positive) + F.softplus(negative).sum(1)) / (counts + 1), weights)


def _counted(negative: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """Negatives whose masked scores are −inf, at which softplus and its gradient are exactly 0; and how many count (N,)."""
    if mask is None:
        return negative, negative.new_full((len(negative),), negative.shape[1])
    return negative.masked_fill(mask, -torch.inf), (~mask).sum(1)


def _mean(losses: Tensor, weights: Tensor | None) -> Tensor:
    if weights is None:
        return losses.mean()
    weights = weights.detach().to(losses.dtype)
    return (losses * weights).sum() / weights.sum().clamp(min=torch.finfo(losses.dtype).tiny)


def _check(positive: Tensor, negative: Tensor | None, mask: Tensor | None, weights: Tensor | None) -> None:
    if positive.dim() != 1 or len(positive) == 0:
        raise ConfigError(f"a loss needs at least one position and one score for each, not shape {tuple(positive.shape)}")
    if negative is not None and (negative.dim() != 2 or len(negative) != len(positive)):
        raise ConfigError(f"negatives of shape {tuple(negative.shape)} for {len(positive)} positions; (N, K) is needed")
    if mask is not None and negative is not None and (mask.dtype != torch.bool or mask.shape != negative.shape):
        raise ConfigError(f"the mask must be bool {tuple(negative.shape)}, not {mask.dtype} {tuple(mask.shape)}")
    if weights is not None and weights.shape != positive.shape:
        raise ConfigError(f"weights of shape {tuple(weights.shape)} for {len(positive)} positions; one each is needed")
