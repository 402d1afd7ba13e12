"""What the item tower reads besides ids, and the interface of a text encoder that trains along with it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn


@dataclass(frozen=True)
class TokenBags:
    """For each item a weighted bag of words and categories.

    Attributes
    ----------
    offsets : int64 (n_items + 1,)
        Bag ``i`` is ``tokens[offsets[i]:offsets[i + 1]]``.
    tokens : int64 (offsets[-1],)
        Numbers below ``size``.
    weights : float32 (offsets[-1],)
        Each bag has length 1.
    size : int
        Distinct tokens.
    """

    offsets: Tensor
    tokens: Tensor
    weights: Tensor
    size: int


@dataclass(frozen=True)
class ItemContent:
    """Inputs of the item tower besides ids; None where the model reads none of the kind.

    Attributes
    ----------
    text, images : float32 (n_items, T), float32 (n_items, I)
        Whitened vectors of a frozen encoder; a row of zeros where an item has none.
    numbers : float32 (n_items, F)
        Numeric columns, standardised; 0, the mean, where a value is missing.
    bags : TokenBags
        Words of the text and categories.
    """

    text: Tensor | None = None
    images: Tensor | None = None
    numbers: Tensor | None = None
    bags: TokenBags | None = None

    def __bool__(self) -> bool:
        return any(part is not None for part in (self.text, self.images, self.numbers, self.bags))


class LiveText(nn.Module, ABC):
    """A text encoder that trains along with the item tower.

    Attributes
    ----------
    rows : int64 (n,)
        The item rows that have a text.
    """

    rows: Tensor

    @abstractmethod
    def choose(self, rows: Tensor | None) -> Tensor:
        """Int64 (m,): indices into item rows (None: all) whose texts are encoded in this step."""

    @abstractmethod
    def forward(self, rows: Tensor) -> Tensor:
        """Float32 (M, T): text vectors of item rows int64 (M,), with a gradient."""

    @abstractmethod
    def all_vectors(self) -> Tensor:
        """Float32 (n, T): text vectors of all items with a text, in the order of ``rows``."""

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write the encoder as it now is."""
