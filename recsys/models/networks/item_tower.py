"""The item tower: what an item is called and what is known about it, as one vector."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import reduce
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recsys.errors import ConfigError, UnsupportedError
from recsys.models.networks.content import ItemContent, LiveText, TokenBags

ID: Final = "id"
TEXT: Final = "text"
IMAGE: Final = "image"
NUMBERS: Final = "numbers"
BAG: Final = "words and categories"
NO_TEXT: Final = (
    "this model reads no texts, as it was trained without a text encoder (encoder=None); "
    "fit it again with one, encoder= (--encoder)"
)


class TokenEmbedding(nn.Module):
    """Weighted sum of learned vectors of an item's words and categories.

    Parameters
    ----------
    bags : TokenBags
    dim : int
    dropout : float
        Probability that a word is left out in training.
    ensemble_size : int
        How many towers share the ``dim`` directions.
    vectors : Embedding (bags.size, dim), optional
        Trained vectors to take over; by default new ones.
    """

    offsets: Tensor
    tokens: Tensor
    weights: Tensor

    def __init__(
        self,
        bags: TokenBags,
        dim: int,
        dropout: float,
        ensemble_size: int = 1,
        *,
        vectors: nn.Embedding | None = None,
    ) -> None:
        super().__init__()
        self.dropout = dropout
        if vectors is None:
            vectors = nn.Embedding(bags.size, dim)
            nn.init.normal_(vectors.weight, std=(dim // ensemble_size) ** -0.5)
        self.vectors = vectors
        self.register_buffer("offsets", bags.offsets)
        self.register_buffer("tokens", bags.tokens)
        self.register_buffer("weights", bags.weights)

    def forward(self, rows: Tensor | None) -> Tensor:
        """Float (M, D) for item rows int64 (M,); None: all items in order."""
        tokens, weights, starts = self.tokens, self.weights, self.offsets[:-1]
        if rows is not None:
            lengths = self.offsets[rows + 1] - self.offsets[rows]
            starts = lengths.cumsum(0) - lengths
            picked = torch.arange(int(lengths.sum()), device=rows.device) + torch.repeat_interleave(
                self.offsets[rows] - starts, lengths
            )
            tokens, weights = tokens[picked], weights[picked]
        weights = F.dropout(weights, self.dropout, self.training)
        return F.embedding_bag(tokens, self.vectors.weight, starts, mode="sum", per_sample_weights=weights)


class NormByMember(nn.LayerNorm):
    """Layer norm of each member's share of a vector: its weights are those of one over all of ``dim``.

    Parameters
    ----------
    dim, ensemble_size : int
        ``ensemble_size`` divides ``dim``.
    """

    def __init__(self, dim: int, ensemble_size: int) -> None:
        super().__init__(dim)
        self.ensemble_size = ensemble_size

    def forward(self, x: Tensor) -> Tensor:  # (N, D)
        if self.ensemble_size == 1:
            return super().forward(x)
        shares = x.reshape(*x.shape[:-1], self.ensemble_size, -1)
        normed = F.layer_norm(shares, shares.shape[-1:], eps=self.eps).flatten(-2)
        return torch.addcmul(self.bias, normed, self.weight)


@dataclass(frozen=True, eq=False)
class ItemWeights:
    """The trained modules of an item tower; None where it has none of the kind.

    Attributes
    ----------
    id : Embedding (n_items, dim)
    project, project_images, project_numbers : Linear
        From text vectors, image vectors and numbers to ``dim``.
    norm : NormByMember
    tokens : Embedding (n_tokens, dim)
        Of words and categories.
    """

    id: nn.Embedding | None
    project: nn.Linear | None
    project_images: nn.Linear | None
    project_numbers: nn.Linear | None
    norm: NormByMember
    tokens: nn.Embedding | None = None


class ItemTower(nn.Module):
    """``LayerNorm(id + P · text + Q · image + N · numbers + Σ words and categories)``.

    In training, the id of each distinct item is dropped with probability ``id_dropout``, so that the rest learns to stand
    alone; at inference the id of an item that was never interacted with in training (a warm item) is left out, and the
    same tower serves it.

    Parameters
    ----------
    n_items : int
    dim : int
    content : ItemContent
        What is known of the items; empty: ids alone.
    has_id : bool (n_items,)
        Whether an item has interactions in training.
    use_id : bool
        False: content alone.
    id_dropout, word_dropout : float
    encoder : LiveText, optional
        Trains along and supplies ``text``; ``content.text`` is then only where it starts.
    ensemble_size : int
        How many user towers there are; each has its own share of the ``dim`` directions, and they are normed apart.
    weights : ItemWeights, optional
        Trained modules to take over; by default new ones, initialised at random.

    Raises
    ------
    ConfigError
        Neither ids nor content are used.
    """

    text: Tensor
    images: Tensor
    numbers: Tensor
    has_id: Tensor

    def __init__(
        self,
        n_items: int,
        dim: int,
        content: ItemContent,
        has_id: Tensor,
        *,
        use_id: bool = True,
        id_dropout: float = 0.1,
        word_dropout: float = 0.0,
        encoder: LiveText | None = None,
        ensemble_size: int = 1,
        weights: ItemWeights | None = None,
    ) -> None:
        super().__init__()
        if not content and not use_id:
            raise ConfigError("an item tower needs ids, text or other content")
        self.n_items = n_items
        self.use_id = use_id
        self.id_dropout = id_dropout
        new = weights is None
        weights = weights or _new_weights(n_items, dim, content, use_id=use_id, ensemble_size=ensemble_size)
        self.id = weights.id
        self.project = weights.project
        self.project_images = weights.project_images
        self.project_numbers = weights.project_numbers
        self.norm = weights.norm
        self.bags = None
        if content.bags is not None:
            self.bags = TokenEmbedding(content.bags, dim, word_dropout, ensemble_size, vectors=weights.tokens)
        self.encoder = encoder
        nothing = torch.empty(n_items, 0)
        self.register_buffer("text", nothing if content.text is None else content.text)
        for name, table in (("images", content.images), ("numbers", content.numbers)):  # older bundles know neither
            self.register_buffer(name, nothing if table is None else table, persistent=table is not None)
        self.register_buffer("has_id", has_id)
        if new and self.id is not None:
            nn.init.normal_(self.id.weight, std=(dim // ensemble_size) ** -0.5)
            self.id.weight.data[~has_id] = 0.0

    def with_rows(self, content: ItemContent, has_id: Tensor, ids: Tensor | None) -> ItemTower:
        """A tower of other items with the same trained weights, which both towers share.

        Parameters
        ----------
        content : ItemContent
            What is known of the items, of the same kinds as before.
        has_id : bool (n_items,)
        ids : float32 (n_items, dim) or None
            A vector for each item's id; None in a tower without ids.
        """
        dim = int(self.norm.normalized_shape[0])
        weights = ItemWeights(
            None if ids is None else nn.Embedding(len(ids), dim, _weight=ids),
            self.project,
            self.project_images,
            self.project_numbers,
            self.norm,
            None if self.bags is None else self.bags.vectors,
        )
        return ItemTower(
            len(has_id),
            dim,
            content,
            has_id,
            use_id=self.use_id,
            id_dropout=self.id_dropout,
            word_dropout=0.0 if self.bags is None else self.bags.dropout,
            encoder=self.encoder,
            ensemble_size=self.norm.ensemble_size,
            weights=weights,
        )

    def content_digest(self) -> str:
        """sha256 over everything that is known of the items besides what is trained."""
        digest = hashlib.sha256()
        for name, value in self.named_buffers():
            if not name.startswith("encoder."):
                digest.update(name.encode() + value.cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    @property
    def has_content(self) -> bool:
        """Whether an item without an id is anything but a blank."""
        parts = (self.project, self.project_images, self.project_numbers, self.bags)
        return any(part is not None for part in parts)

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
        return self.joined(self.parts(rows))

    def parts(self, rows: Tensor | None = None) -> dict[str, Tensor]:
        """The summands of item vectors by name, each float (M, D): those that the model has, in a fixed order."""
        parts: dict[str, Tensor] = {}
        if self.id is not None:
            parts[ID] = self._ids(self.id, rows)
        if self.project is not None:
            trained = self.encoder if self.training else None
            parts[TEXT] = self.project(_at(self.text, rows) if trained is None else self._live_text(trained, rows))
        if self.project_images is not None:
            parts[IMAGE] = self.project_images(_at(self.images, rows))
        if self.project_numbers is not None:
            parts[NUMBERS] = self.project_numbers(_at(self.numbers, rows))
        if self.bags is not None:
            parts[BAG] = self.bags(rows)
        return parts

    def joined(self, parts: dict[str, Tensor]) -> Tensor:
        """Item vectors, float (M, D), of their summands."""
        vectors: Tensor = self.norm(reduce(torch.add, parts.values()))
        return vectors

    def _ids(self, table: nn.Embedding, rows: Tensor | None) -> Tensor:
        ids = table.weight if rows is None else table(rows)
        known = _at(self.has_id, rows)
        if self.training and self.id_dropout > 0 and self.has_content:
            known = known & (torch.rand(known.shape, device=known.device) >= self.id_dropout)
        return ids * known[:, None]

    def _live_text(self, encoder: LiveText, rows: Tensor | None) -> Tensor:
        """Text vectors, a few of them encoded anew with a gradient; the others keep the value of their last encoding."""
        chosen = encoder.choose(rows)
        items = chosen if rows is None else rows[chosen]
        fresh = encoder(items)
        self.text[items] = fresh.detach()
        return _at(self.text, rows).index_put((chosen,), fresh)

    @torch.no_grad()
    def refresh(self) -> None:
        """Encode all texts with the encoder as it now is, where one is trained along."""
        if self.encoder is not None:
            self.text[self.encoder.rows] = self.encoder.all_vectors().to(self.text.dtype)

    def from_text(self, text: Tensor) -> Tensor:
        """Vectors of items, or of queries, from their texts alone.

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
            raise UnsupportedError(NO_TEXT)
        vectors: Tensor = self.norm(self.project(text))
        return vectors


def _new_weights(n_items: int, dim: int, content: ItemContent, *, use_id: bool, ensemble_size: int) -> ItemWeights:
    """Modules as PyTorch initialises them; the modules that hold ids and tokens set the values of these."""
    ids = nn.Embedding(n_items, dim) if use_id else None
    project, images, numbers = (_projection(one, dim) for one in (content.text, content.images, content.numbers))
    if numbers is not None:  # at the start numbers shall weigh as much as an id, however many there are
        nn.init.normal_(numbers.weight, std=(dim // ensemble_size * numbers.in_features) ** -0.5)
    return ItemWeights(ids, project, images, numbers, NormByMember(dim, ensemble_size))


def _projection(content: Tensor | None, dim: int) -> nn.Linear | None:
    return None if content is None else nn.Linear(content.shape[1], dim, bias=False)


def _at(table: Tensor, rows: Tensor | None) -> Tensor:
    return table if rows is None else table[rows]
