"""One training step of the two towers, as a Lightning module."""

from __future__ import annotations

from typing import Any

import lightning as L
import torch
import torch.nn.functional as F
from torch import Tensor

from recsys.models.losses import softmax_loss
from recsys.models.negatives import MixedNegatives
from recsys.models.network import TwoTowerNet
from recsys.training.batches import Batch
from recsys.training.config import Training
from recsys.training.schedule import warmup_cosine


class TowerModule(L.LightningModule):
    """Next-item prediction at every position of a window.

    Parameters
    ----------
    net : TwoTowerNet
    config : Training
    negatives : MixedNegatives or None
        None: full softmax.
    bf16_loss : bool
        Make the loss's matrix products in bfloat16.
    total_steps : int
        Steps of the whole run, for the schedule.
    """

    def __init__(
        self, net: TwoTowerNet, config: Training, negatives: MixedNegatives | None, *, bf16_loss: bool, total_steps: int
    ) -> None:
        super().__init__()
        self.net = net
        self.config = config
        self.negatives = negatives
        self.bf16_loss = bf16_loss
        self.total_steps = total_steps
        self._draws = torch.Generator().manual_seed(config.seed)

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        if self.negatives is None:
            inputs, targets, log_q = batch.inputs, batch.targets, None
            table = candidates = self.net.items()  # (n_items, D)
        else:
            sampled, targets, log_q = self.negatives.draw(batch.targets, self._draws)
            needed = torch.unique(torch.cat([sampled, batch.inputs.flatten()]))
            table = self.net.items(needed)  # each distinct item of the batch once
            inputs = torch.searchsorted(needed, batch.inputs)
            candidates = table[torch.searchsorted(needed, sampled)]
        hidden = self.net.users(F.embedding(inputs, table))  # (B, T, D)
        queries = self.net.for_score(hidden.flatten(0, 1)[batch.positions].float()) * self.net.scale()
        scored = self.net.for_score(candidates.float())
        loss = softmax_loss(queries, scored, targets, log_q=log_q, bf16=self.bf16_loss)
        self.log("loss", loss, on_step=False, on_epoch=True, batch_size=len(batch.targets))
        return loss

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        # Not left to the trainer, which refuses to clip for a fused optimiser under autocast.
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), self.config.clip_norm)

    def configure_optimizers(self) -> Any:
        decayed = [p for name, p in self.net.named_parameters() if p.requires_grad and _decays(name, p)]
        plain = [p for name, p in self.net.named_parameters() if p.requires_grad and not _decays(name, p)]
        groups = [{"params": decayed, "weight_decay": self.config.weight_decay}, {"params": plain, "weight_decay": 0.0}]
        optimizer = torch.optim.AdamW(groups, lr=self.config.learning_rate, betas=(0.9, 0.98), fused=True)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, warmup_cosine(self.total_steps, self.config.warmup))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def _decays(name: str, parameter: Tensor) -> bool:
    return parameter.dim() == 2 and not name.endswith("position")
