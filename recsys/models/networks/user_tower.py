"""The user tower: a causal transformer over the vectors of a history's items."""

from __future__ import annotations

from typing import Final, Literal, get_args

import torch
from torch import Tensor, nn

from recsys.errors import ConfigError
from recsys.models.networks.attention import GatedBlock
from recsys.models.networks.causal_filter import CausalFilter
from recsys.models.networks.context import Context, ContextInput, EventHeads
from recsys.models.networks.positions import AttentionBias, Rotary, TimeBuckets

Positions = Literal["learned", "rotary", "relative", "none"]
TimeBias = Literal["none", "history", "request"]


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
    positions : {"learned", "rotary", "relative", "none"}
        How the order of events is read: by a vector per position added to the input, by turning queries and keys
        (:class:`~recsys.models.networks.positions.Rotary`), by a bias per head and distance, or by the causal mask alone.
    time_bias : {"none", "history", "request"}
        Attention bias by the time between two events (HSTU, arXiv 2402.17152); learned per head and block. "history":
        between the event of a position and one up to it. "request": between the moment at which a position's prediction
        is asked and an event up to it, as in HSTU's code. In a history that moment is when the next event happened, so
        it may reach later positions, through this one, but none before.
    event_types : int
        How many types of event there are; a vector of each event's type is added to the input. 0: types are not read.
    event_heads : bool
        Learn a gain and an offset per event type that turn a user vector into that of the next event of one type;
        they start as the identity.
    user_features : tuple of int
        How many codes each categorical feature of the user has; their vectors are added to the input at every position.
        Code 0, unknown, adds nothing, ever.
    stochastic_depth : float
        Stochastic depth: how often the last block's branches are left out in training; linearly less further down.
    attention_dropout : float
        On the attention weights.
    filter_length : int
        Positions that a :class:`~recsys.models.networks.causal_filter.CausalFilter` of the item vectors reads; 0: none.

    Raises
    ------
    ConfigError
        ``heads`` does not divide ``dim``, or an option has a value that is not allowed.
    """

    ensemble_size: Final = 1

    def __init__(
        self,
        dim: int,
        blocks: int,
        heads: int,
        max_length: int,
        dropout: float,
        *,
        positions: Positions = "learned",
        time_bias: TimeBias = "none",
        event_types: int = 0,
        event_heads: bool = False,
        user_features: tuple[int, ...] = (),
        stochastic_depth: float = 0.0,
        attention_dropout: float = 0.0,
        filter_length: int = 0,
    ) -> None:
        super().__init__()
        if dim % heads:
            raise ConfigError(f"dim {dim} is not divisible by heads {heads}")
        if positions not in get_args(Positions) or time_bias not in get_args(TimeBias):
            raise ConfigError(
                f"positions is {positions!r} (of {get_args(Positions)}), time_bias {time_bias!r} (of {get_args(TimeBias)})"
            )
        if not (0 <= stochastic_depth < 1 and 0 <= attention_dropout < 1):
            raise ConfigError(
                f"stochastic_depth {stochastic_depth} and attention_dropout {attention_dropout} must be in [0, 1)"
            )
        self.dim = dim
        self.max_length = max_length
        self.time_bias = time_bias
        self.event_types = event_types
        self.position = nn.Parameter(torch.zeros(max_length, dim)) if positions == "learned" else None
        self.dropout = nn.Dropout(dropout)
        rotary = Rotary(dim // heads, max_length) if positions == "rotary" else None
        biased = {"distance": positions == "relative", "time": time_bias != "none"}
        self.blocks = nn.ModuleList(
            GatedBlock(
                dim,
                heads,
                4 * dim,
                dropout,
                attention_dropout=attention_dropout,
                drop_branch=stochastic_depth * depth / blocks,
                rotary=rotary,
                bias=AttentionBias(heads, max_length, **biased) if any(biased.values()) else None,
            )
            for depth in range(1, blocks + 1)
        )
        self.norm = nn.RMSNorm(dim)
        self.time_buckets = TimeBuckets()
        self.side = ContextInput(dim, event_types, user_features)
        self.event_heads = EventHeads(event_types, dim) if event_heads else None
        self.filter = CausalFilter(filter_length, max_length) if filter_length else None
        self._initialise(blocks)

    def _initialise(self, blocks: int) -> None:
        if self.position is not None:
            nn.init.normal_(self.position, std=0.02)
        for name, weight in self.blocks.named_parameters():
            if weight.dim() == 2 and name.endswith("weight"):
                nn.init.xavier_normal_(weight)
            if name.endswith(("attention_out.weight", "feed.out.weight")):
                weight.data.mul_((2 * blocks) ** -0.5)

    def forward(self, items: Tensor, context: Context | None = None) -> Tensor:
        """Encode histories.

        Parameters
        ----------
        items : float (B, T, D)
            Item vectors in time order, padded on the right; T ≤ max_length.
        context : Context, optional
            What the tower's options read.

        Returns
        -------
        float (B, T, D)
            The user vector after each position.

        Raises
        ------
        ConfigError
            T exceeds max_length; an input that an option reads is missing or misshapen; an event type is target_event
            without ``event_heads``.
        """
        context = Context() if context is None else context
        buckets, x = self._buckets(items, context), self._input(items, context)
        for block in self.blocks:
            x = block(x, buckets)
        out: Tensor = self.norm(x)
        if context.target_event is None:
            return out
        return self.for_event(
            out, context.target_event if context.target_event.dim() == 2 else context.target_event[:, None]
        )

    def last(self, items: Tensor, lengths: Tensor, context: Context | None = None) -> Tensor:
        """The user vector after the whole of each history; the last block computes that one position alone.

        Parameters
        ----------
        items : float (B, T, D)
        lengths : int64 (B,)
            Real lengths, at least 1.
        context : Context, optional
            This and ``items`` as for :meth:`forward`, which lists what is raised.

        Returns
        -------
        float (B, D)
        """
        context = Context() if context is None else context
        buckets, x = self._buckets(items, context), self._input(items, context)
        for block in self.blocks[:-1]:
            x = block(x, buckets)
        rows = torch.arange(x.shape[0], device=x.device)
        final = self.blocks[-1]
        assert isinstance(final, GatedBlock)  # noqa: S101 - a ModuleList forgets what it holds
        out: Tensor = self.norm(final.last(x, lengths, None if buckets is None else buckets[rows, lengths - 1][:, None]))
        if context.target_event is None:
            return out
        return self.for_event(
            out, context.target_event if context.target_event.dim() == 1 else context.target_event[rows, lengths - 1]
        )

    @property
    def lead(self) -> int:
        """How many item vectors before the newest ones :meth:`step` reads: those of the filter."""
        return 0 if self.filter is None else self.filter.weight.shape[0] - 1

    @property
    def slides(self) -> bool:
        """Whether keys and values stay what they are when the oldest event is no longer read.

        They do in one block, whose keys know of no other event, where no position is counted from the oldest one.
        """
        return len(self.blocks) == 1 and self.position is None and self.filter is None

    def step(self, items: Tensor, past: Tensor, context: Context | None = None) -> tuple[Tensor, Tensor]:
        """User vectors after the newest events, from the keys and values of those before them.

        Parameters
        ----------
        items : float (B, lead + C, D)
            Vectors of the ``lead`` items before the newest (zeros before the first), then of the C newest.
        past : float (2 · blocks, B, H, t, D / H)
            Of the t events before; block by block keys, then values.
        context : Context, optional
            ``times`` int64 (B, t + C) of all events, ``request`` and ``events`` int64 (B, C) of the newest, ``features``.

        Returns
        -------
        float (B, C, D)
        float (2 · blocks, B, H, t + C, D / H)
        """
        context = Context() if context is None else context
        x, before = items if self.filter is None else self.filter.step(items), past.shape[3]
        if self.position is not None:
            x = x + self.position[before : before + x.shape[1]]
        x, known = self.side(x, context), []
        buckets = None
        if self.time_bias != "none":
            if context.request is None or context.times is None:
                raise ConfigError(f"time_bias={self.time_bias!r} reads Context.times and Context.request; one is missing")
            buckets = self.time_buckets(context.request, context.times)
        for number, block in enumerate(self.blocks):
            assert isinstance(block, GatedBlock)  # noqa: S101 - a ModuleList forgets what it holds
            x, both = block.step(x, past[2 * number : 2 * number + 2], buckets)
            known.append(both)
        return self.norm(x), torch.cat(known)

    def for_event(self, users: Tensor, target_event: Tensor) -> Tensor:
        """User vectors that look for the next event of a target_event type.

        Parameters
        ----------
        users : float (..., D)
        target_event : int64
            Types, of the shape of ``users`` without D or one that broadcasts to it.

        Returns
        -------
        float (..., D)

        Raises
        ------
        ConfigError
            The tower has no event heads.
        """
        if self.event_heads is None:
            raise ConfigError("an event type is asked for of a tower without event heads; build it with event_heads=True")
        out: Tensor = self.event_heads(users, target_event)
        return out

    def _input(self, items: Tensor, context: Context) -> Tensor:
        length = items.shape[1]
        if length > self.max_length:
            raise ConfigError(f"histories of {length} items for a tower that reads {self.max_length}; cut them first")
        x = items if self.filter is None else self.filter(items)
        x = x if self.position is None else x + self.position[:length]
        out: Tensor = self.dropout(self.side(x, context))
        return out

    def _buckets(self, items: Tensor, context: Context) -> Tensor | None:
        """int64 (B, T, T): time buckets between what asks and what is looked at; None without a time bias."""
        if self.time_bias == "none":
            return None
        shape = (items.shape[0], items.shape[1])
        option = f"time_bias={self.time_bias!r}"
        times = context.need("times", shape, option)
        at = context.need("request", shape, option) if self.time_bias == "request" else times
        buckets: Tensor = self.time_buckets(at, times)
        return buckets
