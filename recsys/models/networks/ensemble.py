"""Several user towers side by side: an ensemble that is trained, saved and served as one model."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from recsys.models.networks.context import Context, EventHeads
from recsys.models.networks.user_tower import TimeBias, UserTower


class UserEnsemble(nn.Module):
    """User towers that know nothing of each other, each over its own share of the item vectors.

    They start from other weights and drop out other inputs, so that they err on other items; the mean of their scores,
    which is the inner product of their vectors in a row, ranks better than any of them (deep ensembles, arXiv 1612.01474).

    Parameters
    ----------
    towers : list of UserTower
        Alike in all but their weights.
    """

    def __init__(self, towers: list[UserTower]) -> None:
        super().__init__()
        self.towers = nn.ModuleList(towers)

    @property
    def _first(self) -> UserTower:
        first = self.towers[0]
        assert isinstance(first, UserTower)  # noqa: S101 - a ModuleList forgets what it holds
        return first

    @property
    def ensemble_size(self) -> int:
        """How many towers there are."""
        return len(self.towers)

    @property
    def dim(self) -> int:
        """Width of each tower's vectors."""
        return self._first.dim

    @property
    def max_length(self) -> int:
        """Longest history that is read, in items."""
        return self._first.max_length

    @property
    def time_bias(self) -> TimeBias:
        """What elapsed time the towers attend by."""
        return self._first.time_bias

    @property
    def event_types(self) -> int:
        """How many types of event the towers read."""
        return self._first.event_types

    @property
    def event_heads(self) -> EventHeads | None:
        """The first tower's heads; None: an event type cannot be asked for."""
        return self._first.event_heads

    def forward(self, items: Tensor, context: Context | None = None) -> Tensor:
        """As :meth:`UserTower.forward`, float (B, T, ensemble_size * D) to the same shape."""
        return torch.cat([tower(part, context) for tower, part in self._shares(items)], -1)

    def last(self, items: Tensor, lengths: Tensor, context: Context | None = None) -> Tensor:
        """As :meth:`UserTower.last`, float (B, T, ensemble_size * D) to (B, ensemble_size * D)."""
        return torch.cat([tower.last(part, lengths, context) for tower, part in self._shares(items)], -1)

    @property
    def lead(self) -> int:
        """As :attr:`UserTower.lead`."""
        return self._first.lead

    @property
    def slides(self) -> bool:
        """As :attr:`UserTower.slides`."""
        return self._first.slides

    def step(self, items: Tensor, past: Tensor, context: Context | None = None) -> tuple[Tensor, Tensor]:
        """As :meth:`UserTower.step`, with the keys and values of the towers one after the other."""
        pasts = past.chunk(self.ensemble_size)
        found = [tower.step(part, mine, context) for (tower, part), mine in zip(self._shares(items), pasts, strict=True)]
        return torch.cat([out for out, _ in found], -1), torch.cat([known for _, known in found])

    def _shares(self, items: Tensor) -> list[tuple[UserTower, Tensor]]:
        return list(zip(self.towers, items.chunk(self.ensemble_size, -1), strict=True))  # type: ignore[arg-type]
