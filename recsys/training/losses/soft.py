"""Cross entropy with the probabilities that another model gives to all candidates as the label."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

_CHUNK_LOGITS = 4_000_000
"""Logits of each model held at once."""


class _ChunkedSoftLabel(torch.autograd.Function):
    """As the softmax of :mod:`recsys.training.losses.softmax`: the gradient is made in the forward pass, part by part."""

    @staticmethod
    def forward(
        ctx: Any,
        queries: Tensor,
        candidates: Tensor,
        teacher: tuple[Tensor, Tensor],
        targets: Tensor,
        log_q: Tensor | None,
        share: float,
        known: Tensor | None,
    ) -> Tensor:
        q, c = queries.detach().float(), candidates.detach().float()
        n, part = len(q), max(1, _CHUNK_LOGITS // len(c))
        total = q.new_zeros(())
        grad_q, grad_c = torch.empty_like(q), torch.zeros_like(c)
        for first in range(0, n, part):
            some = slice(first, first + part)
            target = targets[some, None]
            label = _corrected(teacher[0][some] @ teacher[1].T, target, log_q, known).softmax(1).mul_(share)
            label.scatter_add_(1, target, torch.full_like(label[:, :1], 1.0 - share))
            log_p = _corrected(q[some] @ c.T, target, log_q).log_softmax(1)
            total -= torch.where(label > 0, label * log_p, 0.0).sum()  # what is no negative of a position has -inf there
            slope = log_p.exp_().sub_(label)
            grad_q[some] = slope @ c
            grad_c += slope.T @ q[some]
        ctx.save_for_backward((grad_q / n).to(queries.dtype), (grad_c / n).to(candidates.dtype))
        return total / n

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None, None, None, None, None]:
        grad_q, grad_c = ctx.saved_tensors
        return grad_q * grads[0], grad_c * grads[0], None, None, None, None, None


def _corrected(logits: Tensor, target: Tensor, log_q: Tensor | None, known: Tensor | None = None) -> Tensor:
    """Logits (R, M) of a sample, lowered by the log of its probabilities, −∞ if not known, but for targets; overwritten."""
    if log_q is None and known is None:
        return logits
    positive = logits.gather(1, target)
    if log_q is not None:
        logits.sub_(log_q)
    if known is not None:
        logits.masked_fill_(~known, -torch.inf)
    return logits.scatter_(1, target, positive)


def soft_label_loss(
    queries: Tensor,
    candidates: Tensor,
    teacher: tuple[Tensor, Tensor],
    targets: Tensor,
    *,
    log_q: Tensor | None = None,
    share: float = 1.0,
    known: Tensor | None = None,
) -> Tensor:
    """Give each candidate the probability that a teacher gives it, and the target some more.

        l_i = −Σ_j (ε t_ij + (1 − ε) [j = p_i]) log softmax(s_i)_j

    with t the softmax of the teacher's scores. A target says that one item was chosen; the teacher says of all others how
    near they were, at every position (Hinton et al., arXiv 1503.02531).

    Requirements: two products of queries and candidates in each step, of which one is the teacher's.

    Relations: with a share of 0 this is :func:`recsys.training.losses.softmax.softmax_loss`; with an even teacher its
    ``label_smoothing``.

    Parameters
    ----------
    queries : float (N, D)
        One vector per position to be predicted, already divided by the temperature where there is one.
    candidates : float (M, D)
    teacher : float (N, D'), float (M, D')
        The teacher's queries, divided by its temperature, and its candidates; no gradient flows into either.
    targets : int64 (N,)
        Index of each position's item among the candidates.
    log_q : float (M,), optional
        Log of each candidate's probability of being in the sample; None: all are there for certain.
    share : float
        ε in [0, 1].
    known : bool (M,), optional
        Which candidates the teacher was trained on: the others, but for the targets, have probability 0 in its part of the
        label. All by default.

    Returns
    -------
    float ()
        Mean loss in nats, at least the entropy of the labels.

    Examples
    --------
    >>> import torch
    >>> queries, candidates = torch.tensor([[1.0, 0.0]]), torch.tensor([[2.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    >>> teacher = torch.zeros(1, 1), torch.zeros(3, 1)  # which knows nothing
    >>> soft_label_loss(queries, candidates, teacher, torch.tensor([0]), share=0.0).item()  # log(e² + e⁰ + e⁻¹) − 2
    0.1698...
    >>> soft_label_loss(queries, candidates, teacher, torch.tensor([0])).item()  # log(e² + e⁰ + e⁻¹) − (2 + 0 − 1) / 3
    1.8365...
    """
    with torch.autocast(queries.device.type, enabled=False):
        teacher = teacher[0].float(), teacher[1].float()
        loss: Tensor = _ChunkedSoftLabel.apply(queries, candidates, teacher, targets, log_q, share, known)  # type: ignore[no-untyped-call]
    return loss
