"""What stands where towers would in a fast model: popularity, the same for everybody, and fainter than a memory."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn

from recsys.models.networks.content import ItemContent
from recsys.models.networks.context import Context
from recsys.models.networks.item_tower import ItemTower, ItemWeights, NormByMember

POPULARITY: Final = "popularity"
FAINT: Final = 1e-6
"""What popularity is multiplied by: it ranks what a memory scores alike, and moves next to nothing else."""


class Unnormed(NormByMember):
    """Vectors as they are."""

    def __init__(self) -> None:
        super().__init__(1, 1)

    def forward(self, x: Tensor) -> Tensor:  # (N, 1)
        return x


class PopularityTower(ItemTower):
    """An item's vector is one number, its popularity; nothing is trained.

    Parameters
    ----------
    popularity : float32 (n_items, 1)
        0 without an event.
    """

    has_content = True
    """A new item starts without popularity, as one does that has no event."""

    def __init__(self, popularity: Tensor) -> None:
        weights = ItemWeights(nn.Embedding(len(popularity), 1, _weight=popularity), None, None, None, Unnormed())
        super().__init__(len(popularity), 1, ItemContent(), popularity[:, 0] > 0, weights=weights)
        self.requires_grad_(False)

    def with_rows(self, content: ItemContent, has_id: Tensor, ids: Tensor | None) -> ItemTower:
        """A tower of other items, of the popularity ``ids``, float32 (n_items, 1)."""
        assert ids is not None  # noqa: S101 - this tower has them
        return PopularityTower(ids)

    def parts(self, rows: Tensor | None = None) -> dict[str, Tensor]:
        """As :meth:`ItemTower.parts`: popularity alone."""
        (popularity,) = super().parts(rows).values()
        return {POPULARITY: popularity}


class Everybody(nn.Module):
    """Where a user tower would be: whatever the history, one vector of one faint number."""

    ensemble_size: Final = 1
    dim: Final = 1
    max_length: Final = 1
    time_bias: Final = "none"
    event_types: Final = 0
    event_heads: Final = None

    def last(self, items: Tensor, lengths: Tensor, context: Context | None = None) -> Tensor:
        """Float (B, 1) for items (B, T, 1)."""
        return torch.full((len(items), 1), FAINT, device=items.device)
