"""One training step of the two towers: from a batch to its loss."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recsys.models.losses import softmax_loss
from recsys.models.negatives import Candidates, history_pairs, make_sampler
from recsys.models.network import TwoTowerNet
from recsys.models.pairwise import bce_loss, bpr_loss, gbce_loss, mse_loss
from recsys.training.batches import Batch
from recsys.training.config import LossName, Objective


class NextItemLoss(nn.Module):
    """Next-item prediction at every position of a window.

    Parameters
    ----------
    net : TwoTowerNet
    objective : Objective
    counts : int64 (n_items,)
        How often each item is a target in training, for the samplers.
    bf16 : bool
        Make the softmax's matrix products in bfloat16.
    autocast : bool
        Make every matrix product in bfloat16.
    seed : int
        Negatives follow from it.
    """

    def __init__(
        self,
        net: TwoTowerNet,
        objective: Objective,
        counts: Tensor,
        *,
        bf16: bool = False,
        autocast: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.net = net
        self.objective = objective
        self.loss: LossName = objective.loss_for(len(counts))
        self.bf16 = bf16
        self.autocast = autocast
        self.sampler = None
        if self.loss not in ("softmax", "mse"):
            self.sampler = make_sampler(objective.sampler, counts, objective.negatives)
        self.draws = torch.Generator().manual_seed(seed)
        # Ratings have a level and a spread that inner products need not learn.
        self.rating = nn.Parameter(torch.tensor([1.0, 0.0])) if self.loss == "mse" else None

    def forward(self, batch: Batch) -> Tensor:
        """The batch's loss; see :meth:`_forward`."""
        with torch.autocast(batch.targets.device.type, torch.bfloat16, enabled=self.autocast):
            return self._forward(batch)

    def _forward(self, batch: Batch) -> Tensor:
        """The batch's loss.

        Parameters
        ----------
        batch : Batch
            This process's share; negatives are drawn for the targets of all shares, alike in every process.

        Returns
        -------
        float ()
            This share's sum of (weighted) losses over the whole batch's number (or weight) of positions.
        """
        n_items = self.net.items.n_items
        found: Candidates | None = None
        if self.sampler is None:
            rows, inputs = None, batch.inputs
        else:
            found = self.sampler.draw(batch.all_targets, self.draws)
            rows = torch.unique(torch.cat([found.rows, batch.inputs.flatten()]))
            inputs = torch.searchsorted(rows, batch.inputs)
        table = self.net.items(rows)  # (n_items or distinct items of the batch, D): each item is encoded once
        if len(batch.targets) == 0:
            nothing: Tensor = table.sum() * 0.0 + sum(p.sum() * 0.0 for p in self.net.users.parameters())
            return nothing
        hidden = self.net.users(F.embedding(inputs, table), batch.side)  # (B, T, D)
        queries = self.net.for_score(hidden.flatten(0, 1)[batch.positions].float()) * self.net.scale()
        if found is None:
            candidates, places, log_q = self.net.for_score(table.float()), batch.targets, None
            listed = torch.arange(n_items, device=table.device)
        else:
            assert rows is not None  # noqa: S101 - set beside found
            candidates = self.net.for_score(table[torch.searchsorted(rows, found.rows)].float())
            places, log_q, listed = torch.searchsorted(found.rows, batch.targets), found.log_q, found.rows
        weights = batch.weights if self.objective.weighted else None
        hidden_pairs = history_pairs(listed, batch.inputs, batch.positions) if self.objective.mask_history else None
        share = batch.share(weighted=weights is not None)
        if self.loss in ("softmax", "sampled"):
            return share * softmax_loss(
                queries,
                candidates,
                places,
                log_q=log_q,
                bf16=self.bf16,
                label_smoothing=self.objective.label_smoothing,
                weights=weights,
                hidden=hidden_pairs,
            )
        positive = (queries * candidates[places]).sum(1)
        if self.loss == "mse":
            assert self.rating is not None and batch.weights is not None  # noqa: S101, PT018 - asked for in train()
            return share * mse_loss(self.rating[0] * positive + self.rating[1], batch.weights, weights)
        negative = queries @ candidates.T  # (N, M)
        mask = torch.zeros_like(negative, dtype=torch.bool)
        mask[torch.arange(len(places), device=places.device), places] = True
        if hidden_pairs is not None:
            mask[hidden_pairs] = True
        if self.loss == "bce":
            return share * bce_loss(positive, negative, mask=mask, weights=weights)
        if self.loss == "bpr":
            return share * bpr_loss(positive, negative, mask=mask, weights=weights)
        rate = min(1.0, len(candidates) / max(1, n_items - 1))
        return share * gbce_loss(positive, negative, rate, self.objective.calibration, mask=mask, weights=weights)
