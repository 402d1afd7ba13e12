"""One training step of the two towers: from a batch to its loss."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recsys.config.training import LossName, Objective
from recsys.models.networks.two_tower import TwoTowerNetwork
from recsys.training.losses.pairwise import bce_loss, bpr_loss, gbce_loss, mse_loss
from recsys.training.losses.softmax import softmax_loss
from recsys.training.sampling import history_pairs, make_sampler
from recsys.training.windows import Batch


class NextItemLoss(nn.Module):
    """Next-item prediction at every position of a window.

    Parameters
    ----------
    net : TwoTowerNetwork
    objective : Objective
    counts : int64 (n_items,)
        How often each item is met in training, for the samplers and for telling which were never met.
    bf16 : bool
        Make the softmax's matrix products in bfloat16.
    autocast : bool
        Make every matrix product in bfloat16.
    seed : int
        Negatives follow from it.
    """

    rivals: Tensor
    places: Tensor

    def __init__(
        self,
        net: TwoTowerNetwork,
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
        # int64 (R,): rows that may be negatives, ascending; and the place of each row among them
        rivals = torch.arange(len(counts)) if objective.cold_negatives else counts.nonzero()[:, 0]
        self.register_buffer("rivals", rivals, persistent=False)
        self.register_buffer("places", torch.searchsorted(rivals, torch.arange(len(counts))), persistent=False)
        self.sampler = None
        if self.loss not in ("softmax", "mse"):
            self.sampler = make_sampler(objective.sampler, counts[rivals], objective.negatives)
        self.draws = torch.Generator().manual_seed(seed)
        # Ratings have a level and a spread that inner products need not learn.
        self.rating = nn.Parameter(torch.tensor([1.0, 0.0])) if self.loss == "mse" else None

    def weights(self) -> dict[str, Tensor]:
        """The trained parameters by name."""
        return {name: p for name, p in self.named_parameters() if p.requires_grad}

    def state(self) -> dict[str, Tensor]:
        """All tensors that training changes: the weights and, with a trained encoder, the text vectors it last gave."""
        if self.net.items.encoder is None:
            return self.weights()
        return self.weights() | {"net.items.text": self.net.items.text}

    @contextmanager
    def restored(self) -> Iterator[None]:
        """Weights, text vectors and random states are put back after the block, and gradients dropped."""
        before, draws = {name: value.detach().clone() for name, value in self.state().items()}, self.draws.get_state()
        try:
            with torch.random.fork_rng(enabled=True):
                yield
        finally:
            with torch.no_grad():
                for name, value in self.state().items():
                    value.copy_(before[name])
            self.draws.set_state(draws)
            self.zero_grad(set_to_none=True)

    def forward(self, batch: Batch) -> Tensor:
        """The loss of this process's share of a batch.

        Parameters
        ----------
        batch : Batch
            Negatives are drawn for the targets of all shares, alike in every process.

        Returns
        -------
        float ()
            Its mean over processes is the (weighted) mean over all positions of all shares; 0 where none has a weight.
        """
        with torch.autocast(batch.targets.device.type, torch.bfloat16, enabled=self.autocast):
            listed, log_q = self._candidates(batch)
            if len(batch.targets) == 0 or (self.objective.weighted and not bool(_weights(batch.all_weights).any())):
                return self._nothing(self)
            loss = batch.share(weighted=self.objective.weighted) * self._loss(batch, listed, log_q)
            if batch.processes > 1 and self.net.items.encoder is not None:
                loss = loss + self._nothing(self.net.items.encoder)  # this share may hold no text
            return loss

    def _candidates(self, batch: Batch) -> tuple[Tensor | None, Tensor | None]:
        """Distinct item rows to be scored, ascending (None: all), and their log-probabilities of being there."""
        if self.loss == "softmax":
            return (None if len(self.rivals) == self.net.items.n_items else self.rivals), None
        if self.sampler is None:
            return torch.unique(batch.targets), None
        found = self.sampler.draw(self.places[batch.all_targets], self.draws)
        rows = self.rivals[found.rows]
        if self.objective.log_q:
            return rows, found.log_q
        return rows, torch.where(found.log_q.isposinf(), found.log_q, 0.0)  # what is no negative stays none

    def _loss(self, batch: Batch, listed: Tensor | None, log_q: Tensor | None) -> Tensor:
        """The (weighted) mean over this share's positions."""
        net, objective = self.net, self.objective
        if listed is None:
            table = net.items()  # (n_items, D)
            inputs, candidates, places = batch.inputs, net.by_member(table.float()), batch.targets
            listed = torch.arange(net.items.n_items, device=table.device)
        else:
            rows = torch.unique(torch.cat([listed, batch.inputs.flatten()]))
            table = net.items(rows)  # (R, D): each distinct item of the batch is encoded once
            inputs, places = torch.searchsorted(rows, batch.inputs), torch.searchsorted(listed, batch.targets)
            candidates = net.by_member(table[torch.searchsorted(rows, listed)].float())
        hidden = net.users(F.embedding(inputs, table), batch.side)  # (B, T, D)
        queries = net.by_member(hidden.flatten(0, 1)[batch.positions].float())  # each (N, D)
        no_negatives = history_pairs(listed, batch.inputs, batch.positions) if objective.mask_history else None
        scored = zip(queries, candidates, strict=True)
        losses = [self._member(batch, net.scale() * q, c, places, no_negatives, log_q) for q, c in scored]
        return torch.stack(losses).mean()

    def _member(
        self,
        batch: Batch,
        queries: Tensor,
        candidates: Tensor,
        places: Tensor,
        no_negatives: tuple[Tensor, Tensor] | None,
        log_q: Tensor | None,
    ) -> Tensor:
        """The loss of one member of the ensemble, from its queries (N, D) and candidates (M, D)."""
        objective = self.objective
        weights = _weights(batch.weights) if objective.weighted else None
        if self.rating is not None:
            predicted = self.rating[0] * (queries * candidates[places]).sum(1) + self.rating[1]
            return mse_loss(predicted, _weights(batch.weights), weights)
        if self.loss not in ("softmax", "sampled"):
            return self._pairwise(queries, candidates, places, no_negatives, weights, log_q)
        return softmax_loss(
            queries,
            candidates,
            places,
            log_q=log_q,
            bf16=self.bf16,
            label_smoothing=objective.label_smoothing,
            weights=weights,
            hidden=no_negatives,
        )

    def _pairwise(
        self,
        queries: Tensor,
        candidates: Tensor,
        places: Tensor,
        no_negatives: tuple[Tensor, Tensor] | None,
        weights: Tensor | None,
        log_q: Tensor | None,
    ) -> Tensor:
        """BCE, gBCE or BPR of each position against the candidates that are not its target."""
        positive = (queries * candidates[places]).sum(1)  # (N,)
        negative = queries @ candidates.T  # (N, M)
        mask = torch.zeros_like(negative, dtype=torch.bool)
        mask[torch.arange(len(places), device=places.device), places] = True
        if no_negatives is not None:
            mask[no_negatives] = True
        if log_q is not None:
            mask |= log_q.isposinf()
        if self.loss == "bce":
            return bce_loss(positive, negative, mask=mask, weights=weights)
        if self.loss == "gbce":
            others = len(candidates) - 1 if log_q is None else min(len(candidates) - 1, int((~log_q.isposinf()).sum()))
            rate = max(1, others) / max(1, len(self.rivals) - 1)
            return gbce_loss(positive, negative, rate, self.objective.calibration, mask=mask, weights=weights)
        # Positions without negatives count as 0, lest the mean of a share be over fewer than the share says.
        counted = torch.ones_like(positive) if weights is None else weights
        compared = (counted * ~mask.all(1)).sum() / counted.sum().clamp(min=torch.finfo(counted.dtype).tiny)
        return compared * bpr_loss(positive, negative, mask=mask, weights=weights)

    def _nothing(self, part: nn.Module) -> Tensor:
        """Zero, with a gradient of zeros: all processes must have one for the same weights, or they wait for ever."""
        return torch.stack([p.sum() * 0.0 for p in part.parameters() if p.requires_grad]).sum()


def _weights(weights: Tensor | None) -> Tensor:
    assert weights is not None  # noqa: S101 - recsys.training.trainer.check_objective saw to it
    return weights
