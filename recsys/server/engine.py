"""The engine: what the routes ask, answered by the active bundle and the store, one batch after the other."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Final, cast

import numpy as np
from opentelemetry.trace import SpanContext

from recsys.errors import BundleError, ConfigError, RecsysError
from recsys.server.answering import State, answers
from recsys.server.asks import (
    Ask,
    ExplainAsk,
    Explained,
    HistoryEvent,
    Listed,
    PersonAsk,
    RecommendAsk,
    ScoreAsk,
    SearchAsk,
    SimilarAsk,
)
from recsys.server.following import Following
from recsys.server.histories import Stored, told
from recsys.server.item_changes import Change, ItemChange, ItemChanges, Value
from recsys.server.live import Live, Loaded, Version
from recsys.server.living import changed, missing_items, with_changes
from recsys.server.looking_up import looked_up
from recsys.server.metrics import Swap
from recsys.server.model_queue import ModelQueue
from recsys.server.persons import store_id
from recsys.server.shadow import Shadow, ShadowReport
from recsys.server.stages import listening, stage
from recsys.server.store import EventStore, Forgotten
from recsys.server.traces import batch_span, here
from recsys.server.turns import Turns
from recsys.server.watcher import EngineWatcher, Unseen
from recsys.serving.request_arguments import RawId

Answered = Listed | Explained
WARM_UP: Final = 32
"""Requests by which a bundle is warmed."""


@dataclass(frozen=True, slots=True)
class _Call:
    """Requests that are answered by one state; a single one has its answer or error as the result."""

    asks: tuple[Ask, ...]
    single: bool
    span: SpanContext | None = field(default_factory=here)


class Engine:
    """Answers requests from a live bundle and a store of events.

    Every question is a future: it waits in the queue, and one thread answers what has gathered.

    Parameters
    ----------
    live : Live
    store : EventStore
    changes : ItemChanges
        They are applied to the active bundle now, and to those that follow it.
    queue_length, batch_requests, batch_positions : int
        See :class:`recsys.server.model_queue.ModelQueue`.
    deadline : float
        Seconds that a request may wait by default.
    watcher : EngineWatcher, optional

    Attributes
    ----------
    ready : bool
        Whether requests should come: from the warm-up until the end.
    turns : Turns or None
        With the event loop that asks; see :meth:`taking_turns`.

    Examples
    --------
    >>> from pathlib import Path
    >>> from recsys.server.bundle_model import BundleModel
    >>> from recsys.server.database import open_database
    >>> database = open_database("sqlite:///events.db")
    >>> store, live = EventStore(database), Live(Loaded(BundleModel(retriever.bundle), Path("run"), "digest"))
    >>> engine = Engine(live, store, ItemChanges(database))
    >>> len(engine.recommend(RecommendAsk(user="u1", k=3)).result().item_ids)
    3
    >>> engine.drain(5.0), store.close(), database.close()
    (True, True, None)
    """

    def __init__(
        self,
        live: Live,
        store: EventStore,
        changes: ItemChanges,
        *,
        queue_length: int = 256,
        batch_requests: int = 64,
        batch_positions: int = 8192,
        deadline: float = 2.0,
        watcher: EngineWatcher | None = None,
    ) -> None:
        self.live, self.store, self._changes = live, store, changes
        self.deadline = deadline
        self.ready = False
        self.turns: Turns | None = None
        self._watcher: EngineWatcher = watcher or Unseen()
        self._position = 0
        self._following = Following(live, store)
        self._shadow: Shadow | None = None
        self.follow_items()
        self._queue: ModelQueue[_Call, Any] = ModelQueue(
            self._answered,
            length=queue_length,
            batch_requests=batch_requests,
            batch_positions=batch_positions,
            watcher=self._watcher,
        )

    @property
    def alive(self) -> bool:
        """Whether the thread of the model lives."""
        return self._queue.alive

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        return self._queue.waiting

    @contextmanager
    def taking_turns(self, loop: asyncio.AbstractEventLoop) -> Iterator[None]:
        """Within the block, the thread of the model takes turns with an event loop, which runs in this thread."""
        self.turns = Turns(loop, self._queue)
        self._queue.waker = self.turns.soon
        try:
            yield
        finally:
            self.turns = self._queue.waker = None

    def check(self, seconds: float) -> None:
        """Refuse a request that could not be answered so soon, before anything else is done for it.

        Raises
        ------
        OverloadedError
            As :meth:`recommend`.
        """
        self._queue.check(seconds)

    def expire(self) -> None:
        """Tell those who wait beyond their deadline at once; otherwise they hear of it when their turn comes."""
        self._queue.expire()

    def recommend(self, ask: RecommendAsk, *, seconds: float | None = None) -> Future[Listed]:
        """Items for one person.

        Parameters
        ----------
        ask : RecommendAsk
        seconds : float, optional
            Until the deadline.

        Returns
        -------
        Future of Listed
            It raises DeadlineError, and what :meth:`recsys.serving.retriever.Retriever.recommend` raises.

        Raises
        ------
        OverloadedError
            The queue is full.
        """
        return cast("Future[Listed]", self._submit(_Call((ask,), single=True), seconds))

    def similar(self, ask: SimilarAsk, *, seconds: float | None = None) -> Future[Listed]:
        """Items like one; as :meth:`recommend`."""
        return cast("Future[Listed]", self._submit(_Call((ask,), single=True), seconds))

    def search(self, ask: SearchAsk, *, seconds: float | None = None) -> Future[Listed]:
        """Items by free text; as :meth:`recommend`."""
        return cast("Future[Listed]", self._submit(_Call((ask,), single=True), seconds))

    def explain(self, ask: ExplainAsk, *, seconds: float | None = None) -> Future[Explained]:
        """Why one person gets one item; as :meth:`recommend`."""
        return cast("Future[Explained]", self._submit(_Call((ask,), single=True), seconds))

    def score(self, ask: ScoreAsk, *, seconds: float | None = None) -> Future[Listed]:
        """Scores of given items in the order given; as :meth:`recommend`."""
        return cast("Future[Listed]", self._submit(_Call((ask,), single=True), seconds))

    def together(self, asks: Sequence[Ask], *, seconds: float | None = None) -> Future[list[Answered | RecsysError]]:
        """Several requests of any kind, all answered by one state of one bundle: for each an answer, or its error.

        Takes and raises what :meth:`recommend` does.
        """
        return cast("Future[list[Answered | RecsysError]]", self._submit(_Call(tuple(asks), single=False), seconds))

    def history(self, user: RawId) -> list[HistoryEvent]:
        """What is known of a user, oldest first; empty for somebody unknown."""
        stored, model = self._stored([user]), self.live.active.model
        return told(model, int(model.users.find_rows([user])[0]), store_id(user), stored)

    def forget(self, user: RawId) -> Forgotten:
        """Remove all that is stored of a user; what the bundle holds of them up to now counts no longer.

        Raises
        ------
        StoreUnavailableError
            The database cannot be written; nothing was removed.
        """
        return self.store.forget(store_id(user))

    def change_item(self, item: RawId, change: Change, columns: Mapping[str, Value] | None = None) -> ItemChange:
        """Put, patch or delete an item: on disk, in every answer from now on, and in the bundles that follow.

        Raises
        ------
        UnknownIdError, DataError, UnsupportedError
            As :func:`recsys.server.living.changed`.
        StoreUnavailableError
            The database cannot be written; nothing was changed.
        """
        name, given = str(item), {} if columns is None else columns
        with self.live.changing() as loaded:
            model = changed(loaded.model, name, change, given)
            found = self._changes.record(name, change, given)
            loaded.model = model
        return found

    def follow_items(self) -> int:
        """Take up what other servers changed in the items since the last time; returns how many items that were."""
        with self.live.changing() as loaded:
            later = self._changes.since(self._position)
            if later:
                loaded.model, _ = with_changes(loaded.model, later)
                self._position = later[-1].position
        return len(later)

    def follow_clicks(self) -> int:
        """Let the transition memory take up what users did since the last time; returns how many events that were."""
        return self._following.step()

    def warm_up(self, requests: int = WARM_UP) -> None:
        """Answer requests of known users: readiness means that requests are quick from now on."""
        with self.live.lease() as lease:
            warm(lease.state, requests)
        self.ready = True

    def versions(self) -> list[Version]:
        """The active bundle, then those that are loaded beside it."""
        return self.live.versions()

    def load_bundle(self, folder: str) -> Version:
        """Load and verify a bundle beside the active one; raises as :meth:`Live.load`."""
        return self.live.version_of(self.live.load(folder))

    def activate(self, digest: str, *, force: bool = False) -> Version:
        """Warm a loaded bundle and let it answer from now on; as a shadow it ends.

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
        with self._swapping("activated"):
            found = self.live.activate(digest, lambda loaded: self._prepare(loaded, force=force))
        if self._shadow is not None and self._shadow.loaded is found:
            self.stop_shadow()
        return self.live.version_of(found)

    def roll_back(self) -> Version:
        """Let the bundle before this one answer again; raises as :meth:`Live.roll_back`."""
        with self._swapping("rolled_back"):
            found = self.live.roll_back(lambda loaded: self._prepare(loaded, force=True))
        return self.live.version_of(found)

    @contextmanager
    def _swapping(self, result: Swap) -> Iterator[None]:
        """Tell the watcher how the block ended."""
        try:
            yield
        except RecsysError:
            self._watcher.swapped("refused")
            raise
        self._watcher.swapped(result)

    def start_shadow(self, digest: str, share: float) -> ShadowReport:
        """Let a loaded bundle answer a share of the requests too, unseen, to compare it with the active one.

        Parameters
        ----------
        digest : str
        share : float
            Of the requests to recommend; above 0, at most 1.

        Raises
        ------
        BundleError
            No loaded bundle has this digest.
        ConfigError
            The share is none.
        """
        if not 0 < share <= 1:
            raise ConfigError(f"share must be above 0 and at most 1, not {share}")
        loaded = self.live.candidate(digest)
        loaded.model, _ = with_changes(loaded.model, self._changes.since(0))
        warm(loaded.state(), WARM_UP)
        self.stop_shadow()
        self._shadow = Shadow(loaded, share, _alone)
        return self._shadow.report()

    def shadow(self) -> ShadowReport | None:
        """What the shadow has shown so far; None without one."""
        return None if self._shadow is None else self._shadow.report()

    def stop_shadow(self) -> ShadowReport | None:
        """End the shadow, whose bundle stays loaded; returns what it has shown."""
        ended, self._shadow = self._shadow, None
        if ended is None:
            return None
        ended.close()
        return ended.report()

    def drain(self, seconds: float) -> bool:
        """Take no more requests and answer those that wait; returns whether all were answered in this time."""
        self.ready = False
        done = self._queue.drain(seconds)
        self.stop_shadow()
        return done

    def _prepare(self, loaded: Loaded, *, force: bool) -> None:
        """Make a bundle what the active one is: with the items that were changed, and warm."""
        changes = self._changes.since(0)
        loaded.model, _ = with_changes(loaded.model, changes)
        missing = missing_items(self.live.active.model, loaded.model)
        if len(missing) and not force:
            such = ", ".join(repr(one) for one in missing[:3].to_list())
            raise BundleError(
                f"{loaded.path} lacks {len(missing):,} items that can be recommended now, such as {such}; fit it on a "
                "catalogue that has them, remove them first, or force it"
            )
        warm(loaded.state(), WARM_UP)
        if changes:
            self._position = changes[-1].position

    def _submit(self, call: _Call, seconds: float | None) -> Future[Any]:
        longest = self.live.active.model.max_length
        return self._queue.submit(
            call,
            seconds=self.deadline if seconds is None else seconds,
            requests=len(call.asks),
            positions=_positions(longest, call.asks),
        )

    def _answered(self, calls: Sequence[_Call]) -> list[Any]:
        """The answers, or the error, of each call."""
        with listening(self._watcher.stage), batch_span(len(calls), [call.span for call in calls]):
            return self._answered_in_stages(calls)

    def _answered_in_stages(self, calls: Sequence[_Call]) -> list[Any]:
        asks = [ask for call in calls for ask in call.asks]
        with stage("history"):
            stored = self._stored([ask.user for ask in asks if isinstance(ask, PersonAsk) and ask.user is not None])
        start = time.perf_counter()
        with self.live.lease() as lease:
            model = lease.state.model
            model.compute_with(len(asks), _positions(model.max_length, asks))
            results = answered(lease.state, asks, stored)
            self._watcher.answered(lease.state, asks, stored, results)
        if (shadow := self._shadow) is not None:
            seconds = (time.perf_counter() - start) / len(asks)
            for ask, one in zip(asks, results, strict=True):
                if isinstance(ask, RecommendAsk) and isinstance(one, Listed):
                    shadow.offer(ask, stored, one, seconds)
        found = iter(results)
        return [next(found) if call.single else [next(found) for _ in call.asks] for call in calls]

    def _stored(self, users: Sequence[RawId]) -> Stored:
        names = list({store_id(user) for user in users})
        if not names:
            return Stored()
        deltas = dict(zip(names, self.store.deltas(names), strict=True))
        forgotten = zip(names, self.store.forgotten_at(names), strict=True)
        return Stored(deltas, {name: at for name, at in forgotten if at is not None})


