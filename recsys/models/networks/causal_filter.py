"""A short filter over time: each position takes in a few before it."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class CausalFilter(nn.Module):
    """Weighted sum of a position and those before it, ``y_t = Σ_k w_k x_{t−k}`` for k from 0 to K − 1.

    The K weights are shared by all dimensions and start as the identity. Attention tells what was looked at from where it
    stood; a filter blends the last few events before anything is compared, which short and noisy histories gain from.
    (Learned filters: Zhou et al., "Filter-enhanced MLP is All You Need for Sequential Recommendation", WWW 2022; short and
    causal ones before attention: Poli et al., "Hyena Hierarchy", ICML 2023.)

    Parameters
    ----------
    length : int
        K, at least 1.
    longest : int
        Most positions of a sequence.
    """

    def __init__(self, length: int, longest: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.eye(1, length)[0])
        back = torch.arange(longest)[:, None] - torch.arange(longest)  # (T, T): how far behind t position s lies
        self.back: Tensor
        self.register_buffer("back", torch.where((back >= 0) & (back < length), back, length), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Blend.

        Parameters
        ----------
        x : float (B, T, D)
            Padded on the right.

        Returns
        -------
        float (B, T, D)
        """
        size = x.shape[1]
        reads = torch.cat([self.weight, self.weight.new_zeros(1)])[self.back[:size, :size]]  # (T, T)
        blended: Tensor = reads.to(x.dtype) @ x
        return blended

    def step(self, x: Tensor) -> Tensor:
        """Blend the newest positions alone.

        Parameters
        ----------
        x : float (B, K − 1 + C, D)
            The K − 1 positions before them (zeros before the first), then the C newest.

        Returns
        -------
        float (B, C, D)
        """
        before = self.weight.shape[0] - 1
        new = x.shape[1] - before
        parts = [self.weight[back].to(x.dtype) * x[:, before - back : before - back + new] for back in range(before + 1)]
        return torch.stack(parts).sum(0)
