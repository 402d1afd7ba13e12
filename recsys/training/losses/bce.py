"""Binary cross entropy, SASRec's loss."""

from __future__ import annotations

from torch import Tensor

from recsys.config.training import Objective
from recsys.training.losses.contrast import Contrast, Loss
from recsys.training.losses.negatives import binary_cross_entropy, judged_alone


def bce_loss(positive: Tensor, negative: Tensor, *, mask: Tensor | None = None, weights: Tensor | None = None) -> Tensor:
    """Ask of each item alone: is it the next one? Yes for the positive, no for each of its K_i negatives.

        l_i = −(log σ(s_i+) + Σ_j log(1 − σ(s_ij))) / (K_i + 1)

    Requirements: sampled negatives. Every negative counts the same, so few of them make the model overconfident.

    In training (``loss="bce"``) it is summed, not averaged, over K_i + 1, and its scores have a learned offset that starts
    at the log of the odds of 1 to K (``recsys.training.losses.negatives.judged_alone``).

    Relations: ``gbce_loss`` undoes that overconfidence, and with ``calibration=0`` it is this loss. ``bpr_loss`` compares
    the positive with each negative instead of judging both alone. With one negative it is half the sum that SASRec's
    equation prints.

    Parameters
    ----------
    positive : float (N,)
        Score of each position's item.
    negative : float (N, K)
        Scores of its negatives; one that was drawn twice counts twice.
    mask : bool (N, K), optional
        True where a negative does not count, whatever its score. A position without negatives contributes −log σ(s+).
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
    Kang & McAuley, "Self-Attentive Sequential Recommendation", ICDM 2018, equation 7; normalised as in Petrov & Macdonald,
    "gSASRec: Reducing Overconfidence in Sequential Recommendation Trained with Negative Sampling", RecSys 2023.

    Examples
    --------
    >>> import torch
    >>> bce_loss(torch.tensor([2.0]), torch.tensor([[0.0, -1.0]])).item()  # (0.127 + 0.693 + 0.313) / 3
    0.3777...
    """
    return binary_cross_entropy(positive, negative, 1.0, mask, weights)


def _compute(contrast: Contrast, _: Objective) -> Tensor:
    return judged_alone(contrast, beta=1.0)


BCE = Loss(_compute, biased=True)
