"""What a plan needs to know of a log and its catalogue: counts that cost nothing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from recsys.config.model import ModelConfig
from recsys.data.catalog import Catalog
from recsys.data.interactions import Interactions

_TEXTS = 20_000
"""Texts that words are counted in."""
_DENSE = 100
"""Events to an item, from which on long histories need little regularisation, and the length of an item's vector says more
than it overfits."""


@dataclass(frozen=True)
class LogFacts:
    """Counts of a training log and its catalogue.

    Attributes
    ----------
    events, users, items : int
        Events, users with any, items with any.
    candidates : int
        Items that are ranked: those of the catalogue, or of the log without one.
    positions : int
        Events that have one before them: what an epoch learns from.
    median_length, long_length : int
        Length of the history of the median user, and the length that 99 % of the users do not exceed.
    words : int
        Different words in the text of the median item that has one, at least 1; 0 without texts.
    ordered : bool
        Whether the log has an order.
    """

    events: int
    users: int
    items: int
    candidates: int
    positions: int
    median_length: int
    long_length: int
    words: int
    ordered: bool = True

    @property
    def short(self) -> bool:
        """Whether histories are short, so that what items are called matters more than what they were called before."""
        return self.median_length <= 20

    @property
    def dense(self) -> bool:
        """Whether histories are long and each item has many events."""
        return not self.short and self.events > _DENSE * self.items

    def __str__(self) -> str:
        texts = f", texts of {self.words} words" if self.words else ", no texts"
        return (
            f"{self.events:,} events, {self.users:,} users (median history {self.median_length}), "
            f"{self.items:,} items{texts}"
        )


def measure(log: Interactions, catalog: Catalog | None, model: ModelConfig) -> LogFacts:
    """Count a training log, and the words of its items if the model reads texts."""
    lengths = log.histories.lengths
    lengths = lengths[lengths > 0]
    reads = catalog is not None and (model.encoder is not None or model.word_features == "on")
    return LogFacts(
        events=len(log),
        users=len(lengths),
        items=int((log.item_counts > 0).sum()),
        candidates=len(log.items if catalog is None else catalog.items),
        positions=int((lengths - 1).sum()),
        median_length=int(np.median(lengths)) if len(lengths) else 0,
        long_length=int(np.quantile(lengths, 0.99)) if len(lengths) else 0,
        words=_words(catalog.texts) if reads and catalog is not None else 0,
        ordered=log.ordered,
    )


def _words(texts: pl.Series) -> int:
    """Different words of the median text among some at random."""
    some = texts.drop_nulls()
    some = some.filter(some.str.strip_chars() != "")
    if len(some) > _TEXTS:
        some = some.sample(_TEXTS, seed=0)
    counts = some.str.to_lowercase().str.extract_all(r"\w+").list.n_unique()
    return max(1, int(counts.median() or 0)) if len(counts) else 0  # type: ignore[arg-type]
