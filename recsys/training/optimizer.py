"""AdamW over groups of parameters, and the L1 penalty it lacks."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from recsys.config.training import Training

_NO_MATRICES = ("position", "by_distance", "by_time")
"""Two-dimensional parameters that are tables of offsets."""


def make_optimizer(module: nn.Module, config: Training) -> torch.optim.AdamW:
    """AdamW with decay on matrices alone and a rate of its own for a text encoder.

    Each group carries its ``peak`` rate, which the schedule multiplies, and ``matrices``: whether it is decayed.
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


@torch.no_grad()
def shrink(optimizer: torch.optim.Optimizer, l1: float) -> None:
    """Soft threshold on the matrices, the proximal step of an L1 penalty: w ← sign(w) · max(|w| − rate · l1, 0)."""
    for group in optimizer.param_groups:
        if group["matrices"]:
            for p in group["params"]:
                p.copy_(p.sign() * (p.abs() - group["lr"] * l1).clamp(min=0.0))
