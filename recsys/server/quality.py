"""How good the answers are while they are given: a share of them is looked at, by a thread of its own that is held back."""

from __future__ import annotations

import math
import random
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final
from weakref import WeakKeyDictionary

import numpy as np

from recsys.core.progress import warn
from recsys.errors import RecsysError
from recsys.server.answering import State, answers
from recsys.server.asks import Ask, Explained, Listed, RecommendAsk
from recsys.server.histories import Stored
from recsys.server.metrics import DRIFTS, Metrics
from recsys.server.model import Model
from recsys.server.served_lists import Baseline, ItemShares, Seen, ServedLists

BASELINE_USERS: Final = 512
"""Users of the training log who are answered to have something to compare with."""
_AT_ONCE: Final = 8
_WAITING: Final = 256
"""Answers that wait to be looked at; more are passed over."""
_ENOUGH: Final = 200
"""Answers below which nothing is said of them."""
_ENOUGH_PROBES: Final = 20
_PROBES: Final = 500
"""Probes of which the mean is taken."""


@dataclass(frozen=True, eq=False)
class Sample:
    """A live request with its answer.

    Attributes
    ----------
    state : State
        What answered.
    ask : RecommendAsk
        With the time at which it was answered.
    stored : Stored
    listed : Listed
    """

    state: State
    ask: RecommendAsk
    stored: Stored
    listed: Listed


class Quality:
    """Looks at a share of the live answers, and sets the gauges of quality.

    The thread that answers only hands samples over, and passes them over when too many wait. All else happens in another
    thread. What asks the model there takes at most a share of the time.

    Parameters
    ----------
    metrics : Metrics
    share : float
        Of the answers; 0 looks at none.
    answers : int
        How many answers are kept to judge by.
    busy : float
        Largest share of the time in which the model is asked.
    enough, enough_probes : int
        Answers, and probes, below which nothing is said.
    every : float
        Seconds between two times at which gauges are set.
    """

    def __init__(
        self,
        metrics: Metrics,
        *,
        share: float = 0.1,
        answers: int = 5000,
        busy: float = 0.05,
        enough: int = _ENOUGH,
        enough_probes: int = _ENOUGH_PROBES,
        every: float = 1.0,
    ) -> None:
        self._metrics, self._share, self._answers, self._busy = metrics, share, answers, busy
        self._enough, self._enough_probes, self._every = enough, enough_probes, every
        self._samples: deque[Sample] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._rests_until = self._says_at = 0.0
        self._random = random.Random()  # noqa: S311 - a sample needs no secrets
        self._about: _About | None = None
        self._thread = threading.Thread(target=self._run, name="recsys-quality", daemon=True)
        if share > 0:
            self._thread.start()

    def answered(
        self, state: State, asks: Sequence[Ask], stored: Stored, found: Sequence[Listed | Explained | RecsysError]
    ) -> None:
        """Take a sample of what a batch was answered; quick."""
        if self._share <= 0:
            return
        for ask, one in zip(asks, found, strict=True):
            if not isinstance(ask, RecommendAsk) or not isinstance(one, Listed) or self._random.random() >= self._share:
                continue
            asked = ask if ask.request_time is not None else replace(ask, request_time=int(time.time()))
            with self._changed:
                if len(self._samples) < _WAITING:
                    self._samples.append(Sample(state, asked, stored, one))
                    self._changed.notify()
                    continue
            self._metrics.skipped()

    def swapped(self) -> None:
        """Let go of samples of the bundle before, and begin anew with the next."""
        with self._changed:
            self._samples.clear()

    def close(self) -> None:
        """End the thread."""
        with self._changed:
            self._closed = True
            self._samples.clear()
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while (sample := self._next()) is not None:
            try:
                self._look_at(sample)
            except Exception as error:  # the server goes on without
                warn(f"an answer could not be looked at ({type(error).__name__}: {error})")
            del sample  # a thread that waits holds no bundle

    def _next(self) -> Sample | None:
        with self._changed:
            self._changed.wait_for(lambda: self._samples or self._closed)
            return None if self._closed else self._samples.popleft()

    def _look_at(self, sample: Sample) -> None:
        about = self._about
        if about is None or about.digest != sample.state.digest:
            about = self._about = _About(sample.state, self._answers)
            self._says_at = 0.0
            self._metrics.recall(1.0 if about.exact else math.nan)
        self._metrics.sampled()
        about.lists.add(seen(sample.state, sample.listed))
        if time.monotonic() >= self._rests_until:
            started = time.monotonic()
            if not about.step(sample.state) and not about.exact:
                self._probe(about, sample)
            now = time.monotonic()
            self._rests_until = now + (now - started) * (1 / self._busy - 1)
        if time.monotonic() >= self._says_at:
            self._says_at = time.monotonic() + self._every
            self._say(about, sample.state)

    def _probe(self, about: _About, sample: Sample) -> None:
        recall = recall_of(sample)
        if math.isnan(recall):
            return
        about.recalls.append(recall)
        self._metrics.probed()
        if len(about.recalls) >= self._enough_probes:
            self._metrics.recall(float(np.mean(about.recalls)))

    def _say(self, about: _About, state: State) -> None:
        lists, metrics = about.lists, self._metrics
        enough = len(lists) >= self._enough
        if enough:
            metrics.served(lists.coverage(int(state.model.alive.sum())), lists.popularity_lift(), lists.cold_share())
        else:
            metrics.served(math.nan, math.nan, math.nan)
        if enough and about.baseline is not None:
            metrics.drift(lists.drift(about.baseline))
        else:
            metrics.drift(dict.fromkeys(DRIFTS, math.nan))


