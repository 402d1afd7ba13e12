"""Losses, one per file, and the registry by which training finds them.

To add a loss, write its file beside the others, add its line here, and its name to
:data:`recsys.config.training.LossName`, which lists what the option ``loss`` accepts.
"""

from __future__ import annotations

from recsys.config.training import LossName
from recsys.training.losses.bce import BCE
from recsys.training.losses.bpr import BPR
from recsys.training.losses.contrast import Loss
from recsys.training.losses.gbce import GBCE
from recsys.training.losses.mse import MSE
from recsys.training.losses.softmax import SAMPLED, SOFTMAX

LOSSES: dict[LossName, Loss] = {
    "softmax": SOFTMAX,
    "sampled": SAMPLED,
    "bce": BCE,
    "gbce": GBCE,
    "bpr": BPR,
    "mse": MSE,
}
