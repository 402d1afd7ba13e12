"""Mean squared error of ratings."""

from __future__ import annotations

from torch import Tensor

from recsys.config.training import Objective
from recsys.errors import ConfigError
from recsys.training.losses.contrast import Contrast, Loss
from recsys.training.losses.negatives import check_scores, weighted_mean


def mse_loss(predicted: Tensor, ratings: Tensor, weights: Tensor | None = None) -> Tensor:
    """Predict how much each item was liked, rather than which item comes next.

        l_i = (r̂_i − r_i)²

    Requirements: a rating of every interaction, and no negatives.

    Relations: the other losses rank what was chosen above what was not. This one knows chosen items alone, so it ranks
    a whole catalogue badly; take it where ratings are to be predicted. To let ratings count in a ranking, weigh another
    loss by them (``weighted=True``).

    Parameters
    ----------
    predicted, ratings : float (N,)
    weights : float (N,), optional
        Strength of each position, not negative; a constant. Where all are 0, the loss is 0 without gradient.

    Returns
    -------
    float ()
        Weighted mean, in squared units of the ratings.

    Raises
    ------
    ConfigError
        There is no rating, or the shapes clash.

    References
    ----------
    Koren, Bell & Volinsky, "Matrix Factorization Techniques for Recommender Systems", IEEE Computer 42(8), 2009, equation
    2, without its regulariser.

    Examples
    --------
    >>> import torch
    >>> mse_loss(torch.tensor([4.0, 3.0]), torch.tensor([5.0, 3.0])).item()
    0.5
    """
    check_scores(predicted, None, None, weights)
    if ratings.shape != predicted.shape:
        raise ConfigError(f"{len(predicted)} predictions and ratings of shape {tuple(ratings.shape)}; one each is needed")
    return weighted_mean((predicted - ratings).square(), weights)


def _compute(contrast: Contrast, _: Objective) -> Tensor:
    if contrast.ratings is None or contrast.rating_scale is None:
        raise ConfigError("loss='mse' needs a rating for each position, and there are none")
    predicted = contrast.rating_scale[0] * contrast.positive() + contrast.rating_scale[1]
    return mse_loss(predicted, contrast.ratings, contrast.weights)


MSE = Loss(_compute, candidates="targets", rates=True)
