"""Training losses as pure functions."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from recsys.errors import ConfigError

_CHUNK_LOGITS = 4_000_000
"""Logits held at once: small enough for a processor's cache, large enough to keep its matrix units busy."""


class _ChunkedSoftmax(torch.autograd.Function):
    """Cross entropy over ``queries @ candidates.T`` whose gradient is made in the forward pass, chunk by chunk.

    Neither the (N, M) logits nor their gradient ever exist whole: each chunk of rows is scored, turned into
    probabilities in place, and folded into the two gradients before the next one is scored.
    """

    @staticmethod
    def forward(ctx: Any, queries: Tensor, candidates: Tensor, targets: Tensor, log_q: Tensor | None, bf16: bool) -> Tensor:
        n, m = queries.shape[0], candidates.shape[0]
        dtype = torch.bfloat16 if bf16 else queries.dtype
        q, c = queries.detach().to(dtype), candidates.detach().to(dtype)
        grad_q = torch.empty_like(queries)
        grad_c = torch.zeros(candidates.shape, dtype=torch.promote_types(candidates.dtype, torch.float32), device=c.device)
        total = torch.zeros((), dtype=grad_c.dtype, device=q.device)
        rows = max(1, _CHUNK_LOGITS // max(m, 1))
        for start in range(0, n, rows):
            block = slice(start, start + rows)
            target = targets[block, None]  # (R, 1)
            logits = (q[block] @ c.T).to(grad_c.dtype)  # (R, M)
            if log_q is not None:
                positive = logits.gather(1, target)
                logits -= log_q
                logits.scatter_(1, target, positive)  # the positive was not sampled: its logit stays as it is
            highest = logits.amax(1, keepdim=True)
            logits -= highest
            positive = logits.gather(1, target)
            logits.exp_()
            mass = logits.sum(1, keepdim=True)
            total += (mass.log() - positive).sum()
            logits /= mass
            logits.scatter_add_(1, target, torch.full_like(mass, -1.0))
            grad_logits = logits.to(dtype)  # (R, M), of the summed loss
            grad_q[block] = (grad_logits @ c).to(grad_q.dtype)
            grad_c += grad_logits.T @ q[block]
        ctx.save_for_backward(grad_q.div_(n), grad_c.div_(n).to(candidates.dtype))
        return total / n

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        grad_q, grad_c = ctx.saved_tensors
        return grad_q * grads[0], grad_c * grads[0], None, None, None


def softmax_loss(
    queries: Tensor, candidates: Tensor, targets: Tensor, *, log_q: Tensor | None = None, bf16: bool = False
) -> Tensor:
    """Cross entropy of each target among all candidates: full softmax, or sampled softmax with ``log_q``.

    With candidates that are the whole catalogue this is the ordinary softmax loss. With candidates that were sampled,
    each with inclusion probability q_j, the partition function is estimated without bias by

        Z_i ≈ exp(s_ip) + Σ_{j ∈ C, j ≠ p} exp(s_ij) / q_j          (Horvitz–Thompson)

    so the loss is −s_ip + log Z_i: logits are corrected by −log q_j (Yi et al., RecSys 2019), save the positive's, which
    is there for certain (the refined correction of arXiv 2507.09331).

    Parameters
    ----------
    queries : float (N, D)
        One vector per position to be predicted, already divided by the temperature where there is one.
    candidates : float (M, D)
        Distinct candidate item vectors.
    targets : int64 (N,)
        Index of each position's item among the candidates.
    log_q : float (M,), optional
        Log of each candidate's probability of being in the sample; None: all are there for certain.
    bf16 : bool
        Make the three matrix products in bfloat16 (sums and exponentials stay in float32).

    Returns
    -------
    float ()
        Mean loss in nats. Memory beyond the gradients is a few million logits, whatever N and M.

    Raises
    ------
    ConfigError
        There is no position, or the shapes clash.
    """
    if queries.shape[0] == 0:
        raise ConfigError("softmax_loss needs at least one position to predict")
    if queries.shape[1] != candidates.shape[1]:
        raise ConfigError(f"queries have {queries.shape[1]} dimensions and candidates {candidates.shape[1]}")
    loss: Tensor = _ChunkedSoftmax.apply(queries, candidates, targets, log_q, bf16)  # type: ignore[no-untyped-call]
    return loss
