"""What evaluation needs of a recommender: two towers and baselines alike."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from recsys.core.id_map import IdMap
from recsys.core.ragged import Int32, Ragged
from recsys.core.ranking import Ranked
from recsys.data.catalog import Catalog
from recsys.data.interactions import Interactions


@runtime_checkable
class Ranker(Protocol):
    """What ranks a catalogue for histories; all that evaluation needs."""

    @property
    def name(self) -> str:
        """A short name for tables."""
        ...

    @property
    def users(self) -> IdMap:
        """The users it was fitted on."""
        ...

    @property
    def items(self) -> IdMap:
        """The items it can rank, in row order."""
        ...

    @property
    def trained_on(self) -> Interactions | None:
        """What it learned from, so that nobody judges it on that; None where it is not known."""
        ...

    def recommend_rows(
        self,
        histories: Ragged,
        k: int,
        *,
        exclude: Ragged | None = None,
        users: Int32 | None = None,
        candidates: Int32 | None = None,
    ) -> Ranked:
        """Rank all items for each history.

        Parameters
        ----------
        histories : Ragged (n)
            Item rows in time order; with times and event types where these are known.
        k : int
            Most items per list.
        exclude : Ragged (n), optional
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
