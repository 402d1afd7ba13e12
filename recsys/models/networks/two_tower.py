"""Two towers and the score between them."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recsys.models.networks.context import Context
from recsys.models.networks.ensemble import UserEnsemble
from recsys.models.networks.item_tower import ItemTower
from recsys.models.networks.popularity import Everybody
from recsys.models.networks.user_tower import UserTower


class TwoTowerNetwork(nn.Module):
    """Item tower, user tower, and an inner product (or cosine over a temperature) between their vectors.

    Parameters
    ----------
    items : ItemTower
    users : UserTower, UserEnsemble or Everybody
        Of several towers, each member compares its own share of the vectors, and scores are the mean of theirs.
    cosine : bool
        Score by cosine over a learned temperature; otherwise by inner product over √D.
    temperature : float
        Where the learned temperature starts.
    """

    def __init__(
        self,
        items: ItemTower,
        users: UserTower | UserEnsemble | Everybody,
        *,
        cosine: bool = True,
        temperature: float = 0.07,
    ) -> None:
        super().__init__()
        self.items = items
        self.users = users
        self.cosine = cosine
        self.log_scale = nn.Parameter(torch.tensor(-math.log(temperature)), requires_grad=cosine)
        self.cold_scale: Tensor
        self.register_buffer("cold_scale", torch.tensor(1.0), persistent=False)  # set after the training, on validation
        self.group_scale: Tensor | None
        self.register_buffer("group_scale", None, persistent=False)  # float32 (n_items,), likewise; None: all 1

    def with_items(self, items: ItemTower) -> TwoTowerNetwork:
        """A network with another item tower, without factors of groups; it shares everything else with this one."""
        new = TwoTowerNetwork(items, self.users, cosine=self.cosine)
        new.log_scale, new.cold_scale = self.log_scale, self.cold_scale
        return new

    def compared(self, vectors: Tensor, rows: Tensor | None = None) -> Tensor:
        """Item vectors as they are compared and indexed: scaled by :meth:`factors`.

        Parameters
        ----------
        vectors : float (M, D)
            As the item tower gives them.
        rows : int64 (M,), optional
            Whose they are; None: all items in order.

        Returns
        -------
        float (M, D)
        """
        return self.for_score(vectors) * self.factors(rows)[:, None]

    def factors(self, rows: Tensor | None = None) -> Tensor:
        """float (M,): what the score of each item is multiplied by.

        Below 1 for items without events in training, above 1 for groups of items that have a floor of exposure.
        """
        known = self.items.has_id if rows is None else self.items.has_id[rows]
        cold = torch.where(known, 1.0, self.cold_scale)
        if self.group_scale is None:
            return cold
        return cold * (self.group_scale if rows is None else self.group_scale[rows])

    def for_score(self, vectors: Tensor) -> Tensor:
        """Vectors as they are compared and indexed: of unit length under cosine.

        Parameters
        ----------
        vectors : float (N, D)

        Returns
        -------
        float (N, D)
            Inner products are the mean of those of :meth:`by_member`.
        """
        parts = self.by_member(vectors)
        return parts[0] if len(parts) == 1 else torch.cat(parts, -1) * len(parts) ** -0.5

    def by_member(self, vectors: Tensor) -> list[Tensor]:
        """Each member's share of vectors (N, D), float (N, D / ensemble_size): of unit length under cosine."""
        parts = vectors.chunk(self.users.ensemble_size, -1)
        return [F.normalize(part, dim=-1) for part in parts] if self.cosine else list(parts)

    def scale(self) -> Tensor:
        """What queries are multiplied by before the softmax: 1 / temperature, or 1 / √D."""
        if self.cosine:
            return self.log_scale.clamp(max=math.log(100.0)).exp()
        return torch.tensor(self.users.dim**-0.5, device=self.log_scale.device)

    def user_vectors(self, table: Tensor, histories: Tensor, lengths: Tensor, context: Context | None = None) -> Tensor:
        """One vector per history, ready to be compared with item vectors.

        Parameters
        ----------
        table : float (n_items, D)
            All item vectors as the item tower gives them.
        histories : int64 (B, T)
            Item rows, padded on the right with anything valid.
        lengths : int64 (B,)
            Real length of each history, at least 1.
        context : Context, optional
            What the user tower's options read beside the items.

        Returns
        -------
        float (B, D)
        """
        return self.for_score(self.users.last(F.embedding(histories, table), lengths, context).float())
