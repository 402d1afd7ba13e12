"""Full and sampled softmax: one function, since the sampled one only corrects the logits."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from recsys.config.training import Objective
from recsys.errors import ConfigError
from recsys.training.losses.contrast import Contrast, Loss

_CHUNK_LOGITS = 8_000_000
"""Logits held at once: enough rows to keep the matrix units busy and to make adding up gradients cheap."""
_CACHE_LOGITS = 400_000
"""Logits turned into probabilities at once on a CPU: few enough to stay in its cache from one pass to the next."""


class _Terms(NamedTuple):
    """What shapes the loss beside scores and targets; see ``softmax_loss``."""

    log_q: Tensor | None
    smoothing: float
    weights: Tensor | None
    masked: tuple[Tensor, Tensor] | None
    bf16: bool


class _ChunkedSoftmax(torch.autograd.Function):
    """Cross entropy over ``queries @ candidates.T`` whose gradient is made in the forward pass, chunk by chunk.

    Neither the (N, M) logits nor their gradient ever exist whole: each chunk of rows is scored, replaced part by part by
    the gradient of its logits, and folded into the two gradients before the next one is scored in the same memory.
    """

    @staticmethod
    def forward(ctx: Any, queries: Tensor, candidates: Tensor, targets: Tensor, terms: _Terms) -> Tensor:
        n, m = queries.shape[0], candidates.shape[0]
        exact = torch.promote_types(torch.promote_types(queries.dtype, candidates.dtype), torch.float32)
        dtype = torch.bfloat16 if terms.bf16 else exact
        q, c = queries.detach().to(dtype), candidates.detach().to(dtype)
        weights = None if terms.weights is None else terms.weights.to(exact)[:, None]  # (N, 1)
        scaled = q if weights is None else (queries.detach() * weights).to(dtype)
        part, rows = _sizes(n, m, on_cpu=c.device.type == "cpu")
        masked = None if terms.masked is None else _split_pairs(terms.masked, [*range(0, n, part), n])
        scores = torch.empty(rows, m, dtype=dtype, device=c.device)
        logits, slopes = (torch.empty(part, m, dtype=exact, device=c.device) for _ in range(2))
        losses = torch.empty(n, 1, dtype=exact, device=c.device)
        grad_q = torch.empty_like(queries)
        grad_c = torch.zeros(candidates.shape, dtype=exact, device=c.device)
        for start in range(0, n, rows):
            block = slice(start, min(start + rows, n))
            score = torch.mm(q[block], c.T, out=scores[: block.stop - start])  # (R, M)
            for first in range(start, block.stop, part):
                last = min(first + part, block.stop)
                here = score[first - start : last - start]
                logit, slope = logits[: last - first].copy_(here), slopes[: last - first]
                pairs = None if masked is None else masked[first // part]
                losses[first:last] = _part_loss(logit, slope, targets[first:last, None], terms, pairs)
                here.copy_(slope)
            grad = torch.mm(score, c)
            grad_q[block] = grad if weights is None else grad * weights[block]
            grad_c += torch.mm(score.T, scaled[block])
        norm = n if weights is None else weights.sum().clamp(min=torch.finfo(exact).tiny)
        ctx.save_for_backward(grad_q.div_(norm), grad_c.div_(norm).to(candidates.dtype))
        return (losses if weights is None else losses * weights).sum() / norm

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None, None]:
        grad_q, grad_c = ctx.saved_tensors
        return grad_q * grads[0], grad_c * grads[0], None, None


def _sizes(n: int, m: int, *, on_cpu: bool) -> tuple[int, int]:
    """Rows of a part and of a chunk, which is made of whole parts."""
    rows = min(n, max(1, _CHUNK_LOGITS // m))
    part = min(rows, max(1, _CACHE_LOGITS // m)) if on_cpu else rows
    return part, rows // part * part


def _part_loss(logits: Tensor, grad: Tensor, target: Tensor, terms: _Terms, masked: Tensor | None) -> Tensor:
    """Loss (R, 1) of some rows of logits (R, M), whose gradient is written to ``grad``; the logits are overwritten."""
    positive = logits.gather(1, target)  # (R, 1)
    if terms.log_q is not None:
        logits -= terms.log_q
        logits.scatter_(1, target, positive)  # the positive was not sampled: its logit stays as it is
    if terms.smoothing:
        even, mean = _even_label(logits, target, masked)
    if masked is not None:
        logits[masked[0], masked[1]] = -torch.inf
        logits.scatter_(1, target, positive)
    highest = logits.amax(1, keepdim=True)
    torch.softmax(logits, 1, out=grad)
    log_mass = highest - grad.amax(1, keepdim=True).log_()  # the likeliest has probability exp(highest) / mass
    loss = log_mass - positive
    if terms.smoothing:
        grad -= terms.smoothing * even
        loss = torch.lerp(loss, log_mass - mean, terms.smoothing)
    grad.scatter_add_(1, target, torch.full_like(positive, terms.smoothing - 1.0))
    return loss


def _even_label(logits: Tensor, target: Tensor, masked: Tensor | None) -> tuple[Tensor, Tensor]:
    """Label (R, M) or (1, 1) that is the same for all that is not masked, and the mean logit (R, 1) under it."""
    if masked is None:
        return logits.new_full((1, 1), 1.0 / logits.shape[1]), logits.mean(1, keepdim=True)
    label = torch.ones_like(logits)
    label[masked[0], masked[1]] = 0.0
    label.scatter_(1, target, 1.0)
    label /= label.sum(1, keepdim=True)
    return label, (logits * label).sum(1, keepdim=True)


def _split_pairs(pairs: tuple[Tensor, Tensor], edges: list[int]) -> list[Tensor]:
    """Pairs (2, ·) of each part of the positions, counted from the part's first."""
    position, candidate = pairs
    bounds = torch.searchsorted(position.contiguous(), torch.tensor(edges, device=position.device)).tolist()
    return [
        torch.stack([position[low:high] - start, candidate[low:high]])
        for start, low, high in zip(edges, bounds, bounds[1:], strict=False)
    ]


