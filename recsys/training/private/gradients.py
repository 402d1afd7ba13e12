"""The gradient of each user alone, clipped, and their sum: the one thing that a private training sees of the log.

opacus' GradSampleModule cannot make them here. It hooks the input of each layer and takes the input's first axis for the
samples, and the item tower's input is the catalogue, which all users of a batch share; nor does it take the user tower,
whose positions are parameters beside submodules. So the gradients are ``torch.func``'s, of a loss of one user, and
opacus reckons the budget alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from recsys.config.training import Objective
from recsys.models.networks.context import Context
from recsys.models.networks.two_tower import TwoTowerNetwork
from recsys.training.windows import Batch

_NUMBERS = 8_000_000
"""Numbers that the gradients and logits of the users who are computed at once may hold: few enough to stay in a cache."""
_OVER = 1.0 + 1e-6
"""Norms are rounded to 32 bits: nobody is clipped to more than what was promised."""


class UserLoss(nn.Module):
    """The loss of one user: the mean over the positions of one window, of a softmax over all items or public negatives.

    Parameters
    ----------
    net : TwoTowerNetwork
    objective : Objective
        A softmax, or a sampled one whose negatives are even draws from the catalogue.
    """

    def __init__(self, net: TwoTowerNetwork, objective: Objective) -> None:
        super().__init__()
        self.net = net
        self.objective = objective
        self.sampled = objective.loss_for(net.items.n_items) == "sampled"

    def draw(self, generator: torch.Generator) -> Tensor | None:
        """int64 (M,): the negatives of a step, the same for all users and drawn without a look at any; None: all items."""
        if not self.sampled:
            return None
        return torch.randperm(self.net.items.n_items, generator=generator)[: self.objective.negatives]

    def forward(self, one: dict[str, Tensor], negatives: Tensor | None) -> Tensor:
        """The loss of one user in nats.

        Parameters
        ----------
        one : dict of Tensor
            ``inputs`` and ``targets`` int64 (T,), ``strength`` float32 (T,), 0 at padding; and by the name of a field of
            :class:`Context` what else is known, (T,).
        negatives : int64 (M,) or None
        """
        net = self.net
        table = net.items()  # (n_items, D)
        known = {name: value[None] for name, value in one.items() if name not in ("inputs", "targets", "strength")}
        states = net.users(F.embedding(one["inputs"], table)[None], Context(**known))[0]  # (T, D)
        members = zip(net.by_member(states.float()), net.by_member(table.float()), strict=True)
        each = [self._positions(net.scale() * queries, vectors, one["targets"], negatives) for queries, vectors in members]
        strength = one["strength"]
        return (torch.stack(each).mean(0) * strength).sum() / strength.sum().clamp(min=torch.finfo(torch.float32).tiny)

    def _positions(self, queries: Tensor, vectors: Tensor, targets: Tensor, negatives: Tensor | None) -> Tensor:
        """float (T,): the loss of each position."""
        smoothing = self.objective.label_smoothing
        if negatives is None:
            return F.cross_entropy(queries @ vectors.T, targets, reduction="none", label_smoothing=smoothing)
        logits = queries @ vectors[negatives].T  # (T, M)
        if self.objective.log_q:
            logits = logits + torch.tensor(self.net.items.n_items / len(negatives)).log()
        logits = logits.masked_fill(negatives[None, :] == targets[:, None], torch.finfo(logits.dtype).min)
        positive = (queries * vectors[targets]).sum(1, keepdim=True)
        return F.cross_entropy(torch.cat([positive, logits], 1), torch.zeros_like(targets), reduction="none")


@dataclass(frozen=True, eq=False)
class ClippedSum:
    """The sum over users of their clipped gradients.

    Attributes
    ----------
    gradients : dict of Tensor
        By parameter's name.
    users : int
    loss : float ()
        Sum over users of their losses, in nats.
    """

    gradients: dict[str, Tensor]
    users: int
    loss: Tensor


def clipped_sum(loss: UserLoss, batch: Batch, norm: float, negatives: Tensor | None = None) -> ClippedSum:
    """Compute each user's gradient, scale it down to a norm, and add up.

    **Sensitivity.** Each row of the batch is all that one user has in it. A row's gradient depends on the weights, on
    random numbers that are drawn without a look at the log (dropout, negatives), and on that row alone: towers have no
    statistics of a batch, and the candidates are the whole catalogue or public. So for two logs of which one has one more
    user, the sums differ, at the same weights, by that user's clipped gradient or, if the user is not drawn, by nothing:
    by ``norm`` at most in Euclidean length over all parameters together. Gaussian noise of standard deviation
    ``σ · norm`` on the sum is then the sampled Gaussian mechanism of Abadi et al., "Deep learning with differential
    privacy" (CCS 2016, arXiv 1607.00133, algorithm 1), with users in place of examples as in McMahan et al., "Learning
    differentially private recurrent language models" (ICLR 2018, arXiv 1710.06963); what is made of the noisy sum
    (AdamW, averages, item vectors, an index) costs nothing more.

    Parameters
    ----------
    loss : UserLoss
    batch : Batch
        One window a user.
    norm : float
    negatives : int64 (M,), optional

    Returns
    -------
    ClippedSum
        Zeros for a batch of nobody.
    """
    weights = {name: p for name, p in loss.named_parameters() if p.requires_grad}
    rest = {name: p.detach() for name, p in loss.named_parameters() if not p.requires_grad} | dict(loss.named_buffers())
    summed = {name: torch.zeros_like(p) for name, p in weights.items()}
    total = torch.zeros((), dtype=torch.float64, device=batch.inputs.device)
    held = {name: p.detach() for name, p in weights.items()}

    def of_one(trained: dict[str, Tensor], one: dict[str, Tensor]) -> Tensor:
        value: Tensor = functional_call(loss, (trained, rest), (one, negatives))
        return value

    of_each = vmap(grad_and_value(of_one), in_dims=(None, 0), randomness="different")
    for some in _parts(loss, batch, negatives):
        with sdpa_kernel(SDPBackend.MATH):  # the others have no rule for many gradients at once, and would loop over users
            gradients, values = of_each(held, some)
        squares = [g.reshape(len(values), -1).square().sum(1) for g in gradients.values()]
        norms = torch.stack(squares).sum(0).sqrt()  # (K,)
        factors = (norm / (norms * _OVER)).clamp(max=1.0)
        for name, g in gradients.items():
            summed[name] += torch.tensordot(factors, g, dims=1)
        total += values.double().sum()
    return ClippedSum(summed, len(batch.inputs), total)


def _parts(loss: UserLoss, batch: Batch, negatives: Tensor | None) -> Iterator[dict[str, Tensor]]:
    """The users of a batch, some at a time, each an entry along the first axis; no longer than the longest of them."""
    users, length = batch.inputs.shape
    flat = torch.zeros(users * length, device=batch.inputs.device)
    targets = flat.long().index_copy(0, batch.positions, batch.targets).view(users, length)
    strength = torch.ones(len(batch.positions), device=flat.device)
    if loss.objective.weighted:
        assert batch.weights is not None  # noqa: S101 - recsys.training.checks.check_objective saw to it
        strength = batch.weights
    strength = flat.index_copy(0, batch.positions, strength.float()).view(users, length)
    real = flat.index_fill(0, batch.positions, 1.0).view(users, length)
    whole = {"inputs": batch.inputs, "targets": targets, "strength": strength}
    if batch.context is not None:
        parts = {field.name: getattr(batch.context, field.name) for field in fields(batch.context)}
        whole |= {name: part for name, part in parts.items() if part is not None}
    lengths = real.sum(1).long()
    items, dim = loss.net.items.n_items, sum(p.numel() for p in loss.parameters() if p.requires_grad)
    first = 0
    while first < users:
        longest = int(lengths[first:].max())
        candidates = items if negatives is None else len(negatives)
        each = 3 * longest * candidates + 3 * dim
        last = min(users, first + max(1, _NUMBERS // each))
        yield {name: part[first:last, :longest] for name, part in whole.items()}
        first = last
