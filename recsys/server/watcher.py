"""Who is told of what the engine does: one seam, so that the engine counts and judges nothing itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from recsys.errors import RecsysError
from recsys.server.answering import State
from recsys.server.asks import Ask, Explained, Listed
from recsys.server.histories import Stored
from recsys.server.metrics import Metrics, Stage, Swap
from recsys.server.model_queue import Unwatched, Watcher
from recsys.server.quality import Quality


class EngineWatcher(Watcher, Protocol):
    """Gets told what the queue and the engine do; called from any thread, and quick."""

    def stage(self, name: Stage, seconds: float) -> None:
        """A stage of a batch took so long."""

    def answered(
        self, state: State, asks: Sequence[Ask], stored: Stored, found: Sequence[Listed | Explained | RecsysError]
    ) -> None:
        """A batch was answered."""

    def swapped(self, result: Swap) -> None:
        """A bundle took over, or was refused."""


class Unseen(Unwatched):
    """A watcher that ignores everything."""

    def stage(self, name: Stage, seconds: float) -> None:
        pass

    def answered(
        self, state: State, asks: Sequence[Ask], stored: Stored, found: Sequence[Listed | Explained | RecsysError]
    ) -> None:
        pass

    def swapped(self, result: Swap) -> None:
        pass


class Watch:
    """Counts with metrics, and shows answers to what judges their quality.

    Parameters
    ----------
    metrics : Metrics
    quality : Quality
    """

    def __init__(self, metrics: Metrics, quality: Quality) -> None:
        self._quality, self._metrics = quality, metrics
        self.queued, self.batch, self.dropped, self.stage = metrics.queued, metrics.batch, metrics.dropped, metrics.stage
        self.answered = quality.answered

    def swapped(self, result: Swap) -> None:
        """Count it; judge the answers of a new bundle by themselves."""
        self._metrics.swapped(result)
        if result != "refused":
            self._quality.swapped()
