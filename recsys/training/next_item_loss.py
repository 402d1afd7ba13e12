"""From a batch to its loss, through both towers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recsys.config.training import Objective
from recsys.models.networks.two_tower import TwoTowerNetwork
from recsys.training.losses import LOSSES
from recsys.training.losses.contrast import Contrast
from recsys.training.sampling import history_pairs, make_sampler
from recsys.training.windows import Batch


@dataclass(frozen=True, eq=False)
class Compared:
    """What one member of an ensemble, or the only one, compares at the positions of a batch.

    Attributes
    ----------
    queries : float (N, D)
        Divided by the temperature.
    vectors : float (M, D)
        Of the candidates.
    targets : int64 (N,)
        Each position's next item among the candidates.
    rows : int64 (M,)
        The candidates' item rows, ascending.
    """

    queries: Tensor
    vectors: Tensor
    targets: Tensor
    rows: Tensor


class NextItemLoss(nn.Module):
    """Predict the next item at every position of a window.

    Parameters
    ----------
    net : TwoTowerNetwork
    objective : Objective
    counts : int64 (n_items,)
        How often each item occurs in training: for the samplers, and to know which items never occur.
    bf16 : bool
        Make the softmax's matrix products in bfloat16.
    autocast : bool
        Make every matrix product in bfloat16.
    seed : int
        Decides which negatives are drawn.
    """

    candidate_items: Tensor
    candidate_index: Tensor

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
        self.loss = LOSSES[objective.loss_for(len(counts))]
        self.bf16 = bf16
        self.autocast = autocast
        # int64 (R,): rows that can be candidates, ascending; and the index of each row among them
        candidate_items = torch.arange(len(counts)) if objective.cold_negatives else counts.nonzero()[:, 0]
        candidate_index = torch.searchsorted(candidate_items, torch.arange(len(counts)))
        self.register_buffer("candidate_items", candidate_items, persistent=False)
        self.register_buffer("candidate_index", candidate_index, persistent=False)
        self.sampler = None
        if self.loss.candidates == "sample":
            self.sampler = make_sampler(objective.sampler, counts[candidate_items], objective.negatives)
        self.draws = torch.Generator().manual_seed(seed)
        # Ratings have a level and a spread that inner products need not learn.
        self.rating = nn.Parameter(torch.tensor([1.0, 0.0])) if self.loss.rates else None
        # So has an item that is judged alone: how rare positives are.
        self.bias = nn.Parameter(torch.tensor(0.0)) if self.loss.biased else None

    def weights(self) -> dict[str, Tensor]:
        """The trained parameters by name."""
        return {name: p for name, p in self.named_parameters() if p.requires_grad}

    def state(self) -> dict[str, Tensor]:
        """All tensors that training changes: the weights and, with a trained encoder, its latest text vectors."""
        if self.net.items.encoder is None:
            return self.weights()
        return self.weights() | {"net.items.text": self.net.items.text}

    @contextmanager
    def restored(self) -> Iterator[None]:
        """Restore weights, text vectors and random states after the block, and drop gradients."""
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
            Negatives are drawn for the targets of all shares, the same in every process.

        Returns
        -------
        float ()
            Its mean over processes is the (weighted) mean over all positions of all shares; 0 if all weights are 0.
        """
        with torch.autocast(batch.targets.device.type, torch.bfloat16, enabled=self.autocast):
            rows, log_q = self._candidates(batch)
            if len(batch.targets) == 0 or (self.objective.weighs and not bool(_weights(batch.all_weights).any())):
                return self._nothing(self)
            loss = batch.share(weighted=self.objective.weighs) * self._loss(batch, rows, log_q)
            if batch.processes > 1 and self.net.items.encoder is not None:
                loss = loss + self._nothing(self.net.items.encoder)  # this share may hold no text
            return loss

    def _candidates(self, batch: Batch) -> tuple[Tensor | None, Tensor | None]:
        """Distinct item rows to score, ascending (None: all), and the log of each one's probability of being there."""
        if self.loss.candidates == "all":
            return (None if len(self.candidate_items) == self.net.items.n_items else self.candidate_items), None
        if self.sampler is None:
            return torch.unique(batch.targets), None
        drawn = self.sampler.draw(self.candidate_index[batch.all_targets], self.draws)
        rows = self.candidate_items[drawn.rows]
        if self.objective.log_q:
            return rows, drawn.log_q
        return rows, torch.where(drawn.log_q.isposinf(), drawn.log_q, 0.0)  # what is not a negative stays none

    def _loss(self, batch: Batch, candidates: Tensor | None, log_q: Tensor | None) -> Tensor:
        """The (weighted) mean over this share's positions, and over the members of an ensemble."""
        return torch.stack([self._contrasted(one, batch, log_q) for one in self._compared(batch, candidates)]).mean()

    def _compared(self, batch: Batch, candidates: Tensor | None) -> list[Compared]:
        """What each member compares at this share's positions, of these candidates' rows (None: all)."""
        net = self.net
        if candidates is None:
            table = net.items()  # (n_items, D)
            inputs, targets, vectors = batch.inputs, batch.targets, net.by_member(table.float())
            candidates = torch.arange(net.items.n_items, device=table.device)
        else:
            rows = torch.unique(torch.cat([candidates, batch.inputs.flatten()]))
            table = net.items(rows)  # (R, D): each distinct item of the batch is encoded once
            inputs, targets = torch.searchsorted(rows, batch.inputs), torch.searchsorted(candidates, batch.targets)
            vectors = net.by_member(table[torch.searchsorted(rows, candidates)].float())
        states = net.users(F.embedding(inputs, table), batch.context)  # (B, T, D)
        queries = net.by_member(states.flatten(0, 1)[batch.positions].float())  # each (N, D)
        scale = net.scale()
        return [Compared(scale * one, other, targets, candidates) for one, other in zip(queries, vectors, strict=True)]

    def _contrasted(self, one: Compared, batch: Batch, log_q: Tensor | None) -> Tensor:
        """The loss of one member."""
        objective = self.objective
        masked = history_pairs(one.rows, batch.inputs, batch.positions) if objective.mask_history else None
        contrast = Contrast(
            queries=one.queries,
            candidates=one.vectors,
            targets=one.targets,
            negatives=len(self.candidate_items),
            log_q=log_q,
            masked=masked,
            weights=_weights(batch.weights) if objective.weighs else None,
            ratings=batch.weights,
            rating_scale=self.rating,
            bias=self.bias,
            bf16=self.bf16,
        )
        return self.loss.compute(contrast, objective)

    def _nothing(self, part: nn.Module) -> Tensor:
        """Zero, with a gradient of zeros: processes wait for ever unless all have gradients for the same weights."""
        return torch.stack([p.sum() * 0.0 for p in part.parameters() if p.requires_grad]).sum()


def _weights(weights: Tensor | None) -> Tensor:
    assert weights is not None  # noqa: S101 - recsys.training.checks.check_objective saw to it
    return weights
