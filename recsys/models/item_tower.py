"""The item tower: what an item is called and what is written about it, as one vector."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from recsys.errors import ConfigError, UnsupportedError


class ItemTower(nn.Module):
    """``LayerNorm(id + P · text)``.

    In training, the id of each distinct item is dropped with probability ``id_dropout``, so that the text part learns to
    stand alone; at inference the id of an item that was never interacted with in training (a warm item) is left out, and
    the same tower serves it.

    Parameters
    ----------
    n_items : int
    dim : int
    text : float32 (n_items, T), optional
        Whitened text vectors, frozen; a row of zeros where an item has no text. None: ids alone.
    has_id : bool (n_items,)
        Whether an item has interactions in training.
    use_id : bool
        False: text alone.
    id_dropout : float

    Raises
    ------
    ConfigError
        Neither ids nor text are used.
    """

    text: Tensor
    has_id: Tensor

    def __init__(
        self,
        n_items: int,
        dim: int,
        text: Tensor | None,
        has_id: Tensor,
        *,
        use_id: bool = True,
        id_dropout: float = 0.1,
    ) -> None:
        super().__init__()
        if text is None and not use_id:
            raise ConfigError("an item tower needs ids, text, or both")
        self.n_items = n_items
        self.use_id = use_id
        self.id_dropout = id_dropout
        self.id = nn.Embedding(n_items, dim) if use_id else None
        self.project = nn.Linear(text.shape[1], dim, bias=False) if text is not None else None
        self.norm = nn.LayerNorm(dim)
        self.register_buffer("text", torch.empty(n_items, 0) if text is None else text)
        self.register_buffer("has_id", has_id)
        if self.id is not None:
            nn.init.normal_(self.id.weight, std=dim**-0.5)
            self.id.weight.data[~has_id] = 0.0

    def forward(self, rows: Tensor | None = None) -> Tensor:
        """Vectors of distinct items.

        Parameters
        ----------
        rows : int64 (M,), optional
            Item rows; None: all items in order.

        Returns
        -------
        float (M, D)
        """
        if rows is None:
            text, known = self.text, self.has_id
            ids = self.id.weight if self.id is not None else None
        else:
            text, known = self.text[rows], self.has_id[rows]
            ids = self.id(rows) if self.id is not None else None
        if ids is None:
            assert self.project is not None  # noqa: S101 - the constructor refuses neither
            return self._normed(self.project(text))
        if self.training and self.id_dropout > 0 and self.project is not None:
            known = known & (torch.rand(known.shape, device=known.device) >= self.id_dropout)
        vectors = ids * known[:, None]
        if self.project is not None:
            vectors = vectors + self.project(text)
        return self._normed(vectors)

    def from_text(self, text: Tensor) -> Tensor:
        """Vectors of items, or of queries, of which only the text is known.

        Parameters
        ----------
        text : float32 (M, T)
            Whitened text vectors.

        Returns
        -------
        float (M, D)

        Raises
        ------
        UnsupportedError
            The tower has no text part.
        """
        if self.project is None:
            raise UnsupportedError("this model was trained without text (encoder=None); it cannot read any")
        return self._normed(self.project(text))

    def _normed(self, vectors: Tensor) -> Tensor:
        out: Tensor = self.norm(vectors)
        return out
