"""A bundle as the server asks it; this is where PyTorch comes in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import polars as pl

from recsys.bundle.contents import Bundle
from recsys.core.id_map import IdMap
from recsys.core.ragged import Bool, Float32, Int32, Int64, Ragged
from recsys.core.ranking import Ranked
from recsys.data.catalog import Catalog
from recsys.models.towers import numpy_of
from recsys.server.model_threads import ModelThreads
from recsys.serving.explain import broken_down, explained
from recsys.serving.nearest import nearest_items, searched
from recsys.serving.people import LeftOut, People
from recsys.serving.ranking import bound, pair_scores, search
from recsys.serving.request import Request, event_code
from recsys.serving.request_arguments import RawId, Similarity
from recsys.serving.rules.apply import BoundRules
from recsys.serving.rules.spec import Rules
from recsys.transitions.memory import TransitionMemory


@cache
def _threads() -> ModelThreads:
    return ModelThreads()


@dataclass(frozen=True, eq=False)
class BundleModel:
    """A :class:`recsys.server.model.Model` of a bundle.

    Attributes
    ----------
    bundle : Bundle
    """

    bundle: Bundle

    def __post_init__(self) -> None:
        _threads()  # counts PyTorch's threads before anything changes them

    @property
    def users(self) -> IdMap:
        return self.bundle.users

    @property
    def items(self) -> IdMap:
        return self.bundle.items

    @property
    def histories(self) -> Ragged:
        return self.bundle.histories

    @property
    def event_names(self) -> tuple[str, ...]:
        return self.bundle.event_names

    @property
    def reads_times(self) -> bool:
        return self.bundle.reads_times

    @property
    def reads_events(self) -> bool:
        return self.bundle.reads_events

    @property
    def catalog(self) -> Catalog:
        return self.bundle.catalog

    @property
    def alive(self) -> Bool:
        return self.bundle.index.alive

    @property
    def dim(self) -> int:
        return self.bundle.index.dim

    @property
    def max_length(self) -> int:
        return self.bundle.towers.net.users.max_length

    @property
    def searches(self) -> bool:
        return self.bundle.towers.whitening is not None

    @property
    def approximate(self) -> bool:
        return self.bundle.index.finder is not None

    @property
    def memory(self) -> TransitionMemory | None:
        return self.bundle.corpus.transitions

    @property
    def weights(self) -> object:
        return self.bundle.towers.net

    def compute_with(self, requests: int, positions: int) -> None:
        _threads().fit(self.bundle, requests, positions)

    def event_code(self, name: str) -> int:
        return event_code(self.bundle, name)

    def mask(self, rows: Int32 | None, where: str | None) -> Bool | None:
        return self.bundle.corpus.mask(rows, where)

    def user_vectors(self, histories: Ragged, users: Int32, request_times: Int64, target_event: int | None) -> Float32:
        return numpy_of(self.bundle.towers.user_vectors(histories, users, request_times, target_event))

    def search(self, vectors: Float32, histories: Ragged, k: int, *, exclude: Ragged, eligible: Bool | None) -> Ranked:
        return search(self.bundle.corpus, vectors, histories, k, exclude=exclude, eligible=eligible)

    def bound(self, rules: Rules) -> BoundRules:
        return bound(self.bundle.corpus, rules)

    def pair_scores(self, vectors: Float32, histories: Ragged, owners: Int64, rows: Int64) -> Float32:
        return pair_scores(self.bundle.corpus, vectors, histories, owners, rows)

    def similar(self, items: Sequence[RawId] | pl.Series, k: int, where: str | None, by: Similarity | None) -> pl.DataFrame:
        return nearest_items(self.bundle, items, k, where, "error", by)

    def found(self, texts: Sequence[str], k: int, where: str | None) -> pl.DataFrame:
        return searched(self.bundle, texts, None, k, where, "texts")

    def why(
        self, person: People, item: Int32, request_time: int | None, target_event: int | None
    ) -> tuple[pl.DataFrame, dict[str, float]]:
        seen, at = person.histories.without_events(), 0 if request_time is None else request_time
        rows = np.zeros(1, dtype=np.int64)
        request = Request(self.bundle, person, rows, seen, None, 1, at, target_event, None, LeftOut())
        return explained(request, item, request_time), broken_down(request, item, request_time)

    def exactly(self) -> BundleModel:
        corpus = self.bundle.corpus
        return BundleModel(replace(self.bundle, corpus=replace(corpus, index=replace(corpus.index, finder=None))))

    def with_memory(self, memory: TransitionMemory) -> BundleModel:
        return BundleModel(replace(self.bundle, corpus=self.bundle.corpus.with_transitions(memory)))

    def with_items(self, frame: pl.DataFrame) -> BundleModel:
        return BundleModel(self.bundle.with_items(frame))

    def with_updated_items(self, frame: pl.DataFrame) -> BundleModel:
        return BundleModel(self.bundle.with_updated_items(frame))

    def without_items(self, rows: Int32) -> BundleModel:
        return BundleModel(self.bundle.without_items(rows))
