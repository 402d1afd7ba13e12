"""What evaluation needs of a recommender; the two towers and every baseline have it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from recsys.core.id_map import IdMap
from recsys.core.ragged import Bool, Float32, Int32, Int64, Ragged
from recsys.core.ranking import Ranked
from recsys.data.catalog import Catalog
from recsys.data.interactions import Interactions


@dataclass(frozen=True, eq=False)
class Traits:
    """What a ranker says about itself; each default means that evaluation need not care."""

    trained_on: Interactions | None = None
    """The log that the ranker learned from: it must not hold what is to be found, and gives the popularity of items."""
    vectors: Float32 | None = None
    """float32 (n_items, D): item vectors, by which the diversity of lists is measured."""
    reads_request_time: bool = False
    """Whether lists depend on the time of the request, so that ``request_times`` are needed."""
    needs_known_users: bool = False
    """Whether it can only rank for the users that it was fitted on."""
    event_names: tuple[str, ...] = ()
    """Event types by code, if it reads the types of a history's events."""
    keep_seen: bool | None = None
    """Whether it was validated with the items of a history left in the ranking; None: it does not say."""


@runtime_checkable
class Ranker(Protocol):
    """Ranks a catalogue for histories."""

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
    def traits(self) -> Traits:
        """What evaluation should know about it."""
        ...

    def recommend_rows(
        self,
        histories: Ragged,
        k: int,
        *,
        exclude: Ragged | None = None,
        users: Int32 | None = None,
        eligible: Bool | None = None,
        request_times: Int64 | None = None,
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
            The user row of each history, −1 for a new user; needed by models that need known users.
        eligible : bool (n_items,), optional
            Which items may be returned; by default all.
        request_times : int64 (n,), optional
            When each request is made, in seconds; ignored by models that do not read it.

        Returns
        -------
        Ranked (n)
            Best first, equal scores in row order; fewer than k items where fewer are eligible.
        """
        ...


@runtime_checkable
class Recommender(Ranker, Protocol):
    """A ranker that learns from a log: the two towers and every baseline."""

    def fit(self, train: Interactions, catalog: Catalog | None = None) -> Recommender:
        """Learn from a log (and a catalogue, if the model reads one) and return the model itself."""
        ...
