"""What is known about a history besides its items, and how the user tower reads it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from recsys.core.ragged import Int64, ragged_positions
from recsys.errors import ConfigError


@dataclass(frozen=True, eq=False)
class Context:
    """Optional inputs of the user tower; it reads those that its options ask for and no others.

    All are int64; those of shape (B, T) are padded on the right with anything valid.

    Attributes
    ----------
    times : (B, T), optional
        When each event happened, in seconds.
    request : (B, T), optional
        When the prediction at each position is asked, in seconds: in training the time of the next event, at the last
        position of a history to be served the clock of the request; see :func:`request_times`.
    events : (B, T), optional
        Type of each event, from 0.
    features : (B, F), optional
        One code per categorical feature of the user; 0: unknown.
    target_event : (B,) or (B, T), optional
        Type of the event to predict, for the whole history or position by position; None: of any type.
    """

    times: Tensor | None = None
    request: Tensor | None = None
    events: Tensor | None = None
    features: Tensor | None = None
    target_event: Tensor | None = None

    def to(self, device: torch.device | str) -> Context:
        """The same inputs on another device."""
        return self._each(lambda part: part.to(device))

    def rows(self, chosen: Tensor) -> Context:
        """The inputs of some histories.

        Parameters
        ----------
        chosen : int64 (M,) or bool (B,)
        """
        return self._each(lambda part: part[chosen])

    def need(self, name: str, shape: tuple[int, ...], option: str) -> Tensor:
        """One input that an option cannot do without.

        Raises
        ------
        ConfigError
            It is missing or of another shape.
        """
        part: Tensor | None = getattr(self, name)
        if part is None:
            raise ConfigError(f"{option} reads Context.{name}, which is missing; pass it as int64 {shape}")
        if part.shape != shape:
            raise ConfigError(f"Context.{name} has shape {tuple(part.shape)} where {shape} is needed")
        return part

    def _each(self, change: Callable[[Tensor], Tensor]) -> Context:
        parts = {field.name: getattr(self, field.name) for field in fields(self)}
        return Context(**{name: None if part is None else change(part) for name, part in parts.items()})


@dataclass(frozen=True, eq=False)
class Padding:
    """Where the elements of lists of different lengths lie in the tensor that pads them to the longest.

    Attributes
    ----------
    shape : (int, int)
        B lists, T elements in the longest.
    positions : int64 (N,)
        Index of each element in the flattened (B · T) tensor, list by list.

    Examples
    --------
    >>> Padding.of(np.array([2, 1])).pad(np.array([7, 8, 9]))
    tensor([[7, 8],
            [9, 0]])
    """

    shape: tuple[int, int]
    positions: Int64

    @classmethod
    def of(cls, lengths: Int64) -> Padding:
        """For lists of these lengths, int64 (B,)."""
        width = int(lengths.max(initial=1))
        starts = np.arange(len(lengths), dtype=np.int64) * width
        return cls((len(lengths), width), ragged_positions(starts, lengths))

    def pad(self, values: NDArray[np.integer]) -> Tensor:
        """int64 (B, T): the lists' values (N,), with zeros to the right of each list."""
        padded = np.zeros(self.shape, dtype=np.int64)
        padded.reshape(-1)[self.positions] = values
        return torch.from_numpy(padded)


def collate(
    padding: Padding,
    *,
    times: NDArray[np.integer] | None = None,
    request: NDArray[np.integer] | None = None,
    events: NDArray[np.integer] | None = None,
    target_event: NDArray[np.integer] | None = None,
    features: NDArray[np.integer] | None = None,
) -> Context:
    """Pad what is known of each event into one :class:`Context`.

    Parameters
    ----------
    padding : Padding
        Of B histories with N events in all.
    times, request, events, target_event : int (N,), optional
    features : int (B, F), optional
        Taken as it is.

    Returns
    -------
    Context
    """
    each = {"times": times, "request": request, "events": events, "target_event": target_event}
    padded = {name: padding.pad(values) for name, values in each.items() if values is not None}
    return Context(**padded, features=None if features is None else torch.from_numpy(features.astype(np.int64)))


def request_times(times: Tensor, lengths: Tensor, now: Tensor) -> Tensor:
    """:attr:`Context.request` of histories to be served: the next event's time, and after the last event the clock.

    Parameters
    ----------
    times : int64 (B, T)
        Padded on the right.
    lengths : int64 (B,)
        Real lengths, at least 1.
    now : int64 (B,)
        When each request is made.

    Returns
    -------
    int64 (B, T)
    """
    return times.roll(-1, dims=1).scatter(1, (lengths - 1)[:, None], now[:, None])


class ContextInput(nn.Module):
    """Adds what is known of each event, and of the user, to the input at each position.

    Parameters
    ----------
    dim : int
    event_types : int
        How many types of event there are; 0: types are not read.
    user_features : tuple of int
        How many codes each categorical feature has. Code 0, unknown, adds nothing, ever.

    Raises
    ------
    ConfigError
        A number is too small.
    """

    def __init__(self, dim: int, event_types: int, user_features: tuple[int, ...]) -> None:
        super().__init__()
        if event_types < 0:
            raise ConfigError(f"event_types is {event_types}; it counts types, 0 for none")
        if any(codes < 1 for codes in user_features):
            raise ConfigError(f"user_features is {user_features}; each needs at least one code, 0 for unknown")
        self.events = nn.Embedding(event_types, dim) if event_types else None
        self.features = nn.ModuleList(nn.Embedding(codes, dim, padding_idx=0) for codes in user_features)
        for table in self.parameters():
            nn.init.normal_(table, std=0.02)
        for feature in self.features.parameters():
            feature.data[0] = 0.0

    def forward(self, x: Tensor, context: Context) -> Tensor:
        """Add to the input.

        Parameters
        ----------
        x : float (B, T, D)
        context : Context
            Without ``features``, every feature of every user is unknown.

        Returns
        -------
        float (B, T, D)

        Raises
        ------
        ConfigError
            ``events`` are missing, or one of the two is misshapen.
        """
        batch, length, _ = x.shape
        if self.events is not None:
            x = x + self.events(context.need("events", (batch, length), "event_types"))
        if len(self.features) and context.features is not None:
            codes = context.need("features", (batch, len(self.features)), "user_features")
            known = [table(code) for table, code in zip(self.features, codes.T, strict=True)]  # each (B, D)
            x = x + torch.stack(known).sum(0)[:, None]
        return x


class EventHeads(nn.Module):
    """Per event type, a gain and an offset that turn a user vector into that of the next event of this type.

    They start as the identity, and weight decay pulls them towards it.
    """

    def __init__(self, event_types: int, dim: int) -> None:
        super().__init__()
        if event_types < 1:
            raise ConfigError("event_heads needs the number of event types; set event_types")
        self.gain = nn.Parameter(torch.zeros(event_types, dim))  # added to 1
        self.offset = nn.Parameter(torch.zeros(event_types, dim))

    def forward(self, users: Tensor, target_event: Tensor) -> Tensor:  # (..., D), int64 (...)
        return users * (1 + F.embedding(target_event, self.gain)) + F.embedding(target_event, self.offset)
