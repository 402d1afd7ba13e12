"""The loss of an update: what happened, and for old events also what the model thought before."""

from __future__ import annotations

import copy
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from recsys.config.training import Objective
from recsys.models.networks.two_tower import TwoTowerNetwork
from recsys.training.losses.soft import soft_label_loss
from recsys.training.next_item_loss import Compared, NextItemLoss
from recsys.training.windows import Batch


class Before:
    """A network as it was before an update, in its item rows.

    Parameters
    ----------
    net : TwoTowerNetwork
        It is copied.
    known : bool (n_items,)
        The items that it was trained on.
    """

    def __init__(self, net: TwoTowerNetwork, known: Tensor) -> None:
        self.net, self.known = copy.deepcopy(net).eval(), known
        with torch.no_grad():
            self.table = self.net.items().float()
        self.vectors = self.net.by_member(self.table)

    @torch.no_grad()
    def queries(self, batch: Batch, chosen: Tensor) -> list[Tensor]:
        """What each member asks for at some positions of a batch, int64 (m,): float (m, D) each, by its temperature."""
        states = self.net.users(F.embedding(batch.inputs, self.table), batch.context)
        scale = self.net.scale()
        return [scale * one for one in self.net.by_member(states.flatten(0, 1)[batch.positions[chosen]].float())]


def can_distil(objective: Objective, n_items: int) -> bool:
    """Whether the loss compares softmaxes over all items, which the scores from before can be part of."""
    plain = not objective.weighs and not objective.mask_history
    return plain and objective.loss_for(n_items) in ("softmax", "sampled")


class UpdateLoss(NextItemLoss):
    """Predict the next item, and at positions that are replayed also what the model before would have.

    At a replayed position the label is ``share`` of the softmax of the model before and ``1 - share`` of the event; items
    that the model before was not trained on have no part in its softmax, so that it says nothing of them. Each member of an
    ensemble is held to what the same member said.

    Parameters
    ----------
    net : TwoTowerNetwork
    objective : Objective
        One for which :func:`can_distil` holds.
    counts : int64 (n_items,)
        Of all events, new and old.
    before : Before
    share : float
        In (0, 1].
    bf16, autocast, seed
        As for :class:`NextItemLoss`.
    """

    def __init__(
        self,
        net: TwoTowerNetwork,
        objective: Objective,
        counts: Tensor,
        *,
        before: Before,
        share: float,
        bf16: bool = False,
        autocast: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__(net, objective, counts, bf16=bf16, autocast=autocast, seed=seed)
        self.before, self.share = before, share

    def _loss(self, batch: Batch, candidates: Tensor | None, log_q: Tensor | None) -> Tensor:
        assert batch.replayed is not None  # noqa: S101 - UpdateBatches tells it
        old, new = batch.replayed.nonzero()[:, 0], (~batch.replayed).nonzero()[:, 0]
        compared = self._compared(batch, candidates)
        asked = self.before.queries(batch, old) if len(old) else [None] * len(compared)
        fresh = replace(batch, positions=batch.positions[new])
        losses = []
        for one, query, vectors in zip(compared, asked, self.before.vectors, strict=True):
            total = one.queries.new_zeros(())
            if len(new):
                total = total + len(new) * self._contrasted(_some(one, new), fresh, log_q)
            if query is not None:
                teacher, known = (query, vectors[one.rows]), self.before.known[one.rows]
                part = _some(one, old)
                total = total + len(old) * soft_label_loss(
                    part.queries, part.vectors, teacher, part.targets, log_q=log_q, share=self.share, known=known
                )
            losses.append(total / len(batch.targets))
        return torch.stack(losses).mean()


def _some(one: Compared, positions: Tensor) -> Compared:
    return replace(one, queries=one.queries[positions], targets=one.targets[positions])
