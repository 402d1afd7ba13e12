"""The engine: what the routes ask, answered by the active bundle and the store, one batch after the other."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from typing import Protocol, TypeVar, cast

import numpy as np

from recsys.errors import RecsysError
from recsys.server.answering import State, answers
from recsys.server.asks import (
    Ask,
    ExplainAsk,
    Explained,
    Listed,
    PersonAsk,
    RecommendAsk,
    ScoreAsk,
    SearchAsk,
    SimilarAsk,
)
from recsys.server.deltas import Delta
from recsys.server.events import Event, Receipt
from recsys.server.live import Live, Loaded, Version
from recsys.server.looking_up import looked_up
from recsys.server.model_queue import ModelQueue, Watcher
from recsys.server.persons import store_id
from recsys.serving.request_arguments import RawId

T = TypeVar("T")
Answered = Listed | Explained


class Store(Protocol):
    """What the engine needs of the store of events."""

    def append(self, events: Sequence[Event]) -> list[Receipt]:
        """Keep events; returns once they are on disk and in every answer."""

    def deltas(self, users: Sequence[str]) -> list[Delta]:
        """The stored interactions of users."""


class Engine:
    """Answers requests from a live bundle and a store of events.

    Every question is a future: it waits in the queue, and one thread answers what has gathered. Requests of one call are
    answered by one state of one bundle.

    Parameters
    ----------
    live : Live
    store : Store
    queue_length, batch_requests, batch_positions : int
        See :class:`recsys.server.model_queue.ModelQueue`.
    deadline : float
        Seconds that a request may wait by default.
    watcher : Watcher, optional

    Examples
    --------
    >>> found = engine.recommend([RecommendAsk(user="u1", k=3)]).result()
    >>> len(found[0].item_ids)
    3
    """

    def __init__(
        self,
        live: Live,
        store: Store,
        *,
        queue_length: int = 256,
        batch_requests: int = 64,
        batch_positions: int = 8192,
        deadline: float = 2.0,
        watcher: Watcher | None = None,
    ) -> None:
        self.live = live
        self.store = store
        self.deadline = deadline
        self.ready = False
        self._queue: ModelQueue[Sequence[Ask], list[Answered]] = ModelQueue(
            self._answered,
            length=queue_length,
            batch_requests=batch_requests,
            batch_positions=batch_positions,
            watcher=watcher,
        )

    @property
    def alive(self) -> bool:
        """Whether the model thread lives."""
        return self._queue.alive

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        return self._queue.waiting

    def recommend(self, asks: Sequence[RecommendAsk], *, seconds: float | None = None) -> Future[list[Listed]]:
        """One list for each request; an error in one of them is the error of the call, and names its number.

        Parameters
        ----------
        asks : sequence
        seconds : float, optional
            Until the deadline.

        Raises
        ------
        OverloadedError
            The queue is full. The future raises DeadlineError, and what :meth:`Retriever.recommend` raises.
        """
        return cast("Future[list[Listed]]", self._submit(asks, seconds))

    def similar(self, asks: Sequence[SimilarAsk], *, seconds: float | None = None) -> Future[list[Listed]]:
        """Items like others; as :meth:`recommend`."""
        return cast("Future[list[Listed]]", self._submit(asks, seconds))

    def search(self, asks: Sequence[SearchAsk], *, seconds: float | None = None) -> Future[list[Listed]]:
        """Items by free text; as :meth:`recommend`."""
        return cast("Future[list[Listed]]", self._submit(asks, seconds))

    def explain(self, asks: Sequence[ExplainAsk], *, seconds: float | None = None) -> Future[list[Explained]]:
        """Why people get items; as :meth:`recommend`."""
        return cast("Future[list[Explained]]", self._submit(asks, seconds))

    def score(self, asks: Sequence[ScoreAsk], *, seconds: float | None = None) -> Future[list[Listed]]:
        """Scores of given items in the order given; as :meth:`recommend`."""
        return cast("Future[list[Listed]]", self._submit(asks, seconds))

    def append(self, events: Sequence[Event]) -> list[Receipt]:
        """Keep events, which count in every answer from now on; blocks until they are on disk."""
        return self.store.append(events)

    def warm_up(self, requests: int = 32) -> None:
        """Answer requests of known users, as readiness means that they are quick from now on."""
        with self.live.lease() as lease:
            warm(lease.state, requests)
        self.ready = True

    def versions(self) -> list[Version]:
        """The active bundle, then those that are loaded beside it."""
        return self.live.versions()

    def load_bundle(self, folder: str) -> Version:
        """Load and verify a bundle beside the active one; raises as :meth:`Live.load`."""
        found = self.live.load(folder)
        return next(one for one in self.live.versions() if one.digest == found.digest)

    def activate(self, digest: str, *, force: bool = False) -> Version:
        """Warm a loaded bundle and let it answer from now on.

        Parameters
        ----------
        digest : str
        force : bool
            Also where it lacks items that can be recommended now.

        Raises
        ------
        BundleError
            It cannot take over; the active one stays.
        """
        self.live.activate(digest, lambda loaded: self._prepare(loaded, force=force))
        return self.live.versions()[0]

    def roll_back(self) -> Version:
        """Let the bundle before this one answer again; raises as :meth:`Live.roll_back`."""
        self.live.roll_back(lambda loaded: self._prepare(loaded, force=True))
        return self.live.versions()[0]

    def drain(self, seconds: float) -> bool:
        """Take no more requests and answer those that wait; returns whether all were answered in this time."""
        self.ready = False
        return self._queue.drain(seconds)

    def _prepare(self, loaded: Loaded, *, force: bool) -> None:
        warm(loaded.state(), 32)

    def _submit(self, asks: Sequence[Ask], seconds: float | None) -> Future[list[Answered]]:
        bundle = self.live.active.retriever.bundle
        positions = _positions(bundle.towers.net.users.max_length, asks)
        return self._queue.submit(
            asks, seconds=self.deadline if seconds is None else seconds, requests=len(asks), positions=positions
        )

    def _answered(self, calls: Sequence[Sequence[Ask]]) -> list[list[Answered] | BaseException]:
        """One answer, or the first error, of each call."""
        with self.live.lease() as lease:
            flat = [ask for call in calls for ask in call]
            found = answered(lease.state, flat, self._deltas(flat))
        results: list[list[Answered] | BaseException] = []
        start = 0
        for call in calls:
            mine = found[start : start + len(call)]
            start += len(call)
            results.append(_whole(mine))
        return results

    def _deltas(self, asks: Sequence[Ask]) -> dict[str, Delta]:
        users = {store_id(ask.user) for ask in asks if isinstance(ask, PersonAsk) and ask.user is not None}
        names = list(users)
        return dict(zip(names, self.store.deltas(names), strict=True)) if names else {}


def answered(state: State, asks: Sequence[Ask], deltas: dict[str, Delta]) -> list[Answered | RecsysError]:
    """One answer or error for each request."""
    found: list[Answered | RecsysError | None] = [None] * len(asks)
    batched = [i for i, ask in enumerate(asks) if isinstance(ask, RecommendAsk | ScoreAsk)]
    if batched:
        some = [asks[i] for i in batched]
        for i, one in zip(batched, answers(state, some, deltas), strict=True):  # type: ignore[arg-type]
            found[i] = one
    for i, ask in enumerate(asks):
        if isinstance(ask, SimilarAsk | SearchAsk | ExplainAsk):
            found[i] = looked_up(state, ask, deltas)
    return found  # type: ignore[return-value] # none is left


def warm(state: State, requests: int) -> None:
    """Answer some known users, so that what is made at first use is made."""
    state.popularity.prepare()
    users = np.flatnonzero(state.bundle.histories.lengths)[:requests]
    ids: list[RawId] = state.bundle.users.to_ids(users.astype(np.int32)).to_list()
    for some in (ids[:1], ids):
        if some:
            answered(state, [RecommendAsk(user=one) for one in some], {})


def _whole(found: Sequence[Answered | RecsysError]) -> list[Answered] | RecsysError:
    for number, one in enumerate(found):
        if isinstance(one, RecsysError):
            return one if len(found) == 1 else type(one)(f"requests[{number}]: {one}")
    return list(cast("Sequence[Answered]", found))


def _positions(longest: int, asks: Sequence[Ask]) -> int:
    """How many events the user tower reads for these requests, at most."""
    found = 0
    for ask in asks:
        if isinstance(ask, PersonAsk):
            found += longest if ask.history is None else min(longest, len(ask.history))
        else:
            found += 1
    return found