def softmax_loss(
    queries: Tensor,
    candidates: Tensor,
    targets: Tensor,
    *,
    log_q: Tensor | None = None,
    label_smoothing: float = 0.0,
    weights: Tensor | None = None,
    masked: tuple[Tensor, Tensor] | None = None,
    bf16: bool = False,
) -> Tensor:
    """Put each target above all candidates at once: full softmax, or sampled softmax with ``log_q``.

        l_i = −s_ip + log Z_i,   Z_i = Σ_{j ∈ C} exp(s_ij)

    Where the candidates are the whole catalogue this is the ordinary cross entropy. Where they are a sample that holds
    item j with probability q_j, the sum is estimated without bias (Horvitz & Thompson) by

        Z_i ≈ exp(s_ip) + Σ_{j ∈ C, j ≠ p} exp(s_ij) / q_j

    so each logit is lowered by log q_j, except the target's, which is there for certain.

    Requirements: for the full softmax, memory for all item vectors and time for N × M scores in each step; above about
    100,000 items take a sample with ``log_q``, from one of the samplers of :mod:`recsys.training.sampling`.

    Relations: ``bpr_loss`` compares with one candidate at a time, ``bce_loss`` and ``gbce_loss`` judge each candidate
    alone. A sample that is the whole catalogue, with ``log_q`` of 0, gives the full softmax.

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
    label_smoothing : float
        In [0, 1): the share ε of the label that is spread evenly over the candidates that are not masked, the target
        among them, so that the loss is (1 − ε)·(log Z_i − s_ip) + ε·(log Z_i − mean_j s'_ij) with the corrected logits
        s'. For the whole catalogue that is ``torch.nn.functional.cross_entropy``. For sampled candidates the even spread
        is over this sample: over many draws item j gets a part that grows with q_j, not an even one.
    weights : float (N,), optional
        Strength of each position, not negative; the loss is the weighted mean, and 0 without gradient where all are 0.
        A constant: no gradient flows into it.
    masked : (int64 (P,), int64 (P,)), optional
        Positions, ascending, and for each a candidate that does not count as its negative, such as an item of its own
        history (``recsys.training.sampling.history_pairs``). Repetition does no harm; a target is never masked.
    bf16 : bool
        Make the three matrix products in bfloat16 (sums and exponentials stay in float32).

    Returns
    -------
    float ()
        Mean loss in nats. Memory beyond the gradients is a few million logits, whatever N and M.

    Raises
    ------
    ConfigError
        There is no position, the shapes clash, ``label_smoothing`` is not in [0, 1), or masked positions do not ascend
        or lie outside the queries.

    References
    ----------
    Yi et al., "Sampling-Bias-Corrected Neural Modeling for Large Corpus Item Recommendations", RecSys 2019, equation 3,
    with the target's logit uncorrected as in arXiv 2507.09331.

    Examples
    --------
    >>> import torch
    >>> queries, candidates = torch.tensor([[1.0, 0.0]]), torch.tensor([[2.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    >>> softmax_loss(queries, candidates, torch.tensor([0])).item()  # log(e² + e⁰ + e⁻¹) − 2
    0.1698...
    >>> log_q = torch.tensor([1.0, 0.5, 0.5]).log()  # two candidates stand for four
    >>> softmax_loss(queries, candidates, torch.tensor([0]), log_q=log_q).item()  # log(e² + 2 (e⁰ + e⁻¹)) − 2
    0.3149...
    """
    n, m = len(queries), len(candidates)
    if n == 0:
        raise ConfigError("softmax_loss needs at least one position to predict")
    if queries.shape[1] != candidates.shape[1]:
        raise ConfigError(f"queries have {queries.shape[1]} dimensions and candidates {candidates.shape[1]}")
    if not 0.0 <= label_smoothing < 1.0:
        raise ConfigError(f"label_smoothing must be at least 0 and below 1, not {label_smoothing}")
    for name, tensor, length in (("targets", targets, n), ("weights", weights, n), ("log_q", log_q, m)):
        if tensor is not None and tensor.shape != (length,):
            raise ConfigError(f"{name} has shape {tuple(tensor.shape)} where ({length},) is needed")
    if masked is not None:
        if masked[0].dim() != 1 or masked[0].shape != masked[1].shape:
            raise ConfigError(
                f"masked pairs need two equal lengths, not {tuple(masked[0].shape)} and {tuple(masked[1].shape)}"
            )
        if bool((masked[0][1:] < masked[0][:-1]).any()):
            raise ConfigError("masked pairs must be sorted by position; sort both tensors by the first")
        if len(masked[0]) and not 0 <= int(masked[0][0]) <= int(masked[0][-1]) < n:
            raise ConfigError(
                f"masked positions reach from {int(masked[0][0])} to {int(masked[0][-1])}, outside 0 .. {n - 1}"
            )
    terms = _Terms(log_q, label_smoothing, weights, masked, bf16)
    with torch.autocast(queries.device.type, enabled=False):  # the precision is what ``bf16`` says
        loss: Tensor = _ChunkedSoftmax.apply(queries, candidates, targets, terms)  # type: ignore[no-untyped-call]
    return loss


def _compute(contrast: Contrast, objective: Objective) -> Tensor:
    return softmax_loss(
        contrast.queries,
        contrast.candidates,
        contrast.targets,
        log_q=contrast.log_q,
        label_smoothing=objective.label_smoothing,
        weights=contrast.weights,
        masked=contrast.masked,
        bf16=contrast.bf16,
    )


SOFTMAX = Loss(_compute, candidates="all")
SAMPLED = Loss(_compute)
