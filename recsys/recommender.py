"""What every recommender is to the rest of the library: two towers and baselines alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from recsys.arguments import whole_number
from recsys.data.catalog import Catalog
from recsys.data.interactions import Interactions
from recsys.data.row_lists import Float32, Int32, RowLists, ragged_positions
from recsys.data.vocabulary import Vocabulary
from recsys.errors import ConfigError


@dataclass(frozen=True, eq=False)
class Ranked:
    """Ranked items, one list per request; a list is shorter than k where fewer items are eligible, never padded.

    Attributes
    ----------
    lists : RowLists (n)
        Item rows, best first; equal scores in row order.
    scores : float32 (len(lists.rows),)
        Aligned with ``lists.rows``; higher is better.
    """

    lists: RowLists
    scores: Float32

    def __len__(self) -> int:
        return len(self.lists)

    def take(self, indices: NDArray[np.integer]) -> Ranked:
        """The lists at ``indices``, in that order."""
        starts, lengths = self.lists.offsets[indices], self.lists.lengths[indices]
        return Ranked(self.lists.take(indices), self.scores[ragged_positions(starts, lengths)])

    @classmethod
    def nothing(cls) -> Ranked:
        """No request, no list."""
        return cls(RowLists.empty(0), np.empty(0, dtype=np.float32))

    @classmethod
    def joined(cls, parts: list[Ranked]) -> Ranked:
        """The lists of several blocks, one after the other."""
        if not parts:
            return cls.nothing()
        lengths = np.concatenate([part.lists.lengths for part in parts])
        rows = np.concatenate([part.lists.rows for part in parts])
        return cls(RowLists.from_lengths(lengths, rows), np.concatenate([part.scores for part in parts]))


@runtime_checkable
class Ranker(Protocol):
    """What ranks a catalogue for histories; all that evaluation needs."""

    @property
    def name(self) -> str:
        """A short name for tables."""
        ...

    @property
    def users(self) -> Vocabulary:
        """The users it was fitted on."""
        ...

    @property
    def items(self) -> Vocabulary:
        """The items it can rank, in row order."""
        ...

    @property
    def trained_on(self) -> Interactions | None:
        """What it learned from, so that nobody judges it on that; None where it is not known."""
        ...

    def recommend_rows(
        self,
        histories: RowLists,
        k: int,
        *,
        exclude: RowLists | None = None,
        users: Int32 | None = None,
        candidates: Int32 | None = None,
    ) -> Ranked:
        """Rank all items for each history.

        Parameters
        ----------
        histories : RowLists (n)
            Item rows in time order; with times and event types where these are known.
        k : int
            Most items per list.
        exclude : RowLists (n), optional
            Item rows that must not be returned, such as the seen ones.
        users : int32 (n,), optional
            The user row of each history, −1 where the user is new; needed by models that know users by name only.
        candidates : int32 (C,), optional
            The only item rows that may be returned, ascending; by default all.
        """
        ...


@runtime_checkable
class Recommender(Ranker, Protocol):
    """A ranker that learns from a log: two towers and every baseline."""

    def fit(self, train: Interactions, catalog: Catalog | None = None) -> Recommender:
        """Learn from a log (and, where the model reads it, a catalogue); returns itself."""
        ...


def check_k(k: object) -> int:
    """How many items a list may have at most, as an int: the one rule of every function that takes a ``k``.

    A k above the number of eligible items is no error: there are fewer rows then.

    Raises
    ------
    ConfigError
        k is no whole number (a bool, a float and a text are none), or below 1.
    """
    return whole_number(k, "k")


def check_exclude(exclude: RowLists, n: int) -> None:
    """Refuse exclusions that are not one list per request.

    Raises
    ------
    ConfigError
        There are more or fewer than ``n``.
    """
    if len(exclude) != n:
        raise ConfigError(f"exclude has {len(exclude)} lists for {n} requests; it needs one for each")
