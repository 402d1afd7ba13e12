"""AdamW over groups of parameters, the learning rate over a run, and an L1 penalty."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from recsys.config.training import Training

_NO_MATRICES = ("position", "by_distance", "by_time")
"""Two-dimensional parameters that are tables of offsets: they are not decayed."""
_LOWEST = 0.02
"""Factor on the learning rate at the end of a run."""
_KINDS = ("step", "exp_avg", "exp_avg_sq")
"""What AdamW keeps of each weight."""


def make_optimizer(module: nn.Module, config: Training) -> torch.optim.AdamW:
    """Make AdamW with weight decay on matrices only and a separate rate for a text encoder.

    Each group has its ``peak`` rate, which the schedule multiplies, and ``matrices``: whether it is decayed.
    """
    groups: dict[tuple[bool, bool], list[Tensor]] = {}
    for name, p in module.named_parameters():
        if p.requires_grad:
            groups.setdefault((".encoder." in name, p.dim() == 2 and not name.endswith(_NO_MATRICES)), []).append(p)
    made: list[dict[str, Any]] = []
    for (encoder, matrices), parameters in groups.items():
        peak = config.encoder_learning_rate if encoder else config.learning_rate
        decay = config.weight_decay if matrices else 0.0
        made.append({"params": parameters, "lr": peak, "peak": peak, "weight_decay": decay, "matrices": matrices})
    return torch.optim.AdamW(made, betas=(0.9, 0.98), fused=True)


def warmup_cosine(total: int, warmup: float) -> Callable[[int], float]:
    """A factor on the learning rate: a linear rise over ``warmup · total`` steps, then half a cosine down to 0.02.

    Parameters
    ----------
    total : int
        Steps of the run.
    warmup : float
        Share of them, in [0, 1).
    """
    rise = max(1, round(warmup * total))

    def factor(step: int) -> float:
        if step < rise:
            return (step + 1) / rise
        progress = min(1.0, (step - rise) / max(1, total - rise))
        return _LOWEST + (1.0 - _LOWEST) * 0.5 * (1.0 + math.cos(math.pi * progress))

    return factor


def moments_of(optimizer: torch.optim.Optimizer, names: dict[str, Tensor]) -> dict[str, Tensor]:
    """AdamW's moments and step counts, named ``WEIGHT/exp_avg`` and so on.

    Parameters
    ----------
    optimizer : Optimizer
    names : dict of Tensor
        The weights that it trains, by name.
    """
    return {
        f"{name}/{kind}": value.detach().cpu().clone()
        for name, weight in names.items()
        for kind, value in optimizer.state[weight].items()
    }


def restore_moments(optimizer: torch.optim.Optimizer, names: dict[str, Tensor], moments: dict[str, Tensor]) -> None:
    """Go on with the moments that :func:`moments_of` took, of tables that may have grown since: new rows have none.

    Weights without moments start without any, and moments of other weights are left out.
    """
    for name, weight in names.items():
        kept = {kind: moments[f"{name}/{kind}"] for kind in _KINDS if f"{name}/{kind}" in moments}
        if len(kept) < len(_KINDS):
            continue
        for kind, value in kept.items():
            whole = value
            if kind != "step" and value.shape != weight.shape:
                whole = torch.zeros(weight.shape)
                whole[: len(value)] = value
            kept[kind] = whole.clone() if kind == "step" else whole.to(weight.device, copy=True)
        optimizer.state[weight] = dict(kept)


@torch.no_grad()
def shrink(optimizer: torch.optim.Optimizer, l1: float) -> None:
    """Apply a soft threshold to the matrices, the proximal step of an L1 penalty: w ← sign(w) · max(|w| − rate · l1, 0)."""
    for group in optimizer.param_groups:
        if group["matrices"]:
            for p in group["params"]:
                p.copy_(p.sign() * (p.abs() - group["lr"] * l1).clamp(min=0.0))
