"""The user tower: a causal transformer over the vectors of a history's items."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recsys.errors import ConfigError


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


class GatedBlock(nn.Module):
    """One LiGR block (arXiv 2502.03417): pre-norm attention and SwiGLU, each let in by a sigmoid gate.

    ``x ← x + σ(G₁x) ⊙ attention(norm(x))``, then ``x ← x + σ(G₂x) ⊙ swiglu(norm(x))``.

    Parameters
    ----------
    dim, heads, hidden : int
        Width, number of attention heads (divides ``dim``), width of the feed-forward layer.
    dropout : float
        On the output of both parts.
    """

    def __init__(self, dim: int, heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.RMSNorm(dim)
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.attention_out = nn.Linear(dim, dim, bias=False)
        self.attention_gate = nn.Linear(dim, dim)
        self.feed_norm = nn.RMSNorm(dim)
        self.feed = SwiGLU(dim, hidden)
        self.feed_gate = nn.Linear(dim, dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:  # (B, T, D)
        batch, length, dim = x.shape
        qkv = self.qkv(self.attention_norm(x)).view(batch, length, 3, self.heads, dim // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each (B, H, T, D / H)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self._gated(x, mixed.transpose(1, 2).reshape(batch, length, dim))

    def last(self, x: Tensor, lengths: Tensor) -> Tensor:
        """What :meth:`forward` gives at the last real position of each sequence, without computing the others.

        Parameters
        ----------
        x : float (B, T, D)
            Padded on the right.
        lengths : int64 (B,)
            Real lengths, at least 1.

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
        real = torch.arange(length, device=x.device) < lengths[:, None]  # (B, T)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=real[:, None, None, :])
        return self._gated(x[rows, lengths - 1], mixed.reshape(batch, dim))

    def _gated(self, x: Tensor, mixed: Tensor) -> Tensor:
        x = x + torch.sigmoid(self.attention_gate(x)) * self.dropout(self.attention_out(mixed))
        out: Tensor = x + torch.sigmoid(self.feed_gate(x)) * self.dropout(self.feed(self.feed_norm(x)))
        return out


class UserTower(nn.Module):
    """History in, one user vector per position out.

    Sequences are padded on the right, so that the causal mask alone keeps real positions from seeing padding and no
    padding mask is needed; what comes out at padded places is meaningless and must not be read.

    Parameters
    ----------
    dim : int
        Width of item and user vectors.
    blocks, heads : int
    max_length : int
        Longest history that is read, in items.
    dropout : float
        On the input and within each block.

    Raises
    ------
    ConfigError
        ``heads`` does not divide ``dim``.
    """

    def __init__(self, dim: int, blocks: int, heads: int, max_length: int, dropout: float) -> None:
        super().__init__()
        if dim % heads:
            raise ConfigError(f"dim {dim} is not divisible by heads {heads}")
        self.max_length = max_length
        self.position = nn.Parameter(torch.zeros(max_length, dim))
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(GatedBlock(dim, heads, 4 * dim, dropout) for _ in range(blocks))
        self.norm = nn.RMSNorm(dim)
        self._initialise(blocks)

    def _initialise(self, blocks: int) -> None:
        nn.init.normal_(self.position, std=0.02)
        for name, weight in self.named_parameters():
            if weight.dim() == 2 and name != "position":
                nn.init.xavier_normal_(weight)
            if name.endswith(("attention_out.weight", "feed.out.weight")):
                weight.data.mul_((2 * blocks) ** -0.5)

    def forward(self, items: Tensor) -> Tensor:
        """Encode histories.

        Parameters
        ----------
        items : float (B, T, D)
            Item vectors in time order, padded on the right; T ≤ max_length.

        Returns
        -------
        float (B, T, D)
            The user vector after each position.
        """
        x = self.dropout(items + self.position[: items.shape[1]])
        for block in self.blocks:
            x = block(x)
        out: Tensor = self.norm(x)
        return out

    def last(self, items: Tensor, lengths: Tensor) -> Tensor:
        """The user vector after the whole of each history; the last block computes that one position alone.

        Parameters
        ----------
        items : float (B, T, D)
            As for :meth:`forward`.
        lengths : int64 (B,)
            Real lengths, at least 1.

        Returns
        -------
        float (B, D)
        """
        x = self.dropout(items + self.position[: items.shape[1]])
        for block in self.blocks[:-1]:
            x = block(x)
        final = self.blocks[-1]
        assert isinstance(final, GatedBlock)  # noqa: S101 - a ModuleList forgets what it holds
        out: Tensor = self.norm(final.last(x, lengths))
        return out