class _About:
    """What is known of the answers of one bundle; it holds none of the bundle itself.

    Parameters
    ----------
    state : State
    most : int
        Answers that are kept.
    """

    def __init__(self, state: State, most: int) -> None:
        self.digest = state.digest
        self.exact = not state.model.approximate
        self.shares = ItemShares.of(state.model)
        self.lists = ServedLists(self.shares, most)
        self.recalls: deque[float] = deque(maxlen=_PROBES)
        self.baseline: Baseline | None = None
        some = np.flatnonzero(state.model.histories.lengths)
        self._users = iter(np.array_split(some[:: max(1, len(some) // BASELINE_USERS)][:BASELINE_USERS], _parts(len(some))))
        self._found: list[Seen] = []

    def step(self, state: State) -> bool:
        """Answer some more users of the training log; false once that is done."""
        if self.baseline is not None:
            return False
        users = next(self._users, None)
        if users is None:
            self.baseline = Baseline.of(state.model, self.shares, self._found)
            self._found = []
            return False
        ids = state.model.users.to_ids(users.astype(np.int32)).to_list()
        found = answers(state, [RecommendAsk(user=one) for one in ids], Stored())
        self._found += [seen(state, one) for one in found if isinstance(one, Listed)]
        return True


def _parts(users: int) -> int:
    return max(1, math.ceil(min(users, BASELINE_USERS) / _AT_ONCE))


def seen(state: State, listed: Listed) -> Seen:
    """What is kept of an answer."""
    rows = state.model.items.find_rows(listed.item_ids)
    scored = listed.source == "model" and len(listed.scores) > 0
    return Seen(listed.history_length, listed.scores[0] if scored else None, rows[rows >= 0])


def recall_of(sample: Sample) -> float:
    """The share of the exact answer that was found; NaN for answers that are not the index's own.

    The same request is answered again, without the approximate part of the index.
    """
    ask, listed = sample.ask, sample.listed
    if listed.source != "model" or ask.rules is not None:
        return math.nan
    (found,) = answers(_exactly(sample.state), [ask], sample.stored)
    if not isinstance(found, Listed) or not found.item_ids:
        return math.nan
    return len(set(found.item_ids) & set(listed.item_ids)) / len(found.item_ids)


_EXACT: WeakKeyDictionary[Model, State] = WeakKeyDictionary()


def _exactly(state: State) -> State:
    """The same state, whose index compares all items; remembered as long as its model lives."""
    found = _EXACT.get(state.model)
    if found is None:
        found = _EXACT[state.model] = State(state.model.exactly(), state.digest, state.popularity)
    return found
