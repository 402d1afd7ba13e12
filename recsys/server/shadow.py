"""A bundle in the shadow: off the hot path it answers a share of the requests too, to be compared with what was served."""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from recsys.core.progress import warn
from recsys.errors import RecsysError
from recsys.server.asks import Listed, RecommendAsk
from recsys.server.histories import Stored
from recsys.server.live import Loaded

_WAITING = 64
"""Requests that may wait for the shadow; more are passed over."""


@dataclass(frozen=True)
class ShadowReport:
    """What a shadow has shown so far; means over the requests that it answered.

    Attributes
    ----------
    digest : str
    share : float
        Of the requests.
    compared, passed_over, failed : int
        Requests that were compared, for which there was no time, and that it could not answer though the live one did.
    overlap : float
        Share of the served items that it lists too.
    rank_correlation : float
        Spearman's, over the items that both list, where these are two or more.
    score_drift : float
        Its score less the live one's, over the same items.
    seconds, live_seconds : float
        For one request.
    """

    digest: str
    share: float
    compared: int = 0
    passed_over: int = 0
    failed: int = 0
    overlap: float = float("nan")
    rank_correlation: float = float("nan")
    score_drift: float = float("nan")
    seconds: float = float("nan")
    live_seconds: float = float("nan")


class Shadow:
    """Answers a share of the requests after they were answered, in a thread of its own.

    Parameters
    ----------
    loaded : Loaded
    share : float
        Of the requests, above 0 and at most 1.
    answer : function
        Gets the bundle, a request and what the store knew; gives the answer.
    """

    def __init__(
        self, loaded: Loaded, share: float, answer: Callable[[Loaded, RecommendAsk, Stored], Listed | RecsysError]
    ) -> None:
        self.loaded = loaded
        self._share, self._answer = share, answer
        self._waiting: deque[tuple[RecommendAsk, Stored, Listed, float]] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._counts = ShadowReport(loaded.digest, share)
        self._sums: dict[str, list[float]] = {}
        self._random = random.Random(0)  # noqa: S311 - a sample
        self._thread = threading.Thread(target=self._run, name="recsys-shadow", daemon=True)
        self._thread.start()

    def offer(self, ask: RecommendAsk, stored: Stored, served: Listed, seconds: float) -> None:
        """Perhaps compare an answer, later; never waits."""
        if self._random.random() >= self._share:
            return
        with self._changed:
            if len(self._waiting) >= _WAITING:
                self._counts = replace(self._counts, passed_over=self._counts.passed_over + 1)
                return
            self._waiting.append((ask, stored, served, seconds))
            self._changed.notify_all()

    def report(self) -> ShadowReport:
        """What it has shown so far."""
        with self._changed:
            means = {name: sums[0] / sums[1] for name, sums in self._sums.items()}
            return replace(self._counts, **means)  # type: ignore[arg-type] # its floats

    def settle(self, seconds: float) -> bool:
        """Wait until all that was offered is compared."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._waiting, seconds)

    def close(self) -> None:
        """Compare no more, and end the thread."""
        with self._changed:
            self._closed = True
            self._waiting.clear()
            self._changed.notify_all()
        self._thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                if self._closed:
                    return
                ask, stored, served, live_seconds = self._waiting[0]
            start = time.perf_counter()
            try:
                found: Listed | Exception = self._answer(self.loaded, ask, stored)
            except Exception as error:
                warn(f"the shadow {self.loaded.digest} failed: {type(error).__name__}: {error}")
                found = error
            self._note(served, found, time.perf_counter() - start, live_seconds)

    def _note(self, served: Listed, found: Listed | Exception, seconds: float, live_seconds: float) -> None:
        with self._changed:
            if self._waiting:
                self._waiting.popleft()
            if isinstance(found, Exception):
                self._counts = replace(self._counts, failed=self._counts.failed + 1)
            else:
                self._counts = replace(self._counts, compared=self._counts.compared + 1)
                figures = compared(served, found) | {"seconds": seconds, "live_seconds": live_seconds}
                for name, value in figures.items():
                    sums = self._sums.setdefault(name, [0.0, 0])
                    sums[0] += value
                    sums[1] += 1
            self._changed.notify_all()


def compared(served: Listed, other: Listed) -> dict[str, float]:
    """``overlap``, ``rank_correlation`` and ``score_drift`` of two lists; without those that nothing tells of.

    Examples
    --------
    >>> from recsys.server.asks import Listed
    >>> from recsys.server.shadow import compared
    >>> one = Listed(["a", "b", "c"], [3.0, 2.0, 1.0], "model", "live")
    >>> other = Listed(["b", "a", "d"], [3.5, 3.5, 1.0], "model", "shadow")
    >>> {name: round(value, 3) for name, value in compared(one, other).items()}
    {'overlap': 0.667, 'rank_correlation': -1.0, 'score_drift': 1.0}
    """
    if not served.item_ids:
        return {}
    place = {item: at for at, item in enumerate(other.item_ids)}
    both = [(at, place[item]) for at, item in enumerate(served.item_ids) if item in place]
    found = {"overlap": len(both) / len(served.item_ids)}
    if len(both) > 1:
        found["rank_correlation"] = _spearman([there for _, there in both])
    if drifts := _drifts(served, other, both):
        found["score_drift"] = float(np.mean(drifts))
    return found


def _spearman(places: Sequence[int]) -> float:
    """The correlation of the ranks of items, whose places in the other list these are, with their own order."""
    ranks = np.argsort(np.argsort(places))
    return float(np.corrcoef(np.arange(len(ranks)), ranks)[0, 1])


def _drifts(served: Listed, other: Listed, both: Sequence[tuple[int, int]]) -> list[float]:
    scores = ((served.scores[here], other.scores[there]) for here, there in both)
    return [after - before for before, after in scores if before is not None and after is not None]
