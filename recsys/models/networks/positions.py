"""Where events stand to each other, in places and in time, as attention reads it."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from recsys.errors import ConfigError

TIME_BUCKETS = 128


class Rotary(nn.Module):
    """Rotary position embedding (arXiv 2104.09864): turns queries and keys by an angle that grows with their position.

    Component ``d`` is paired with ``d + D/2``, as in GPT-NeoX, rather than with its neighbour: the same up to the order
    of components, which is learned anyway. Inner products depend on the distance between two positions alone.

    Parameters
    ----------
    dim : int
        Width of one head, even.
    max_length : int
    base : float
        The slowest pair turns by nearly 1 / base a position.

    Raises
    ------
    ConfigError
        ``dim`` is odd.
    """

    cos: Tensor
    sin: Tensor

    def __init__(self, dim: int, max_length: int, base: float = 10_000.0) -> None:
        super().__init__()
        if dim % 2:
            raise ConfigError(f"rotary positions turn pairs, and {dim} components per head is odd; change dim or heads")
        pace = base ** -(torch.arange(0, dim, 2, dtype=torch.float64) / dim)
        angles = torch.arange(max_length, dtype=torch.float64)[:, None] * pace
        self.register_buffer("cos", angles.cos().float(), persistent=False)  # (max_length, D / 2)
        self.register_buffer("sin", angles.sin().float(), persistent=False)

    def forward(self, x: Tensor, at: Tensor) -> Tensor:
        """Turn vectors.

        Parameters
        ----------
        x : float (B, H, Q, D)
        at : int64 (B or 1, Q)
            Their positions.

        Returns
        -------
        float (B, H, Q, D)
            Of the type of ``x``.
        """
        cos, sin = self.cos[at][:, None], self.sin[at][:, None]
        left, right = x.chunk(2, dim=-1)
        return torch.cat([left * cos - right * sin, right * cos + left * sin], dim=-1).to(x.dtype)


class TimeBuckets(nn.Module):
    """Buckets of time differences that widen geometrically: ``⌊log(max(|Δ|, 1)) / 0.301⌋``, at most 127.

    As in the code published with HSTU (arXiv 2402.17152): 128 buckets, each 1.35 times as wide as the one before. The
    edges are whole numbers, so that every device finds the same bucket.
    """

    edges: Tensor

    def __init__(self) -> None:
        super().__init__()
        edges = [math.ceil(math.exp(0.301 * bucket)) for bucket in range(1, TIME_BUCKETS)]
        self.register_buffer("edges", torch.tensor(edges), persistent=False)

    def forward(self, at: Tensor, times: Tensor) -> Tensor:
        """Bucket of the difference between each query's time and each event's.

        Parameters
        ----------
        at : int64 (B, Q)
            Seconds.
        times : int64 (B, T)
            Seconds.

        Returns
        -------
        int64 (B, Q, T)
        """
        return torch.bucketize((at[:, :, None] - times[:, None, :]).abs(), self.edges, right=True)


class AttentionBias(nn.Module):
    """What is added to attention scores: per head, a learned number for the distance and one for the time between.

    By distance as in T5 (arXiv 1910.10683), though every distance has its own number; by time as in HSTU.

    Parameters
    ----------
    heads, max_length : int
    distance, time : bool
        Which of the two are learned; at least one.
    """

    def __init__(self, heads: int, max_length: int, *, distance: bool, time: bool) -> None:
        super().__init__()
        self.by_distance = nn.Parameter(torch.zeros(heads, max_length)) if distance else None
        self.by_time = nn.Parameter(torch.zeros(heads, TIME_BUCKETS)) if time else None
        for table in self.parameters():
            nn.init.normal_(table, std=0.02)

    def forward(self, at: Tensor, length: int, buckets: Tensor | None) -> Tensor:
        """The bias of some queries against all positions.

        Parameters
        ----------
        at : int64 (B or 1, Q)
            Positions of the queries.
        length : int
            Positions to attend to, T.
        buckets : int64 (B, Q, T) or None
            See :class:`TimeBuckets`; None where time is not read.

        Returns
        -------
        float (B or 1, H or 1, Q, T)
            −∞ where the position is later than the query.

        Raises
        ------
        ConfigError
            Time is read and ``buckets`` is None.
        """
        distance = at[:, :, None] - torch.arange(length, device=at.device)  # (B or 1, Q, T)
        bias = torch.zeros(distance.shape, device=at.device)[:, None]
        if self.by_distance is not None:
            bias = self.by_distance[:, distance.clamp(min=0)].transpose(0, 1)
        bias = bias.masked_fill(distance[:, None] < 0, -torch.inf)
        if self.by_time is not None:
            if buckets is None:
                raise ConfigError("a bias by time reads time buckets, which are missing; see TimeBuckets")
            # gather rather than an index: on a GPU its gradient does not pile all differences onto 128 addresses
            shape = (buckets.shape[0], self.by_time.shape[0])
            table = self.by_time.expand(*shape[:1], *self.by_time.shape)
            by_time = table.gather(2, buckets.flatten(1)[:, None].expand(*shape, -1))
            bias = bias + by_time.view(*shape, *buckets.shape[1:])
        return bias