def answered(state: State, asks: Sequence[Ask], stored: Stored) -> list[Answered | RecsysError]:
    """One answer or error for each request.

    Parameters
    ----------
    state : State
    asks : sequence (n)
    stored : Stored
        What the store knows of the users among them.
    """
    found: list[Answered | RecsysError | None] = [None] * len(asks)
    batched = [(i, ask) for i, ask in enumerate(asks) if isinstance(ask, RecommendAsk | ScoreAsk)]
    if batched:
        for (i, _), one in zip(batched, answers(state, [ask for _, ask in batched], stored), strict=True):
            found[i] = one
    others = [(i, ask) for i, ask in enumerate(asks) if isinstance(ask, SimilarAsk | SearchAsk | ExplainAsk)]
    for (i, _), other in zip(others, looked_up(state, [ask for _, ask in others], stored), strict=True):
        found[i] = other
    return [_titled(state, ask, cast("Answered | RecsysError", one)) for ask, one in zip(asks, found, strict=True)]


def _titled(state: State, ask: Ask, found: Answered | RecsysError) -> Answered | RecsysError:
    """With titles where these were asked for: those of the bundle that answered, though another may be active by now."""
    if not isinstance(found, Listed) or not isinstance(ask, RecommendAsk | SimilarAsk | SearchAsk) or not ask.titles:
        return found
    items = list(dict.fromkeys([*found.item_ids, *(one.item_id for one in found.rule_effects)]))
    titles = state.model.catalog.title_of(state.model.items.find_rows(items)).to_list()
    return replace(found, titles=dict(zip(items, titles, strict=True)))


def _alone(loaded: Loaded, ask: RecommendAsk, stored: Stored) -> Listed | RecsysError:
    return answers(loaded.state(), [ask], stored)[0]


def warm(state: State, requests: int) -> None:
    """Answer some known users and a search, so that what is made at first use is made: a text encoder takes seconds."""
    state.popularity.prepare()
    users = np.flatnonzero(state.model.histories.lengths)[:requests]
    asks = [RecommendAsk(user=one) for one in state.model.users.to_ids(users.astype(np.int32)).to_list()]
    for some in (asks[:1], asks):
        if some:
            answered(state, some, Stored())
    if state.model.searches:
        answered(state, [SearchAsk(text="warm", k=1)], Stored())


def _positions(longest: int, asks: Sequence[Ask]) -> int:
    """How many events the user tower reads for these requests, at most."""
    found = 0
    for ask in asks:
        if isinstance(ask, PersonAsk):
            found += longest if ask.history is None else min(longest, len(ask.history))
        else:
            found += 1
    return found
