"""What answers: all that the server asks of a model, be it a bundle or an export of one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, Self

import polars as pl

from recsys.core.ragged import Bool, Float32, Int32, Int64, Ragged
from recsys.core.ranking import Ranked
from recsys.data.catalog import Catalog
from recsys.serving.people import Known, People
from recsys.serving.request_arguments import RawId, Similarity
from recsys.serving.rules.apply import BoundRules
from recsys.serving.rules.spec import Rules
from recsys.transitions.memory import TransitionMemory


class Model(Known, Protocol):
    """A model with its users and items as they are at one moment. It never changes; a change makes another one.

    Any number of threads may ask it at once. It has users, items and histories as :class:`recsys.serving.people.Known`
    tells; its histories have times and types of events wherever the log had them, also where the model reads none.
    """

    @property
    def catalog(self) -> Catalog:
        """Titles and columns of the items, in row order."""
        ...

    @property
    def alive(self) -> Bool:
        """bool (n_items,): the items that can be recommended."""
        ...

    @property
    def dim(self) -> int:
        """Dimensions of a vector."""
        ...

    @property
    def max_length(self) -> int:
        """Newest events that the user tower reads."""
        ...

    @property
    def searches(self) -> bool:
        """Whether free text can be searched by."""
        ...

    @property
    def approximate(self) -> bool:
        """Whether its index may miss items; see :meth:`exactly`."""
        ...

    @property
    def memory(self) -> TransitionMemory | None:
        """What is added to the towers' scores."""
        ...

    @property
    def weights(self) -> object:
        """What all states of one model share and nothing else holds: it goes with the last of them."""
        ...

    def compute_with(self, requests: int, positions: int) -> None:
        """Choose how many threads compute a batch of so many requests, for which so many events of histories are read."""

    def event_code(self, name: str) -> int:
        """The code of an event type that a request aims at; raises ConfigError where there is none."""
        ...

    def mask(self, rows: Int32 | None, where: str | None) -> Bool | None:
        """bool (n_items,): the items that are among these rows and for which a predicate holds; None: every item."""
        ...

    def user_vectors(self, histories: Ragged, users: Int32, request_times: Int64, target_event: int | None) -> Float32:
        """float32 (n, D), for histories that are not empty, user rows, int32 (n,), and seconds, int64 (n,)."""
        ...

    def search(self, vectors: Float32, histories: Ragged, k: int, *, exclude: Ragged, eligible: Bool | None) -> Ranked:
        """The k best items for user vectors, float32 (n, D), and what the memory adds for their histories."""
        ...

    def bound(self, rules: Rules) -> BoundRules:
        """Rules with their items and columns looked up; remembered."""
        ...

    def pair_scores(self, vectors: Float32, histories: Ragged, owners: Int64, rows: Int64) -> Float32:
        """float32 (m,): the score of item ``rows[i]`` for person ``owners[i]``, of vectors (n, D) and histories (n)."""
        ...

    def similar(self, items: Sequence[RawId] | pl.Series, k: int, where: str | None, by: Similarity | None) -> pl.DataFrame:
        """The items most like others, as :meth:`recsys.serving.retriever.Retriever.similar_items` gives them."""
        ...

    def found(self, texts: Sequence[str], k: int, where: str | None) -> pl.DataFrame:
        """Items by free texts, as :meth:`recsys.serving.retriever.Retriever.search` gives them."""
        ...

    def why(
        self, person: People, item: Int32, request_time: int | None, target_event: int | None
    ) -> tuple[pl.DataFrame, dict[str, float]]:
        """What each event of one person, and each part of one item, int32 (1,), adds to its score.

        As :meth:`recsys.serving.retriever.Retriever.explain` and ``score_breakdown`` give them; without a request time, the
        last event's.
        """
        ...

    def exactly(self) -> Self:
        """The same model, all of whose items are compared."""
        ...

    def with_memory(self, memory: TransitionMemory) -> Self:
        """With another transition memory."""
        ...

    def with_items(self, frame: pl.DataFrame) -> Self:
        """With items that are new, or were removed; raises DataError, and UnsupportedError where it cannot read any."""
        ...

    def with_updated_items(self, frame: pl.DataFrame) -> Self:
        """With another content of items that are there; raises as :meth:`with_items`."""
        ...

    def without_items(self, rows: Int32) -> Self:
        """Without some items, int32 (m,); histories keep them."""
        ...
