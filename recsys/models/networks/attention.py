"""The block that the user tower is made of: causal attention and a feed-forward layer, each let in by a gate."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recsys.models.networks.positions import AttentionBias, Rotary


class SwiGLU(nn.Module):
    """Gated feed-forward layer: ``W₃(silu(W₁x) ⊙ W₂x)`` (arXiv 2002.05202)."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.into = nn.Linear(dim, 2 * hidden, bias=False)
        self.out = nn.Linear(hidden, dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        gate, value = self.into(x).chunk(2, dim=-1)
        out: Tensor = self.out(F.silu(gate) * value)
        return out


class DropBranch(nn.Module):
    """Stochastic depth (arXiv 1603.09382): in training, a residual branch is left out for whole sequences at random.

    What stays is scaled by 1 / (1 − rate), so that nothing changes at inference.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, branch: Tensor) -> Tensor:  # (B, ..., D)
        if not self.training or self.rate == 0:
            return branch
        kept = branch.new_empty(len(branch), *[1] * (branch.dim() - 1)).bernoulli_(1 - self.rate)
        return branch * (kept / (1 - self.rate))


class GatedBlock(nn.Module):
    """One LiGR block (arXiv 2502.03417): pre-norm attention and SwiGLU, each let in by a sigmoid gate.

    ``x ← x + σ(G₁x) ⊙ attention(norm(x))``, then ``x ← x + σ(G₂x) ⊙ swiglu(norm(x))``.

    Parameters
    ----------
    dim, heads, hidden : int
        Width, number of attention heads (divides ``dim``), width of the feed-forward layer.
    dropout : float
        On the output of both parts.
    attention_dropout : float
        On the attention weights.
    drop_branch : float
        Share of sequences for which a branch is left out in training, drawn for each of the two.
    rotary : Rotary, optional
        Turns queries and keys by their positions.
    bias : AttentionBias, optional
        Added to the attention scores.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        hidden: int,
        dropout: float,
        *,
        attention_dropout: float = 0.0,
        drop_branch: float = 0.0,
        rotary: Rotary | None = None,
        bias: AttentionBias | None = None,
    ) -> None:
        super().__init__()
        self.heads = heads
        self.attention_dropout = attention_dropout
        self.attention_norm = nn.RMSNorm(dim)
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.attention_out = nn.Linear(dim, dim, bias=False)
        self.attention_gate = nn.Linear(dim, dim)
        self.feed_norm = nn.RMSNorm(dim)
        self.feed = SwiGLU(dim, hidden)
        self.feed_gate = nn.Linear(dim, dim)
        self.dropout = nn.Dropout(dropout)
        self.drop_branch = DropBranch(drop_branch)
        self.rotary = rotary
        self.bias = bias

    def forward(self, x: Tensor, buckets: Tensor | None = None) -> Tensor:
        """Let every position look at itself and its past.

        Parameters
        ----------
        x : float (B, T, D)
        buckets : int64 (B, T, T), optional
            Time buckets, for a bias by time.

        Returns
        -------
        float (B, T, D)
        """
        batch, length, dim = x.shape
        qkv = self.qkv(self.attention_norm(x)).view(batch, length, 3, self.heads, dim // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each (B, H, T, D / H)
        everywhere = torch.arange(length, device=x.device)[None]
        seen = None if self.bias is None else self.bias(everywhere, length, buckets)
        mixed = self._attend(q, k, v, everywhere, seen)
        return self._gated(x, mixed.transpose(1, 2).reshape(batch, length, dim))

    def last(self, x: Tensor, lengths: Tensor, buckets: Tensor | None = None) -> Tensor:
        """What :meth:`forward` gives at the last real position of each sequence, without computing the others.

        Parameters
        ----------
        x : float (B, T, D)
            Padded on the right.
        lengths : int64 (B,)
            Real lengths, at least 1.
        buckets : int64 (B, 1, T), optional
            Time buckets of those positions, for a bias by time.

        Returns
        -------
        float (B, D)
        """
        batch, length, dim = x.shape
        normed = self.attention_norm(x)
        rows = torch.arange(batch, device=x.device)
        into_q, into_kv = self.qkv.weight[:dim], self.qkv.weight[dim:]
        q = F.linear(normed[rows, lengths - 1], into_q).view(batch, self.heads, 1, dim // self.heads)
        kv = F.linear(normed, into_kv).view(batch, length, 2, self.heads, dim // self.heads)
        k, v = kv.permute(2, 0, 3, 1, 4)  # each (B, H, T, D / H)
        at = (lengths - 1)[:, None]
        real = torch.arange(length, device=x.device) <= at  # (B, T)
        seen = real[:, None, None, :] if self.bias is None else self.bias(at, length, buckets)
        mixed = self._attend(q, k, v, at, seen)
        return self._gated(x[rows, lengths - 1], mixed.reshape(batch, dim))

    def step(self, x: Tensor, past: Tensor, buckets: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """What :meth:`forward` gives at the newest positions, from the keys and values of those before them.

        Parameters
        ----------
        x : float (B, C, D)
            The newest positions alone.
        past : float (2, B, H, t, D / H)
            Keys (not turned yet) and values of the t positions before them.
        buckets : int64 (B, C, t + C), optional
            Time buckets of these positions, for a bias by time.

        Returns
        -------
        float (B, C, D)
        float (2, B, H, t + C, D / H)
            Keys and values of all positions.
        """
        batch, new, dim = x.shape
        qkv = self.qkv(self.attention_norm(x)).view(batch, new, 3, self.heads, dim // self.heads).permute(2, 0, 3, 1, 4)
        known = torch.cat([past, qkv[1:]], dim=3)
        at = past.shape[3] + torch.arange(new, device=x.device)[None]
        length = known.shape[3]
        if self.bias is None:
            seen = (torch.arange(length, device=x.device) <= at[:, :, None])[:, None]
        else:
            seen = self.bias(at, length, buckets)
        mixed = self._attend(qkv[0], known[0], known[1], at, seen)
        return self._gated(x, mixed.transpose(1, 2).reshape(batch, new, dim)), known

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, at: Tensor, seen: Tensor | None) -> Tensor:
        """Attention of queries at positions ``at``; ``seen``: bool mask or bias, None for causal."""
        if self.rotary is not None:
            q = self.rotary(q, at)
            k = self.rotary(k, torch.arange(k.shape[2], device=k.device)[None])
        if seen is not None and seen.is_floating_point():
            seen = seen.to(q.dtype)
        dropped = self.attention_dropout if self.training else 0.0
        return F.scaled_dot_product_attention(q, k, v, attn_mask=seen, dropout_p=dropped, is_causal=seen is None)

    def _gated(self, x: Tensor, mixed: Tensor) -> Tensor:
        attended = torch.sigmoid(self.attention_gate(x)) * self.dropout(self.attention_out(mixed))
        x = x + self.drop_branch(attended)
        fed = torch.sigmoid(self.feed_gate(x)) * self.dropout(self.feed(self.feed_norm(x)))
        out: Tensor = x + self.drop_branch(fed)
        return out
