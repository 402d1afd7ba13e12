"""Generalised binary cross entropy, gSASRec's loss."""

from __future__ import annotations

from torch import Tensor

from recsys.config.training import Objective
from recsys.errors import ConfigError
from recsys.training.losses.contrast import Contrast, Loss
from recsys.training.losses.negatives import binary_cross_entropy, judged_alone


def gbce_loss(
    positive: Tensor,
    negative: Tensor,
    sampling_rate: float,
    calibration: float,
    *,
    mask: Tensor | None = None,
    weights: Tensor | None = None,
) -> Tensor:
    """Binary cross entropy whose positive counts less, by as much as sampling leaves out negatives.

        l_i = −(β log σ(s_i+) + Σ_j log(1 − σ(s_ij))) / (K_i + 1),   β = α (t (1 − 1/α) + 1/α) = 1 − t (1 − α)

    Requirements: negatives that are drawn evenly, and the share α of all possible negatives that is drawn.

    In training (``loss="gbce"``) it is summed, not averaged, over K_i + 1, and its scores have a learned offset that starts
    at the log of the odds of β to K (``recsys.training.losses.negatives.judged_alone``).

    Relations: with t = 0 it is ``bce_loss``; with t = 1 the probabilities are calibrated as though every item had been a
    negative. ``softmax_loss`` with ``log_q`` corrects the sampling of a softmax instead.

    Parameters
    ----------
    positive : float (N,)
        Score of each position's item.
    negative : float (N, K)
        Scores of its negatives; one that was drawn twice counts twice.
    sampling_rate : float
        α in (0, 1]: K / (n_items − 1).
    calibration : float
        t in [0, 1].
    mask : bool (N, K), optional
        True where a negative does not count, whatever its score. A position without negatives contributes −β log σ(s+).
    weights : float (N,), optional
        Strength of each position, not negative; a constant. Where all are 0, the loss is 0 without gradient.

    Returns
    -------
    float ()
        Weighted mean over positions, in nats.

    Raises
    ------
    ConfigError
        There is no position, the shapes clash, or α or t is out of range.

    References
    ----------
    Petrov & Macdonald, "gSASRec: Reducing Overconfidence in Sequential Recommendation Trained with Negative Sampling",
    RecSys 2023, section 5.

    Examples
    --------
    >>> import torch
    >>> positive, negative = torch.tensor([2.0]), torch.tensor([[0.0, -1.0]])
    >>> gbce_loss(positive, negative, sampling_rate=0.01, calibration=0.75).item()  # (0.2575 · 0.127 + 0.693 + 0.313) / 3
    0.3463...
    """
    if not 0.0 < sampling_rate <= 1.0:
        raise ConfigError(f"sampling_rate must be above 0 and at most 1, not {sampling_rate}")
    if not 0.0 <= calibration <= 1.0:
        raise ConfigError(f"calibration must be between 0 and 1, not {calibration}")
    # log σ^β = β log σ, so that no score is lost to rounding on the way
    return binary_cross_entropy(positive, negative, _beta(sampling_rate, calibration), mask, weights)


def _beta(sampling_rate: float, calibration: float) -> float:
    return 1.0 - calibration * (1.0 - sampling_rate)


def _compute(contrast: Contrast, objective: Objective) -> Tensor:
    return judged_alone(contrast, _beta(contrast.sampling_rate(), objective.calibration))


GBCE = Loss(_compute, biased=True)
